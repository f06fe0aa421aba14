// Where an output pixel samples: the one place that knows grids, flows and matrices apart.
#pragma once

#include <cmath>

#include "ops/sampling/sampling_math.h"
#include "ops/sampling/sampling_plan.cuh"

namespace pyfast {
namespace PF_ISA {

// Values by axis: x, y and, in a volume, z.
template <int D, class Real>
struct Point {
  Real at[D];
};

// Where one matrix samples, in pixels before padding. Built by one thread of a block for all: the
// map is composed in double precision, which is slow on most GPUs.
template <int D, class Real>
struct MatrixMap {
  double map[3][D + 1];  // the third row of an image is the denominator of a homography
  bool moderate;
  Real matrix[kMostMatrixValues];

  template <class T>
  PF_HD void set(const SamplingParams<T>& p, const MapFrame& frame, int64_t n) {
    const int size = p.matrix_size();
    for (int k = 0; k < size; ++k) matrix[k] = p.matrix[n * size + k];
    if constexpr (D == 2) {
      if (p.source == Source::kHomography) return keep(projective_map(matrix, frame));
    }
    keep(affine_map<D>(matrix, frame));
  }

  template <int kRows>
  PF_HD void keep(const LinearMap<kRows, D + 1>& composed) {
    moderate = is_moderate(composed);
    for (int r = 0; r < kRows; ++r)
      for (int c = 0; c <= D; ++c) map[r][c] = composed.at[r][c];
  }

  // The first R rows of the map where a row of pixels starts; meant for moderate maps.
  template <int R>
  PF_HD Point<R, Real> row(const Pixel<D>& pixel) const {
    Point<R, Real> start;
    for (int r = 0; r < R; ++r) {
      double sum = map[r][D];
      for (int a = 1; a < D; ++a) sum = std::fma(map[r][a], double(pixel.at[a]), sum);
      start.at[r] = Real(sum);
    }
    return start;
  }

  // The fma is spelt out so that every kernel finds the same bits.
  template <int R>
  PF_HD Point<R, Real> along(const Point<R, Real>& row, int32_t x) const {
    Point<R, Real> result;
    for (int r = 0; r < R; ++r) result.at[r] = std::fma(Real(map[r][0]), Real(x), row.at[r]);
    return result;
  }

  // Of a map with R rows: an affine one has D of them, a homography one more.
  template <int R>
  PF_HD Point<D, Real> at(const MapFrame& frame, const Pixel<D>& pixel) const {
    if (!moderate) return plain_at<R>(frame, pixel);
    const Point<R, Real> products = along(row<R>(pixel), pixel.x());
    Point<D, Real> result;
    for (int a = 0; a < D; ++a)
      result.at[a] = R == D ? products.at[a] : products.at[a] / products.at[R - 1];
    return result;
  }

  // Coordinate by coordinate.
  template <int R>
  PF_HD Point<D, Real> plain_at(const MapFrame& frame, const Pixel<D>& pixel) const {
    Real base[D];
    for (int a = 0; a < D; ++a)
      base[a] = std::fma(Real(pixel.at[a]), Real(frame.base[a].scale), Real(frame.base[a].shift));
    Point<R, Real> products;
    for (int r = 0; r < R; ++r) {
      const Real* of_row = matrix + r * (D + 1);
      Real sum = of_row[0] * base[0];
      for (int a = 1; a < D; ++a) sum += of_row[a] * base[a];
      products.at[r] = sum + of_row[D];
    }
    Point<D, Real> result;
    for (int a = 0; a < D; ++a) {
      const Real coordinate = R == D ? products.at[a] : products.at[a] / products.at[R - 1];
      result.at[a] = std::fma(coordinate, Real(frame.step[a].scale), Real(frame.step[a].shift));
    }
    return result;
  }
};

// To be called by all threads of a block, which then read the same map.
template <int D, class T, class Real = Accumulator<T>>
__device__ __forceinline__ void share_map(const SamplingParams<T>& p, const MapFrame& frame,
                                          int64_t n, MatrixMap<D, Real>* map) {
  if (!p.has_matrix()) return;
  if (threadIdx.x == 0) map->set(p, frame, n);
  __syncthreads();
}

// In pixels before padding, by a grid or a flow.
template <int D, class T, class Real = Accumulator<T>>
__device__ __forceinline__ Point<D, Real> field_position(const SamplingParams<T>& p,
                                                         const MapFrame& frame, int64_t n,
                                                         const Pixel<D>& pixel) {
  const Real* vector = p.field.at(n, pixel.z(), pixel.y(), pixel.x());
  Point<D, Real> result;
  for (int a = 0; a < D; ++a) {
    const Real value = __ldg(vector + a * p.field.c);
    result.at[a] = p.source == Source::kFlow
                       ? Real(pixel.at[a]) + value
                       : std::fma(value, Real(frame.step[a].scale), Real(frame.step[a].shift));
  }
  return result;
}

// The same by any source; `map` is read where it is a matrix.
template <int D, class T, class Real = Accumulator<T>>
__device__ __forceinline__ Point<D, Real> position_of(const SamplingParams<T>& p,
                                                      const MapFrame& frame,
                                                      const MatrixMap<D, Real>& map, int64_t n,
                                                      const Pixel<D>& pixel) {
  if (p.source == Source::kAffine) return map.template at<D>(frame, pixel);
  if constexpr (D == 2) {
    if (p.source == Source::kHomography) return map.template at<3>(frame, pixel);
  }
  return field_position(p, frame, n, pixel);
}

}  // namespace PF_ISA
}  // namespace pyfast
