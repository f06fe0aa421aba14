// Forward: one launch; coordinates are worked out once a thread and shared by its channels.
#pragma once

#include "ops/sampling/sampling_place.cuh"

namespace pyfast {
namespace PF_ISA {

template <Interpolation I, bool kAffine, int V, class Real>
__global__ void __launch_bounds__(kThreads)
    sample(const SamplingParams<Real> p, const Plan plan, const AffineFrame frame) {
  __shared__ AffineImage<Real> map;
  const Place place = place_of(plan, blockIdx.x, threadIdx.x, V);
  if constexpr (kAffine) {
    if (threadIdx.x == 0) map.set(p.theta, frame, place.image);
    __syncthreads();
  }
  if (place.x >= plan.width) return;
  const Real* input = p.input.data + (p.input_batch == 1 ? 0 : place.image * p.input.n);
  for (int t = 0; t < plan.stack; ++t) {
    const int32_t y = place.y + t * plan.tile_height;
    if (y >= plan.height) return;
    Point<Real> at;
    if constexpr (kAffine) {
      at = map.at(frame, y, place.x);
    } else {
      at = grid_position(p, place.image, y, place.x);
    }
    const Taps<I, Real> taps(p, pad(p.padding, at.x, Real(p.in_w), p.align_corners).position,
                             pad(p.padding, at.y, Real(p.in_h), p.align_corners).position,
                             p.input.h, p.input.w);
    Real* output = p.output.at(place.image, 0, y, place.x);
#pragma unroll(4 / V)
    for (int c = place.channel; c < place.channels_end; c += plan.slots() * V) {
      Pack<V, Real> sum{};
      for (int k = 0; k < taps.kCount; ++k) {
        const auto pixel = load_inside<V>(input, taps.offset[k] + c * p.input.c, taps.inside[k]);
        for (int v = 0; v < V; ++v) sum.value[v] += taps.weight[k] * pixel.value[v];
      }
      store<V>(output + c * p.output.c, sum);
    }
  }
}

template <Interpolation I, bool kAffine, class Real>
int launch_sample(const SamplingParams<Real>& p, cudaStream_t stream) {
  const Slots slots = slots_for<Real>(p.input, p.output, p.channels);
  const Plan plan = plan_tiles(p.batch, p.out_h, p.out_w, p.channels, slots, 8, 8);
  if (plan.blocks > kMaxBlocks) return cudaErrorInvalidConfiguration;
  const auto kernel =
      slots.vector > 1 ? sample<I, kAffine, kVector<Real>, Real> : sample<I, kAffine, 1, Real>;
  PF_LAUNCH(kernel, unsigned(plan.blocks), kThreads, 0, stream, p, plan, frame_of(p));
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
