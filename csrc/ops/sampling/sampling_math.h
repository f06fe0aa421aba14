// The maths of one sample, for the CPU kernels, the CUDA kernels and their run on the host.
// Conventions are those of torch.nn.functional.grid_sample: normalised coordinates in [-1, 1],
// x before y, pixel centres at integers.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/device.h"
#include "ops/sampling/sampling.h"

namespace pyfast {
namespace PF_ISA {

// The image is thought to lie in a frame of zeros, kFrame pixels wide, so that a sample outside
// needs no case of its own: its position is clamped into the frame, where it reads zeros.
constexpr int kFrame = 2;

// Adding and subtracting 1.5 * 2^(mantissa bits) rounds to nearest even, as std::nearbyint.
PF_HD float round_even(float x) { return (x + 12582912.f) - 12582912.f; }
PF_HD double round_even(double x) { return (x + 6755399441055744.0) - 6755399441055744.0; }

// Normalised coordinate -> pixels: x * scale + shift.
template <class Real>
struct PixelScale {
  Real scale, shift;
};

template <class Real>
PF_HD PixelScale<Real> pixel_scale(int64_t size, bool align_corners) {
  if (align_corners) return {Real(size - 1) / 2, Real(size - 1) / 2};
  return {Real(size) / 2, Real(size - 1) / 2};
}

// Index of an output pixel -> its normalised base coordinate: index * scale + shift.
template <class Real>
PF_HD PixelScale<Real> base_scale(int64_t size, bool align_corners) {
  if (align_corners)
    return size > 1 ? PixelScale<Real>{Real(2) / (size - 1), Real(-1)}
                    : PixelScale<Real>{Real(0), Real(0)};
  return {Real(2) / size, Real(1) / size - 1};
}

// One coordinate after padding, and its derivative by the coordinate before.
template <class Real>
struct Padded {
  Real position, slope;
};

template <class Real>
PF_HD Padded<Real> clip(Real x, Real slope, Real last) {
  // Comparisons are written so that NaN becomes 0, as in torch.
  const bool inside = x > 0 && x < last;
  const Real low = x > 0 ? x : Real(0);
  return {low < last ? low : last, inside ? slope : Real(0)};
}

// Reflection mirrors about 0 and size-1 (align_corners) or about the outer edges -.5 and size-.5.
// The line between two mirrors is a fold; fold 0 is the image itself. How many folds from it x is.
template <class Real>
PF_HD Real fold_of(Real x, Real size, bool align_corners) {
  const Real from_low = x - (align_corners ? Real(0) : Real(-0.5));
  const Real span = align_corners ? size - 1 : size;
  const Real turns = span > 0 ? std::floor((from_low < 0 ? -from_low : from_low) / span) : Real(0);
  return from_low < 0 && span > 0 ? -1 - turns : turns;
}

template <class Real>
PF_HD Padded<Real> reflect(Real x, Real size, bool align_corners) {
  const Real low = align_corners ? Real(0) : Real(-0.5);
  const Real span = align_corners ? size - 1 : size;
  const Real from_low = x - low;
  const Real distance = from_low < 0 ? -from_low : from_low;
  const Real turns = span > 0 ? std::floor(distance / span) : Real(0);
  const Real rest = distance - turns * span;
  const bool odd = turns - 2 * std::floor(turns / 2) > Real(0.5);
  const Real sign = (from_low < 0) != odd ? Real(-1) : Real(1);
  const Real folded = odd ? span - rest + low : rest + low;
  return clip(span > 0 ? folded : Real(0), span > 0 ? sign : Real(0), size - 1);
}

template <Padding P, class Real>
PF_HD Padded<Real> pad(Real x, Real size, bool align_corners) {
  if (P == Padding::kBorder) return clip(x, Real(1), size - 1);
  if (P == Padding::kReflection) return reflect(x, size, align_corners);
  return {x, Real(1)};
}

// The two neighbours of a padded position on one axis: index and index + 1, weighted by
// 1 - fraction and fraction. Never outside [-kFrame, size + kFrame - 1], whatever the position;
// NaN has an index in the frame and a fraction of NaN.
template <class Real>
struct Neighbours {
  int32_t index;
  Real fraction;
};

template <class Real>
PF_HD Real into_frame(Real x, Real size) {
  const Real low = x > Real(-kFrame) ? x : Real(-kFrame);
  return low < size ? low : size;
}

template <class Real>
PF_HD Neighbours<Real> neighbours(Real x, Real size) {
  const Real inside = into_frame(x, size);
  const int32_t truncated = static_cast<int32_t>(inside);
  const int32_t index = truncated - (inside < Real(truncated) ? 1 : 0);
  const Real fraction = inside - Real(index);
  return {index, x == x ? fraction : x};
}

template <class Real>
PF_HD int32_t nearest_index(Real x, Real size) {
  return static_cast<int32_t>(round_even(into_frame(x, size)));
}

// An affine map from output pixels (j, i) to input pixels:
//   x = xj * j + xi * i + x0,   y = yj * j + yi * i + y0.
struct AffineMap {
  double xj, xi, x0, yj, yi, y0;
};

// What a composed map takes from the sizes: base grid (bx, by) and step to pixels (px, py).
struct AffineFrame {
  PixelScale<double> bx, by, px, py;
};

PF_HD AffineFrame affine_frame(int64_t in_h, int64_t in_w, int64_t out_h, int64_t out_w,
                               bool align_corners) {
  return {base_scale<double>(out_w, align_corners), base_scale<double>(out_h, align_corners),
          pixel_scale<double>(in_w, align_corners), pixel_scale<double>(in_h, align_corners)};
}

// Composes base grid, theta (2 x 3) and the step to pixels.
template <class Real>
PF_HD AffineMap affine_map(const Real* theta, const AffineFrame& frame) {
  const PixelScale<double> bx = frame.bx, by = frame.by, px = frame.px, py = frame.py;
  const double a = theta[0], b = theta[1], c = theta[2];
  const double d = theta[3], e = theta[4], f = theta[5];
  return {px.scale * a * bx.scale,
          px.scale * b * by.scale,
          px.scale * (a * bx.shift + b * by.shift + c) + px.shift,
          py.scale * d * bx.scale,
          py.scale * e * by.scale,
          py.scale * (d * bx.shift + e * by.shift + f) + py.shift};
}

template <class Real>
PF_HD AffineMap affine_map(const Real* theta, int64_t in_h, int64_t in_w, int64_t out_h,
                           int64_t out_w, bool align_corners) {
  return affine_map(theta, affine_frame(in_h, in_w, out_h, out_w, align_corners));
}

// False where the composed map would lose its small terms beside large ones, overflow or meet
// infinity minus infinity although the grid itself is defined: such maps are evaluated coordinate
// by coordinate, as torch does.
PF_HD bool is_moderate(const AffineMap& map) {
  const double bound = 1e9;
  const double all[] = {map.xj, map.xi, map.x0, map.yj, map.yi, map.y0};
  for (double value : all)
    if (!(value < bound && value > -bound)) return false;
  return true;
}

}  // namespace PF_ISA
}  // namespace pyfast
