// The guided filter for torch: schema, checks, allocation, registration. On CUDA it is the
// definition in plain torch (pyfast/ops/guided_filter.py).
#include "core/torch_glue.h"
#include "ops/matting/guided_filter.h"

namespace pyfast {
namespace {

template <class Real>
Tensor filter(const Tensor& guide, const Tensor& input, int64_t radius, double epsilon) {
  Tensor output =
      empty(input, input.scalar_type(), input.sizes().data(), 4, is_channels_last(input));
  GuidedFilterParams<Real> p;
  p.batch = input.size(0);
  p.guide_channels = guide.size(1);
  p.channels = input.size(1);
  p.height = input.size(2);
  p.width = input.size(3);
  p.radius = radius;
  p.epsilon = epsilon;
  p.guide = planes_view(data_of<Real>(guide), guide.strides().data());
  p.input = planes_view(data_of<Real>(input), input.strides().data());
  p.output = planes_view(result_of<Real>(output), output.strides().data());
  guided_filter_cpu(p);
  return output;
}

Tensor guided_filter(const Tensor& guide, const Tensor& input, int64_t radius, double epsilon) {
  STD_TORCH_CHECK(guide.dim() == 4 && input.dim() == 4, "guide and input must be (N, C, H, W)");
  STD_TORCH_CHECK(guide.size(0) == input.size(0) && guide.size(2) == input.size(2) &&
                      guide.size(3) == input.size(3),
                  "guide and input differ in size");
  STD_TORCH_CHECK(guide.size(1) >= 1 && guide.size(1) <= kMostGuideChannels,
                  "guide must have from 1 to ", kMostGuideChannels, " channels");
  STD_TORCH_CHECK(guide.scalar_type() == input.scalar_type(), "guide and input differ in dtype");
  STD_TORCH_CHECK(radius >= 0 && epsilon > 0, "radius must not be negative, epsilon positive");
  if (input.scalar_type() == ScalarType::Float) return filter<float>(guide, input, radius, epsilon);
  STD_TORCH_CHECK(input.scalar_type() == ScalarType::Double, "expected float32 or float64");
  return filter<double>(guide, input, radius, epsilon);
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(pyfast, m) {
  m.def("guided_filter(Tensor guide, Tensor input, int radius, float epsilon) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(pyfast, CPU, m) { m.impl("guided_filter", TORCH_BOX(&guided_filter)); }

}  // namespace pyfast
