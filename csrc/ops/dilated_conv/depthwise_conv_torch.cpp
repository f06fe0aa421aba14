// Depthwise convolution for torch: schema, checks, allocation, registration.
#include <optional>
#include <type_traits>

#include "core/torch_glue.h"
#include "ops/dilated_conv/depthwise_conv.h"

namespace pyfast {
namespace {

struct Geometry {
  int64_t kernel_h, kernel_w, padding_h, padding_w, dilation_h, dilation_w, stride_h, stride_w;

  int64_t out_h(int64_t in_h) const {
    return size(in_h + 2 * padding_h - dilation_h * (kernel_h - 1), stride_h);
  }
  int64_t out_w(int64_t in_w) const {
    return size(in_w + 2 * padding_w - dilation_w * (kernel_w - 1), stride_w);
  }
  void check(const Tensor& image) const {
    STD_TORCH_CHECK(stride_h >= 1 && stride_w >= 1, "stride must be positive");
    STD_TORCH_CHECK(image.is_cpu() || (stride_h == 1 && stride_w == 1), "expected stride 1");
    STD_TORCH_CHECK(kernel_h >= 1 && kernel_h <= kMostTapRows && kernel_w >= 1,
                    "expected a kernel of 1 to ", kMostTapRows, " rows");
    STD_TORCH_CHECK(padding_h >= 0 && padding_w >= 0, "padding must not be negative");
    STD_TORCH_CHECK(dilation_h >= 1 && dilation_w >= 1, "dilation must be positive");
  }

 private:
  // Of `places` in steps.
  static int64_t size(int64_t places, int64_t stride) {
    return places < 0 ? places : (places + stride - 1) / stride;
  }
};

template <class Real>
DepthwiseConvParams<Real> params_of(const Tensor& input, const Geometry& g, bool channels_last) {
  DepthwiseConvParams<Real> p;
  p.batch = input.size(0);
  p.channels = input.size(1);
  p.in_h = input.size(2);
  p.in_w = input.size(3);
  p.out_h = g.out_h(p.in_h);
  p.out_w = g.out_w(p.in_w);
  p.kernel_h = g.kernel_h;
  p.kernel_w = g.kernel_w;
  p.padding_h = g.padding_h;
  p.padding_w = g.padding_w;
  p.dilation_h = g.dilation_h;
  p.dilation_w = g.dilation_w;
  p.stride_h = g.stride_h;
  p.stride_w = g.stride_w;
  p.channels_last = channels_last;
  p.input = data_of<Real>(input);
  return p;
}

Tensor in_layout(const Tensor& image, bool channels_last) {
  return channels_last ? as_channels_last(image) : as_contiguous(image);
}

// (C, 1, kernel_h, kernel_w) as the kernels read it.
template <class Real>
Tensor kernel_layout(const Tensor& weight, bool channels_last) {
  const Tensor kernel = as_contiguous(weight);
  if (!channels_last || !weight.is_cpu()) return kernel;
  const int64_t channels = weight.size(0), taps = weight.size(2) * weight.size(3);
  Tensor turned = empty(weight, weight.scalar_type(), {taps, channels});
  const Real* from = data_of<Real>(kernel);
  Real* to = result_of<Real>(turned);
  for (int64_t c = 0; c < channels; ++c)
    for (int64_t t = 0; t < taps; ++t) to[t * channels + c] = from[c * taps + t];
  return turned;
}

// body(T{}) for the type of an image. Those of 16 bits are for CUDA alone.
template <class Body>
Tensor dispatch(const Tensor& image, const Body& body) {
  switch (image.scalar_type()) {
    case ScalarType::Float:
      return body(float{});
    case ScalarType::Double:
      return body(double{});
    case ScalarType::Half:
      STD_TORCH_CHECK(!image.is_cpu(), "expected float32 or float64 on the CPU");
      return body(Half{});
    default:
      STD_TORCH_CHECK(image.scalar_type() == ScalarType::BFloat16 && !image.is_cpu(),
                      "expected float32, float64 or, on CUDA, float16 or bfloat16");
      return body(BFloat16{});
  }
}

// 16 bits never arrive here.
template <class T>
constexpr bool kIsOnCpu = std::is_same_v<T, Accumulator<T>>;

template <class Real>
Tensor forward(const Tensor& input, const Tensor& weight, const std::optional<Tensor>& bias,
               const Geometry& g) {
  const bool last = is_channels_last(input);
  const Tensor image = in_layout(input, last), kernel = kernel_layout<Real>(weight, last);
  auto p = params_of<Real>(image, g, last);
  const int64_t sizes[4] = {p.batch, p.channels, p.out_h, p.out_w};
  STD_TORCH_CHECK(p.out_h >= 0 && p.out_w >= 0, "the kernel is larger than the padded input");
  Tensor output = empty(input, input.scalar_type(), sizes, 4, last);
  p.weight = data_of<Real>(kernel);
  std::optional<Tensor> values;
  if (bias.has_value()) {
    values = as_contiguous(*bias);
    p.bias = data_of<Real>(*values);
  }
  p.output = result_of<Real>(output);
  run_on_device_of(
      input,
      [&] {
        if constexpr (kIsOnCpu<Real>) depthwise_conv_cpu(p);
      },
      [&](auto stream) { return depthwise_conv_cuda(p, stream); });
  return output;
}

Tensor depthwise_conv2d(const Tensor& input, const Tensor& weight, std::optional<Tensor> bias,
                        int64_t padding_h, int64_t padding_w, int64_t dilation_h,
                        int64_t dilation_w, int64_t stride_h, int64_t stride_w) {
  STD_TORCH_CHECK(input.dim() == 4 && weight.dim() == 4, "expected 4-D input and weight");
  STD_TORCH_CHECK(weight.size(0) == input.size(1) && weight.size(1) == 1,
                  "expected weight of shape (channels, 1, kernel_h, kernel_w)");
  STD_TORCH_CHECK(weight.scalar_type() == input.scalar_type() && weight.device() == input.device(),
                  "input and weight differ in dtype or device");
  if (bias.has_value())
    STD_TORCH_CHECK(has_shape(*bias, {input.size(1)}) &&
                        bias->scalar_type() == input.scalar_type() &&
                        bias->device() == input.device(),
                    "expected bias of shape (channels), of the dtype and device of input");
  const Geometry g{weight.size(2), weight.size(3), padding_h, padding_w,
                   dilation_h,     dilation_w,     stride_h,  stride_w};
  g.check(input);
  return dispatch(input,
                  [&](auto zero) { return forward<decltype(zero)>(input, weight, bias, g); });
}

template <class Real>
Tensor weight_gradient(const Tensor& input, const Tensor& grad_output, const Geometry& g) {
  const bool last = is_channels_last(input);
  const Tensor image = in_layout(input, last), grad = in_layout(grad_output, last);
  auto p = params_of<Real>(image, g, last);
  STD_TORCH_CHECK(has_shape(grad, {p.batch, p.channels, p.out_h, p.out_w}),
                  "grad_output has the wrong shape");
  p.grad_output = data_of<Real>(grad);
  Tensor gradient = empty(input, input.scalar_type(), {p.channels, 1, p.kernel_h, p.kernel_w});
  p.grad_weight = result_of<Real>(gradient);
  run_on_device_of(
      input,
      [&] {
        if constexpr (kIsOnCpu<Real>) depthwise_conv_weight_cpu(p);
      },
      [&](auto stream) {
        ScratchTensors memory(input);
        return depthwise_conv_weight_cuda(p, memory, stream);
      });
  return gradient;
}

Tensor depthwise_conv2d_weight(const Tensor& input, const Tensor& grad_output, int64_t kernel_h,
                               int64_t kernel_w, int64_t padding_h, int64_t padding_w,
                               int64_t dilation_h, int64_t dilation_w, int64_t stride_h,
                               int64_t stride_w) {
  STD_TORCH_CHECK(input.dim() == 4 && grad_output.dim() == 4, "expected 4-D tensors");
  STD_TORCH_CHECK(
      input.scalar_type() == grad_output.scalar_type() && input.device() == grad_output.device(),
      "input and grad_output differ in dtype or device");
  const Geometry g{kernel_h,   kernel_w,   padding_h, padding_w,
                   dilation_h, dilation_w, stride_h,  stride_w};
  g.check(input);
  return dispatch(
      input, [&](auto zero) { return weight_gradient<decltype(zero)>(input, grad_output, g); });
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(pyfast, m) {
  m.def(
      "depthwise_conv2d(Tensor input, Tensor weight, Tensor? bias, int padding_h, int padding_w, "
      "int dilation_h, int dilation_w, int stride_h, int stride_w) -> Tensor");
  m.def(
      "depthwise_conv2d_weight(Tensor input, Tensor grad_output, int kernel_h, int kernel_w, "
      "int padding_h, int padding_w, int dilation_h, int dilation_w, int stride_h, int stride_w) "
      "-> Tensor");
}

#define PF_REGISTER(device)                                                 \
  STABLE_TORCH_LIBRARY_IMPL(pyfast, device, m) {                            \
    m.impl("depthwise_conv2d", TORCH_BOX(&depthwise_conv2d));               \
    m.impl("depthwise_conv2d_weight", TORCH_BOX(&depthwise_conv2d_weight)); \
  }
PF_REGISTER(CPU)
PF_REGISTER(CUDA)
#undef PF_REGISTER

}  // namespace pyfast
