// The multi-level foreground for torch: schema, checks, allocation, registration. On CUDA it is the
// definition in plain torch (pyfast/ops/foreground.py).
#include "core/torch_glue.h"
#include "ops/matting/foreground.h"

namespace pyfast {
namespace {

template <class Real>
std::tuple<Tensor, Tensor> estimate(const Tensor& image, const Tensor& alpha,
                                    const ForegroundOptions<double>& options) {
  Tensor foreground = empty(image, image.scalar_type(), image.sizes().data(), 4);
  Tensor background = empty(image, image.scalar_type(), image.sizes().data(), 4);
  ForegroundParams<Real> p;
  p.batch = image.size(0);
  p.channels = image.size(1);
  p.height = image.size(2);
  p.width = image.size(3);
  p.options = convert<Real>(options);
  p.image = planes_view(data_of<Real>(image), image.strides().data());
  p.alpha = planes_view(data_of<Real>(alpha), alpha.strides().data());
  p.foreground = planes_view(result_of<Real>(foreground), foreground.strides().data());
  p.background = planes_view(result_of<Real>(background), background.strides().data());
  foreground_cpu(p);
  return {foreground, background};
}

std::tuple<Tensor, Tensor> foreground(const Tensor& image, const Tensor& alpha,
                                      double regularization, double gradient_weight,
                                      int64_t small_iterations, int64_t big_iterations,
                                      int64_t small_size, double tolerance) {
  STD_TORCH_CHECK(image.dim() == 4, "image must be (N, C, H, W)");
  STD_TORCH_CHECK(has_shape(alpha, {image.size(0), 1, image.size(2), image.size(3)}),
                  "alpha must be (N, 1, H, W)");
  STD_TORCH_CHECK(alpha.scalar_type() == image.scalar_type(), "image and alpha differ in dtype");
  STD_TORCH_CHECK(regularization > 0, "regularization must be positive");
  STD_TORCH_CHECK(tolerance >= 0, "tolerance must not be negative");
  const ForegroundOptions<double> options{regularization, gradient_weight, small_iterations,
                                          big_iterations, small_size,      tolerance};
  if (image.scalar_type() == ScalarType::Float) return estimate<float>(image, alpha, options);
  STD_TORCH_CHECK(image.scalar_type() == ScalarType::Double, "expected float32 or float64");
  return estimate<double>(image, alpha, options);
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(pyfast, m) {
  m.def(
      "foreground(Tensor image, Tensor alpha, float regularization, float gradient_weight, "
      "int small_iterations, int big_iterations, int small_size, float tolerance) -> (Tensor, "
      "Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(pyfast, CPU, m) { m.impl("foreground", TORCH_BOX(&foreground)); }

}  // namespace pyfast
