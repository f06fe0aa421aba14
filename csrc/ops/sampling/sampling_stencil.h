// The taps of a sample: which pixels it reads on each axis, and with what weights. A stencil is
// known by its number of dimensions and of taps an axis: bilinear <2, 2>, trilinear <3, 2>,
// bicubic <2, 4>.
#pragma once

#include <cstdint>

#include "ops/sampling/sampling_layout.h"
#include "ops/sampling/sampling_rows.h"

namespace pyfast {
namespace PF_ISA {

constexpr int power(int base, int exponent) {
  return exponent == 0 ? 1 : base * power(base, exponent - 1);
}

// All taps of one sample: x runs fastest, then y, then z.
template <int kDims, int kTaps, class Real>
struct Taps {
  static constexpr int kCount = power(kTaps, kDims);
  int32_t index[kDims][kTaps];  // -1: outside the image
  Real weight[kDims][kTaps], slope[kDims][kTaps];

  // Calls body(tap, z, y, x) for every tap; indices on absent axes are 0.
  template <class Body>
  void for_each(const Body& body) const {
    for (int t = 0; t < kCount; ++t)
      body(t, kDims == 3 ? index[kDims - 1][t / (kTaps * kTaps)] : 0, index[1][t / kTaps % kTaps],
           index[0][t % kTaps]);
  }

  // Products of the axes' weights; on axis `by` of its derivative instead (-1: on none).
  void products(int by, Real out[kCount]) const {
    for (int t = 0; t < kCount; ++t) {
      Real product = 1;
      for (int a = 0, rest = t; a < kDims; ++a, rest /= kTaps)
        product *= a == by ? slope[a][rest % kTaps] : weight[a][rest % kTaps];
      out[t] = product;
    }
  }
};

template <int kDims, int kTaps, class T, class Real>
Taps<kDims, kTaps, Real> taps_of(const Places<T>& at, const Run<Real>& run, int k) {
  Taps<kDims, kTaps, Real> taps;
  for (int a = 0; a < kDims; ++a) {
    const int32_t size = static_cast<int32_t>(at.in_size(a)), first = run.index[a][k];
    const Real fraction = run.fraction[a][k];
    if constexpr (kTaps == 4) {
      for (int t = 0; t < 4; ++t)
        taps.index[a][t] = cubic_tap(first - 1 + t, size, at.p.padding, at.p.align_corners);
      cubic_weights(fraction, taps.weight[a]);
      cubic_slopes(fraction, taps.slope[a]);
    } else {
      for (int t = 0; t < 2; ++t) {
        const bool inside = first + t >= 0 && first + t < size;
        taps.index[a][t] = inside ? first + t : -1;
        taps.weight[a][t] = t == 0 ? 1 - fraction : fraction;
        taps.slope[a][t] = t == 0 ? Real(-1) : Real(1);
      }
    }
  }
  return taps;
}

// Calls body(stencil) with a type whose kDims and kTaps are those of the call.
template <int kDimsOf, int kTapsOf>
struct Stencil {
  static constexpr int kDims = kDimsOf, kTaps = kTapsOf;
};

template <class T, class Body>
void with_stencil(const SamplingParams<T>& p, const Body& body) {
  if (p.interpolation == Interpolation::kBicubic) return body(Stencil<2, 4>{});
  if (p.dims == 3) return body(Stencil<3, 2>{});
  return body(Stencil<2, 2>{});
}

// Calls body(r, rows, run) for the runs of a tile, each from its row r on.
template <bool kSlopes, class T, class Body>
void for_each_run(const Places<T>& at, const Tile& tile, const Body& body) {
  Run<Accumulator<T>> run;
  for (int r = 0, rows; r < tile.rows; r += rows) {
    rows = rows_of_run(tile, r);
    locate<kSlopes>(at, tile, r, rows, &run);
    body(r, rows, run);
  }
}

// Calls body(i, j, k) for the pixels of the run that begins with row r of a tile.
template <class Body>
void for_each_pixel(const Tile& tile, int r, int count, const Body& body) {
  for (int k = 0, i = r; k < count; ++i)
    for (int column = 0; column < tile.columns; ++column, ++k)
      body(tile.top + i, tile.left + column, k);
}

}  // namespace PF_ISA
}  // namespace pyfast
