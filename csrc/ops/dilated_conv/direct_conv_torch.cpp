// Convolution of few channels for torch, with a ReLU too, as layers of a context module have it:
// schema, checks, allocation, registration.
#include <optional>

#include "core/torch_glue.h"
#include "ops/dilated_conv/direct_conv.h"

namespace pyfast {
namespace {

template <class Real>
Tensor forward(const Tensor& input, const Tensor& weight, const std::optional<Tensor>& bias,
               DirectConvParams<Real> p) {
  const bool last = is_channels_last(input);
  const Tensor image = as_contiguous(input), taps = as_contiguous(weight);
  p.batch = image.size(0);
  p.channels = image.size(1);
  p.outputs = weight.size(p.turned ? 1 : 0);
  p.in_h = image.size(2);
  p.in_w = image.size(3);
  p.kernel_h = weight.size(2);
  p.kernel_w = weight.size(3);
  p.out_h = p.in_h + 2 * p.padding_h - p.dilation_h * (p.kernel_h - 1);
  p.out_w = p.in_w + 2 * p.padding_w - p.dilation_w * (p.kernel_w - 1);
  STD_TORCH_CHECK(p.out_h >= 0 && p.out_w >= 0, "the kernel is larger than the padded input");
  p.output_stride = taps.stride(p.turned ? 1 : 0);
  p.channel_stride = taps.stride(p.turned ? 0 : 1);
  p.input = data_of<Real>(image);
  p.weight = data_of<Real>(taps);
  std::optional<Tensor> values;
  if (bias.has_value()) {
    values = as_contiguous(*bias);
    p.bias = data_of<Real>(*values);
  }
  const int64_t sizes[4] = {p.batch, p.outputs, p.out_h, p.out_w};
  Tensor output = empty(input, input.scalar_type(), sizes, 4);
  p.output = result_of<Real>(output);
  direct_conv_cpu(p);
  return last && output.numel() > 0 ? as_channels_last(output) : output;
}

// The adjoint convolution has turned taps and goes from the outputs of `weight` to its channels.
Tensor convolve(const Tensor& input, const Tensor& weight, const std::optional<Tensor>& bias,
                int64_t padding_h, int64_t padding_w, int64_t dilation_h, int64_t dilation_w,
                bool adjoint, bool relu) {
  STD_TORCH_CHECK(input.dim() == 4 && weight.dim() == 4, "expected 4-D input and weight");
  STD_TORCH_CHECK(weight.scalar_type() == input.scalar_type(), "input and weight differ in dtype");
  STD_TORCH_CHECK(weight.size(adjoint ? 0 : 1) == input.size(1), "channels differ");
  STD_TORCH_CHECK(padding_h >= 0 && padding_w >= 0, "padding must not be negative");
  STD_TORCH_CHECK(dilation_h >= 1 && dilation_w >= 1, "dilation must be positive");
  if (bias.has_value())
    STD_TORCH_CHECK(has_shape(*bias, {weight.size(adjoint ? 1 : 0)}) &&
                        bias->scalar_type() == input.scalar_type(),
                    "expected bias of shape (outputs), of the dtype of input");
  const auto call = [&](auto p) {
    p.padding_h = padding_h;
    p.padding_w = padding_w;
    p.dilation_h = dilation_h;
    p.dilation_w = dilation_w;
    p.turned = adjoint;
    p.relu = relu;
    return forward(input, weight, bias, p);
  };
  if (input.scalar_type() == ScalarType::Float) return call(DirectConvParams<float>());
  STD_TORCH_CHECK(input.scalar_type() == ScalarType::Double, "expected float32 or float64");
  return call(DirectConvParams<double>());
}

Tensor direct_conv2d(const Tensor& input, const Tensor& weight, std::optional<Tensor> bias,
                     int64_t padding_h, int64_t padding_w, int64_t dilation_h, int64_t dilation_w,
                     bool adjoint) {
  return convolve(input, weight, bias, padding_h, padding_w, dilation_h, dilation_w, adjoint,
                  false);
}

Tensor context_conv2d(const Tensor& input, const Tensor& weight, std::optional<Tensor> bias,
                      int64_t padding_h, int64_t padding_w, int64_t dilation_h, int64_t dilation_w,
                      bool adjoint, bool relu) {
  return convolve(input, weight, bias, padding_h, padding_w, dilation_h, dilation_w, adjoint, relu);
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(pyfast, m) {
  m.def(
      "direct_conv2d(Tensor input, Tensor weight, Tensor? bias, int padding_h, int padding_w, "
      "int dilation_h, int dilation_w, bool adjoint) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(pyfast, CPU, m) {
  m.impl("direct_conv2d", TORCH_BOX(&direct_conv2d));
  m.impl("context_conv2d", TORCH_BOX(&context_conv2d));
}

}  // namespace pyfast
