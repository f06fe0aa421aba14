// Points with their features, and the range of the cells in which they lie.
#pragma once

#include "ops/dense_crf/dense_crf_keys.cuh"

namespace pyfast {
namespace PF_ISA {

// Where a point lies in the lattice; see find_simplex.
template <class Real>
struct Simplex {
  Real rest[kMostFeatures + 1];
  int32_t base[kMostFeatures + 1], rank[kMostFeatures + 1];

  PF_HD int32_t quotient(int i, int dims) const { return base[i] / (dims + 1); }
};

template <class Real>
struct Points {
  const Real* features;  // (images, dims, points)
  int32_t dims;
  int64_t images, points;
  Real scale[kMostFeatures];

  Points(const Real* features_, int dims_, int64_t images_, int64_t points_)
      : features(features_), dims(dims_), images(images_), points(points_) {
    for (int k = 0; k < dims; ++k) scale[k] = Real(lattice_scale(dims, k));
  }

  PF_HD int64_t count() const { return images * points; }

  PF_HD void read(int64_t point, Real* feature) const {
    const Real* first = features + point / points * dims * points + point % points;
    for (int k = 0; k < dims; ++k) feature[k] = first[k * points];
  }

  PF_HD void elevated(int64_t point, Real* y) const {
    Real scaled[kMostFeatures] = {};
    read(point, scaled);
    for (int k = 0; k < dims; ++k) scaled[k] *= scale[k];
    elevate(dims, scaled, y);
  }

  PF_HD void locate(int64_t point, Simplex<Real>* simplex) const {
    elevated(point, simplex->rest);
    find_simplex(dims, simplex->rest, simplex->base, simplex->rank);
  }
};

// Cells are numbered with integers up to this, in lattice and curve.
constexpr float kFarthest = 1 << 21;

// Cells of one unit along every feature. False for a point that has none.
struct Cells {
  template <class Real>
  PF_HD static bool find(const Points<Real>& points, int64_t point, int32_t* cell) {
    Real feature[kMostFeatures];
    points.read(point, feature);
    for (int k = 0; k < points.dims; ++k) {
      if (!(fabs(feature[k]) < Real(kFarthest))) return false;
      cell[k] = int32_t(floor(feature[k]));
    }
    return true;
  }
};

// Quotients of a simplex's base vertex.
struct Quotients {
  template <class Real>
  PF_HD static bool find(const Points<Real>& points, int64_t point, int32_t* cell) {
    Simplex<Real> simplex;
    points.elevated(point, simplex.rest);
    for (int k = 0; k <= points.dims; ++k)
      if (!(fabs(simplex.rest[k]) < Real(kFarthest))) return false;
    find_simplex(points.dims, simplex.rest, simplex.base, simplex.rank);
    for (int k = 0; k < points.dims; ++k) cell[k] = simplex.quotient(k, points.dims);
    return true;
  }
};

// extremes: (2, dims), the least cells negated and the largest; then 1 where a point is not finite,
// or else too far away.
template <class Cell, class Real>
__global__ void __launch_bounds__(kThreads, 1) find_bounds(Points<Real> points, int32_t* extremes) {
  __shared__ int32_t of_block[2 * kMostFeatures];
  const int d = points.dims, thread = threadIdx.x;
  if (thread < 2 * d) of_block[thread] = -INT32_MAX;
  __syncthreads();
  int32_t cell[kMostFeatures], least[kMostFeatures], most[kMostFeatures];
  for (int k = 0; k < d; ++k) {
    least[k] = INT32_MAX;
    most[k] = -INT32_MAX;
  }
  const int64_t threads = int64_t{gridDim.x} * kThreads;
  for (int64_t point = thread_number(); point < points.count(); point += threads) {
    if (!Cell::find(points, point, cell)) {
      Real feature[kMostFeatures];
      points.read(point, feature);
      bool finite = true;
      for (int k = 0; k < d; ++k) finite = finite && feature[k] - feature[k] == 0;
      extremes[2 * d + (finite ? 1 : 0)] = 1;
      continue;
    }
    for (int k = 0; k < d; ++k) {
      if (cell[k] < least[k]) least[k] = cell[k];
      if (cell[k] > most[k]) most[k] = cell[k];
    }
  }
  for (int k = 0; k < d; ++k) {
    const int32_t low = most_of_group(-least[k], kWarp), high = most_of_group(most[k], kWarp);
    if (thread % kWarp != 0) continue;
    atomicMax(&of_block[k], low);
    atomicMax(&of_block[d + k], high);
  }
  __syncthreads();
  if (thread < 2 * d) atomicMax(&extremes[thread], of_block[thread]);
}

__global__ void __launch_bounds__(kThreads) start_extremes(int32_t dims, int32_t* extremes) {
  const int i = threadIdx.x;
  if (i < 2 * dims + 2) extremes[i] = i < 2 * dims ? -INT32_MAX : 0;
}

// The host waits for them.
template <class Cell, class Real>
Bounds read_bounds(Run& run, const Points<Real>& points, LatticeError* failure) {
  constexpr unsigned kEnoughBlocks = 512;
  const int d = points.dims;
  int32_t found[2 * kMostFeatures + 2] = {};
  int32_t* extremes = run.take<int32_t>(2 * d + 2);
  const unsigned blocks = run.blocks_for(points.count());
  run.launch(start_extremes, 1, d, extremes);
  run.launch(find_bounds<Cell, Real>, blocks < kEnoughBlocks ? blocks : kEnoughBlocks, points,
             extremes);
  run.read(found, extremes, 2 * d + 2);
  if (found[2 * d + 1] != 0) *failure = LatticeError::kTooFar;
  if (found[2 * d] != 0) *failure = LatticeError::kNotFinite;
  Bounds bounds{};
  for (int k = 0; k < d && points.count() > 0; ++k) {
    bounds.least[k] = -found[k];
    bounds.most[k] = found[d + k];
  }
  return bounds;
}

}  // namespace PF_ISA
}  // namespace pyfast
