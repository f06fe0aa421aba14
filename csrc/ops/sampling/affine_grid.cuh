// The grid of an affine map and its adjoint, which is a sum over all points of the grid.
#pragma once

#include "ops/sampling/sampling_matrix_sum.cuh"

namespace pyfast {
namespace PF_ISA {

// No image takes part: its step to pixels is not used.
template <class Real>
MapFrame grid_frame(const AffineGridParams<Real>& p) {
  const bool align = p.align_corners;
  return {{base_scale<double>(p.out_w, align), base_scale<double>(p.out_h, align),
           base_scale<double>(p.out_d, align)},
          {}};
}

template <class Real>
int64_t grid_pixels(const AffineGridParams<Real>& p) {
  return p.out_d * p.out_h * p.out_w;
}

template <class Real>
Plan plan_grid(const AffineGridParams<Real>& p) {
  return plan_tiles(p.batch, p.out_d * p.out_h, p.out_w, 1, Slots{0, false, 1}, 1, 1);
}

template <class Real>
bool sides_fit(const AffineGridParams<Real>& p) {
  return p.out_d * p.out_h < kMaxSide && p.out_w < kMaxSide;
}

template <int D, class Real>
__global__ void __launch_bounds__(kThreads)
    affine_grid(const AffineGridParams<Real> p, const Plan plan, const MapFrame frame) {
  const Place place = place_of(plan, blockIdx.x, threadIdx.x, 1);
  if (!has_work(plan, place)) return;
  const Pixel<D> pixel = pixel_at<D>(place.x, place.row, p.out_h);
  const Real* theta = p.theta + D * (D + 1) * place.image;
  const int64_t row = place.image * p.out_d * p.out_h + place.row;
  Real* out = p.grid + D * (row * p.out_w + place.x);
  Real base[D];
  for (int a = 0; a < D; ++a)
    base[a] = std::fma(Real(pixel.at[a]), Real(frame.base[a].scale), Real(frame.base[a].shift));
  for (int r = 0; r < D; ++r) {
    const Real* of_row = theta + r * (D + 1);
    Real sum = of_row[0] * base[0];
    for (int a = 1; a < D; ++a) sum += of_row[a] * base[a];
    out[r] = sum + of_row[D];
  }
}

template <class Real>
int launch_affine_grid(const AffineGridParams<Real>& p, cudaStream_t stream) {
  if (!sides_fit(p)) return cudaErrorInvalidValue;
  if (p.batch * grid_pixels(p) == 0) return cudaSuccess;
  const Plan plan = plan_grid(p);
  if (plan.blocks > kMaxBlocks) return cudaErrorInvalidConfiguration;
  const auto kernel = p.dims == 2 ? affine_grid<2, Real> : affine_grid<3, Real>;
  PF_LAUNCH(kernel, unsigned(plan.blocks), kThreads, 0, stream, p, plan, grid_frame(p));
  return cudaGetLastError();
}

template <int D, class Real>
__global__ void __launch_bounds__(kThreads)
    affine_grid_gradient(const AffineGridParams<Real> p, const Plan plan, const MapFrame frame,
                         uint32_t partials, double* out) {
  Place place = place_of(plan, 0, threadIdx.x, 1);
  place.image = blockIdx.x / partials;
  MatrixSum<D, D> sum{};
  for (uint32_t tile = blockIdx.x % partials; tile < plan.tiles; tile += partials) {
    move_to_tile(plan, tile, threadIdx.x, &place);
    if (!has_work(plan, place)) continue;
    const Pixel<D> pixel = pixel_at<D>(place.x, place.row, p.out_h);
    const Real* g = p.grad_grid.at(place.image, pixel.z(), pixel.y(), pixel.x());
    double gradient[D];
    for (int a = 0; a < D; ++a) gradient[a] = g[a * p.grad_grid.c];
    sum.add(gradient, Base<D>(frame, pixel).at);
  }
  write_block_sum<kThreads>(sum, out + int64_t{blockIdx.x} * sum.kSize);
}

template <int D, class Real>
int launch_grid_gradient(const AffineGridParams<Real>& p, double* partial_sums,
                         cudaStream_t stream) {
  if (p.batch == 0) return cudaSuccess;
  if (grid_pixels(p) == 0)
    return cudaMemsetAsync(p.grad_theta, 0, p.batch * D * (D + 1) * sizeof(Real), stream);
  const int64_t partials = partials_of_image(grid_pixels(p));
  const Plan plan = plan_grid(p);
  if (plan.blocks > kMaxBlocks || p.batch * partials > kMaxBlocks)
    return cudaErrorInvalidConfiguration;
  const auto kernel = affine_grid_gradient<D, Real>;
  PF_LAUNCH(kernel, unsigned(p.batch * partials), kThreads, 0, stream, p, plan, grid_frame(p),
            uint32_t(partials), partial_sums);
  return launch_partial_sums<MatrixSum<D, D>>(p.batch, partials, partial_sums, p.grad_theta,
                                              stream);
}

template <class Real>
int launch_affine_grid_gradient(const AffineGridParams<Real>& p, double* partial_sums,
                                cudaStream_t stream) {
  if (!sides_fit(p)) return cudaErrorInvalidValue;
  return p.dims == 2 ? launch_grid_gradient<2>(p, partial_sums, stream)
                     : launch_grid_gradient<3>(p, partial_sums, stream);
}

}  // namespace PF_ISA
}  // namespace pyfast
