// Dilated convolution of stride 1 of few channels, without groups: what one call works on, the
// kernels that each instruction set exports, and the entry point. Nothing here knows torch.
#pragma once

#include <cstdint>

#include "core/device.h"

namespace pyfast {

// out[n, o, y, x] = bias[o] + sum over c, i, j of
//     weight[o, c, i, j] * input[n, c, y + i * dilation_h - padding_h, x + j * dilation_w -
//     padding_w], of which the negative ones become 0 where `relu` says so
template <class Real>
struct DirectConvParams {
  int64_t batch = 0, channels = 0, outputs = 0;
  int64_t in_h = 0, in_w = 0, out_h = 0, out_w = 0;
  int64_t kernel_h = 0, kernel_w = 0;
  int64_t padding_h = 0, padding_w = 0;  // not negative
  int64_t dilation_h = 1, dilation_w = 1;
  const Real* input = nullptr;   // (N, C, in_h, in_w)
  const Real* weight = nullptr;  // taps of (o, c) at o * output_stride + c * channel_stride
  int64_t output_stride = 0, channel_stride = 0;
  bool turned = false;  // taps from the last to the first, as the adjoint has them
  bool relu = false;
  const Real* bias = nullptr;  // (O), or null
  Real* output = nullptr;      // (N, O, out_h, out_w), overwritten

  int64_t taps() const { return kernel_h * kernel_w; }

  // A row of the input between frames of zeros; kMostDirectLanes values more are read.
  int64_t framed_width() const;

  // Rows of taps [first, last) that meet the input where row y of the output is computed.
  void tap_rows(int64_t y, int64_t* first, int64_t* last) const {
    const int64_t start = y - padding_h;
    const int64_t from = start >= 0 ? 0 : (-start + dilation_h - 1) / dilation_h;
    const int64_t to = start >= in_h ? 0 : (in_h - start + dilation_h - 1) / dilation_h;
    *last = to < kernel_h ? to : kernel_h;
    *first = from < *last ? from : *last;
  }
};

constexpr int64_t kMostDirectLanes = 64;

template <class Real>
int64_t DirectConvParams<Real>::framed_width() const {
  return out_w + (kernel_w - 1) * dilation_w + kMostDirectLanes;
}

template <class Real>
struct DirectConvKernels {
  // The weights of a block of outputs next to each other: (C, kernel_h, kernel_w, outputs) for each
  // block after the other.
  void (*pack)(const DirectConvParams<Real>&, Real* packed);
  // Planes [begin, end) of (n, c), each as in_h rows of framed_width(), `framed` the first of them.
  void (*frame)(const DirectConvParams<Real>&, int64_t begin, int64_t end, Real* framed);
  // Row y of the output of image n, from the framed planes of that image.
  void (*row)(const DirectConvParams<Real>&, int64_t n, int64_t y, const Real* framed,
              const Real* packed);
};

// direct_conv_driver.cpp, for float and double. Same bits for any number of threads.
template <class Real>
void direct_conv_cpu(const DirectConvParams<Real>& params);

#define PF_DECLARE(level)                               \
  namespace level {                                     \
  template <class Real>                                 \
  const DirectConvKernels<Real>& direct_conv_kernels(); \
  }
PF_DECLARE(baseline)
PF_DECLARE(avx2)
PF_DECLARE(avx512)
#undef PF_DECLARE

}  // namespace pyfast
