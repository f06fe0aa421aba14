// What the kernels of convolution share: sizes in 32 bits and the rows that a thread takes.
#pragma once

#include "core/device.h"
#include "core/half.h"
#include "core/packs.cuh"

namespace pyfast {
namespace PF_ISA {

// Threads that fill the largest GPUs: sums are divided until there are as many. The run on the host
// asks for few, so that small cases are divided as large ones are.
#ifndef PF_ENOUGH_THREADS
#define PF_ENOUGH_THREADS (1 << 18)
#endif

constexpr int kConvThreads = 256;  // of every block
constexpr int64_t kConvMaxBlocks = 0x7fffffff;
constexpr int64_t kConvMaxSide = 1 << 30;

// Sides, taps and steps of one call, small enough that no sum of them leaves 32 bits.
struct ConvSizes {
  int32_t in_h, in_w, out_h, out_w;
  int32_t kernel_h, kernel_w;
  int32_t padding_h, padding_w;
  int32_t dilation_h, dilation_w;
};

// Rows beyond its last tap that a kernel of ours may ask for, and find to be outside.
constexpr int64_t kConvRowsBeyond = 16;

// Whether 32 bits hold everything; a call that they do not hold is refused.
template <class Params>
bool fits_conv_sizes(const Params& p) {
  const auto fits = [](int64_t in, int64_t out, int64_t kernel, int64_t dilation, int64_t padding) {
    const int64_t reach = kernel > 1 ? (kernel + kConvRowsBeyond) * dilation : kConvRowsBeyond;
    return in + out + padding + reach < kConvMaxSide;
  };
  return fits(p.in_h, p.out_h, p.kernel_h, p.dilation_h, p.padding_h) &&
         fits(p.in_w, p.out_w, p.kernel_w, p.dilation_w, p.padding_w) &&
         p.in_h * p.in_w < 2 * kConvMaxSide && p.out_h * p.out_w < 2 * kConvMaxSide;
}

template <class Params>
ConvSizes conv_sizes(const Params& p) {
  // One tap has no distance to another, however large the dilation is said to be.
  return {int32_t(p.in_h),
          int32_t(p.in_w),
          int32_t(p.out_h),
          int32_t(p.out_w),
          int32_t(p.kernel_h),
          int32_t(p.kernel_w),
          int32_t(p.padding_h),
          int32_t(p.padding_w),
          int32_t(p.kernel_h > 1 ? p.dilation_h : 1),
          int32_t(p.kernel_w > 1 ? p.dilation_w : 1)};
}

// Rows of the output that share rows of the input lie a dilation apart: a thread takes `length` of
// them, a chain. Chains one after another begin in rows one after another.
struct Chains {
  int32_t step, phases, length, count;

  Chains(const ConvSizes& s, int32_t rows_of_chain)
      : step(s.dilation_h),
        phases(s.dilation_h < s.out_h ? s.dilation_h : s.out_h),
        length(rows_of_chain),
        count(int32_t(phases * ceil_div(ceil_div(s.out_h, step), length))) {}

  PF_HD int32_t first_row(int32_t chain) const {
    return chain % phases + chain / phases * length * step;
  }
};

}  // namespace PF_ISA
}  // namespace pyfast
