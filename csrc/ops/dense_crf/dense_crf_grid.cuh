// The Gaussian on the pixel grid, without a lattice: along x, then along y.
#pragma once

#include "ops/dense_crf/dense_crf_rows.cuh"

namespace pyfast {
namespace PF_ISA {

// exp(-(k / sigma)^2 / 2) for k = 0 .. radius; what lies beyond is nothing at this precision.
template <class Real>
struct Taps {
  int32_t radius;
  Real* weight;  // (radius + 1)
};

template <class Real>
int32_t tap_radius(double sigma, int64_t size) {
  const double radius = ceil((sizeof(Real) == 4 ? 5.5 : 8.5) * sigma);
  return int32_t(radius < double(size - 1) ? radius : double(size - 1));
}

template <class Real>
__global__ void __launch_bounds__(kThreads) write_taps(double sigma, Taps<Real> taps) {
  const int64_t k = thread_number();
  if (k <= taps.radius) taps.weight[k] = Real(exp(-0.5 * (k / sigma) * (k / sigma)));
}

template <class Real>
Taps<Real> make_taps(Run& run, double sigma, int64_t size) {
  Taps<Real> taps{tap_radius<Real>(sigma, size), nullptr};
  taps.weight = run.take<Real>(taps.radius + 1);
  run.launch(write_taps<Real>, run.blocks_for(taps.radius + 1), sigma, taps);
  return taps;
}

// body(offset, weight) for every tap around `at` that lies in [0, size), in ascending order.
template <class Real, class Body>
PF_HD void for_taps(const Taps<Real>& taps, int64_t at, int64_t size, const Body& body) {
  const int32_t first = int32_t(at < taps.radius ? at : taps.radius);
  const int32_t last = int32_t(size - 1 - at < taps.radius ? size - 1 - at : taps.radius);
  for (int32_t k = -first; k <= last; ++k) body(k, taps.weight[k < 0 ? -k : k]);
}

// (images * height, width) rows: out = sum over x of tap * scale * values. scale: of the points of
// an image, or null.
template <class Real, int V>
__global__ void __launch_bounds__(kThreads)
    blur_along_x(const Real* values, int64_t all_points, int64_t points, int64_t width,
                 int32_t packs, Taps<Real> taps, const Real* scale, Real* out) {
  const int64_t i = thread_number(), point = i / packs;
  if (point >= all_points) return;
  const int64_t pixel = point % points;
  const auto* here = packs_of<V>(values) + i;
  Pack<Real, V> sum{};
  for_taps(taps, pixel % width, width, [&](int32_t k, Real weight) {
    const Real factor = scale != nullptr ? weight * scale[pixel + k] : weight;
    add_scaled(&sum, factor, here[int64_t{k} * packs]);
  });
  packs_of<V>(out)[i] = sum;
}

// The sum along y, of one pack of the pixel `point`.
template <int V, class Real>
PF_HD Pack<Real, V> blur_along_y(const Real* rows, int64_t point, int64_t points, int64_t width,
                                 int32_t packs, int32_t part, const Taps<Real>& taps) {
  const auto* here = packs_of<V>(rows) + point * packs + part;
  Pack<Real, V> sum{};
  for_taps(taps, point % points / width, points / width,
           [&](int32_t k, Real weight) { add_scaled(&sum, weight, here[k * width * packs]); });
  return sum;
}

// (points) of an image: the sums of all taps.
template <class Real>
__global__ void __launch_bounds__(kThreads)
    grid_mass(int64_t height, int64_t width, Taps<Real> along_x, Taps<Real> along_y, Real* mass) {
  const int64_t pixel = thread_number();
  if (pixel >= height * width) return;
  Real in_row = 0, in_column = 0;
  for_taps(along_x, pixel % width, width, [&](int32_t, Real weight) { in_row += weight; });
  for_taps(along_y, pixel / width, height, [&](int32_t, Real weight) { in_column += weight; });
  mass[pixel] = in_row * in_column;
}

}  // namespace PF_ISA
}  // namespace pyfast
