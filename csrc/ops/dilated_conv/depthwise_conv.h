// Depthwise convolution with dilation: what one call works on, the kernels that each
// instruction set exports, and the entry points. Nothing here knows torch.
#pragma once

#include <cstdint>

#include "core/device.h"
#include "core/device_memory.h"
#include "core/half.h"

namespace pyfast {

// Values of the widest register: kernels read less than that behind a row.
constexpr int64_t kMostLanes = 16;

// out[n, c, y, x] = bias[c] + sum over i, j of
//     weight[c, i, j] * input[n, c, y * stride_h + i * dilation_h - padding_h,
//                                    x * stride_w + j * dilation_w - padding_w]
template <class Real>
struct DepthwiseConvParams {
  int64_t batch = 0, channels = 0;
  int64_t in_h = 0, in_w = 0, out_h = 0, out_w = 0;
  int64_t kernel_h = 0, kernel_w = 0;
  int64_t padding_h = 0, padding_w = 0;  // not negative
  int64_t dilation_h = 1, dilation_w = 1;
  int64_t stride_h = 1, stride_w = 1;  // others on the CPU alone
  bool channels_last = false;          // (N, H, W, C) instead of (N, C, H, W), all images alike
  const Real* input = nullptr;         // (N, C, in_h, in_w)
  const Real* weight = nullptr;       // (C, kernel_h, kernel_w); on the CPU (kernel_h, kernel_w, C)
                                      // with channels_last
  const Real* bias = nullptr;         // (C), or null
  Real* output = nullptr;             // (N, C, out_h, out_w), overwritten
  const Real* grad_output = nullptr;  // (N, C, out_h, out_w)
  Real* grad_weight = nullptr;        // (C, kernel_h, kernel_w), overwritten

  int64_t taps() const { return kernel_h * kernel_w; }

  // Rows of taps [first, last) that meet the input where row y of the output is computed.
  void tap_rows(int64_t y, int64_t* first, int64_t* last) const {
    tap_range(y * stride_h - padding_h, dilation_h, kernel_h, in_h, first, last);
  }
  void tap_columns(int64_t x, int64_t* first, int64_t* last) const {
    tap_range(x * stride_w - padding_w, dilation_w, kernel_w, in_w, first, last);
  }

  // A row of the input between frames of zeros, as planes are read, in stride_w phases: the values
  // that outputs side by side meet lie side by side. Phases begin at cache lines.
  int64_t phase_width() const {
    const int64_t width = out_w + (kernel_w - 1) * dilation_w / stride_w;
    return (width + kMostLanes - 1) / kMostLanes * kMostLanes;
  }
  int64_t framed_width() const { return stride_w * phase_width(); }
  // Of all rows and one of zeros, and what is read behind.
  int64_t framed_size() const { return framed_width() * (in_h + 1) + kMostLanes; }

 private:
  // k of [0, count) with 0 <= start + k * step < size.
  static void tap_range(int64_t start, int64_t step, int64_t count, int64_t size, int64_t* first,
                        int64_t* last) {
    const int64_t from = start >= 0 ? 0 : (-start + step - 1) / step;
    const int64_t to = start >= size ? 0 : (size - start + step - 1) / step;
    *last = to < count ? to : count;
    *first = from < *last ? from : *last;
  }
};

template <class Real>
struct DepthwiseConvKernels {
  using Params = DepthwiseConvParams<Real>;

  // output: planes are (n, c), rows are (n, y). `framed`: framed_size() values;
  // `columns`: kernel_w numbers.
  void (*planes)(const Params&, int64_t begin, int64_t end, Real* framed, int64_t* columns);
  void (*rows)(const Params&, int64_t begin, int64_t end);

  // grad_weight of channels [begin, end), over all images; one by one, or lanes over channels.
  void (*weight_planes)(const Params&, int64_t begin, int64_t end, Real* framed, int64_t* columns);
  void (*weight_channels)(const Params&, int64_t begin, int64_t end);
};

// Kernels keep a pointer for each row of taps.
constexpr int64_t kMostTapRows = 64;

// depthwise_conv_driver.cpp, for float and double. Same bits for any number of threads.
template <class Real>
void depthwise_conv_cpu(const DepthwiseConvParams<Real>& params);
template <class Real>
void depthwise_conv_weight_cpu(const DepthwiseConvParams<Real>& params);

// dilated_conv.cu, for float, double, Half and BFloat16. They return a cudaError_t and give the
// same bits in every run. With channels_last a kernel has up to kMostCudaTaps taps.
constexpr int64_t kMostCudaTaps = 1024;

template <class T>
int depthwise_conv_cuda(const DepthwiseConvParams<T>& params, void* stream);
template <class T>
int depthwise_conv_weight_cuda(const DepthwiseConvParams<T>& params, const DeviceMemory& memory,
                               void* stream);

#define PF_DECLARE(level)                                     \
  namespace level {                                           \
  template <class Real>                                       \
  const DepthwiseConvKernels<Real>& depthwise_conv_kernels(); \
  }
PF_DECLARE(baseline)
PF_DECLARE(avx2)
PF_DECLARE(avx512)
#undef PF_DECLARE

}  // namespace pyfast
