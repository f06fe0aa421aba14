#include "ops/dilated_conv/depthwise_conv_arrays.h"

#include <stdexcept>
#include <string>

#include "ops/dilated_conv/depthwise_conv.h"

namespace pyfast::arrays {
namespace {

constexpr int64_t kMostOfAnOption = int64_t{1} << 31;

void expect_pair(const char* name, const std::vector<int64_t>& pair, int64_t least, int64_t most) {
  for (size_t i = 0; i < 2; ++i)
    if (pair.size() != 2 || pair[i] < least || pair[i] > most)
      throw std::invalid_argument("expected " + std::string(name) + " (height, width) from " +
                                  std::to_string(least) + " to " + std::to_string(most) + ", got " +
                                  to_text(pair));
}

// Everything but pointers.
template <class Real>
DepthwiseConvParams<Real> params(const ArrayView& input, const std::vector<int64_t>& kernel,
                                 const std::vector<int64_t>& padding,
                                 const std::vector<int64_t>& dilation) {
  DepthwiseConvParams<Real> p;
  p.batch = input.shape[0];
  p.channels = input.shape[1];
  p.in_h = input.shape[2];
  p.in_w = input.shape[3];
  p.kernel_h = kernel[0];
  p.kernel_w = kernel[1];
  p.padding_h = padding[0];
  p.padding_w = padding[1];
  p.dilation_h = dilation[0];
  p.dilation_w = dilation[1];
  p.out_h = p.in_h + 2 * p.padding_h - p.dilation_h * (p.kernel_h - 1);
  p.out_w = p.in_w + 2 * p.padding_w - p.dilation_w * (p.kernel_w - 1);
  return p;
}

// The shape of the output.
std::vector<int64_t> checked(const ArrayView& input, const std::vector<int64_t>& kernel,
                             const std::vector<int64_t>& padding,
                             const std::vector<int64_t>& dilation) {
  if (!input.has_shape({kAny, kAny, kAny, kAny})) throw shape_error(input, "(N, C, H, W)");
  expect_pair("padding", padding, 0, kMostOfAnOption);
  expect_pair("dilation", dilation, 1, kMostOfAnOption);
  const auto p = params<float>(input, kernel, padding, dilation);
  if (p.out_h < 1 || p.out_w < 1)
    throw std::invalid_argument("expected a kernel no larger than the padded input, got " +
                                to_text(kernel) + " for " + to_text(input.shape));
  return {p.batch, p.channels, p.out_h, p.out_w};
}

}  // namespace

void depthwise_conv2d(ArrayCall& call, const ArrayView& input, const ArrayView& weight,
                      const std::vector<int64_t>& padding, const std::vector<int64_t>& dilation) {
  if (!input.has_shape({kAny, kAny, kAny, kAny})) throw shape_error(input, "(N, C, H, W)");
  expect_alike(weight, input);
  if (!weight.has_shape({input.shape[1], kAny, kAny}) || weight.shape[1] < 1 ||
      weight.shape[1] > kMostTapRows || weight.shape[2] < 1)
    throw shape_error(weight, "(" + std::to_string(input.shape[1]) +
                                  ", kernel_h, kernel_w), 1 to " + std::to_string(kMostTapRows) +
                                  " rows");
  const std::vector<int64_t> kernel(weight.shape.begin() + 1, weight.shape.end());
  const ArrayView output = call.result(input, checked(input, kernel, padding, dilation));
  expect_contiguous(output);
  dispatch(output.dtype, [&](auto real) {
    using Real = decltype(real);
    auto p = params<Real>(input, kernel, padding, dilation);
    std::vector<Real> of_input, of_weight;
    p.input = contiguous(input, of_input);
    p.weight = contiguous(weight, of_weight);
    p.output = output.as<Real>();
    call.run_on_device_of(
        output, [&] { depthwise_conv_cpu(p); },
        [&](auto stream) { return depthwise_conv_cuda(p, stream); });
  });
}

void depthwise_conv2d_weight(ArrayCall& call, const ArrayView& input, const ArrayView& grad_output,
                             const std::vector<int64_t>& kernel,
                             const std::vector<int64_t>& padding,
                             const std::vector<int64_t>& dilation) {
  expect_pair("kernel", kernel, 1, kMostTapRows);
  const std::vector<int64_t> shape = checked(input, kernel, padding, dilation);
  expect_alike(grad_output, input);
  if (grad_output.shape != shape) throw shape_error(grad_output, to_text(shape));
  const ArrayView grad_weight = call.result(input, {input.shape[1], kernel[0], kernel[1]});
  expect_contiguous(grad_weight);
  dispatch(input.dtype, [&](auto real) {
    using Real = decltype(real);
    auto p = params<Real>(input, kernel, padding, dilation);
    std::vector<Real> of_input, of_grad;
    p.input = contiguous(input, of_input);
    p.grad_output = contiguous(grad_output, of_grad);
    p.grad_weight = grad_weight.as<Real>();
    call.run_on_device_of(
        input, [&] { depthwise_conv_weight_cpu(p); },
        [&](auto stream) {
          CudaMemory memory(stream);
          return depthwise_conv_weight_cuda(p, memory, stream);
        });
  });
}

}  // namespace pyfast::arrays
