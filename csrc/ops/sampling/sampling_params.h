// From sizes and strides to the parameters of a call: what the torch glue and the array doors of
// sampling share once each has checked its arguments.
#pragma once

#include "ops/sampling/sampling.h"

namespace pyfast {

// A tensor or an array of any library; `sizes` and `strides` (in elements) belong to it.
struct StridedMemory {
  void* data;
  const int64_t* sizes;
  const int64_t* strides;
};

template <class T>
ImageView<T> image_view(const StridedMemory& m) {
  return {static_cast<T*>(m.data), m.strides[0], m.strides[1], m.strides[2], m.strides[3]};
}

// Everything but what is written and `grad_output`. `where` is a contiguous theta or a grid.
template <class Real>
SamplingParams<Real> sampling_params(const StridedMemory& input, const StridedMemory& where,
                                     bool is_theta, int64_t out_h, int64_t out_w,
                                     Interpolation interpolation, Padding padding,
                                     bool align_corners) {
  SamplingParams<Real> p;
  p.batch = where.sizes[0];
  p.input_batch = input.sizes[0];
  p.channels = input.sizes[1];
  p.in_h = input.sizes[2];
  p.in_w = input.sizes[3];
  p.out_h = out_h;
  p.out_w = out_w;
  p.interpolation = interpolation;
  p.padding = padding;
  p.align_corners = align_corners;
  p.input = image_view<const Real>(input);
  (is_theta ? p.theta : p.grid) = static_cast<const Real*>(where.data);
  if (!is_theta)
    for (int d = 0; d < 4; ++d) p.grid_stride[d] = where.strides[d];
  return p;
}

}  // namespace pyfast
