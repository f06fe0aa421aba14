// The grid of an affine map and its adjoint, which is a sum over all points of the grid.
#pragma once

#include "ops/sampling/sampling_theta_sum.cuh"

namespace pyfast {
namespace PF_ISA {

// No image takes part: the steps to pixels, sized 1, are not used.
template <class Real>
AffineFrame frame_of(const AffineGridParams<Real>& p) {
  return affine_frame(1, 1, p.out_h, p.out_w, p.align_corners);
}

template <class Real>
Plan plan_grid(const AffineGridParams<Real>& p) {
  return plan_tiles(p.batch, p.out_h, p.out_w, 1, Slots{0, false, 1}, 1, 1);
}

template <class Real>
__global__ void __launch_bounds__(kThreads)
    affine_grid(const AffineGridParams<Real> p, const Plan plan, const AffineFrame frame) {
  const Place place = place_of(plan, blockIdx.x, threadIdx.x, 1);
  if (place.x >= plan.width || place.y >= plan.height) return;
  const Real x = std::fma(Real(place.x), Real(frame.bx.scale), Real(frame.bx.shift));
  const Real y = std::fma(Real(place.y), Real(frame.by.scale), Real(frame.by.shift));
  const Real* theta = p.theta + kThetaSize * place.image;
  Real* out = p.grid + 2 * ((place.image * p.out_h + place.y) * p.out_w + place.x);
  out[0] = theta[0] * x + theta[1] * y + theta[2];
  out[1] = theta[3] * x + theta[4] * y + theta[5];
}

template <class Real>
int launch_affine_grid(const AffineGridParams<Real>& p, cudaStream_t stream) {
  if (p.out_h >= kMaxSide || p.out_w >= kMaxSide) return cudaErrorInvalidValue;
  if (p.batch * p.out_h * p.out_w == 0) return cudaSuccess;
  const Plan plan = plan_grid(p);
  if (plan.blocks > kMaxBlocks) return cudaErrorInvalidConfiguration;
  PF_LAUNCH(affine_grid<Real>, unsigned(plan.blocks), kThreads, 0, stream, p, plan, frame_of(p));
  return cudaGetLastError();
}

template <class Real>
__global__ void __launch_bounds__(kThreads)
    affine_grid_gradient(const AffineGridParams<Real> p, const Plan plan, const AffineFrame frame,
                         uint32_t partials, double* out) {
  Place place = place_of(plan, 0, threadIdx.x, 1);
  place.image = blockIdx.x / partials;
  ThetaSum sum{};
  for (uint32_t tile = blockIdx.x % partials; tile < plan.tiles; tile += partials) {
    move_to_tile(plan, tile, threadIdx.x, &place);
    if (place.x >= plan.width || place.y >= plan.height) continue;
    const Real* g = p.grad_grid + place.image * p.grad_grid_stride[0] +
                    place.y * p.grad_grid_stride[1] + place.x * p.grad_grid_stride[2];
    sum.add(g[0], g[p.grad_grid_stride[3]], frame, place.x, place.y);
  }
  write_block_sum(sum, out + int64_t{blockIdx.x} * kThetaSize);
}

template <class Real>
int launch_affine_grid_gradient(const AffineGridParams<Real>& p, double* partial_sums,
                                cudaStream_t stream) {
  if (p.out_h >= kMaxSide || p.out_w >= kMaxSide) return cudaErrorInvalidValue;
  if (p.batch == 0) return cudaSuccess;
  if (p.out_h * p.out_w == 0)
    return cudaMemsetAsync(p.grad_theta, 0, p.batch * kThetaSize * sizeof(Real), stream);
  const int64_t partials = partials_of_image(p.out_h, p.out_w);
  const Plan plan = plan_grid(p);
  if (plan.blocks > kMaxBlocks || p.batch * partials > kMaxBlocks)
    return cudaErrorInvalidConfiguration;
  PF_LAUNCH(affine_grid_gradient<Real>, unsigned(p.batch * partials), kThreads, 0, stream, p, plan,
            frame_of(p), uint32_t(partials), partial_sums);
  return launch_partial_sums(p.batch, partials, partial_sums, p.grad_theta, stream);
}

}  // namespace PF_ISA
}  // namespace pyfast
