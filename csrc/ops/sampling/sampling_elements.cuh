// Setting all elements of an image, whatever its strides.
#pragma once

#include "ops/sampling/sampling_vectors.cuh"

namespace pyfast {
namespace PF_ISA {

// Sizes of an image or a volume.
struct Extent {
  int64_t n, c, d, h, w;
  PF_HD int64_t count() const { return n * c * d * h * w; }
};

template <class T>
Extent input_extent(const SamplingParams<T>& p) {
  return {p.input_batch, p.channels, p.in_d, p.in_h, p.in_w};
}

// Without gaps and in the order given: the innermost axis first.
inline bool is_dense(const int64_t (&sizes)[5], const int64_t (&strides)[5]) {
  int64_t expected = 1;
  for (int k = 0; k < 5; ++k) {
    if (sizes[k] != 1 && strides[k] != expected) return false;
    expected *= sizes[k];
  }
  return true;
}

template <class Real>
bool is_dense(const ImageView<Real>& v, const Extent& e) {
  return is_dense({e.w, e.h, e.d, e.c, e.n}, {v.w, v.h, v.d, v.c, v.n}) ||
         is_dense({e.c, e.w, e.h, e.d, e.n}, {v.c, v.w, v.h, v.d, v.n});
}

// A dense view over `data`, with channels innermost where they are so in `like`.
template <class Real, class Element>
ImageView<Real> dense_like(const ImageView<Element>& like, const Extent& e, Real* data) {
  const int64_t pixels = e.d * e.h * e.w;
  if (like.c == 1) return {data, pixels * e.c, 1, e.h * e.w * e.c, e.w * e.c, e.c};
  return {data, pixels * e.c, pixels, e.h * e.w, e.w, 1};
}

// One element a thread.
template <class Real>
Plan plan_elements(const ImageView<Real>& view, const Extent& e) {
  const Slots slots = slots_for(view.c, view.c, e.c, 1, false);
  return plan_tiles(e.n, e.d * e.h, e.w, e.c, slots, 1, 1);
}

template <class Real>
__global__ void __launch_bounds__(kThreads)
    fill_zeros(const ImageView<Real> view, const Plan plan, int64_t height) {
  const Place place = place_of(plan, blockIdx.x, threadIdx.x, 1);
  if (!has_work(plan, place)) return;
  const Pixel<3> pixel = pixel_at<3>(place.x, place.row, height);
  for (int c = place.channel; c < place.channels_end; c += plan.slots())
    *view.at(place.image, c, pixel.z(), pixel.y(), pixel.x()) = 0;
}

template <class Real>
int clear(const ImageView<Real>& view, const Extent& e, cudaStream_t stream) {
  if (e.count() == 0) return cudaSuccess;
  if (is_dense(view, e)) return cudaMemsetAsync(view.data, 0, e.count() * sizeof(Real), stream);
  const Plan plan = plan_elements(view, e);
  if (plan.blocks > kMaxBlocks) return cudaErrorInvalidConfiguration;
  PF_LAUNCH(fill_zeros<Real>, unsigned(plan.blocks), kThreads, 0, stream, view, plan, e.h);
  return cudaGetLastError();
}

}  // namespace PF_ISA
}  // namespace pyfast
