// Convolution of any stride, dilation and number of groups as a product of matrices that are never
// written down, on CUDA in float32: what one call works on. Nothing here knows torch.
#pragma once

#include <cstdint>

#include "core/device_memory.h"

namespace pyfast {

// Distances in elements.
struct ConvImage {
  int64_t n = 0, c = 0, h = 0, w = 0;
};

// The convolution is of images (N, C, in_h, in_w) to (N, O, out_h, out_w) by a weight
// (O, C / groups, kernel_h, kernel_w), contiguous; each image contiguous or channels_last.
struct ImplicitConvParams {
  int64_t batch = 0, groups = 1, inputs = 0, outputs = 0;  // C and O, of all groups
  int64_t in_h = 0, in_w = 0, out_h = 0, out_w = 0;
  int64_t kernel_h = 0, kernel_w = 0;
  int64_t stride_h = 1, stride_w = 1;
  int64_t padding_h = 0, padding_w = 0;
  int64_t dilation_h = 1, dilation_w = 1;
  ConvImage in, out;                // where the values of both kinds of images lie
  const float* input = nullptr;     // (N, C, in_h, in_w)
  const float* gradient = nullptr;  // (N, O, out_h, out_w)
  const float* weight = nullptr;
  const float* bias = nullptr;   // (O), or null
  float* output = nullptr;       // (N, O, out_h, out_w)
  float* grad_input = nullptr;   // (N, C, in_h, in_w)
  float* grad_weight = nullptr;  // like weight

  int64_t taps() const { return kernel_h * kernel_w; }
  int64_t weights() const { return groups > 0 ? outputs * (inputs / groups) * taps() : 0; }
};

// dilated_conv.cu. Each overwrites its result, returns a cudaError_t and gives the same bits in
// every run: `output` from input, weight and bias; `grad_input` from gradient and weight;
// `grad_weight` from input and gradient.
int implicit_conv_cuda(const ImplicitConvParams& params, const DeviceMemory& memory, void* stream);
int implicit_conv_input_cuda(const ImplicitConvParams& params, const DeviceMemory& memory,
                             void* stream);
int implicit_conv_weight_cuda(const ImplicitConvParams& params, const DeviceMemory& memory,
                              void* stream);

}  // namespace pyfast
