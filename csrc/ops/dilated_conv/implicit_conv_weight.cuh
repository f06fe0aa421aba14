// The gradient of the weights of a convolution as a product of matrices in float32.
//
// A block makes M x M of the weights of one tap, outputs by inputs: the sum over the pixels of the
// output that meet the input through that tap, which are a rectangle, 8 at a time: grad_output
// (8, M) times input (8, M). Nothing is multiplied that padding makes zero. With too few blocks
// for the GPU, or sums too long for float32, the sum is made in parts, added in a fixed order.
//
// Floor: arithmetic, as of the output. A block reads 16 bytes of shared memory for 16 products a
// thread with M = 128.
#pragma once

#include "ops/dilated_conv/conv_tiles.cuh"
#include "ops/dilated_conv/dilated_conv_math.h"
#include "ops/dilated_conv/implicit_conv.h"

namespace pyfast {
namespace PF_ISA {

struct WeightProduct {
  TapSide of_rows, of_columns;
  int32_t kernel_w, taps;
  int32_t out_h, out_w, batch;
  int32_t groups, outputs, inputs;  // channels of a group
  int32_t output_tiles, input_tiles, parts;
  bool lanes_are_pixels;  // neighbouring threads read neighbouring pixels, or else channels
  int64_t count;          // of weights
  ConvImage in, out;
  const float *input, *gradient;
  float* result;  // or partial sums, (parts, ...)
};

template <int M>
__global__ void __launch_bounds__(kConvThreads, 2) weight_product(const WeightProduct p) {
  constexpr int K = kTileDepth, R = M / kTileSide, kStride = M + 4;  // against bank conflicts
  constexpr int kRows = kConvThreads / K, kLoads = M / kRows;  // a thread reads kLoads channels
  alignas(16) __shared__ float a[2][K * kStride], b[2][K * kStride];
  const int thread = threadIdx.x;
  uint32_t block = blockIdx.x;
  const int32_t first_output = int32_t(block % p.output_tiles) * M;
  block /= p.output_tiles;
  const int32_t first_input = int32_t(block % p.input_tiles) * M;
  block /= p.input_tiles;
  const int32_t tap = block % p.taps;
  block /= p.taps;
  const int32_t group = block % p.groups, part = block / p.groups;

  int32_t top, bottom, left, right;
  p.of_rows.range(tap / p.kernel_w, p.out_h, &top, &bottom);
  p.of_columns.range(tap % p.kernel_w, p.out_w, &left, &right);
  const int32_t height = bottom - top, width = right - left;
  const int32_t pixels = p.batch * height * width;
  const int32_t chunks = (pixels + K - 1) / K, of_part = (chunks + p.parts - 1) / p.parts;
  const int32_t begin = part * of_part;
  const int32_t last = begin + of_part < chunks ? begin + of_part : chunks;

  const int k = p.lanes_are_pixels ? thread % K : thread / kRows;
  const int row = p.lanes_are_pixels ? thread / K : thread % kRows;
  const float* gradient = p.gradient + (int64_t{group} * p.outputs + first_output + row) * p.out.c;
  const float* input = p.input + (int64_t{group} * p.inputs + first_input + row) * p.in.c;
  float of_a[kLoads], of_b[kLoads];
  const auto fetch = [&](int32_t chunk) {
    const int32_t pixel = chunk * K + k;
    const bool inside = pixel < pixels;
    const int32_t line = inside ? pixel / width : 0, image = inside ? line / height : 0;
    const int32_t x = left + (inside ? pixel - line * width : 0), y = top + line - image * height;
    const int32_t in_y = p.of_rows.source(y, tap / p.kernel_w);
    const int32_t in_x = p.of_columns.source(x, tap % p.kernel_w);
    const float* from_a = gradient + image * p.out.n + y * p.out.h + x * p.out.w;
    const float* from_b = input + image * p.in.n + in_y * p.in.h + in_x * p.in.w;
#pragma unroll
    for (int r = 0; r < kLoads; ++r) {
      const int32_t channel = row + r * kRows;
      of_a[r] =
          load_inside<1>(from_a, r * kRows * p.out.c, inside && first_output + channel < p.outputs)
              .value[0];
      of_b[r] =
          load_inside<1>(from_b, r * kRows * p.in.c, inside && first_input + channel < p.inputs)
              .value[0];
    }
  };
  const auto keep = [&](int buffer) {
#pragma unroll
    for (int r = 0; r < kLoads; ++r) {
      a[buffer][k * kStride + row + r * kRows] = of_a[r];
      b[buffer][k * kStride + row + r * kRows] = of_b[r];
    }
  };

  float sum[R][R] = {};
  const int row_of_tile = thread / kTileSide, column_of_tile = thread % kTileSide;
  int buffer = 0;
  if (begin < last) {
    fetch(begin);
    keep(0);
  }
  __syncthreads();
  for (int32_t chunk = begin; chunk < last; ++chunk) {
    const bool more = chunk + 1 < last;
    if (more) fetch(chunk + 1);
    multiply_tiles<1, R, R, kStride, kStride>(a[buffer], b[buffer], row_of_tile, column_of_tile,
                                              sum);
    buffer ^= 1;
    if (more) keep(buffer);
    __syncthreads();
  }

  float* result = p.result + part * p.count;
#pragma unroll
  for (int m = 0; m < R; ++m) {
    const int32_t output = first_output + tile_place<R>(row_of_tile, m);
    if (output >= p.outputs) continue;
#pragma unroll
    for (int n = 0; n < R; ++n) {
      const int32_t channel = first_input + tile_place<R>(column_of_tile, n);
      if (channel >= p.inputs) continue;
      const int64_t at = (int64_t{group} * p.outputs + output) * p.inputs + channel;
      result[at * p.taps + tap] = sum[m][n];
    }
  }
}

template <int M>
int launch_weight_product(WeightProduct p, const DeviceMemory& memory, cudaStream_t stream) {
  p.output_tiles = int32_t(ceil_div(p.outputs, M));
  p.input_tiles = int32_t(ceil_div(p.inputs, M));
  const int64_t tiles = int64_t{p.output_tiles} * p.input_tiles * p.taps * p.groups;
  p.parts = parts_of_product(tiles, int64_t{p.batch} * p.out_h * p.out_w, p.count);
  if (tiles * p.parts > kConvMaxBlocks) return cudaErrorInvalidConfiguration;
  float* result = p.result;
  if (p.parts > 1) p.result = memory.take<float>(p.parts * p.count);
  PF_LAUNCH(weight_product<M>, unsigned(tiles * p.parts), kConvThreads, 0, stream, p);
  const int error = cudaGetLastError();
  if (error != cudaSuccess || p.parts == 1) return error;
  return launch_product_parts(p.result, p.parts, p.count, nullptr, 1, 1, result, stream);
}

inline int launch_implicit_conv_weight(const ImplicitConvParams& p, const DeviceMemory& memory,
                                       cudaStream_t stream) {
  if (p.weights() == 0) return cudaSuccess;
  if (!fits_conv_sizes(p) || p.batch * p.out_h * p.out_w + kTileDepth > kConvMaxSide ||
      p.stride_h * p.out_h > kConvMaxSide || p.stride_w * p.out_w > kConvMaxSide ||
      p.inputs > kConvMaxSide || p.outputs > kConvMaxSide || p.taps() > kConvMaxSide)
    return cudaErrorInvalidValue;
  const ConvSizes s = conv_sizes(p);
  WeightProduct w;
  w.of_rows = TapSide::of(p.stride_h, s.padding_h, s.dilation_h, s.in_h, false);
  w.of_columns = TapSide::of(p.stride_w, s.padding_w, s.dilation_w, s.in_w, false);
  w.kernel_w = s.kernel_w;
  w.taps = int32_t(p.taps());
  w.out_h = s.out_h;
  w.out_w = s.out_w;
  w.batch = int32_t(p.batch);
  w.groups = int32_t(p.groups);
  w.outputs = int32_t(p.outputs / p.groups);
  w.inputs = int32_t(p.inputs / p.groups);
  w.lanes_are_pixels = p.in.c != 1;
  w.count = p.weights();
  w.in = p.in;
  w.out = p.out;
  w.input = p.input;
  w.gradient = p.gradient;
  w.result = p.grad_weight;
  const int32_t wider = w.outputs > w.inputs ? w.outputs : w.inputs;
  if (wider <= 32) return launch_weight_product<32>(w, memory, stream);
  if (wider <= 64) return launch_weight_product<64>(w, memory, stream);
  return launch_weight_product<128>(w, memory, stream);
}

}  // namespace PF_ISA
}  // namespace pyfast
