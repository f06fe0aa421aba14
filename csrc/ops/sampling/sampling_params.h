// From sizes and strides to the parameters of a call: what the torch glue and the array doors of
// sampling share. Each checks its arguments first, in its own words.
#pragma once

#include "ops/sampling/sampling.h"

namespace pyfast {

// A tensor or an array of any library; `sizes` and `strides` (in elements) belong to it.
struct StridedMemory {
  void* data;
  int64_t rank;
  const int64_t* sizes;
  const int64_t* strides;
};

// An image (N, C, H, W) or a volume (N, C, D, H, W).
template <class T>
ImageView<T> image_view(const StridedMemory& m) {
  ImageView<T> view{static_cast<T*>(m.data), m.strides[0], m.strides[1]};
  if (m.rank == 5) view.d = m.strides[2];
  view.h = m.strides[m.rank - 2];
  view.w = m.strides[m.rank - 1];
  return view;
}

// A grid (N, [D,] H, W, dims), or a flow (N, dims, [D,] H, W).
template <class T>
FieldView<T> field_view(const StridedMemory& m, Source source) {
  const int first = source == Source::kFlow ? 2 : 1;
  FieldView<T> view{static_cast<T*>(m.data), m.strides[0]};
  if (m.rank == 5) view.d = m.strides[first];
  view.h = m.strides[m.rank - 4 + first];
  view.w = m.strides[m.rank - 3 + first];
  view.c = m.strides[source == Source::kFlow ? 1 : m.rank - 1];
  return view;
}

// Pixels on one side of an output: positions along it are 32-bit integers.
constexpr int64_t kMaxOutputSide = 2147483632;

struct OutputSize {
  int64_t d = 1, h = 0, w = 0;
};

// The last two or three of `sizes`.
inline OutputSize output_size(int64_t dims, const int64_t* sizes) {
  return {dims == 3 ? sizes[0] : 1, sizes[dims - 2], sizes[dims - 1]};
}

// A field says by its own size how large the output is.
inline OutputSize field_size(Source source, const StridedMemory& field) {
  return output_size(field.rank - 2, field.sizes + (source == Source::kFlow ? 2 : 1));
}

struct SamplingOptions {
  Interpolation interpolation = Interpolation::kBilinear;
  Padding padding = Padding::kZeros;
  bool align_corners = false;
  bool pixels = false;
};

// Everything but what is written and `grad_output`. `places` is a contiguous matrix or a field.
template <class T>
SamplingParams<T> sampling_params(const StridedMemory& input, Source source,
                                  const StridedMemory& places, const OutputSize& size,
                                  const SamplingOptions& options) {
  using Real = Accumulator<T>;
  SamplingParams<T> p;
  p.dims = static_cast<int>(input.rank) - 2;
  p.batch = places.sizes[0];
  p.input_batch = input.sizes[0];
  p.channels = input.sizes[1];
  const OutputSize in = output_size(p.dims, input.sizes + 2);
  p.in_d = in.d;
  p.in_h = in.h;
  p.in_w = in.w;
  p.out_d = size.d;
  p.out_h = size.h;
  p.out_w = size.w;
  p.interpolation = options.interpolation;
  p.padding = options.padding;
  p.align_corners = options.align_corners;
  p.pixels = options.pixels;
  p.source = source;
  p.input = image_view<const T>(input);
  if (p.has_matrix())
    p.matrix = static_cast<const Real*>(places.data);
  else
    p.field = field_view<const Real>(places, source);
  return p;
}

// Everything but pointers.
template <class Real>
AffineGridParams<Real> affine_grid_params(int64_t dims, int64_t batch, const OutputSize& size,
                                          bool align_corners) {
  AffineGridParams<Real> p;
  p.dims = static_cast<int>(dims);
  p.batch = batch;
  p.out_d = size.d;
  p.out_h = size.h;
  p.out_w = size.w;
  p.align_corners = align_corners;
  return p;
}

}  // namespace pyfast
