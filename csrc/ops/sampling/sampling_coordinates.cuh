// Gradients of where to sample: of a grid pixel by pixel, of affine maps as sums over pixels.
#pragma once

#include "ops/sampling/sampling_theta_sum.cuh"

namespace pyfast {
namespace PF_ISA {

// Derivative of the loss by the position in pixels before padding, from this thread's channels.
template <int V, class Real>
__device__ __forceinline__ Point<Real> position_gradient(const SamplingParams<Real>& p,
                                                         const Plan& plan, const Place& place,
                                                         const Point<Real>& at) {
  const Padded<Real> x = pad(p.padding, at.x, Real(p.in_w), p.align_corners);
  const Padded<Real> y = pad(p.padding, at.y, Real(p.in_h), p.align_corners);
  const Taps<Interpolation::kBilinear, Real> taps(p, x.position, y.position, p.input.h, p.input.w);
  const Real fx = neighbours(x.position, Real(p.in_w)).fraction;
  const Real fy = neighbours(y.position, Real(p.in_h)).fraction;
  const Real* input = p.input.data + (p.input_batch == 1 ? 0 : place.image * p.input.n);
  const Real* grad = p.grad_output.at(place.image, 0, place.y, place.x);
  Point<Real> sum{};
#pragma unroll 2
  for (int c = place.channel; c < place.channels_end; c += plan.slots() * V) {
    const auto g = load<V>(grad + c * p.grad_output.c);
    Pack<V, Real> pixel[4];
    for (int k = 0; k < 4; ++k)
      pixel[k] = load_inside<V>(input, taps.offset[k] + c * p.input.c, taps.inside[k]);
    for (int v = 0; v < V; ++v) {
      const Real top = pixel[1].value[v] - pixel[0].value[v];
      const Real bottom = pixel[3].value[v] - pixel[2].value[v];
      const Real left = pixel[2].value[v] - pixel[0].value[v];
      const Real right = pixel[3].value[v] - pixel[1].value[v];
      sum.x += g.value[v] * (top * (1 - fy) + bottom * fy);
      sum.y += g.value[v] * (left * (1 - fx) + right * fx);
    }
  }
  return {x.slope * sum.x, y.slope * sum.y};
}

// The channels of a pixel are divided among enough threads; all of them in one block.
template <class Real>
Plan plan_coordinates(const SamplingParams<Real>& p, Slots* slots) {
  *slots = slots_for<Real>(p.input, p.grad_output, p.channels);
  const int64_t pixels = p.batch * p.out_h * p.out_w;
  if (!slots->inner)  // 8 pixels side by side still fill the smallest transfer from memory
    while (slots->log2 < kThreadsLog2 - 3 && (8 << slots->log2) <= p.channels &&
           pixels << slots->log2 < PF_ENOUGH_THREADS)
      ++slots->log2;
  return plan_tiles(p.batch, p.out_h, p.out_w, p.channels, *slots, 0, 1);
}

template <int V, class Real>
__global__ void __launch_bounds__(kThreads)
    grid_gradient(const SamplingParams<Real> p, const Plan plan) {
  __shared__ Point<Real> of_slot[kThreads];
  const Place place = place_of(plan, blockIdx.x, threadIdx.x, V);
  const bool active = place.x < plan.width && place.y < plan.height;
  Point<Real> sum{};
  if (active)
    sum = position_gradient<V>(p, plan, place, grid_position(p, place.image, place.y, place.x));
  of_slot[threadIdx.x] = sum;
  __syncthreads();
  if (!active || place.slot > 0) return;
  const int next = plan.slots_inner ? 1 : 1 << plan.pixels_log2();
  for (int s = 1; s < plan.slots(); ++s) {
    sum.x += of_slot[threadIdx.x + s * next].x;
    sum.y += of_slot[threadIdx.x + s * next].y;
  }
  Real* out = p.grad_grid + 2 * ((place.image * p.out_h + place.y) * p.out_w + place.x);
  out[0] = sum.x * pixel_scale<Real>(p.in_w, p.align_corners).scale;
  out[1] = sum.y * pixel_scale<Real>(p.in_h, p.align_corners).scale;
}

template <class Real>
int launch_grid_gradient(const SamplingParams<Real>& p, cudaStream_t stream) {
  const int64_t count = p.batch * p.out_h * p.out_w * 2;
  if (count == 0) return cudaSuccess;
  if (p.interpolation == Interpolation::kNearest || p.channels == 0)
    return cudaMemsetAsync(p.grad_grid, 0, count * sizeof(Real), stream);
  Slots slots;
  const Plan plan = plan_coordinates(p, &slots);
  if (plan.blocks > kMaxBlocks) return cudaErrorInvalidConfiguration;
  const auto kernel =
      slots.vector > 1 ? grid_gradient<kVector<Real>, Real> : grid_gradient<1, Real>;
  PF_LAUNCH(kernel, unsigned(plan.blocks), kThreads, 0, stream, p, plan);
  return cudaGetLastError();
}

// One block adds up its share of the tiles of one image.
template <int V, class Real>
__global__ void __launch_bounds__(kThreads)
    theta_gradient(const SamplingParams<Real> p, const Plan plan, const AffineFrame frame,
                   uint32_t partials, double* out) {
  __shared__ AffineImage<Real> map;
  Place place = place_of(plan, 0, threadIdx.x, V);
  place.image = blockIdx.x / partials;
  if (threadIdx.x == 0) map.set(p.theta, frame, place.image);
  __syncthreads();
  ThetaSum sum{};
  for (uint32_t tile = blockIdx.x % partials; tile < plan.tiles; tile += partials) {
    move_to_tile(plan, tile, threadIdx.x, &place);
    if (place.x >= plan.width || place.y >= plan.height) continue;
    const Point<Real> at = map.at(frame, place.y, place.x);
    const Point<Real> g = position_gradient<V>(p, plan, place, at);
    sum.add(g.x * frame.px.scale, g.y * frame.py.scale, frame, place.x, place.y);
  }
  write_block_sum(sum, out + int64_t{blockIdx.x} * kThetaSize);
}

template <class Real>
int launch_theta_gradient(const SamplingParams<Real>& p, double* partial_sums,
                          cudaStream_t stream) {
  if (p.batch == 0) return cudaSuccess;
  if (p.interpolation == Interpolation::kNearest || p.channels * p.out_h * p.out_w == 0)
    return cudaMemsetAsync(p.grad_theta, 0, p.batch * kThetaSize * sizeof(Real), stream);
  Slots slots;
  const Plan plan = plan_coordinates(p, &slots);
  const int64_t partials = partials_of_image(p.out_h, p.out_w);
  if (plan.blocks > kMaxBlocks || p.batch * partials > kMaxBlocks)
    return cudaErrorInvalidConfiguration;
  const auto kernel =
      slots.vector > 1 ? theta_gradient<kVector<Real>, Real> : theta_gradient<1, Real>;
  PF_LAUNCH(kernel, unsigned(p.batch * partials), kThreads, 0, stream, p, plan, frame_of(p),
            uint32_t(partials), partial_sums);
  return launch_partial_sums(p.batch, partials, partial_sums, p.grad_theta, stream);
}

}  // namespace PF_ISA
}  // namespace pyfast
