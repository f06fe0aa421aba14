// Gradients of the coordinates: of a field, or of a matrix, a tile at a time.
#pragma once

#include <cstdint>
#include <cstring>

#include "ops/sampling/sampling_few.h"
#include "ops/sampling/sampling_planar.h"
#include "ops/sampling/sampling_taps.h"

namespace pyfast {
namespace PF_ISA {

// Moments of a block of derivatives: sum g, sum column * g, sum row * g, in the order of the runs
// and added up in double.
template <class Real>
void add_moments(const Real* g, int rows, int columns, double moments[3]) {
  constexpr int kStep = kNative<Real>;
  Vec<Real, kStep> sum{}, by_column{}, by_row{}, first;
  for (int l = 0; l < kStep; ++l) first[l] = static_cast<Real>(l);
  for (int r = 0; r < rows; ++r) {
    auto column = first;
    Vec<Real, kStep> of_row{};
    for (int k = 0; k < columns; k += kStep) {
      const auto v = load_part<kStep>(g + r * columns + k, columns - k);
      of_row += v;
      by_column += v * column;
      column += static_cast<Real>(kStep);
    }
    sum += of_row;
    by_row += of_row * static_cast<Real>(r);
  }
  moments[0] += add_lanes<Real, kStep>(sum);
  moments[1] += add_lanes<Real, kStep>(by_column);
  moments[2] += add_lanes<Real, kStep>(by_row);
}

// Where a block of derivatives begins in the output.
struct Corner {
  int64_t d, i, j;
};

// Adds the gradient of one row of a matrix: the sums of x * g, y * g[, z * g] and g over base
// coordinates x, y, z; `moments` count from `corner`.
inline void add_matrix_row(const MapFrame& frame, int dims, const double moments[3],
                           const Corner& corner, double* sums) {
  const auto x = frame.base[0], y = frame.base[1], z = frame.base[2];
  const double left = static_cast<double>(corner.j) * x.scale + x.shift;
  const double top = static_cast<double>(corner.i) * y.scale + y.shift;
  sums[0] += x.scale * moments[1] + left * moments[0];
  sums[1] += y.scale * moments[2] + top * moments[0];
  if (dims == 3) sums[2] += (static_cast<double>(corner.d) * z.scale + z.shift) * moments[0];
  sums[dims] += moments[0];
}

// From derivatives by x = X / W and y = Y / W to those by X, Y and W: by->at[0 .. 2]. X and Y are
// in the units of the matrix, `by` was by pixels.
template <class T, class Real>
void to_homogeneous(const Places<T>& at, const Tile& tile, int r, int rows, Positions<Real>* by) {
  Positions<Real> position;
  tile_positions(at, tile, r, rows, &position);
  const auto sx = at.scale(0), sy = at.scale(1);
  for (int row = 0, k = 0; row < rows; ++row) {
    const double start = row_start(at.projective, 2, 0, tile.top + r + row, tile.left);
    const Real first = static_cast<Real>(start), step = static_cast<Real>(at.projective.at[2][0]);
    for (int j = 0; j < tile.columns; ++j, ++k) {
      const Real w = step * static_cast<Real>(j) + first;
      const Real x = by->at[0][k], y = by->at[1][k];
      // A sample without influence has none, even where its position is not finite.
      const Real x_part = x != 0 ? x * (position.at[0][k] - sx.shift) : Real(0);
      const Real y_part = y != 0 ? y * (position.at[1][k] - sy.shift) : Real(0);
      const bool any = x != 0 || y != 0;
      by->at[0][k] = any ? x * sx.scale / w : Real(0);
      by->at[1][k] = any ? y * sy.scale / w : Real(0);
      by->at[2][k] = any ? -(x_part + y_part) / w : Real(0);
    }
  }
}

// From derivatives by padded positions to those by positions.
template <class Real>
void through_padding(const Run<Real>& run, int dims, Positions<Real>* by) {
  for (int a = 0; a < dims; ++a) {
    const Real* slope = run.slope[a];
    Real* x = by->at[a];
#pragma omp simd
    for (int k = 0; k < run.count; ++k) x[k] *= slope[k];
  }
}

// Turns a run's derivatives by the position in pixels, before padding, into rows of grad_field, or
// adds them to a tile's sums for the matrix.
template <class T, class Real>
void finish_run(const Places<T>& at, const Tile& tile, int r, int rows, Positions<Real>* by,
                double* sums) {
  const SamplingParams<T>& p = at.p;
  const bool projective = p.source == Source::kHomography;
  const int count = rows * tile.columns;
  if (p.has_matrix()) {
    if (projective) to_homogeneous(at, tile, r, rows, by);
    const int columns = p.dims + 1, matrix_rows = p.matrix_size() / columns;
    for (int a = 0; a < matrix_rows; ++a) {
      double moments[3] = {0, 0, 0};
      add_moments(by->at[a], rows, tile.columns, moments);
      if (!projective)
        for (double& moment : moments) moment *= at.frame.step[a].scale;
      add_matrix_row(at.frame, p.dims, moments, {tile.plane, tile.top + r, tile.left},
                     sums + a * columns);
    }
    return;
  }
  for (int a = 0; a < p.dims; ++a) {
    const Real scale = at.scale(a).scale;
    Real* x = by->at[a];
#pragma omp simd
    for (int k = 0; k < count; ++k) x[k] *= scale;
  }
  const auto& field = p.grad_field;
  const bool one_line = field.h == tile.columns * field.w;
  const int columns = one_line ? count : tile.columns;
  for (int first = 0; first < count; first += columns) {
    Real* out = field.at(at.n, tile.plane, tile.top + r + first / tile.columns, tile.left);
    if (p.dims == 2 && field.w == 2 && field.c == 1) {
      const Real *x = by->at[0] + first, *y = by->at[1] + first;
#pragma omp simd
      for (int j = 0; j < columns; ++j) {
        out[2 * j] = x[j];
        out[2 * j + 1] = y[j];
      }
      continue;
    }
    int done = 0;
    if (p.dims == 3 && field.w == 3 && field.c == 1)
      for (; done + 4 <= columns; done += 4) {
        const Real* from = by->at[0] + first + done;
        Vec<Real, 4> point[4] = {load<4>(from), load<4>(from + kRoom), load<4>(from + 2 * kRoom)};
        transpose4<Real>(point[0], point[1], point[2], point[3]);
        store_triples(out + 3 * done, point);
      }
    for (int a = 0; a < p.dims; ++a)
      for (int j = done; j < columns; ++j) out[a * field.c + j * field.w] = by->at[a][first + j];
  }
}

template <class S, class T, class Real>
void slopes_run(const Places<T>& at, const SamplingPlan& plan, const Tile& tile, int r, int rows,
                const Run<Real>& run, const TapPlaces<S>& places, const TaskMemory<Real>& memory,
                double* sums) {
  Positions<Real> by;
  if (plan.route == Route::kWide) {
    slopes_run_wide(at, tile, r, run, places, memory, &by);
  } else if (plan.route == Route::kFew) {
    with_few(at.p.channels, [&](auto few) {
      slopes_run_few<S, decltype(few)::value>(at, tile, r, run, places, &by);
    });
  } else if constexpr ((S::kCount > 4)) {
    slopes_run_taps(at, tile, r, rows, run, places, &by);
  }
  through_padding(run, at.p.dims, &by);
  finish_run(at, tile, r, rows, &by, sums);
}

template <class T, class Real>
void coordinates_planar(const Places<T>& at, const SamplingPlan& plan, const Tile& tile,
                        const TaskMemory<Real>& memory, double* sums) {
  const SamplingParams<T>& p = at.p;
  const Box box = box_of(at, plan, tile);
  const int64_t b = input_of(p, at.n);
  // Derivatives of the whole tile, summed over the groups.
  const int64_t pixels = static_cast<int64_t>(tile.rows) * tile.columns;
  Real *by_x = memory.aside, *by_y = by_x + pixels + kSlack;
  std::memset(by_x, 0, sizeof(Real) * 2 * (pixels + kSlack));
  Run<Real> run;
  for (int64_t g = 0; g < plan.groups; ++g) {
    const Group group = plan.group(p.channels, g);
    const bool last = g + 1 == plan.groups;
    with_lanes(group, BackwardLanes{}, [&](auto lanes) {
      constexpr int kLanes = decltype(lanes)::value;
      if (box.dense) pack_dense<kLanes>(p, b, group, box, memory.box);
      for (int r = 0, rows; r < tile.rows; r += rows) {
        rows = rows_of_run(tile, r);
        locate<true>(at, tile, r, rows, &run);
        const int64_t below = place<kLanes>(box, &run);
        if (!box.dense) pack_sparse<kLanes>(p, b, group, run, memory.box);
        const Real* grad = gradients<kLanes>(p, at.n, group, tile, r, rows, memory.line);
        const int64_t first = static_cast<int64_t>(r) * tile.columns;
        slopes<kLanes>(memory.box, below, run, grad, by_x + first, by_y + first);
        if (!last) continue;
        Positions<Real> by;
        std::memcpy(by.at[0], by_x + first, sizeof(Real) * run.count);
        std::memcpy(by.at[1], by_y + first, sizeof(Real) * run.count);
        through_padding(run, 2, &by);
        finish_run(at, tile, r, rows, &by, sums);
      }
    });
  }
}

}  // namespace PF_ISA
}  // namespace pyfast
