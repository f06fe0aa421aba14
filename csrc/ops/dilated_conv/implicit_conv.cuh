// Convolution as a product of matrices in float32: the output, and by the same kernel the gradient
// of the input.
//
// A block makes M channels of 128 pixels of the result, for one group: the sum over taps and
// channels of the source, 8 channels at a time, of weights (8, M), repacked so that they are read
// as vectors, times pixels (8, 128), gathered from the source. While one tile is multiplied the
// next one is on its way in registers. Taps that meet the source from no row of the block's pixels
// are left out. With too few blocks for the GPU the sum is made in parts, added in a fixed order:
// the same bits in every run.
//
// Floor: arithmetic, 2 N OH OW O (C / groups) taps operations at 67 TF in float32: 307 us for
// 512 -> 512 channels of 66 x 66 with 3 x 3 taps, of which padding may save a part. A block reads
// 16 bytes of shared memory for 16 products a thread. The gradient of the input with stride s finds
// but one in s^2 of its taps to meet a pixel, and does not save the rest.
#pragma once

#include "ops/dilated_conv/conv_tiles.cuh"
#include "ops/dilated_conv/dilated_conv_math.h"
#include "ops/dilated_conv/implicit_conv.h"

namespace pyfast {
namespace PF_ISA {

constexpr int kTilePixels = 128;

// One call of the kernel: the result is (N, groups * rows, height, width), the source (N, groups *
// depth, ...).
struct GatherProduct {
  TapSide of_rows, of_columns;
  int32_t kernel_w, taps;
  int32_t height, width, pixels;  // of all images
  int32_t groups, rows, depth;    // channels of a group
  int32_t padded_rows, depth_blocks, row_tiles, parts, units_of_part;
  bool vectors;   // of the source's channels
  int64_t count;  // of the result
  ConvImage from, to;
  const float *source, *weight, *bias;  // weight: (groups, taps, depth_blocks, 8, padded_rows)
  float* result;                        // or of partial sums, (parts, ...)
};

// Weights for the kernel; zeros where there are none.
struct WeightOrder {
  int64_t group, row, depth;  // distances in the weight, (O, C / groups, taps)
};

static __global__ void __launch_bounds__(kConvThreads)
    pack_weights(const float* weight, const WeightOrder order, const GatherProduct p,
                 float* packed) {
  const int64_t i = int64_t{blockIdx.x} * kConvThreads + threadIdx.x;
  const int32_t row = int32_t(i % p.padded_rows);
  const int64_t rest = i / p.padded_rows, of_tap = p.depth_blocks * kTileDepth;
  const int32_t depth = int32_t(rest % of_tap), tap = int32_t(rest / of_tap % p.taps);
  const int64_t group = rest / of_tap / p.taps;
  if (group >= p.groups) return;
  packed[i] = row < p.rows && depth < p.depth
                  ? weight[group * order.group + row * order.row + depth * order.depth + tap]
                  : 0.f;
}

template <int M>
__global__ void __launch_bounds__(kConvThreads, 2) gather_product(const GatherProduct p) {
  constexpr int N = kTilePixels, K = kTileDepth, RM = M / kTileSide, RN = N / kTileSide;
  constexpr int kHalf = K / 2;  // a thread gathers half of the depth for a pixel
  alignas(16) __shared__ float a[2][K * M], b[2][K * N];
  const int thread = threadIdx.x;
  uint32_t block = blockIdx.x;
  const int32_t first_row = int32_t(block % p.row_tiles) * M;
  block /= p.row_tiles;
  const int32_t part = block % p.parts;
  block /= p.parts;
  const int32_t group = block % p.groups, first_pixel = int32_t(block / p.groups) * N;

  // The rows and columns of the block's pixels, as far as they are in one image or one row.
  const int32_t last_pixel = (first_pixel + N < p.pixels ? first_pixel + N : p.pixels) - 1;
  const int32_t top = first_pixel / p.width, bottom = last_pixel / p.width;
  const bool one_image = top / p.height == bottom / p.height, one_row = top == bottom;
  const int32_t row_0 = one_image ? top % p.height : 0;
  const int32_t row_1 = one_image ? bottom % p.height : p.height - 1;
  const int32_t column_0 = one_row ? first_pixel % p.width : 0;
  const int32_t column_1 = one_row ? last_pixel % p.width : p.width - 1;
  // The first unit from `unit` on, a tap and a block of the depth, that is not left out.
  const auto next_unit = [&](int32_t unit, int32_t last) {
    while (unit < last) {
      const int32_t tap = unit / p.depth_blocks;
      if (p.of_rows.meets(row_0, row_1, tap / p.kernel_w) &&
          p.of_columns.meets(column_0, column_1, tap % p.kernel_w))
        break;
      unit = (tap + 1) * p.depth_blocks;
    }
    return unit;
  };

  const int32_t column = thread % N, half = thread / N * kHalf, pixel = first_pixel + column;
  const int32_t x = pixel % p.width, y = pixel / p.width % p.height;
  const float* image = p.source + int64_t{pixel / p.width / p.height} * p.from.n +
                       int64_t{group} * p.depth * p.from.c;
  const float* weight = p.weight + int64_t{group} * p.taps * p.depth_blocks * K * p.padded_rows;
  constexpr int kPacks = (K * M / 4 + kConvThreads - 1) / kConvThreads;
  Pack<4, float> of_a[kPacks];
  float of_b[kHalf];

  const auto fetch = [&](int32_t unit) {
#pragma unroll
    for (int i = 0; i < kPacks; ++i) {
      const int32_t at = (thread + i * kConvThreads) * 4;
      if (K * M / 4 % kConvThreads == 0 || at < K * M)
        of_a[i] =
            load<4>(weight + (int64_t{unit} * K + at / M) * p.padded_rows + first_row + at % M);
    }
    const int32_t tap = unit / p.depth_blocks, c = unit % p.depth_blocks * K + half;
    const int32_t row = p.of_rows.source(y, tap / p.kernel_w);
    const int32_t at = p.of_columns.source(x, tap % p.kernel_w);
    const bool inside = pixel < p.pixels && row >= 0 && at >= 0;
    const float* from = image + row * p.from.h + at * p.from.w + c * p.from.c;
    if (p.vectors) {
#pragma unroll
      for (int k = 0; k < kHalf; k += 4) {
        const auto read = load_inside<4>(from, k, inside && c + k < p.depth);
        for (int v = 0; v < 4; ++v) of_b[k + v] = read.value[v];
      }
    } else {
#pragma unroll
      for (int k = 0; k < kHalf; ++k)
        of_b[k] = load_inside<1>(from, k * p.from.c, inside && c + k < p.depth).value[0];
    }
  };
  const auto keep = [&](int buffer) {
#pragma unroll
    for (int i = 0; i < kPacks; ++i) {
      const int32_t at = (thread + i * kConvThreads) * 4;
      if (K * M / 4 % kConvThreads == 0 || at < K * M) store<4>(a[buffer] + at, of_a[i]);
    }
#pragma unroll
    for (int k = 0; k < kHalf; ++k) b[buffer][(half + k) * N + column] = of_b[k];
  };

  float sum[RM][RN] = {};
  const int row_of_tile = thread / kTileSide, column_of_tile = thread % kTileSide;
  const int32_t units = p.taps * p.depth_blocks, begin = part * p.units_of_part;
  const int32_t last = begin + p.units_of_part < units ? begin + p.units_of_part : units;
  int32_t unit = next_unit(begin, last);
  int buffer = 0;
  if (unit < last) {
    fetch(unit);
    keep(0);
  }
  __syncthreads();
  while (unit < last) {
    unit = next_unit(unit + 1, last);
    if (unit < last) fetch(unit);
    multiply_tiles<2, RM, RN, M, N>(a[buffer], b[buffer], row_of_tile, column_of_tile, sum);
    buffer ^= 1;
    if (unit < last) keep(buffer);
    __syncthreads();
  }

  float* result = p.result + part * p.count;
#pragma unroll
  for (int n = 0; n < RN; ++n) {
    const int32_t at = first_pixel + tile_place<RN>(column_of_tile, n);
    if (at >= p.pixels) continue;
    float* to = result + int64_t{at / p.width / p.height} * p.to.n +
                at / p.width % p.height * p.to.h + at % p.width * p.to.w;
#pragma unroll
    for (int m = 0; m < RM; ++m) {
      const int32_t row = first_row + tile_place<RM>(row_of_tile, m);
      if (row >= p.rows) continue;
      const int32_t channel = group * p.rows + row;
      to[channel * p.to.c] = sum[m][n] + (p.bias != nullptr ? p.bias[channel] : 0.f);
    }
  }
}

template <int M>
int launch_gather_product(GatherProduct p, const WeightOrder& order, int64_t batch,
                          const DeviceMemory& memory, cudaStream_t stream) {
  p.depth_blocks = int32_t(ceil_div(p.depth, kTileDepth));
  p.row_tiles = int32_t(ceil_div(p.rows, M));
  p.padded_rows = p.row_tiles * M;
  const int64_t units = int64_t{p.taps} * p.depth_blocks;
  const int64_t tiles = ceil_div(p.pixels, kTilePixels) * p.groups * p.row_tiles;
  p.count = batch * p.groups * p.rows * p.height * p.width;
  p.parts = parts_of_product(tiles, units * kTileDepth, p.count);
  p.units_of_part = int32_t(ceil_div(units, p.parts));
  const int64_t blocks = tiles * p.parts, weights = units * kTileDepth * p.groups * p.padded_rows;
  const int64_t pack_blocks = ceil_div(weights, kConvThreads);
  if (units > kConvMaxSide || blocks > kConvMaxBlocks || pack_blocks > kConvMaxBlocks)
    return cudaErrorInvalidConfiguration;
  float* packed = memory.take<float>(weights);
  if (pack_blocks > 0)
    PF_LAUNCH(pack_weights, unsigned(pack_blocks), kConvThreads, 0, stream, p.weight, order, p,
              packed);
  p.weight = packed;
  float* result = p.result;
  const float* bias = p.bias;
  if (p.parts > 1) {
    p.result = memory.take<float>(p.parts * p.count);
    p.bias = nullptr;
  }
  int error = cudaGetLastError();
  if (error != cudaSuccess) return error;
  PF_LAUNCH(gather_product<M>, unsigned(blocks), kConvThreads, 0, stream, p);
  error = cudaGetLastError();
  if (error != cudaSuccess || p.parts == 1) return error;
  return launch_product_parts(p.result, p.parts, p.count, bias, p.to.c, p.groups * p.rows, result,
                              stream);
}

// of_gradient: the gradient of the input, from that of the output.
inline int launch_implicit_conv(const ImplicitConvParams& p, bool of_gradient,
                                const DeviceMemory& memory, cudaStream_t stream) {
  const int64_t height = of_gradient ? p.in_h : p.out_h, width = of_gradient ? p.in_w : p.out_w;
  const int64_t channels = of_gradient ? p.inputs : p.outputs;
  float* result = of_gradient ? p.grad_input : p.output;
  if (p.batch * channels * height * width == 0) return cudaSuccess;
  if (!fits_conv_sizes(p) || p.batch * height * width + kTilePixels > kConvMaxSide ||
      p.stride_h * p.out_h > kConvMaxSide || p.stride_w * p.out_w > kConvMaxSide ||
      p.inputs > kConvMaxSide || p.outputs > kConvMaxSide || p.taps() > kConvMaxSide)
    return cudaErrorInvalidValue;
  const int64_t of_output = p.outputs / p.groups, of_input = p.inputs / p.groups;
  GatherProduct g;
  const ConvSizes s = conv_sizes(p);
  g.of_rows = TapSide::of(p.stride_h, s.padding_h, s.dilation_h, of_gradient ? s.out_h : s.in_h,
                          of_gradient);
  g.of_columns = TapSide::of(p.stride_w, s.padding_w, s.dilation_w, of_gradient ? s.out_w : s.in_w,
                             of_gradient);
  g.kernel_w = s.kernel_w;
  g.taps = int32_t(p.taps());
  g.height = int32_t(height);
  g.width = int32_t(width);
  g.pixels = int32_t(p.batch * height * width);
  g.groups = int32_t(p.groups);
  g.rows = int32_t(of_gradient ? of_input : of_output);
  g.depth = int32_t(of_gradient ? of_output : of_input);
  g.from = of_gradient ? p.out : p.in;
  g.to = of_gradient ? p.in : p.out;
  g.source = of_gradient ? p.gradient : p.input;
  g.vectors = g.from.c == 1 && g.depth % 4 == 0 && g.from.w % 4 == 0 &&
              reinterpret_cast<uintptr_t>(g.source) % 16 == 0;
  g.weight = p.weight;
  g.bias = of_gradient ? nullptr : p.bias;
  g.result = result;
  const int64_t taps = p.taps();
  const WeightOrder order = of_gradient
                                ? WeightOrder{of_output * of_input * taps, taps, of_input * taps}
                                : WeightOrder{of_output * of_input * taps, of_input * taps, taps};
  if (g.rows <= 32) return launch_gather_product<32>(g, order, p.batch, memory, stream);
  if (g.rows <= 64) return launch_gather_product<64>(g, order, p.batch, memory, stream);
  return launch_gather_product<128>(g, order, p.batch, memory, stream);
}

}  // namespace PF_ISA
}  // namespace pyfast
