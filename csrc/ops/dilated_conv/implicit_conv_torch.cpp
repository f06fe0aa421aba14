// Implicit convolution for torch, on CUDA: schema, checks, allocation, registration.
#include <optional>

#include "core/torch_glue.h"
#include "ops/dilated_conv/implicit_conv.h"

namespace pyfast {
namespace {

using Pair = std::vector<int64_t>;  // (height, width)

ConvImage strides_of(const Tensor& image) {
  const int64_t* of = image.strides().data();
  return {of[0], of[1], of[2], of[3]};
}

Tensor dense(const Tensor& image) { return is_channels_last(image) ? image : as_contiguous(image); }

// Everything but images. Sizes are those of the convolution, `of_output` the output's.
ImplicitConvParams params_of(const int64_t (&of_input)[4], const int64_t (&of_output)[4],
                             const int64_t (&of_weight)[4], const Pair& stride, const Pair& padding,
                             const Pair& dilation, int64_t groups) {
  for (const Pair* pair : {&stride, &padding, &dilation})
    STD_TORCH_CHECK(pair->size() == 2, "expected stride, padding and dilation (height, width)");
  ImplicitConvParams p;
  p.batch = of_input[0];
  p.groups = groups;
  p.inputs = of_input[1];
  p.outputs = of_output[1];
  p.in_h = of_input[2];
  p.in_w = of_input[3];
  p.out_h = of_output[2];
  p.out_w = of_output[3];
  p.kernel_h = of_weight[2];
  p.kernel_w = of_weight[3];
  p.stride_h = stride[0];
  p.stride_w = stride[1];
  p.padding_h = padding[0];
  p.padding_w = padding[1];
  p.dilation_h = dilation[0];
  p.dilation_w = dilation[1];
  STD_TORCH_CHECK(groups >= 1 && p.inputs % groups == 0 && p.outputs % groups == 0 &&
                      of_weight[0] == p.outputs && of_weight[1] == p.inputs / groups,
                  "expected weight (outputs, inputs / groups, kernel_h, kernel_w)");
  STD_TORCH_CHECK(p.kernel_h >= 1 && p.kernel_w >= 1 && p.stride_h >= 1 && p.stride_w >= 1 &&
                      p.dilation_h >= 1 && p.dilation_w >= 1 && p.padding_h >= 0 &&
                      p.padding_w >= 0,
                  "sides of a kernel, stride and dilation must be positive, padding not negative");
  STD_TORCH_CHECK(of_output[0] == p.batch, "batch sizes differ");
  return p;
}

int64_t output_side(int64_t in, int64_t kernel, int64_t stride, int64_t padding, int64_t dilation) {
  return (in + 2 * padding - dilation * (kernel - 1) - 1) / stride + 1;
}

void check_output(const ImplicitConvParams& p) {
  STD_TORCH_CHECK(
      p.in_h + 2 * p.padding_h > p.dilation_h * (p.kernel_h - 1) &&
          p.in_w + 2 * p.padding_w > p.dilation_w * (p.kernel_w - 1) &&
          p.out_h == output_side(p.in_h, p.kernel_h, p.stride_h, p.padding_h, p.dilation_h) &&
          p.out_w == output_side(p.in_w, p.kernel_w, p.stride_w, p.padding_w, p.dilation_w),
      "sizes of input and output do not belong together");
}

void check_tensors(const Tensor& a, const Tensor& b) {
  STD_TORCH_CHECK(a.dim() == 4 && b.dim() == 4, "expected 4-D tensors");
  STD_TORCH_CHECK(a.scalar_type() == ScalarType::Float && b.scalar_type() == ScalarType::Float,
                  "expected float32");
  STD_TORCH_CHECK(a.device() == b.device(), "all tensors must be on one device");
}

// Runs body(memory, stream), which returns a cudaError_t.
template <class Launch>
void launch(const Tensor& on, const Launch& body) {
  run_on_device_of(
      on, [] {},
      [&](auto stream) {
        ScratchTensors memory(on);
        return body(memory, stream);
      });
}

Tensor implicit_conv2d(const Tensor& input, const Tensor& weight, std::optional<Tensor> bias,
                       Pair stride, Pair padding, Pair dilation, int64_t groups) {
  check_tensors(input, weight);
  if (bias.has_value())
    STD_TORCH_CHECK(has_shape(*bias, {weight.size(0)}) &&
                        bias->scalar_type() == ScalarType::Float &&
                        bias->device() == input.device(),
                    "expected bias of shape (outputs), of the dtype and device of input");
  const Tensor image = dense(input), kernel = as_contiguous(weight);
  const int64_t in[4] = {input.size(0), input.size(1), input.size(2), input.size(3)};
  const int64_t of_weight[4] = {weight.size(0), weight.size(1), weight.size(2), weight.size(3)};
  int64_t out[4] = {in[0], of_weight[0], 0, 0};
  auto p = params_of(in, out, of_weight, stride, padding, dilation, groups);
  p.out_h = out[2] = output_side(p.in_h, p.kernel_h, p.stride_h, p.padding_h, p.dilation_h);
  p.out_w = out[3] = output_side(p.in_w, p.kernel_w, p.stride_w, p.padding_w, p.dilation_w);
  check_output(p);
  Tensor output = empty(input, ScalarType::Float, out, 4, is_channels_last(image));
  const Tensor values = bias.has_value() ? as_contiguous(*bias) : output;
  p.in = strides_of(image);
  p.out = strides_of(output);
  p.input = data_of<float>(image);
  p.weight = data_of<float>(kernel);
  if (bias.has_value()) p.bias = data_of<float>(values);
  p.output = result_of<float>(output);
  launch(input, [&](const DeviceMemory& memory, auto stream) {
    return implicit_conv_cuda(p, memory, stream);
  });
  return output;
}

Tensor implicit_conv2d_input(const Tensor& grad, const Tensor& weight, int64_t in_h, int64_t in_w,
                             Pair stride, Pair padding, Pair dilation, int64_t groups) {
  check_tensors(grad, weight);
  const Tensor image = dense(grad), kernel = as_contiguous(weight);
  const int64_t in[4] = {grad.size(0), weight.size(1) * groups, in_h, in_w};
  const int64_t out[4] = {grad.size(0), grad.size(1), grad.size(2), grad.size(3)};
  const int64_t of_weight[4] = {weight.size(0), weight.size(1), weight.size(2), weight.size(3)};
  auto p = params_of(in, out, of_weight, stride, padding, dilation, groups);
  check_output(p);
  Tensor result = empty(grad, ScalarType::Float, in, 4, is_channels_last(image));
  p.in = strides_of(result);
  p.out = strides_of(image);
  p.gradient = data_of<float>(image);
  p.weight = data_of<float>(kernel);
  p.grad_input = result_of<float>(result);
  launch(grad, [&](const DeviceMemory& memory, auto stream) {
    return implicit_conv_input_cuda(p, memory, stream);
  });
  return result;
}

Tensor implicit_conv2d_weight(const Tensor& input, const Tensor& grad, int64_t kernel_h,
                              int64_t kernel_w, Pair stride, Pair padding, Pair dilation,
                              int64_t groups) {
  check_tensors(input, grad);
  STD_TORCH_CHECK(groups >= 1, "groups must be positive");
  const Tensor image = dense(input), gradient = dense(grad);
  const int64_t in[4] = {input.size(0), input.size(1), input.size(2), input.size(3)};
  const int64_t out[4] = {grad.size(0), grad.size(1), grad.size(2), grad.size(3)};
  const int64_t of_weight[4] = {grad.size(1), input.size(1) / groups, kernel_h, kernel_w};
  auto p = params_of(in, out, of_weight, stride, padding, dilation, groups);
  check_output(p);
  Tensor result = empty(input, ScalarType::Float, of_weight, 4);
  p.in = strides_of(image);
  p.out = strides_of(gradient);
  p.input = data_of<float>(image);
  p.gradient = data_of<float>(gradient);
  p.grad_weight = result_of<float>(result);
  launch(input, [&](const DeviceMemory& memory, auto stream) {
    return implicit_conv_weight_cuda(p, memory, stream);
  });
  return result;
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(pyfast, m) {
  m.def(
      "implicit_conv2d(Tensor input, Tensor weight, Tensor? bias, int[] stride, int[] padding, "
      "int[] dilation, int groups) -> Tensor");
  m.def(
      "implicit_conv2d_input(Tensor grad, Tensor weight, SymInt in_h, SymInt in_w, int[] stride, "
      "int[] padding, int[] dilation, int groups) -> Tensor");
  m.def(
      "implicit_conv2d_weight(Tensor input, Tensor grad, int kernel_h, int kernel_w, int[] stride, "
      "int[] padding, int[] dilation, int groups) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(pyfast, CUDA, m) {
  m.impl("implicit_conv2d", TORCH_BOX(&implicit_conv2d));
  m.impl("implicit_conv2d_input", TORCH_BOX(&implicit_conv2d_input));
  m.impl("implicit_conv2d_weight", TORCH_BOX(&implicit_conv2d_weight));
}

}  // namespace pyfast
