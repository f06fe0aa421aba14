// Images read and written where they lie: many contiguous channels (kWide), and the nearest pixel
// (kNearest).
#pragma once

#include <cstdint>
#include <cstring>

#include "ops/sampling/sampling_pixels.h"
#include "ops/sampling/sampling_rows.h"

namespace pyfast {
namespace PF_ISA {

// --- kWide --------------------------------------------------------------------------------------

// Calls body(i, j, run, k) for every pixel of a tile.
template <class Real, class Body>
void for_each_pixel(const Places<Real>& at, const Tile& tile, const Body& body) {
  Run<Real> run;
  for (int r = 0, rows; r < tile.rows; r += rows) {
    rows = rows_of_run(tile, r);
    locate<false>(at, tile, r, rows, &run);
    for (int row = 0, k = 0; row < rows; ++row)
      for (int column = 0; column < tile.columns; ++column, ++k)
        body(tile.top + r + row, tile.left + column, run, k);
  }
}

// The four neighbours of a sample; those outside the image are `zeros`.
template <class Real>
struct Taps {
  const Real* at[4];
};

template <class Real>
Taps<Real> taps_of(const SamplingParams<Real>& p, const Real* image, int32_t x, int32_t y,
                   const Real* zeros) {
  Taps<Real> taps;
  for (int t = 0; t < 4; ++t) {
    const int64_t u = x + (t & 1), v = y + (t >> 1);
    const bool inside = u >= 0 && u < p.in_w && v >= 0 && v < p.in_h;
    taps.at[t] = inside ? image + v * p.input.h + u * p.input.w : zeros;
  }
  return taps;
}

template <class Real>
void forward_wide(const SamplingParams<Real>& p, int64_t n, const Tile& tile, Real* zeros) {
  std::memset(zeros, 0, sizeof(Real) * p.channels);
  const Real* image = p.input.at(input_of(p, n), 0, 0, 0);
  for_each_pixel(Places<Real>(p, n), tile, [&](int64_t i, int64_t j, const Run<Real>& run, int k) {
    const auto taps = taps_of(p, image, run.x[k], run.y[k], zeros);
    blend_wide(taps.at, run.fx[k], run.fy[k], p.channels, p.output.at(n, 0, i, j));
  });
}

// Channels of a pixel of the incoming gradient, contiguous.
template <class Real>
const Real* gradient_pixel(const SamplingParams<Real>& p, const Real* grad, int64_t channels,
                           Real* line) {
  if (p.grad_output.c == 1) return grad;
  for (int64_t l = 0; l < channels; ++l) line[l] = grad[l * p.grad_output.c];
  return line;
}

template <class Real>
void spread_wide(const SamplingParams<Real>& p, const SamplingPlan& plan, int64_t n, int64_t first,
                 int64_t channels, Real* line) {
  const auto body = [&](int64_t i, int64_t j, const Run<Real>& run, int k) {
    const Real* from = p.grad_output.at(n, first, i, j);
    const Real* grad = gradient_pixel(p, from, channels, line);
    const Real fx = run.fx[k], fy = run.fy[k];
    const Real weight[4] = {(1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy};
    for (int tap = 0; tap < 4; ++tap) {
      const int64_t x = run.x[k] + (tap & 1), y = run.y[k] + (tap >> 1);
      if (x >= 0 && x < p.in_w && y >= 0 && y < p.in_h)
        add_wide(grad, weight[tap], channels, p.grad_input.at(input_of(p, n), first, y, x));
    }
  };
  for (int64_t t = 0; t < plan.tiles(); ++t)
    for_each_pixel(Places<Real>(p, n), plan.tile(t, p.out_h, p.out_w), body);
}

// --- kNearest -----------------------------------------------------------------------------------

// Calls body(i, j, y, x) for every pixel of a tile whose nearest neighbour lies in the image, and
// outside(i, j) for the others.
template <class Real, class Body, class Outside>
void for_each_nearest(const Places<Real>& at, const Tile& tile, const Body& body,
                      const Outside& outside) {
  alignas(64) int32_t x[kRun + kSlack], y[kRun + kSlack];
  for (int r = 0, rows; r < tile.rows; r += rows) {
    rows = rows_of_run(tile, r);
    locate_nearest(at, tile, r, rows, x, y);
    for (int row = 0, k = 0; row < rows; ++row)
      for (int column = 0; column < tile.columns; ++column, ++k) {
        if (x[k] >= 0 && x[k] < at.p.in_w && y[k] >= 0 && y[k] < at.p.in_h) {
          body(tile.top + r + row, tile.left + column, y[k], x[k]);
        } else {
          outside(tile.top + r + row, tile.left + column);
        }
      }
  }
}

template <class Real>
void forward_nearest(const SamplingParams<Real>& p, int64_t n, const Tile& tile) {
  const int64_t b = input_of(p, n);
  for_each_nearest(
      Places<Real>(p, n), tile,
      [&](int64_t i, int64_t j, int32_t y, int32_t x) {
        const Real* from = p.input.at(b, 0, y, x);
        Real* out = p.output.at(n, 0, i, j);
        for (int64_t c = 0; c < p.channels; ++c) out[c * p.output.c] = from[c * p.input.c];
      },
      [&](int64_t i, int64_t j) {
        Real* out = p.output.at(n, 0, i, j);
        for (int64_t c = 0; c < p.channels; ++c) out[c * p.output.c] = 0;
      });
}

template <class Real>
void spread_nearest(const SamplingParams<Real>& p, const SamplingPlan& plan, int64_t n,
                    int64_t first, int64_t channels) {
  const int64_t b = input_of(p, n);
  for (int64_t t = 0; t < plan.tiles(); ++t)
    for_each_nearest(
        Places<Real>(p, n), plan.tile(t, p.out_h, p.out_w),
        [&](int64_t i, int64_t j, int32_t y, int32_t x) {
          Real* to = p.grad_input.at(b, first, y, x);
          const Real* grad = p.grad_output.at(n, first, i, j);
          for (int64_t c = 0; c < channels; ++c)
            to[c * p.grad_input.c] += grad[c * p.grad_output.c];
        },
        [](int64_t, int64_t) {});
}

}  // namespace PF_ISA
}  // namespace pyfast
