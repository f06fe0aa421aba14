#include "ops/matting/foreground_arrays.h"

#include <stdexcept>
#include <string>

#include "ops/matting/foreground.h"
#include "ops/matting/guided_filter.h"

namespace pyfast::arrays {
namespace {

void expect_cpu(const ArrayView& array) {
  if (array.device != kCpu)
    throw std::invalid_argument("expected " + array.name + " on the CPU, got it on " +
                                device_text(array.device));
}

template <class T>
PlanesView<T> view(const ArrayView& array) {
  return planes_view(array.as<T>(), array.strides.data());
}

void expect_positive(const char* name, double value) {
  if (!(value > 0))
    throw std::invalid_argument("expected " + std::string(name) + " to be positive, got " +
                                std::to_string(value));
}

void expect_count(const char* name, int64_t value) {
  if (value < 0)
    throw std::invalid_argument("expected " + std::string(name) + " not to be negative, got " +
                                std::to_string(value));
}

}  // namespace

void foreground(ArrayCall& call, const ArrayView& image, const ArrayView& alpha,
                double regularization, double gradient_weight, int64_t small_iterations,
                int64_t big_iterations, int64_t small_size, double tolerance) {
  expect_cpu(image);
  if (!image.has_shape({kAny, kAny, kAny, kAny})) throw shape_error(image, "(N, C, H, W)");
  expect_alike(alpha, image);
  const std::vector<int64_t> planes{image.shape[0], 1, image.shape[2], image.shape[3]};
  if (alpha.shape != planes) throw shape_error(alpha, to_text(planes));
  expect_positive("regularization", regularization);
  if (!(gradient_weight >= 0))
    throw std::invalid_argument("expected gradient_weight not to be negative, got " +
                                std::to_string(gradient_weight));
  expect_count("small_iterations", small_iterations);
  expect_count("big_iterations", big_iterations);
  if (!(tolerance >= 0))
    throw std::invalid_argument("expected tolerance not to be negative, got " +
                                std::to_string(tolerance));
  expect_finite(image);
  expect_finite(alpha);
  const ArrayView foreground = call.result(image, image.shape);
  const ArrayView background = call.result(image, image.shape);
  dispatch(image.dtype, [&](auto real) {
    using Real = decltype(real);
    ForegroundParams<Real> p;
    p.batch = image.shape[0];
    p.channels = image.shape[1];
    p.height = image.shape[2];
    p.width = image.shape[3];
    p.options = convert<Real>(ForegroundOptions<double>{
        regularization, gradient_weight, small_iterations, big_iterations, small_size, tolerance});
    p.image = view<const Real>(image);
    p.alpha = view<const Real>(alpha);
    p.foreground = view<Real>(foreground);
    p.background = view<Real>(background);
    foreground_cpu(p);
  });
}

void guided_filter(ArrayCall& call, const ArrayView& guide, const ArrayView& input, int64_t radius,
                   double epsilon) {
  expect_cpu(guide);
  if (!guide.has_shape({kAny, kAny, kAny, kAny}) || guide.shape[1] < 1 ||
      guide.shape[1] > kMostGuideChannels)
    throw shape_error(guide, "(N, C, H, W) with C from 1 to " + std::to_string(kMostGuideChannels));
  expect_alike(input, guide);
  if (!input.has_shape({guide.shape[0], kAny, guide.shape[2], guide.shape[3]}))
    throw shape_error(input, "(N, C, H, W) of the size of guide, " + to_text(guide.shape));
  expect_count("radius", radius);
  expect_positive("epsilon", epsilon);
  const ArrayView output = call.result(input, input.shape);
  dispatch(input.dtype, [&](auto real) {
    using Real = decltype(real);
    GuidedFilterParams<Real> p;
    p.batch = input.shape[0];
    p.guide_channels = guide.shape[1];
    p.channels = input.shape[1];
    p.height = input.shape[2];
    p.width = input.shape[3];
    p.radius = radius;
    p.epsilon = epsilon;
    p.guide = view<const Real>(guide);
    p.input = view<const Real>(input);
    p.output = view<Real>(output);
    guided_filter_cpu(p);
  });
}

}  // namespace pyfast::arrays
