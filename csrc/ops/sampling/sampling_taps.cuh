// The pixels that one sample reads, how much of each, and how that changes with its position.
#pragma once

#include "ops/sampling/sampling_positions.cuh"

namespace pyfast {
namespace PF_ISA {

template <class Real>
PF_HD Padded<Real> pad(Padding padding, Real x, Real size, bool align_corners) {
  if (padding == Padding::kBorder) return pad<Padding::kBorder>(x, size, align_corners);
  if (padding == Padding::kReflection) return pad<Padding::kReflection>(x, size, align_corners);
  return pad<Padding::kZeros>(x, size, align_corners);
}

template <Interpolation I>
constexpr int kTapsOfAxis = I == Interpolation::kNearest    ? 1
                            : I == Interpolation::kBilinear ? 2
                                                            : 4;

// What a sample reads along one axis.
template <Interpolation I, class Real>
struct AxisTaps {
  static constexpr int kCount = kTapsOfAxis<I>;
  Real weight[kCount];
  int64_t offset[kCount];  // in elements
  bool inside[kCount];
  Real fraction, slope;  // of the padded position

  // x: position before padding; stride: between neighbouring pixels.
  PF_HD void set(Real x, int64_t size, Padding padding, bool align_corners, int64_t stride) {
    if constexpr (I == Interpolation::kBicubic) {
      const Neighbours<Real> near = cubic_neighbours(x, size, padding, align_corners);
      cubic_weights(near.fraction, weight);
      for (int k = 0; k < kCount; ++k) {
        const int32_t index = cubic_tap(near.index - 1 + k, int32_t(size), padding, align_corners);
        offset[k] = index * stride;
        inside[k] = index >= 0;
      }
      fraction = near.fraction;
      slope = 1;
    } else {
      const Padded<Real> padded = pad(padding, x, Real(size), align_corners);
      int32_t index;
      if constexpr (I == Interpolation::kNearest) {
        index = nearest_index(padded.position, Real(size));
        weight[0] = 1;
      } else {
        const Neighbours<Real> near = neighbours(padded.position, Real(size));
        index = near.index;
        weight[0] = 1 - near.fraction;
        weight[1] = near.fraction;
      }
      slope = padded.slope;
      for (int k = 0; k < kCount; ++k) {
        offset[k] = (index + k) * stride;
        inside[k] = index + k >= 0 && index + k < size;
      }
    }
  }
};

// All taps of a sample: those of x vary fastest.
template <Interpolation I, int D, class Real>
struct Taps {
  static constexpr int kSide = kTapsOfAxis<I>;
  static constexpr int kSquare = kSide * kSide;
  static constexpr int kCount = D == 2 ? kSquare : kSquare * kSide;
  AxisTaps<I, Real> axis[D];

  // w, h, d: strides of the image that is read or written.
  template <class T>
  PF_HD Taps(const SamplingParams<T>& p, const Point<D, Real>& position, int64_t w, int64_t h,
             int64_t d) {
    axis[0].set(position.at[0], p.in_w, p.padding, p.align_corners, w);
    axis[1].set(position.at[1], p.in_h, p.padding, p.align_corners, h);
    if constexpr (D == 3) axis[2].set(position.at[2], p.in_d, p.padding, p.align_corners, d);
  }

  PF_HD Real weight(int k) const {
    const Real flat = axis[0].weight[k % kSide] * axis[1].weight[k / kSide % kSide];
    if constexpr (D == 3) return flat * axis[2].weight[k / kSquare];
    return flat;
  }
  PF_HD int64_t offset(int k) const {
    const int64_t flat = axis[0].offset[k % kSide] + axis[1].offset[k / kSide % kSide];
    if constexpr (D == 3) return flat + axis[2].offset[k / kSquare];
    return flat;
  }
  PF_HD bool inside(int k) const {
    const bool flat = axis[0].inside[k % kSide] && axis[1].inside[k / kSide % kSide];
    if constexpr (D == 3) return flat && axis[2].inside[k / kSquare];
    return flat;
  }
};

// Derivative of a sample along each axis, by the padded position. Neighbours are subtracted before
// they are weighted: on smooth images that loses least.
template <Interpolation I, int D, class Real>
struct Slopes {
  using All = Taps<I, D, Real>;
  static constexpr int kSide = All::kSide;
  Real cubic[D][kSide];

  PF_HD explicit Slopes(const All& taps) {
    if constexpr (I == Interpolation::kBicubic) {
      for (int a = 0; a < D; ++a) cubic_slopes(taps.axis[a].fraction, cubic[a]);
    }
  }

  template <int kAxis>
  PF_HD Real along(const All& taps, const Real (&value)[All::kCount]) const {
    constexpr int kStep = kAxis == 0 ? 1 : kAxis == 1 ? kSide : All::kSquare;
    Real sum = 0;
#pragma unroll
    for (int k = 0; k < All::kCount; ++k) {
      if (k / kStep % kSide != 0) continue;  // each line of taps once
      Real slope, weight = 1;
      if constexpr (I == Interpolation::kBilinear) {
        slope = value[k + kStep] - value[k];
      } else {
        slope = 0;
        for (int m = 0; m < kSide; ++m) slope += cubic[kAxis][m] * value[k + m * kStep];
      }
      if constexpr (kAxis != 0) weight *= taps.axis[0].weight[k % kSide];
      if constexpr (kAxis != 1) weight *= taps.axis[1].weight[k / kSide % kSide];
      if constexpr (D == 3 && kAxis != 2) weight *= taps.axis[D - 1].weight[k / All::kSquare];
      sum += weight * slope;
    }
    return sum;
  }
};

// Calls Launch::of<I, D>(p, rest...) for the interpolation and the dimensions of p.
template <class Launch, class T, class... Rest>
int dispatch(const SamplingParams<T>& p, const Rest&... rest) {
  switch (p.interpolation) {
    case Interpolation::kBilinear:
      return p.dims == 2 ? Launch::template of<Interpolation::kBilinear, 2>(p, rest...)
                         : Launch::template of<Interpolation::kBilinear, 3>(p, rest...);
    case Interpolation::kNearest:
      return p.dims == 2 ? Launch::template of<Interpolation::kNearest, 2>(p, rest...)
                         : Launch::template of<Interpolation::kNearest, 3>(p, rest...);
    case Interpolation::kBicubic:
      if (p.dims == 2) return Launch::template of<Interpolation::kBicubic, 2>(p, rest...);
  }
  return cudaErrorInvalidValue;
}

}  // namespace PF_ISA
}  // namespace pyfast
