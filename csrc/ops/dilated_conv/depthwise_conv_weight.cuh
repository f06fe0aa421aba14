// The gradient of the weights of depthwise convolution: for each channel and tap a sum over all
// pixels of grad_output times input.
//
// A group of GH x GW taps is summed in one pass: a thread goes down a chain of rows, a dilation
// apart, keeps the last GH values of grad_output in registers, and so reads GW + 1 values for
// GH * GW products. Its sums are float32 over some hundred values (double for double), those of
// the threads are added in double precision in a fixed order; there is no atomic operation.
//
// Floor: input and grad_output are read once, 10.3 us of 3.35 TB/s for 4 x 256 x 65 x 65 in
// float32.
#pragma once

#include "core/block_sum.cuh"
#include "core/device_memory.h"
#include "ops/dilated_conv/depthwise_conv.cuh"

namespace pyfast {
namespace PF_ISA {

constexpr int kWeightChainRows = 8;
constexpr int kWeightBlocks = 2;  // of a multiprocessor at least: 128 registers a thread
constexpr int kMostItems = 32;    // of a thread
constexpr int64_t kMostItemsOfAll = 0xe0000000;  // one more step stays within 32 bits
constexpr int kMostWeightLanes = 8;              // of vectors: 128 bytes side by side

// How sums are divided. Partial sums are (channels, groups, parts, GH, GW).
struct WeightSplit {
  int32_t groups_w, groups;  // of taps
  uint32_t items;            // (images, chains, columns)
  int32_t parts;             // blocks that share a channel and a group

  // `at_once`: threads of a block that take different items; `others`: blocks without parts.
  WeightSplit(const ConvSizes& s, int group_h, int group_w, int64_t items)
      : groups_w(int32_t(ceil_div(s.kernel_w, group_w))),
        groups(int32_t(ceil_div(s.kernel_h, group_h) * groups_w)),
        items(uint32_t(items)),
        parts(1) {}

  void divide(int64_t others, int64_t at_once) {
    const int64_t enough = ceil_div(PF_ENOUGH_THREADS / kConvThreads, others > 0 ? others : 1);
    const int64_t least = ceil_div(items, at_once * kMostItems), most = ceil_div(items, at_once);
    const int64_t wanted = enough > least ? enough : least;
    parts = int32_t(wanted < most ? wanted : most);
  }
};

// Adds what a chain gives for the taps from (i, j) on.
template <int GH, int GW, int R, int V, class T>
__device__ __forceinline__ void correlate_chain(const ConvSizes& s, const T* image, const T* grad,
                                                int64_t stride, int32_t x, int32_t y, int32_t i,
                                                int32_t j, Accumulator<T> (&sum)[GH * GW][V]) {
  Pack<V, T> window[GH] = {};  // of grad_output, the newest row first
#pragma unroll
  for (int m = 0; m < R + GH - 1; ++m) {
#pragma unroll
    for (int k = GH - 1; k > 0; --k) window[k] = window[k - 1];
    const int32_t out_row = y + m * s.dilation_h;
    window[0] =
        load_inside<V>(grad, (int64_t{out_row} * s.out_w + x) * stride, m < R && out_row < s.out_h);
    const int32_t row = out_row + i * s.dilation_h - s.padding_h;
    if (row < 0 || row >= s.in_h) continue;
#pragma unroll
    for (int b = 0; b < GW; ++b) {
      const int32_t column = x + (j + b) * s.dilation_w - s.padding_w;
      const auto read = load_inside<V>(image, (int64_t{row} * s.in_w + column) * stride,
                                       column >= 0 && column < s.in_w);
#pragma unroll
      for (int a = 0; a < GH; ++a)
        for (int v = 0; v < V; ++v)
          sum[a * GW + b][v] += widen(window[a].value[v]) * widen(read.value[v]);
    }
  }
}

// The items of one thread, `step` apart, all for the channels from c on. Images are `channels`
// planes or, with `stride` above 1, pixels of so many channels.
template <int GH, int GW, int R, int V, class T>
__device__ __forceinline__ void correlate_items(const DepthwiseConvParams<T>& p, const ConvSizes& s,
                                                const Chains& chains, const WeightSplit& split,
                                                int64_t c, int32_t group, uint32_t item,
                                                uint32_t step, Accumulator<T> (&sum)[GH * GW][V]) {
  const int32_t i = group / split.groups_w * GH, j = group % split.groups_w * GW;
  const int64_t in_pixels = int64_t{s.in_h} * s.in_w, out_pixels = int64_t{s.out_h} * s.out_w;
  const int64_t stride = p.channels_last ? p.channels : 1;
  const uint32_t of_image = uint32_t(chains.count) * uint32_t(s.out_w);
  for (; item < split.items; item += step) {
    const int64_t image = item / of_image;
    const int32_t within = int32_t(item % of_image);
    const int32_t x = within % s.out_w, y = chains.first_row(within / s.out_w);
    const T* in = p.input + image * p.channels * in_pixels + (p.channels_last ? c : c * in_pixels);
    const T* grad =
        p.grad_output + image * p.channels * out_pixels + (p.channels_last ? c : c * out_pixels);
    correlate_chain<GH, GW, R, V>(s, in, grad, stride, x, y, i, j, sum);
  }
}

template <int GH, int GW, int R, class T>
__global__ void __launch_bounds__(kConvThreads, kWeightBlocks)
    depthwise_weight_planes(const DepthwiseConvParams<T> p, const ConvSizes s, const Chains chains,
                            const WeightSplit split, double* partial_sums) {
  const uint32_t part = blockIdx.x % split.parts, block = blockIdx.x / split.parts;
  Accumulator<T> sum[GH * GW][1] = {};
  correlate_items<GH, GW, R, 1>(p, s, chains, split, block / split.groups, block % split.groups,
                                part * kConvThreads + threadIdx.x, split.parts * kConvThreads, sum);
  Sums<GH * GW> of_thread;
  for (int t = 0; t < GH * GW; ++t) of_thread.value[t] = sum[t][0];
  write_block_sum<kConvThreads>(of_thread, partial_sums + int64_t{blockIdx.x} * (GH * GW));
}

template <int GH, int GW, int R, int V, class T>
__global__ void __launch_bounds__(kConvThreads, kWeightBlocks)
    depthwise_weight_channels(const DepthwiseConvParams<T> p, const ConvSizes s,
                              const Chains chains, const WeightSplit split,
                              const ChannelBlocks channel_blocks, double* partial_sums) {
  __shared__ double of_thread[kConvThreads * V];
  const int32_t part = blockIdx.x % split.parts, block = blockIdx.x / split.parts;
  const int32_t group = block % split.groups, width = channel_blocks.lanes * V;
  const int32_t first = block / split.groups * width;
  const int32_t lane = int32_t(threadIdx.x) % channel_blocks.lanes;
  const int32_t row = int32_t(threadIdx.x) / channel_blocks.lanes;
  const int32_t rows = kConvThreads / channel_blocks.lanes;
  Accumulator<T> sum[GH * GW][V] = {};
  if (first + lane * V < p.channels)
    correlate_items<GH, GW, R, V>(p, s, chains, split, first + lane * V, group,
                                  uint32_t(part * rows + row), uint32_t(split.parts * rows), sum);
  const int64_t c = first + int32_t(threadIdx.x);
  double* out = partial_sums + ((c * split.groups + group) * split.parts + part) * (GH * GW);
#pragma unroll
  for (int t = 0; t < GH * GW; ++t) {
    for (int v = 0; v < V; ++v) of_thread[row * width + lane * V + v] = sum[t][v];
    __syncthreads();
    if (int32_t(threadIdx.x) < width && c < p.channels) {
      double total = 0;
      for (int32_t k = 0; k < rows; ++k) total += of_thread[k * width + int32_t(threadIdx.x)];
      out[t] = total;
    }
    __syncthreads();
  }
}

// One tap a thread.
template <int GH, int GW, class T>
__global__ void __launch_bounds__(kConvThreads, kWeightBlocks)
    add_depthwise_weights(const DepthwiseConvParams<T> p, const ConvSizes s,
                          const WeightSplit split, const double* partial_sums) {
  const int64_t weight = int64_t{blockIdx.x} * kConvThreads + threadIdx.x;
  const int32_t taps = s.kernel_h * s.kernel_w;
  if (weight >= p.channels * taps) return;
  const int32_t t = int32_t(weight % taps), i = t / s.kernel_w, j = t % s.kernel_w;
  const int64_t sums = weight / taps * split.groups + i / GH * split.groups_w + j / GW;
  const double* of_part = partial_sums + sums * split.parts * (GH * GW) + i % GH * GW + j % GW;
  double total = 0;
  for (int32_t part = 0; part < split.parts; ++part) total += of_part[part * (GH * GW)];
  p.grad_weight[weight] = narrow<T>(Accumulator<T>(total));
}

template <int GH, int GW, int R, int V, class T>
int launch_depthwise_weight_of(const DepthwiseConvParams<T>& p, const DeviceMemory& memory,
                               cudaStream_t stream) {
  const ConvSizes s = conv_sizes(p);
  const Chains chains(s, R);
  const int64_t items = p.batch * chains.count * s.out_w;
  if (items > kMostItemsOfAll) return cudaErrorInvalidConfiguration;
  WeightSplit split(s, GH, GW, items);
  const auto channel_blocks = ChannelBlocks::of<V>(p.channels, kMostWeightLanes);
  const int64_t lanes = p.channels_last ? channel_blocks.lanes : 1;
  const int64_t others = (p.channels_last ? channel_blocks.count : p.channels) * split.groups;
  split.divide(others, kConvThreads / lanes);
  const int64_t blocks = others * split.parts, taps = p.channels * p.taps();
  if (blocks > kConvMaxBlocks || ceil_div(taps, kConvThreads) > kConvMaxBlocks)
    return cudaErrorInvalidConfiguration;
  double* sums = memory.take<double>(p.channels * split.groups * split.parts * (GH * GW));
  if (p.channels_last) {
    const auto kernel = depthwise_weight_channels<GH, GW, R, V, T>;
    PF_LAUNCH(kernel, unsigned(blocks), kConvThreads, 0, stream, p, s, chains, split,
              channel_blocks, sums);
  } else {
    const auto kernel = depthwise_weight_planes<GH, GW, R, T>;
    PF_LAUNCH(kernel, unsigned(blocks), kConvThreads, 0, stream, p, s, chains, split, sums);
  }
  const int error = cudaGetLastError();
  if (error != cudaSuccess) return error;
  const auto add = add_depthwise_weights<GH, GW, T>;
  PF_LAUNCH(add, unsigned(ceil_div(taps, kConvThreads)), kConvThreads, 0, stream, p, s, split,
            sums);
  return cudaGetLastError();
}

template <int V, class T>
int launch_depthwise_weight_by(const DepthwiseConvParams<T>& p, const DeviceMemory& memory,
                               cudaStream_t stream) {
  // A kernel of one row shares no rows of the input.
  return p.kernel_h == 1 ? launch_depthwise_weight_of<1, 4, 1, V>(p, memory, stream)
                         : launch_depthwise_weight_of<3, 3, kWeightChainRows, V>(p, memory, stream);
}

template <class T>
int launch_depthwise_weight(const DepthwiseConvParams<T>& p, const DeviceMemory& memory,
                            cudaStream_t stream) {
  if (p.channels * p.taps() == 0) return cudaSuccess;
  if (p.batch * p.out_h * p.out_w == 0)
    return cudaMemsetAsync(p.grad_weight, 0, p.channels * p.taps() * sizeof(T), stream);
  if (!fits_conv_sizes(p)) return cudaErrorInvalidValue;
  const bool vectors = p.channels_last && fits_conv_vectors<T>(p, p.input, p.grad_output);
  return vectors ? launch_depthwise_weight_by<kConvVector<T>>(p, memory, stream)
                 : launch_depthwise_weight_by<1>(p, memory, stream);
}

}  // namespace PF_ISA
}  // namespace pyfast
