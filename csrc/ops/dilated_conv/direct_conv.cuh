// Convolution of stride 1 of few channels: its output, and by turned taps the gradient of its
// input.
//
// A thread makes OB channels of P pixels of the output, of all channels of the input: a value read
// from the cache meets OB weights, which all threads of a block read from shared memory at once, as
// vectors; neighbouring threads have neighbouring pixels. Taps that none of a thread's pixels meets
// are left out. Small images are divided further, into threads of 8 channels of one pixel. A ReLU
// may follow before the value is written.
//
// Floor: for 21 -> 21 channels of 66 x 66 pixels with 3 x 3 taps .52 us of arithmetic in float32 at
// 67 TF, and .22 us of memory; a launch takes longer.
#pragma once

#include "ops/dilated_conv/conv_plan.cuh"
#include "ops/dilated_conv/direct_conv_cuda.h"

namespace pyfast {
namespace PF_ISA {

constexpr int kDirectThreads = 128;
constexpr int64_t kDirectBytes = 32768;  // of weights in shared memory

template <int OB, int P, class T>
__global__ void __launch_bounds__(kDirectThreads)
    direct_conv(const DirectConvCudaParams<T> p, const ConvSizes s, int32_t together,
                uint32_t groups) {
  constexpr int kPack = kVector<T> < OB ? kVector<T> : OB;
  PF_DYN_SMEM(T, weights);  // (taps, together, OB)
  const int32_t channels = int32_t(p.channels), outputs = int32_t(p.outputs);
  const int32_t taps = s.kernel_h * s.kernel_w, first = int32_t(blockIdx.x % groups) * OB;
  const int32_t pixels = int32_t(p.batch) * s.out_h * s.out_w;
  const int32_t first_pixel =
      int32_t(blockIdx.x / groups) * (kDirectThreads * P) + int32_t(threadIdx.x);
  int32_t x[P], y[P];
  const T* image[P];
#pragma unroll
  for (int q = 0; q < P; ++q) {
    const int32_t pixel = first_pixel + q * kDirectThreads, line = pixel / s.out_w;
    // What lies beyond the images meets no tap.
    x[q] = pixel < pixels ? pixel - line * s.out_w : -kConvMaxSide;
    y[q] = line % s.out_h;
    image[q] = p.input + int64_t{line / s.out_h} * p.in.n;
  }
  T sum[P][OB];
#pragma unroll
  for (int o = 0; o < OB; ++o) {
    const bool there = p.bias != nullptr && first + o < outputs;
    for (int q = 0; q < P; ++q) sum[q][o] = there ? p.bias[first + o] : T(0);
  }
  for (int32_t from = 0; from < channels; from += together) {
    const int32_t count = channels - from < together ? channels - from : together;
    __syncthreads();
    for (int32_t e = threadIdx.x; e < taps * count * OB; e += kDirectThreads) {
      const int32_t o = e % OB, c = e / OB % count, tap = e / OB / count;
      const int64_t at = (first + o) * p.output_stride + (from + c) * p.channel_stride +
                         (p.turned ? taps - 1 - tap : tap);
      weights[e] = first + o < outputs ? p.weight[at] : T(0);
    }
    __syncthreads();
    for (int32_t tap = 0; tap < taps; ++tap) {
      const int32_t down = tap / s.kernel_w * s.dilation_h - s.padding_h;
      const int32_t right = tap % s.kernel_w * s.dilation_w - s.padding_w;
      int64_t offset[P];
      bool inside[P], any = false;
#pragma unroll
      for (int q = 0; q < P; ++q) {
        const int32_t row = y[q] + down, column = x[q] + right;
        inside[q] = row >= 0 && row < s.in_h && column >= 0 && column < s.in_w;
        offset[q] = row * p.in.h + column * p.in.w + from * p.in.c;
        any = any || inside[q];
      }
      if (!any) continue;
      const T* of_tap = weights + tap * count * OB;
#pragma unroll 2
      for (int32_t c = 0; c < count; ++c) {
        T value[P];
        for (int q = 0; q < P; ++q)
          value[q] = load_inside<1>(image[q], offset[q] + c * p.in.c, inside[q]).value[0];
#pragma unroll
        for (int o = 0; o < OB; o += kPack) {
          const auto pack = *reinterpret_cast<const Pack<kPack, T>*>(of_tap + c * OB + o);
          for (int v = 0; v < kPack; ++v)
            for (int q = 0; q < P; ++q) sum[q][o + v] += pack.value[v] * value[q];
        }
      }
    }
  }
#pragma unroll
  for (int q = 0; q < P; ++q) {
    const int32_t pixel = first_pixel + q * kDirectThreads, line = pixel / s.out_w;
    if (pixel >= pixels) continue;
    T* to = p.output + int64_t{line / s.out_h} * p.out.n + y[q] * p.out.h + x[q] * p.out.w;
#pragma unroll
    for (int o = 0; o < OB; ++o) {
      if (first + o >= outputs) continue;
      // Written so that NaN stays.
      to[(first + o) * p.out.c] = p.relu && sum[q][o] < T(0) ? T(0) : sum[q][o];
    }
  }
}

template <int OB, int P, class T>
int launch_direct_conv_of(const DirectConvCudaParams<T>& p, cudaStream_t stream) {
  const int64_t each = p.kernel_h * p.kernel_w * OB * int64_t{sizeof(T)};
  if (each > kDirectBytes) return cudaErrorInvalidValue;
  const int64_t fitting = kDirectBytes / each;
  const int32_t together = int32_t(fitting < p.channels ? fitting : p.channels);
  const int64_t groups = ceil_div(p.outputs, OB);
  const int64_t blocks = groups * ceil_div(p.batch * p.out_h * p.out_w, kDirectThreads * P);
  if (blocks > kConvMaxBlocks) return cudaErrorInvalidConfiguration;
  const auto kernel = direct_conv<OB, P, T>;
  PF_LAUNCH(kernel, unsigned(blocks), kDirectThreads, size_t(each * together), stream, p,
            conv_sizes(p), together, uint32_t(groups));
  return cudaGetLastError();
}

template <class T>
int launch_direct_conv(const DirectConvCudaParams<T>& p, cudaStream_t stream) {
  const int64_t pixels = p.batch * p.out_h * p.out_w;
  if (pixels * p.outputs == 0) return cudaSuccess;
  if (!fits_conv_sizes(p) || pixels + 2 * kDirectThreads > kConvMaxSide)
    return cudaErrorInvalidValue;
  if constexpr (sizeof(T) == sizeof(float)) {
    // Enough pixels to fill the GPU by threads of many channels.
    if (pixels >= PF_ENOUGH_THREADS / 2 && p.kernel_h * p.kernel_w <= kMostDirectTaps / 4) {
      if (p.outputs > 24) return launch_direct_conv_of<32, 2>(p, stream);
      if (p.outputs > 16) return launch_direct_conv_of<24, 2>(p, stream);
      if (p.outputs > 8) return launch_direct_conv_of<16, 2>(p, stream);
    }
  }
  return launch_direct_conv_of<8, 1>(p, stream);
}

}  // namespace PF_ISA
}  // namespace pyfast
