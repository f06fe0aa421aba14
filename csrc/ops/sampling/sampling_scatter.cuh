// Gradient of the input for a general grid: every sample adds to the pixels that it read, by
// atomic operations. The order of the additions, and with it the last bits, changes from run to
// run.
#pragma once

#include "ops/sampling/sampling_place.cuh"

namespace pyfast {
namespace PF_ISA {

template <class Real>
__global__ void __launch_bounds__(kThreads)
    fill_zeros(ImageView<Real> image, int64_t count, int32_t channels, int32_t height,
               int32_t width) {
  const int64_t step = int64_t{gridDim.x} * kThreads;
  for (int64_t k = int64_t{blockIdx.x} * kThreads + threadIdx.x; k < count; k += step) {
    const int64_t row = k / width, plane = row / height;
    *image.at(plane / channels, plane % channels, row % height, k % width) = 0;
  }
}

template <class Real>
int clear_grad_input(const SamplingParams<Real>& p, cudaStream_t stream) {
  const int64_t count = p.input_batch * p.channels * p.in_h * p.in_w;
  if (count == 0) return cudaSuccess;
  const ImageView<Real>& g = p.grad_input;
  const int64_t plane = p.in_h * p.in_w;
  const bool planes = g.w == 1 && g.h == p.in_w && g.c == plane && g.n == plane * p.channels;
  const bool pixels = g.c == 1 && g.w == p.channels && g.h == g.w * p.in_w && g.n == g.h * p.in_h;
  if (planes || pixels) return cudaMemsetAsync(g.data, 0, count * sizeof(Real), stream);
  const int64_t blocks = ceil_div(count, kThreads);
  PF_LAUNCH(fill_zeros<Real>, unsigned(blocks < kMaxBlocks ? blocks : kMaxBlocks), kThreads, 0,
            stream, g, count, int32_t(p.channels), int32_t(p.in_h), int32_t(p.in_w));
  return cudaGetLastError();
}

template <Interpolation I, class Real>
__global__ void __launch_bounds__(kThreads) scatter(const SamplingParams<Real> p, const Plan plan) {
  const Place place = place_of(plan, blockIdx.x, threadIdx.x, 1);
  if (place.x >= plan.width || place.y >= plan.height) return;
  const Point<Real> at = grid_position(p, place.image, place.y, place.x);
  const Taps<I, Real> taps(p, pad(p.padding, at.x, Real(p.in_w), p.align_corners).position,
                           pad(p.padding, at.y, Real(p.in_h), p.align_corners).position,
                           p.grad_input.h, p.grad_input.w);
  const Real* grad = p.grad_output.at(place.image, 0, place.y, place.x);
  Real* input = p.grad_input.data + (p.input_batch == 1 ? 0 : place.image * p.grad_input.n);
  for (int c = place.channel; c < place.channels_end; c += plan.slots()) {
    const Real g = __ldg(grad + c * p.grad_output.c);
    for (int k = 0; k < taps.kCount; ++k) {
      if (taps.inside[k])
        atomicAdd(input + (taps.offset[k] + c * p.grad_input.c), taps.weight[k] * g);
    }
  }
}

template <class Real>
int launch_scatter(const SamplingParams<Real>& p, cudaStream_t stream) {
  const int cleared = clear_grad_input(p, stream);
  if (cleared != cudaSuccess || p.batch * p.channels * p.out_h * p.out_w == 0) return cleared;
  const Slots slots = slots_for<Real>(p.grad_input.c, p.grad_output.c, p.channels, false);
  const Plan plan = plan_tiles(p.batch, p.out_h, p.out_w, p.channels, slots, 8, 1);
  if (plan.blocks > kMaxBlocks) return cudaErrorInvalidConfiguration;
  const auto kernel = p.interpolation == Interpolation::kNearest
                          ? scatter<Interpolation::kNearest, Real>
                          : scatter<Interpolation::kBilinear, Real>;
  PF_LAUNCH(kernel, unsigned(plan.blocks), kThreads, 0, stream, p, plan);
  return cudaGetLastError();
}

}  // namespace PF_ISA
}  // namespace pyfast
