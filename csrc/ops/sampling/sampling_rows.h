// Where the pixels of one output row are sampled.
#pragma once

#include <cstdint>

#include "ops/sampling/sampling_cpu.h"
#include "ops/sampling/sampling_math.h"

namespace pyfast {
namespace PF_ISA {

// The neighbours of a run of output pixels: indices of the upper left one, fractions, and the
// derivatives of the padded position by the position before padding.
template <class Real>
struct Row {
  int32_t x[kRow], y[kRow];
  Real fx[kRow], fy[kRow];
  Real slope_x[kRow], slope_y[kRow];
  int32_t base[kRow];  // offset of the upper left neighbour in the box
};

template <class Real>
AffineMap map_of(const SamplingParams<Real>& p, int64_t n) {
  return affine_map(p.theta + 6 * n, p.in_h, p.in_w, p.out_h, p.out_w, p.align_corners);
}

// Positions in pixels, before padding, of output pixels (i, j .. j + count).
template <class Real>
void positions(const SamplingParams<Real>& p, int64_t n, int64_t i, int64_t j, int count, Real* x,
               Real* y) {
  const auto sx = pixel_scale<Real>(p.in_w, p.align_corners);
  const auto sy = pixel_scale<Real>(p.in_h, p.align_corners);
  if (p.grid != nullptr) {
    const Real* g = p.grid + n * p.grid_stride[0] + i * p.grid_stride[1] + j * p.grid_stride[2];
    const int64_t step = p.grid_stride[2], to_y = p.grid_stride[3];
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
    return;
  }
  const AffineMap map = map_of(p, n);
  if (is_moderate(map)) {
    // Rounded once for the run and once for the pixel: closer than a grid of normalised
    // coordinates can be.
    const Real x0 = static_cast<Real>(map.xj * j + map.xi * i + map.x0);
    const Real y0 = static_cast<Real>(map.yj * j + map.yi * i + map.y0);
    const Real dx = static_cast<Real>(map.xj), dy = static_cast<Real>(map.yj);
#pragma omp simd
    for (int k = 0; k < count; ++k) {
      x[k] = dx * static_cast<Real>(k) + x0;
      y[k] = dy * static_cast<Real>(k) + y0;
    }
    return;
  }
  const Real* t = p.theta + 6 * n;
  const auto bx = base_scale<Real>(p.out_w, p.align_corners);
  const auto by = base_scale<Real>(p.out_h, p.align_corners);
  const Real yb = static_cast<Real>(i) * by.scale + by.shift;
  for (int k = 0; k < count; ++k) {
    const Real xb = static_cast<Real>(j + k) * bx.scale + bx.shift;
    x[k] = (t[0] * xb + t[1] * yb + t[2]) * sx.scale + sx.shift;
    y[k] = (t[3] * xb + t[4] * yb + t[5]) * sy.scale + sy.shift;
  }
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
void locate_padded(const SamplingParams<Real>& p, const Real* x, const Real* y, int count,
                   Row<Real>* row) {
  locate_axis<P, kSlopes>(x, count, p.in_w, p.align_corners, row->x, row->fx, row->slope_x);
  locate_axis<P, kSlopes>(y, count, p.in_h, p.align_corners, row->y, row->fy, row->slope_y);
}

// Fills all of `row` but `base`; slopes only if kSlopes.
template <bool kSlopes, class Real>
void locate(const SamplingParams<Real>& p, int64_t n, int64_t i, int64_t j, int count,
            Row<Real>* row) {
  Real x[kRow], y[kRow];
  positions(p, n, i, j, count, x, y);
  switch (p.padding) {
    case Padding::kZeros:
      return locate_padded<Padding::kZeros, kSlopes>(p, x, y, count, row);
    case Padding::kBorder:
      return locate_padded<Padding::kBorder, kSlopes>(p, x, y, count, row);
    case Padding::kReflection:
      return locate_padded<Padding::kReflection, kSlopes>(p, x, y, count, row);
  }
}

// The nearest pixels: indices only, in the frame where the sample reads zero.
template <class Real>
void locate_nearest(const SamplingParams<Real>& p, int64_t n, int64_t i, int64_t j, int count,
                    int32_t* index_x, int32_t* index_y) {
  Real x[kRow], y[kRow];
  positions(p, n, i, j, count, x, y);
  const Real width = static_cast<Real>(p.in_w), height = static_cast<Real>(p.in_h);
  const auto round_all = [&](auto pad_axis) {
#pragma omp simd
    for (int k = 0; k < count; ++k) {
      index_x[k] = nearest_index(pad_axis(x[k], width), width);
      index_y[k] = nearest_index(pad_axis(y[k], height), height);
    }
  };
  const bool align = p.align_corners;
  switch (p.padding) {
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
