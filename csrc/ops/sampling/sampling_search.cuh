// Which output pixels of an affine map can touch an input pixel: what the gather visits.
//
// The search need not be exact, only never too narrow: each candidate is judged afterwards by the
// very position that forward computes for it. So every bound is widened by what rounding can do.
#pragma once

#include "ops/sampling/sampling_taps.cuh"

namespace pyfast {
namespace PF_ISA {

constexpr int kMostFolds = 32;  // on one axis, that are worth a search of their own

// A closed interval; empty where low > high.
template <class Real>
struct Range {
  Real low, high;
};

// One axis of a map, whose row (step, row_step, start) says: position = step * j + row_step * i +
// start.
template <class Real>
struct Axis {
  Real inverse;         // 1 / step, 0 where a row hardly moves along this axis
  Real margin;          // what rounding and hardly moving amount to, in input pixels
  Real reach;           // no position is further from 0
  Real to_row;          // row = to_row * position + ..., by the inverse map
  int32_t fold, folds;  // first fold that positions lie in, and how many

  PF_HD void set(const double (&map)[3], int64_t out_h, int64_t out_w, double epsilon) {
    const double along = std::fabs(map[0]) * out_w;
    const bool flat = along < 1. / 64;
    const double most = along + std::fabs(map[1]) * out_h + std::fabs(map[2]) + 2;
    inverse = flat ? Real(0) : Real(1 / map[0]);
    margin = Real(0.01 + 16 * epsilon * most + (flat ? along : 0));
    reach = Real(most);
    fold = 0;
    folds = 1;
  }

  // False where there are too many folds.
  PF_HD bool set_folds(const double (&map)[3], int64_t out_h, int64_t out_w, int64_t size,
                       bool align_corners) {
    const double j = map[0] * out_w, i = map[1] * out_h;
    const double low = map[2] + std::fmin(j, 0.) + std::fmin(i, 0.) - margin;
    const double high = map[2] + std::fmax(j, 0.) + std::fmax(i, 0.) + margin;
    const double first = fold_of(low, double(size), align_corners);
    const double last = fold_of(high, double(size), align_corners);
    if (!(last - first < kMostFolds && std::fabs(first) < 1e6)) return false;
    fold = int32_t(first);
    folds = int32_t(last - first) + 1;
    return true;
  }

  // Positions before padding, of fold f, that can touch a pixel; radius: of the interpolation.
  PF_HD Range<Real> window(int32_t pixel, int32_t f, int64_t size, Real radius, Padding padding,
                           bool align_corners) const {
    const Real around = radius + margin;
    if (padding == Padding::kReflection) {
      const Real low = align_corners ? Real(0) : Real(-0.5);
      const Real span = align_corners ? Real(size - 1) : Real(size);
      if (span <= 0) return {-reach, reach};
      const Real centre = f % 2 == 0 ? pixel + f * span : 2 * low + (f + 1) * span - pixel;
      return {centre - around, centre + around};
    }
    const bool border = padding == Padding::kBorder;
    return {border && pixel == 0 ? -reach : pixel - around,
            border && pixel == size - 1 ? reach : pixel + around};
  }

  // Leaves of `columns` those where a row that starts at `start` is in the window.
  PF_HD void narrow(const Range<Real>& window, Real start, Range<Real>* columns) const {
    if (inverse == 0) {
      if (!(start >= window.low && start <= window.high)) columns->high = -2;
      return;
    }
    const Real a = (window.low - start) * inverse, b = (window.high - start) * inverse;
    columns->low = std::fmax(columns->low, std::fmin(a, b));
    columns->high = std::fmin(columns->high, std::fmax(a, b));
  }
};

struct Indices {
  int32_t first, last;
};

// The whole numbers in a range widened by slack, within 0 .. count - 1.
template <class Real>
PF_HD Indices indices_in(Range<Real> range, Real slack, int32_t count) {
  const Real low = std::ceil(range.low - slack), high = std::floor(range.high + slack);
  // NaN, from bounds that overflow, means everything.
  return {low > 0 ? (low < count ? int32_t(low) : count) : 0,
          high < count - 1 ? (high > -1 ? int32_t(high) : -1) : count - 1};
}

// One map, prepared for the search. Built by one thread of a block for all.
template <class Real>
struct Search {
  MatrixMap<2, Real> image;
  Axis<Real> x, y;
  Real row_0, row_slack, column_slack;
  bool all_rows;

  // False for a map that the search does not serve: not moderate, or reflected too often.
  template <class T>
  PF_HD bool set(const SamplingParams<T>& p, const MapFrame& frame, int64_t n) {
    constexpr double epsilon = sizeof(Real) == 4 ? 1.2e-7 : 2.3e-16;
    image.set(p, frame, n);
    if (!image.moderate) return false;
    x.set(image.map[0], p.out_h, p.out_w, epsilon);
    y.set(image.map[1], p.out_h, p.out_w, epsilon);
    column_slack = Real(0.01 + 8 * epsilon * p.out_w);
    set_rows(epsilon);
    return p.padding != Padding::kReflection ||
           (x.set_folds(image.map[0], p.out_h, p.out_w, p.in_w, p.align_corners) &&
            y.set_folds(image.map[1], p.out_h, p.out_w, p.in_h, p.align_corners));
  }

  // Rows by the inverse map; a map without one, or nearly so, has every row searched.
  PF_HD void set_rows(double epsilon) {
    const double (&in_x)[3] = image.map[0], (&in_y)[3] = image.map[1];
    const double a = in_x[0] * in_y[1], b = in_x[1] * in_y[0], determinant = a - b;
    all_rows = !(std::fabs(determinant) > 1e-6 * (std::fabs(a) + std::fabs(b)));
    const double to_y = all_rows ? 0 : in_x[0] / determinant;
    const double to_x = all_rows ? 0 : -in_y[0] / determinant;
    const double row = -(to_y * in_y[2] + to_x * in_x[2]);
    y.to_row = Real(to_y);
    x.to_row = Real(to_x);
    row_0 = Real(row);
    const double most = std::fabs(to_y) * y.reach + std::fabs(to_x) * x.reach + std::fabs(row);
    row_slack = Real(0.01 + (16 * epsilon + 1e-8) * most);
  }

  PF_HD Indices rows(const Range<Real>& wx, const Range<Real>& wy, int32_t out_h) const {
    if (all_rows) return {0, out_h - 1};
    const Real x_low = x.to_row * wx.low, x_high = x.to_row * wx.high;
    const Real y_low = y.to_row * wy.low, y_high = y.to_row * wy.high;
    const Range<Real> range{row_0 + std::fmin(x_low, x_high) + std::fmin(y_low, y_high),
                            row_0 + std::fmax(x_low, x_high) + std::fmax(y_low, y_high)};
    return indices_in(range, row_slack, out_h);
  }

  PF_HD Indices columns(const Point<2, Real>& row, const Range<Real>& wx, const Range<Real>& wy,
                        int32_t out_w) const {
    Range<Real> range{0, Real(out_w)};
    x.narrow(wx, row.at[0], &range);
    y.narrow(wy, row.at[1], &range);
    return indices_in(range, column_slack, out_w);
  }
};

// How much of a sample at a padded position goes to this pixel, on one axis; false for none.
template <Interpolation I, class Real>
PF_HD bool share(Real position, int32_t pixel, Real size, Real* weight) {
  if constexpr (I == Interpolation::kNearest) {
    *weight = 1;
    return nearest_index(position, size) == pixel;
  } else {
    const Neighbours<Real> near = neighbours(position, size);
    *weight = near.index == pixel ? 1 - near.fraction : near.fraction;
    return near.index == pixel || near.index + 1 == pixel;
  }
}

}  // namespace PF_ISA
}  // namespace pyfast
