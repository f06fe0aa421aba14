// Depthwise convolution, which is its own adjoint: output and gradient of the input.
//
// A chain of R outputs, a dilation apart in their column, is one thread's: of the R + kernel_h - 1
// rows that they see each value is read once from the cache a tap column, so that 3 x 3 taps cost
// 4.5 reads an output instead of 9. Taps outside of the image are not read. Planes: neighbouring
// threads are neighbouring columns, rows have any alignment, and the first-level cache serves what
// columns share: the reach of a dilation would cost a tile in shared memory up to kernel_h times
// its own rows. Channels last: neighbouring threads are neighbouring groups of V channels, moved by
// vectors; their weights lie in shared memory.
//
// Floor: each image is read and each output written once, 2 * 4 B * N C H W in float32: 10.3 us of
// 3.35 TB/s for 4 x 256 x 65 x 65, against .6 us of arithmetic (18 operations a value at 67 TF).
#pragma once

#include "ops/dilated_conv/conv_plan.cuh"
#include "ops/dilated_conv/depthwise_conv.h"

namespace pyfast {
namespace PF_ISA {

constexpr int kChainRows = 4;
constexpr int64_t kWeightBytes = 32768;  // of shared memory, for the weights of a block

// Channels of T in one load.
template <class T>
constexpr int kConvVector = kVector<T> < 4 ? kVector<T> : 4;

// Adds to the outputs of a chain, rows y, y + dilation_h, ... of column x, what an image gives.
// weights(i, j) is a Pack of V. KH and KW are 0 where the size of the kernel is not known here.
template <int KH, int KW, int R, int V, class T, class Weights>
__device__ __forceinline__ void blend_chain(const ConvSizes& s, const T* image, int64_t row_stride,
                                            int64_t column_stride, int32_t x, int32_t y,
                                            const Weights& weights, Accumulator<T> (&sum)[R][V]) {
  const int32_t kernel_h = KH > 0 ? KH : s.kernel_h, kernel_w = KW > 0 ? KW : s.kernel_w;
  [[maybe_unused]] constexpr int kRows = KH > 0 ? R + KH - 1 : 1, kColumns = KW > 0 ? KW : 1;
#pragma unroll(kRows)
  for (int32_t m = 0; m < R + kernel_h - 1; ++m) {
    const int32_t row = y + m * s.dilation_h - s.padding_h;
    if (row < 0 || row >= s.in_h) continue;
#pragma unroll(kColumns)
    for (int32_t j = 0; j < kernel_w; ++j) {
      const int32_t column = x + j * s.dilation_w - s.padding_w;
      const auto read = load_inside<V>(image, row * row_stride + column * column_stride,
                                       column >= 0 && column < s.in_w);
#pragma unroll
      for (int r = 0; r < R; ++r) {
        const int32_t i = m - r;  // row y + r * dilation_h sees this one through tap i
        if (i < 0 || i >= kernel_h) continue;
        const auto weight = weights(i, j);
        for (int v = 0; v < V; ++v) sum[r][v] += weight.value[v] * widen(read.value[v]);
      }
    }
  }
}

template <int V, int R, class T>
__device__ __forceinline__ void store_chain(const ConvSizes& s, int32_t y,
                                            const Accumulator<T> (&sum)[R][V], T* output,
                                            int64_t row_stride) {
  for (int r = 0; r < R; ++r) {
    const int32_t row = y + r * s.dilation_h;
    if (row >= s.out_h) return;
    Pack<V, T> rounded;
    for (int v = 0; v < V; ++v) rounded.value[v] = narrow<T>(sum[r][v]);
    store<V>(output + row * row_stride, rounded);
  }
}

// A block works on a part of one plane, or on several planes where they are small.
struct PlaneBlocks {
  int32_t planes;
  int32_t items;      // of a plane
  uint32_t of_plane;  // blocks
  int32_t together;   // planes of a block
  int64_t blocks;

  PlaneBlocks(int64_t planes, int64_t items)
      : planes(int32_t(planes)),
        items(int32_t(items)),
        of_plane(uint32_t(ceil_div(items, kConvThreads))),
        together(int32_t(items < kConvThreads ? kConvThreads / items : 1)),
        blocks(ceil_div(planes, together) * of_plane) {}
};

template <int KH, int KW, int R, class T>
__global__ void __launch_bounds__(kConvThreads)
    depthwise_planes(const DepthwiseConvParams<T> p, const ConvSizes s, const Chains chains,
                     const PlaneBlocks split) {
  using Real = Accumulator<T>;
  const int32_t thread = threadIdx.x;
  const int32_t within = split.together > 1 ? thread / split.items : 0;
  const int32_t plane = int32_t(blockIdx.x / split.of_plane) * split.together + within;
  const int32_t item =
      int32_t(blockIdx.x % split.of_plane) * kConvThreads + thread - within * split.items;
  if (within >= split.together || plane >= split.planes || item >= split.items) return;
  const int32_t x = item % s.out_w, y = chains.first_row(item / s.out_w);
  const int32_t channel = plane % int32_t(p.channels);
  const T* weight = p.weight + int64_t{channel} * s.kernel_h * s.kernel_w;
  Real sum[R][1];
  for (int r = 0; r < R; ++r)
    sum[r][0] = p.bias != nullptr ? widen(load<1>(p.bias + channel).value[0]) : Real(0);
  const T* image = p.input + int64_t{plane} * s.in_h * s.in_w;
  if constexpr (KH > 0) {
    Real taps[KH * KW];
#pragma unroll
    for (int t = 0; t < KH * KW; ++t) taps[t] = widen(load<1>(weight + t).value[0]);
    const auto weights = [&](int32_t i, int32_t j) { return Pack<1, Real>{taps[i * KW + j]}; };
    blend_chain<KH, KW, R, 1>(s, image, s.in_w, 1, x, y, weights, sum);
  } else {
    const auto weights = [&](int32_t i, int32_t j) {
      return Pack<1, Real>{widen(load<1>(weight + i * s.kernel_w + j).value[0])};
    };
    blend_chain<0, 0, R, 1>(s, image, s.in_w, 1, x, y, weights, sum);
  }
  store_chain<1, R, T>(s, y, sum, p.output + int64_t{plane} * s.out_h * s.out_w + x, s.out_w);
}

template <int KH, int KW, int R, class T>
int launch_depthwise_planes(const DepthwiseConvParams<T>& p, cudaStream_t stream) {
  const ConvSizes s = conv_sizes(p);
  const Chains chains(s, R);
  const PlaneBlocks split(p.batch * p.channels, int64_t{chains.count} * s.out_w);
  if (p.batch * p.channels > kConvMaxSide || split.blocks > kConvMaxBlocks)
    return cudaErrorInvalidConfiguration;
  const auto kernel = depthwise_planes<KH, KW, R, T>;
  PF_LAUNCH(kernel, unsigned(split.blocks), kConvThreads, 0, stream, p, s, chains, split);
  return cudaGetLastError();
}

// How the channels of an image, innermost in memory, are divided: `lanes` threads side by side, V
// channels each, make a block's channels; the others take further pixels.
struct ChannelBlocks {
  int32_t lanes;
  uint32_t count;  // of blocks that share a pixel

  template <int V>
  static ChannelBlocks of(int64_t channels, int32_t most_lanes) {
    ChannelBlocks result{1, 0};
    while (result.lanes < most_lanes && result.lanes * V < channels) result.lanes *= 2;
    result.count = uint32_t(ceil_div(channels, result.lanes * V));
    return result;
  }
};

template <int KH, int KW, int V, class T>
__global__ void __launch_bounds__(kConvThreads)
    depthwise_channels(const DepthwiseConvParams<T> p, const ConvSizes s, const Chains chains,
                       const ChannelBlocks split, uint32_t item_blocks) {
  using Real = Accumulator<T>;
  constexpr int R = kChainRows;
  PF_DYN_SMEM(Real, shared);  // (taps, lanes * V)
  const int32_t channels = int32_t(p.channels), width = split.lanes * V;
  const uint32_t block = blockIdx.x / item_blocks;
  const int64_t image = block / split.count;
  const int32_t first = int32_t(block % split.count) * width;
  const int32_t here = channels - first < width ? channels - first : width;
  const int32_t taps = s.kernel_h * s.kernel_w;
  for (int32_t e = threadIdx.x; e < here * taps; e += kConvThreads)
    shared[e % taps * width + e / taps] =
        widen(load<1>(p.weight + int64_t{first} * taps + e).value[0]);
  __syncthreads();
  const int32_t lane = int32_t(threadIdx.x) % split.lanes, c = first + lane * V;
  const int32_t item = int32_t(blockIdx.x % item_blocks) * (kConvThreads / split.lanes) +
                       int32_t(threadIdx.x) / split.lanes;
  const int32_t x = item % s.out_w, chain = item / s.out_w;
  if (c >= channels || chain >= chains.count) return;
  const int32_t y = chains.first_row(chain);
  Real sum[R][V];
  for (int v = 0; v < V; ++v) {
    sum[0][v] = p.bias != nullptr ? widen(load<1>(p.bias + c + v).value[0]) : Real(0);
    for (int r = 1; r < R; ++r) sum[r][v] = sum[0][v];
  }
  const auto weights = [&](int32_t i, int32_t j) {
    return *reinterpret_cast<const Pack<V, Real>*>(shared + (i * s.kernel_w + j) * width +
                                                   lane * V);
  };
  const T* from = p.input + image * s.in_h * s.in_w * channels + c;
  blend_chain<KH, KW, R, V>(s, from, int64_t{s.in_w} * channels, channels, x, y, weights, sum);
  T* to = p.output + (image * s.out_h * s.out_w + x) * channels + c;
  store_chain<V, R, T>(s, y, sum, to, int64_t{s.out_w} * channels);
}

template <int KH, int KW, int V, class T>
int launch_depthwise_channels(const DepthwiseConvParams<T>& p, cudaStream_t stream) {
  const ConvSizes s = conv_sizes(p);
  const Chains chains(s, kChainRows);
  const int64_t bytes = p.taps() * V * int64_t{sizeof(Accumulator<T>)};
  if (bytes > kWeightBytes) return cudaErrorInvalidValue;
  int32_t most_lanes = 32;
  while (most_lanes * bytes > kWeightBytes) most_lanes /= 2;
  const auto split = ChannelBlocks::of<V>(p.channels, most_lanes);
  const int64_t items = int64_t{chains.count} * s.out_w;
  const int64_t item_blocks = ceil_div(items, kConvThreads / split.lanes);
  const int64_t blocks = item_blocks * split.count * p.batch;
  if (blocks > kConvMaxBlocks || items > kConvMaxSide) return cudaErrorInvalidConfiguration;
  const auto kernel = depthwise_channels<KH, KW, V, T>;
  PF_LAUNCH(kernel, unsigned(blocks), kConvThreads, size_t(split.lanes * bytes), stream, p, s,
            chains, split, uint32_t(item_blocks));
  return cudaGetLastError();
}

// Whether pixels can be moved by vectors: both images begin at a multiple of them.
template <class T>
bool fits_conv_vectors(const DepthwiseConvParams<T>& p, const T* a, const T* b) {
  const auto aligned = [](const T* data) {
    return reinterpret_cast<uintptr_t>(data) % (kConvVector<T> * sizeof(T)) == 0;
  };
  return p.channels % kConvVector<T> == 0 && aligned(a) && aligned(b);
}

template <class T>
int launch_depthwise(const DepthwiseConvParams<T>& p, cudaStream_t stream) {
  if (p.batch * p.channels * p.out_h * p.out_w == 0) return cudaSuccess;
  if (!fits_conv_sizes(p)) return cudaErrorInvalidValue;
  const bool square = p.kernel_h == 3 && p.kernel_w == 3;
  if (!p.channels_last) {
    if (square) return launch_depthwise_planes<3, 3, kChainRows>(p, stream);
    return p.kernel_h == 1 ? launch_depthwise_planes<0, 0, 1>(p, stream)
                           : launch_depthwise_planes<0, 0, kChainRows>(p, stream);
  }
  constexpr int V = kConvVector<T>;
  if (fits_conv_vectors<T>(p, p.input, p.output))
    return square ? launch_depthwise_channels<3, 3, V>(p, stream)
                  : launch_depthwise_channels<0, 0, V>(p, stream);
  return square ? launch_depthwise_channels<3, 3, 1>(p, stream)
                : launch_depthwise_channels<0, 0, 1>(p, stream);
}

}  // namespace PF_ISA
}  // namespace pyfast
