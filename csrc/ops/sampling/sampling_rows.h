// Where output pixels are sampled, a run of them at a time.
#pragma once

#include <cstdint>

#include "ops/sampling/sampling_cpu.h"
#include "ops/sampling/sampling_math.h"

namespace pyfast {
namespace PF_ISA {

// Vector loops may run past the end of a run by less than this.
constexpr int kSlack = 16;

// The neighbours of a run of output pixels: indices of the upper left one, fractions, and the
// derivatives of the padded position by the position before padding.
template <class Real>
struct Run {
  int count;
  alignas(64) Real fx[kRun + kSlack];
  alignas(64) Real fy[kRun + kSlack];
  alignas(64) Real slope_x[kRun + kSlack];
  alignas(64) Real slope_y[kRun + kSlack];
  alignas(64) int32_t x[kRun + kSlack];
  alignas(64) int32_t y[kRun + kSlack];
  alignas(64) int32_t base[kRun + kSlack];  // offset of the upper left neighbour in the box
};

// Where one output image is sampled.
template <class Real>
struct Places {
  Places(const SamplingParams<Real>& p, int64_t n)
      : p(p),
        scale_x(pixel_scale<Real>(p.in_w, p.align_corners)),
        scale_y(pixel_scale<Real>(p.in_h, p.align_corners)) {
    if (p.grid != nullptr) {
      grid = p.grid + n * p.grid_stride[0];
    } else {
      theta = p.theta + 6 * n;
      map = affine_map(theta, p.in_h, p.in_w, p.out_h, p.out_w, p.align_corners);
      moderate = is_moderate(map);
    }
  }

  const SamplingParams<Real>& p;
  PixelScale<Real> scale_x, scale_y;
  const Real* grid = nullptr;
  const Real* theta = nullptr;
  AffineMap map{};
  bool moderate = false;
};

// The input image of output n.
template <class Real>
int64_t input_of(const SamplingParams<Real>& p, int64_t n) {
  return p.input_batch == 1 ? 0 : n;
}

// Positions in pixels, before padding, of output pixels (i, j .. j + count), and of some more.
template <class Real>
void positions(const Places<Real>& at, int64_t i, int64_t j, int count, Real* x, Real* y) {
  const auto sx = at.scale_x, sy = at.scale_y;
  const int rounded = (count + kSlack - 1) / kSlack * kSlack;
  if (at.grid != nullptr) {
    const int64_t* stride = at.p.grid_stride;
    const int64_t step = stride[2], to_y = stride[3];
    const Real* g = at.grid + i * stride[1] + j * step;
    if (step == 2 && to_y == 1) {
#pragma omp simd
      for (int k = 0; k < count; ++k) {
        x[k] = g[2 * k] * sx.scale + sx.shift;
        y[k] = g[2 * k + 1] * sy.scale + sy.shift;
      }
    } else {
      for (int k = 0; k < count; ++k) {
        x[k] = g[k * step] * sx.scale + sx.shift;
        y[k] = g[k * step + to_y] * sy.scale + sy.shift;
      }
    }
    for (int k = count; k < rounded; ++k) x[k] = y[k] = 0;
    return;
  }
  if (at.moderate) {
    // Rounded once for the run and once for the pixel: closer than a grid of normalised
    // coordinates can be.
    const AffineMap& m = at.map;
    const double column = static_cast<double>(j), line = static_cast<double>(i);
    const Real x0 = static_cast<Real>(m.xj * column + m.xi * line + m.x0);
    const Real y0 = static_cast<Real>(m.yj * column + m.yi * line + m.y0);
    const Real dx = static_cast<Real>(m.xj), dy = static_cast<Real>(m.yj);
#pragma omp simd
    for (int k = 0; k < rounded; ++k) {
      x[k] = dx * static_cast<Real>(k) + x0;
      y[k] = dy * static_cast<Real>(k) + y0;
    }
    return;
  }
  const Real* t = at.theta;
  const auto bx = base_scale<Real>(at.p.out_w, at.p.align_corners);
  const auto by = base_scale<Real>(at.p.out_h, at.p.align_corners);
  const Real yb = static_cast<Real>(i) * by.scale + by.shift;
  for (int k = 0; k < rounded; ++k) {
    const Real xb = static_cast<Real>(j + k) * bx.scale + bx.shift;
    x[k] = (t[0] * xb + t[1] * yb + t[2]) * sx.scale + sx.shift;
    y[k] = (t[3] * xb + t[4] * yb + t[5]) * sy.scale + sy.shift;
  }
}

// The same for `rows` rows of a tile from its row `r` on, one behind the other.
template <class Real>
void tile_positions(const Places<Real>& at, const Tile& tile, int r, int rows, Real* x, Real* y) {
  for (int k = 0; k < rows; ++k)
    positions(at, tile.top + r + k, tile.left, tile.columns, x + k * tile.columns,
              y + k * tile.columns);
}

// Rows of a tile that make one run.
inline int rows_of_run(const Tile& tile, int r) {
  const int fit = kRun / tile.columns, left = tile.rows - r;
  return fit < left ? fit : left;
}

template <Padding P, bool kSlopes, class Real>
void locate_axis(const Real* position, int count, int64_t size, bool align_corners, int32_t* index,
                 Real* fraction, Real* slope) {
  const Real length = static_cast<Real>(size);
#pragma omp simd
  for (int k = 0; k < count; ++k) {
    const Padded<Real> padded = pad<P>(position[k], length, align_corners);
    const Neighbours<Real> at = neighbours(padded.position, length);
    index[k] = at.index;
    fraction[k] = at.fraction;
    if (kSlopes) slope[k] = padded.slope;
  }
}

template <Padding P, bool kSlopes, class Real>
void locate_padded(const SamplingParams<Real>& p, const Real* x, const Real* y, Run<Real>* run) {
  const int count = (run->count + kSlack - 1) / kSlack * kSlack;
  locate_axis<P, kSlopes>(x, count, p.in_w, p.align_corners, run->x, run->fx, run->slope_x);
  locate_axis<P, kSlopes>(y, count, p.in_h, p.align_corners, run->y, run->fy, run->slope_y);
}

// Fills all of `run` but `base`, for `rows` rows of a tile; slopes only if kSlopes.
template <bool kSlopes, class Real>
void locate(const Places<Real>& at, const Tile& tile, int r, int rows, Run<Real>* run) {
  alignas(64) Real x[kRun + kSlack], y[kRun + kSlack];
  tile_positions(at, tile, r, rows, x, y);
  run->count = rows * tile.columns;
  switch (at.p.padding) {
    case Padding::kZeros:
      return locate_padded<Padding::kZeros, kSlopes>(at.p, x, y, run);
    case Padding::kBorder:
      return locate_padded<Padding::kBorder, kSlopes>(at.p, x, y, run);
    case Padding::kReflection:
      return locate_padded<Padding::kReflection, kSlopes>(at.p, x, y, run);
  }
}

// The nearest pixels: indices only, in the frame where the sample reads zero.
template <class Real>
void locate_nearest(const Places<Real>& at, const Tile& tile, int r, int rows, int32_t* index_x,
                    int32_t* index_y) {
  alignas(64) Real x[kRun + kSlack], y[kRun + kSlack];
  tile_positions(at, tile, r, rows, x, y);
  const int count = rows * tile.columns;
  const Real width = static_cast<Real>(at.p.in_w), height = static_cast<Real>(at.p.in_h);
  const auto round_all = [&](auto pad_axis) {
#pragma omp simd
    for (int k = 0; k < count; ++k) {
      index_x[k] = nearest_index(pad_axis(x[k], width), width);
      index_y[k] = nearest_index(pad_axis(y[k], height), height);
    }
  };
  const bool align = at.p.align_corners;
  switch (at.p.padding) {
    case Padding::kZeros:
      return round_all([](Real v, Real) { return v; });
    case Padding::kBorder:
      return round_all([](Real v, Real size) { return clip(v, Real(1), size - 1).position; });
    case Padding::kReflection:
      return round_all([align](Real v, Real size) { return reflect(v, size, align).position; });
  }
}

}  // namespace PF_ISA
}  // namespace pyfast
