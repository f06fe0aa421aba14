// Forward: one launch; coordinates are worked out once a thread and shared by its channels.
#pragma once

#include "ops/sampling/sampling_place.cuh"

namespace pyfast {
namespace PF_ISA {

template <Interpolation I, bool kAffine, int V, class Real>
__global__ void __launch_bounds__(kThreads) sample(const SamplingParams<Real> p, const Plan plan) {
  const Place place = place_of(plan, blockIdx.x, threadIdx.x, V);
  Point<Real> at{};
  if constexpr (kAffine) {
    __shared__ AffineImage<Real> image;
    if (threadIdx.x == 0) image.set(p, place.image);
    __syncthreads();
    at = image.at(place.y, place.x);
  }
  if (place.x >= plan.width || place.y >= plan.height) return;
  if constexpr (!kAffine) at = grid_position(p, place.image, place.y, place.x);
  const Taps<I, Real> taps(p, pad(p.padding, at.x, Real(p.in_w), p.align_corners).position,
                           pad(p.padding, at.y, Real(p.in_h), p.align_corners).position, p.input.h,
                           p.input.w);
  const Real* input = p.input.data + (p.input_batch == 1 ? 0 : place.image * p.input.n);
  Real* output = p.output.at(place.image, 0, place.y, place.x);
#pragma unroll 4
  for (int c = place.channel; c < place.channels_end; c += plan.slots * V) {
    Pack<V, Real> sum{};
    for (int k = 0; k < taps.kCount; ++k) {
      const auto pixel = load_inside<V>(input, taps.offset[k] + c * p.input.c, taps.inside[k]);
      for (int v = 0; v < V; ++v) sum.value[v] += taps.weight[k] * pixel.value[v];
    }
    store<V>(output + c * p.output.c, sum);
  }
}

template <Interpolation I, bool kAffine, class Real>
int launch_sample(const SamplingParams<Real>& p, cudaStream_t stream) {
  const bool vectors =
      fits_vectors<Real>(p.input, p.channels) && fits_vectors<Real>(p.output, p.channels);
  const int32_t inner = slots_for<Real>(p.input.c, p.output.c, p.channels, vectors);
  const int32_t slots = inner > 0 ? inner : 1;
  const int64_t step = slots * (vectors ? kVector<Real> : 1);
  const Plan plan = plan_tiles(
      p.batch, p.out_h, p.out_w, p.channels, slots, inner > 0,
      step * repeats(8, p.batch * p.out_h * p.out_w * slots, ceil_div(p.channels, step)));
  if (plan.blocks() > kMaxBlocks) return cudaErrorInvalidConfiguration;
  const auto kernel =
      vectors ? sample<I, kAffine, kVector<Real>, Real> : sample<I, kAffine, 1, Real>;
  PF_LAUNCH(kernel, unsigned(plan.blocks()), kThreads, 0, stream, p, plan);
  return cudaGetLastError();
}

template <class Real>
int launch_forward(const SamplingParams<Real>& p, cudaStream_t stream) {
  if (!sides_fit(p)) return cudaErrorInvalidValue;
  if (p.batch * p.channels * p.out_h * p.out_w == 0) return cudaSuccess;
  const bool nearest = p.interpolation == Interpolation::kNearest;
  if (p.theta != nullptr)
    return nearest ? launch_sample<Interpolation::kNearest, true>(p, stream)
                   : launch_sample<Interpolation::kBilinear, true>(p, stream);
  return nearest ? launch_sample<Interpolation::kNearest, false>(p, stream)
                 : launch_sample<Interpolation::kBilinear, false>(p, stream);
}

}  // namespace PF_ISA
}  // namespace pyfast
