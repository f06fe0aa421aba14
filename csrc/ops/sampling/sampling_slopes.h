// Gradients of the coordinates: of a grid, or of theta, a tile at a time.
#pragma once

#include <cstdint>
#include <cstring>

#include "ops/sampling/sampling_direct.h"
#include "ops/sampling/sampling_planar.h"

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

// Adds the gradient of theta's three entries for one component: sum xb * g, sum yb * g, sum g,
// where (xb, yb) are the base coordinates and `moments` count from pixel (top, left).
template <class Params>
void add_theta(const Params& p, const double moments[3], int64_t top, int64_t left, double* sums) {
  const auto bx = base_scale<double>(p.out_w, p.align_corners);
  const auto by = base_scale<double>(p.out_h, p.align_corners);
  const double xb = static_cast<double>(left) * bx.scale + bx.shift;
  const double yb = static_cast<double>(top) * by.scale + by.shift;
  sums[0] += bx.scale * moments[1] + xb * moments[0];
  sums[1] += by.scale * moments[2] + yb * moments[0];
  sums[2] += moments[0];
}

// Turns a run's derivatives by position into rows of grad_grid, or adds them to a tile's sums for
// theta.
template <class Real>
void finish_run(const Places<Real>& at, int64_t n, const Tile& tile, int r, int rows,
                const Run<Real>& run, Real* by_x, Real* by_y, double* sums) {
  const SamplingParams<Real>& p = at.p;
  const Real scale_x = at.scale_x.scale, scale_y = at.scale_y.scale;
#pragma omp simd
  for (int k = 0; k < run.count; ++k) {
    by_x[k] *= run.slope_x[k] * scale_x;
    by_y[k] *= run.slope_y[k] * scale_y;
  }
  if (p.grad_grid == nullptr) {
    double of_x[3] = {0, 0, 0}, of_y[3] = {0, 0, 0};
    add_moments(by_x, rows, tile.columns, of_x);
    add_moments(by_y, rows, tile.columns, of_y);
    add_theta(p, of_x, tile.top + r, tile.left, sums);
    add_theta(p, of_y, tile.top + r, tile.left, sums + 3);
    return;
  }
  for (int row = 0; row < rows; ++row) {
    const Real *x = by_x + row * tile.columns, *y = by_y + row * tile.columns;
    Real* out = p.grad_grid + 2 * ((n * p.out_h + tile.top + r + row) * p.out_w + tile.left);
#pragma omp simd
    for (int j = 0; j < tile.columns; ++j) {
      out[2 * j] = x[j];
      out[2 * j + 1] = y[j];
    }
  }
}

// `line` has room for five pixels of the image.
template <class Real>
void coordinates_wide(const SamplingParams<Real>& p, int64_t n, const Tile& tile, Real* line,
                      double* sums) {
  constexpr int kStep = kNative<Real> < 4 ? 4 : kNative<Real>;
  const Places<Real> at(p, n);
  const Real* image = p.input.at(input_of(p, n), 0, 0, 0);
  Real* zeros = line + 4 * p.channels;
  std::memset(zeros, 0, sizeof(Real) * p.channels);
  Run<Real> run;
  alignas(64) Real by_x[kRun], by_y[kRun];
  const Real* pixel[kRun];
  for (int r = 0, rows; r < tile.rows; r += rows) {
    rows = rows_of_run(tile, r);
    locate<true>(at, tile, r, rows, &run);
    for (int row = 0, k = 0; row < rows; ++row)
      for (int column = 0; column < tile.columns; ++column, ++k)
        pixel[k] = p.grad_output.at(n, 0, tile.top + r + row, tile.left + column);
    std::memset(by_x, 0, sizeof(by_x));
    std::memset(by_y, 0, sizeof(by_y));
    for (int k = 0; k < run.count; k += 4) {
      const Real *neighbour[4][4], *grad[4];
      for (int l = 0; l < 4; ++l) {
        const bool inside = k + l < run.count;
        const auto taps = taps_of(p, image, run.x[k + l], run.y[k + l], zeros);
        std::memcpy(neighbour[l], taps.at, sizeof(taps.at));
        grad[l] =
            inside ? gradient_pixel(p, pixel[k + l], p.channels, line + l * p.channels) : zeros;
      }
      add_slopes(products<kStep, Real>(neighbour, grad, p.channels), run, k, by_x, by_y);
    }
    finish_run(at, n, tile, r, rows, run, by_x, by_y, sums);
  }
}

template <class Real>
void coordinates_planar(const SamplingParams<Real>& p, const SamplingPlan& plan, int64_t n,
                        const Tile& tile, Real* packed, Real* line, double* sums) {
  const Places<Real> at(p, n);
  const Box box = box_of(at, plan, tile);
  const int64_t b = input_of(p, n);
  // Derivatives of the whole tile, summed over the groups.
  const int64_t pixels = static_cast<int64_t>(tile.rows) * tile.columns;
  Real *by_x = line + 16 * (kRun + kSlack), *by_y = by_x + pixels + kSlack;
  std::memset(by_x, 0, sizeof(Real) * 2 * (pixels + kSlack));
  Run<Real> run;
  for (int64_t g = 0; g < plan.groups; ++g) {
    const Group group = group_of(p.channels, g);
    const bool last = g + 1 == plan.groups;
    with_lanes(group, [&](auto lanes) {
      constexpr int kLanes = decltype(lanes)::value;
      if (box.dense) pack_dense<kLanes>(p, b, group, box, packed);
      for (int r = 0, rows; r < tile.rows; r += rows) {
        rows = rows_of_run(tile, r);
        locate<true>(at, tile, r, rows, &run);
        const int64_t below = place<kLanes>(box, &run);
        if (!box.dense) pack_sparse<kLanes>(p, b, group, run, packed);
        const Real* grad = gradients<kLanes>(p, n, group, tile, r, rows, line);
        const int64_t first = static_cast<int64_t>(r) * tile.columns;
        slopes<kLanes>(packed, below, run, grad, by_x + first, by_y + first);
        if (last) finish_run(at, n, tile, r, rows, run, by_x + first, by_y + first, sums);
      }
    });
  }
}

}  // namespace PF_ISA
}  // namespace pyfast
