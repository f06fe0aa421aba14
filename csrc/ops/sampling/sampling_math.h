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

// Coordinate -> pixels: x * scale + shift. Coordinates in pixels are there already.
template <class Real>
struct PixelScale {
  Real scale, shift;
};

template <class Real>
PF_HD PixelScale<Real> pixel_scale(int64_t size, bool align_corners, bool pixels = false) {
  if (pixels) return {Real(1), Real(0)};
  if (align_corners) return {Real(size - 1) / 2, Real(size - 1) / 2};
  return {Real(size) / 2, Real(size - 1) / 2};
}

// Index of an output pixel -> its base coordinate: index * scale + shift.
template <class Real>
PF_HD PixelScale<Real> base_scale(int64_t size, bool align_corners, bool pixels = false) {
  if (pixels) return {Real(1), Real(0)};
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

// --- bicubic
// --------------------------------------------------------------------------------------

// Keys' kernel with a = -0.75: weights of the pixels index - 1 .. index + 2, and their derivatives
// by the position, at a fraction t behind `index`. `near` is for distances up to 1, `far` for those
// from 1 to 2; V is a scalar or a vector of them, and the factors are exact in float.
template <class V>
PF_HD V cubic_near(V t) {
  return (t * 1.25f - 2.25f) * t * t + 1.f;
}
template <class V>
PF_HD V cubic_far(V t) {
  return ((t * -0.75f + 3.75f) * t - 6.f) * t + 3.f;
}
template <class V>
PF_HD V cubic_near_slope(V t) {
  return (t * 3.75f - 4.5f) * t;
}
template <class V>
PF_HD V cubic_far_slope(V t) {
  return (t * -2.25f + 7.5f) * t - 6.f;
}

template <class Real>
PF_HD void cubic_weights(Real t, Real weight[4]) {
  weight[0] = cubic_far(t + 1);
  weight[1] = cubic_near(t);
  weight[2] = cubic_near(1 - t);
  weight[3] = cubic_far(2 - t);
}

template <class Real>
PF_HD void cubic_slopes(Real t, Real slope[4]) {
  slope[0] = cubic_far_slope(t + 1);
  slope[1] = cubic_near_slope(t);
  slope[2] = -cubic_near_slope(1 - t);
  slope[3] = -cubic_far_slope(2 - t);
}

// The pixel left of a position that is not padded (padding is for each of its taps), brought so
// near to the image that an int32 holds it, without a change of what the taps read. A position of
// NaN or infinity has a fraction of NaN.
template <class Real>
PF_HD Neighbours<Real> cubic_neighbours(Real x, int64_t size, Padding padding, bool align_corners) {
  const Real floor = std::floor(x);
  const Real length = Real(size);
  Real near = floor;
  if (padding == Padding::kReflection) {
    const Real period = 2 * (align_corners ? length - 1 : length);
    if (period > 0) near = floor - period * std::floor(floor / period);
    // Where nothing is left of the fraction, dividing may have erred by more than a period.
    near = near > -2 * length - 4 ? near : Real(0);
    near = near < 4 * length + 4 ? near : Real(0);
  } else {
    near = near > -3 ? near : Real(-3);
    near = near < length + 1 ? near : length + 1;
  }
  return {static_cast<int32_t>(near), x - floor};
}

// The pixel that a tap at an index reads; -1 for none.
PF_HD int32_t cubic_tap(int32_t index, int32_t size, Padding padding, bool align_corners) {
  if (padding == Padding::kZeros) return index >= 0 && index < size ? index : -1;
  if (padding == Padding::kBorder) return index < 0 ? 0 : index < size ? index : size - 1;
  if (size == 1) return 0;
  const int32_t period = 2 * (align_corners ? size - 1 : size);
  int32_t turned = index % period;
  if (turned < 0) turned += period;
  if (turned < size) return turned;
  return align_corners ? period - turned : period - 1 - turned;
}

// --- maps
// -----------------------------------------------------------------------------------------

// A linear map from output pixels (j, i[, d], 1) to kRows rows: input pixels of an affine map, or
// input pixels times a denominator, and that denominator, of a homography.
template <int kRows, int kColumns>
struct LinearMap {
  double at[kRows][kColumns];
};
template <int kDims>
using AffineMap = LinearMap<kDims, kDims + 1>;
using ProjectiveMap = LinearMap<3, 3>;

// What a composed map takes from the sizes, by axis: base grid and step to pixels.
struct MapFrame {
  PixelScale<double> base[3], step[3];
};

template <class Params>
PF_HD MapFrame map_frame(const Params& p) {
  const bool align = p.align_corners, pixels = p.pixels;
  return {{base_scale<double>(p.out_w, align, pixels), base_scale<double>(p.out_h, align, pixels),
           base_scale<double>(p.out_d, align, pixels)},
          {pixel_scale<double>(p.in_w, align, pixels), pixel_scale<double>(p.in_h, align, pixels),
           pixel_scale<double>(p.in_d, align, pixels)}};
}

// A row of a matrix over base coordinates, as a row over output pixels.
template <int kColumns, class Real>
PF_HD void compose_row(const Real* row, const MapFrame& frame, double out[kColumns]) {
  constexpr int last = kColumns - 1;
  out[last] = row[last];
  for (int a = 0; a < last; ++a) {
    out[a] = row[a] * frame.base[a].scale;
    out[last] += row[a] * frame.base[a].shift;
  }
}

// Composes base grid, matrix (kDims x (kDims + 1)) and the step to pixels.
template <int kDims, class Real>
PF_HD AffineMap<kDims> affine_map(const Real* matrix, const MapFrame& frame) {
  AffineMap<kDims> map;
  for (int a = 0; a < kDims; ++a) {
    compose_row<kDims + 1>(matrix + a * (kDims + 1), frame, map.at[a]);
    for (int c = 0; c <= kDims; ++c) map.at[a][c] *= frame.step[a].scale;
    map.at[a][kDims] += frame.step[a].shift;
  }
  return map;
}

// The same for a homography (3 x 3): rows x * w, y * w and w.
template <class Real>
PF_HD ProjectiveMap projective_map(const Real* matrix, const MapFrame& frame) {
  ProjectiveMap map;
  compose_row<3>(matrix + 6, frame, map.at[2]);
  for (int a = 0; a < 2; ++a) {
    compose_row<3>(matrix + 3 * a, frame, map.at[a]);
    for (int c = 0; c < 3; ++c)
      map.at[a][c] = frame.step[a].scale * map.at[a][c] + frame.step[a].shift * map.at[2][c];
  }
  return map;
}

// False where the composed map would lose its small terms beside large ones, overflow or meet
// infinity minus infinity although the grid itself is defined: such maps are evaluated coordinate
// by coordinate, as torch does.
template <int kRows, int kColumns>
PF_HD bool is_moderate(const LinearMap<kRows, kColumns>& map) {
  const double bound = 1e9;
  for (int r = 0; r < kRows; ++r)
    for (int c = 0; c < kColumns; ++c)
      if (!(map.at[r][c] < bound && map.at[r][c] > -bound)) return false;
  return true;
}

}  // namespace PF_ISA
}  // namespace pyfast
