// The gradient of a filter through the lattice in the features of its points, by their barycentric
// weights: those of the slice meet the filtered values, those of the splat the filtered gradient.
#pragma once

#include "ops/dense_crf/dense_crf_filter.cuh"

namespace pyfast {
namespace PF_ISA {

// slopes: (all points, dims). Thread by thread, a point.
template <class Real>
__global__ void __launch_bounds__(kThreads)
    find_slopes(Points<Real> points, LatticeView<Real> lattice, int64_t stride, const Real* values,
                const Real* grad, const Real* blurred_values, const Real* blurred_grad,
                Real* slopes) {
  const int64_t point = thread_number();
  if (point >= points.count()) return;
  const int d = lattice.dims;
  Real of_weight[kMostFeatures + 1], of_y[kMostFeatures + 1];
  for (int k = 0; k <= d; ++k) {
    const int64_t vertex = lattice.corners[point * (d + 1) + k];
    Real sum = 0;
    for (int64_t c = 0; c < stride; ++c)
      sum += grad[point * stride + c] * blurred_values[vertex * stride + c] +
             values[point * stride + c] * blurred_grad[vertex * stride + c];
    of_weight[k] = sum * Real(raw_slice_scale(d));
  }
  Simplex<Real> simplex;
  points.locate(point, &simplex);
  barycentric_adjoint(d, simplex.rank, of_weight, of_y);
  elevate_adjoint(d, of_y, slopes + point * d);
}

template <class Real>
void filter_gradient(Run& run, const FilterGradientParams<Real>& p, const LatticeSizes& sizes) {
  const auto lattice = lattice_in<Real>(p.lattice, sizes);
  const Points<Real> points(p.features, lattice.dims, sizes.batch, sizes.points);
  const RowShape shape = plain_rows(p.channels), slope_shape = plain_rows(lattice.dims);
  const int64_t size = points.count() * shape.stride();
  Real *values = run.take<Real>(size), *grad = run.take<Real>(size);
  Real* slopes = run.take<Real>(points.count() * lattice.dims);
  to_rows(run, p.values, shape, sizes.batch, sizes.points, Real(1), values);
  to_rows(run, p.grad, shape, sizes.batch, sizes.points, Real(1), grad);
  const auto for_values = make_lattice_rows(run, lattice, shape);
  const auto for_grad = make_lattice_rows(run, lattice, shape);
  const Real* blurred_values =
      splat_and_blur<Real>(run, lattice, shape, values, nullptr, false, for_values);
  const Real* blurred_grad =
      splat_and_blur<Real>(run, lattice, shape, grad, nullptr, true, for_grad);
  run.launch(find_slopes<Real>, run.blocks_for(points.count()), points, lattice, shape.stride(),
             values, grad, blurred_values, blurred_grad, slopes);
  to_planes(run, slopes, slope_shape, sizes.batch, sizes.points, p.grad_features);
}

}  // namespace PF_ISA
}  // namespace pyfast
