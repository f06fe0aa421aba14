// The array doors of depthwise convolution: the operators of depthwise_conv_torch.cpp on arrays.
// Images are (N, C, H, W), kernels (C, kernel_h, kernel_w); padding, dilation and kernel sizes are
// pairs (height, width).
#pragma once

#include <vector>

#include "core/array_call.h"

namespace pyfast::arrays {

void depthwise_conv2d(ArrayCall& call, const ArrayView& input, const ArrayView& weight,
                      const std::vector<int64_t>& padding, const std::vector<int64_t>& dilation);
void depthwise_conv2d_weight(ArrayCall& call, const ArrayView& input, const ArrayView& grad_output,
                             const std::vector<int64_t>& kernel,
                             const std::vector<int64_t>& padding,
                             const std::vector<int64_t>& dilation);

}  // namespace pyfast::arrays
