// Convolution of stride 1 of few channels on CUDA: what one call works on. Nothing here knows
// torch.
#pragma once

#include <cstdint>

#include "ops/dilated_conv/implicit_conv.h"

namespace pyfast {

// Of weights that lie in shared memory, those of 8 channels of the output at once.
constexpr int64_t kMostDirectTaps = 512;

// out[n, o, y, x] = bias[o] + sum over c, i, j of weight[o, c, i, j] *
//     input[n, c, y + i * dilation_h - padding_h, x + j * dilation_w - padding_w]
template <class T>
struct DirectConvCudaParams {
  int64_t batch = 0, channels = 0, outputs = 0;
  int64_t in_h = 0, in_w = 0, out_h = 0, out_w = 0;
  int64_t kernel_h = 0, kernel_w = 0;
  int64_t padding_h = 0, padding_w = 0;  // not negative
  int64_t dilation_h = 1, dilation_w = 1;
  ConvImage in, out;          // where the values of the images lie
  const T* input = nullptr;   // (N, C, in_h, in_w)
  const T* weight = nullptr;  // taps of (o, c) at o * output_stride + c * channel_stride
  int64_t output_stride = 0, channel_stride = 0;
  bool turned = false;      // taps from the last to the first, as the adjoint has them
  bool relu = false;        // what is negative becomes 0
  const T* bias = nullptr;  // (O), or null
  T* output = nullptr;      // (N, O, out_h, out_w), overwritten
};

// dilated_conv.cu, for float and double. Returns a cudaError_t; the same bits in every run. A
// kernel has at most kMostDirectTaps taps.
template <class T>
int direct_conv_cuda(const DirectConvCudaParams<T>& params, void* stream);

}  // namespace pyfast
