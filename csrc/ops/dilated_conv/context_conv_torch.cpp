// A layer of a context module for torch, on CUDA: schema, checks, allocation, registration. The
// CPU's is in direct_conv_torch.cpp.
#include <optional>

#include "core/torch_glue.h"
#include "ops/dilated_conv/direct_conv_cuda.h"

namespace pyfast {
namespace {

ConvImage strides_of(const Tensor& image) {
  const int64_t* of = image.strides().data();
  return {of[0], of[1], of[2], of[3]};
}

// The adjoint goes from the outputs of `weight` to its inputs, by turned taps.
Tensor context_conv2d(const Tensor& input, const Tensor& weight, std::optional<Tensor> bias,
                      int64_t padding_h, int64_t padding_w, int64_t dilation_h, int64_t dilation_w,
                      bool adjoint, bool relu) {
  STD_TORCH_CHECK(
      input.dim() == 4 && weight.dim() == 4 && weight.size(adjoint ? 0 : 1) == input.size(1),
      "expected input (N, C, H, W) and weight (O, C, kernel_h, kernel_w)");
  STD_TORCH_CHECK(input.scalar_type() == ScalarType::Float &&
                      weight.scalar_type() == ScalarType::Float &&
                      weight.device() == input.device(),
                  "expected float32, on one device");
  STD_TORCH_CHECK(padding_h >= 0 && padding_w >= 0 && dilation_h >= 1 && dilation_w >= 1,
                  "dilation must be positive, padding not negative");
  DirectConvCudaParams<float> p;
  p.outputs = weight.size(adjoint ? 1 : 0);
  if (bias.has_value())
    STD_TORCH_CHECK(has_shape(*bias, {p.outputs}) && bias->scalar_type() == ScalarType::Float &&
                        bias->device() == input.device(),
                    "expected bias of shape (outputs), of the dtype and device of input");
  const bool last = is_channels_last(input);
  const Tensor image = last ? input : as_contiguous(input), taps = as_contiguous(weight);
  p.batch = input.size(0);
  p.channels = input.size(1);
  p.in_h = input.size(2);
  p.in_w = input.size(3);
  p.kernel_h = weight.size(2);
  p.kernel_w = weight.size(3);
  STD_TORCH_CHECK(p.kernel_h >= 1 && p.kernel_w >= 1 && p.kernel_h * p.kernel_w <= kMostDirectTaps,
                  "expected a kernel of 1 to ", kMostDirectTaps, " taps");
  p.padding_h = padding_h;
  p.padding_w = padding_w;
  p.dilation_h = dilation_h;
  p.dilation_w = dilation_w;
  p.out_h = p.in_h + 2 * padding_h - dilation_h * (p.kernel_h - 1);
  p.out_w = p.in_w + 2 * padding_w - dilation_w * (p.kernel_w - 1);
  STD_TORCH_CHECK(p.out_h >= 0 && p.out_w >= 0, "the kernel is larger than the padded input");
  const int64_t sizes[4] = {p.batch, p.outputs, p.out_h, p.out_w};
  Tensor output = empty(input, ScalarType::Float, sizes, 4, last);
  std::optional<Tensor> values;
  if (bias.has_value()) {
    values = as_contiguous(*bias);
    p.bias = data_of<float>(*values);
  }
  p.in = strides_of(image);
  p.out = strides_of(output);
  p.input = data_of<float>(image);
  p.weight = data_of<float>(taps);
  p.output_stride = taps.stride(adjoint ? 1 : 0);
  p.channel_stride = taps.stride(adjoint ? 0 : 1);
  p.turned = adjoint;
  p.relu = relu;
  p.output = result_of<float>(output);
  run_on_device_of(input, [] {}, [&](auto stream) { return direct_conv_cuda(p, stream); });
  return output;
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(pyfast, m) {
  m.def(
      "context_conv2d(Tensor input, Tensor weight, Tensor? bias, int padding_h, int padding_w, "
      "int dilation_h, int dilation_w, bool adjoint, bool relu) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(pyfast, CUDA, m) { m.impl("context_conv2d", TORCH_BOX(&context_conv2d)); }

}  // namespace pyfast
