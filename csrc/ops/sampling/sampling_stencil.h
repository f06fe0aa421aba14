// The taps of a run of samples: which pixels they read, and with what weights. A stencil is known
// by its number of dimensions and of taps an axis: bilinear <2, 2>, trilinear <3, 2>, bicubic <2,
// 4>. Taps are counted along x first; those of one x line make a row.
#pragma once

#include <cstdint>

#include "ops/sampling/sampling_layout.h"
#include "ops/sampling/sampling_rows.h"

namespace pyfast {
namespace PF_ISA {

constexpr int power(int base, int exponent) {
  return exponent == 0 ? 1 : base * power(base, exponent - 1);
}

template <int kDimsOf, int kTapsOf>
struct Stencil {
  static constexpr int kDims = kDimsOf, kTaps = kTapsOf;
  static constexpr int kRows = power(kTaps, kDims - 1), kCount = kRows * kTaps;
};

// Calls body(stencil) with the stencil of a call.
template <class T, class Body>
void with_stencil(const SamplingParams<T>& p, const Body& body) {
  if (p.interpolation == Interpolation::kBicubic) return body(Stencil<2, 4>{});
  if (p.dims == 3) return body(Stencil<3, 2>{});
  return body(Stencil<2, 2>{});
}

constexpr int64_t kNoTap = INT64_MIN;

// Which pixels the taps of one sample read, by axis; -1 for none.
template <class S>
struct TapIndices {
  int32_t at[S::kDims][S::kTaps];

  // Where tap t lies in a channel of an image; kNoTap: outside.
  template <class View>
  int64_t offset(int t, const View& view) const {
    const int row = t / S::kTaps;
    const int64_t x = at[0][t % S::kTaps], y = at[1][row % S::kTaps];
    const int64_t z = S::kDims == 3 ? at[S::kDims - 1][row / S::kTaps] : 0;
    return z >= 0 && y >= 0 && x >= 0 ? z * view.d + y * view.h + x * view.w : kNoTap;
  }
};

template <class S, class T, class Real>
TapIndices<S> tap_indices(const Places<T>& at, const Run<Real>& run, int k) {
  TapIndices<S> taps;
  for (int a = 0; a < S::kDims; ++a) {
    const int32_t size = static_cast<int32_t>(at.in_size(a)), first = run.index[a][k];
    for (int t = 0; t < S::kTaps; ++t) {
      if constexpr (S::kTaps == 4) {
        taps.at[a][t] = cubic_tap(first - 1 + t, size, at.p.padding, at.p.align_corners);
      } else {
        taps.at[a][t] = first + t >= 0 && first + t < size ? first + t : -1;
      }
    }
  }
  return taps;
}

// How many of a sample's taps lie in the image where its first one leads.
enum TapState : int32_t { kInside, kPartly, kOutside };

// Where a run's taps lie in one channel of an image.
template <class S>
struct TapPlaces {
  alignas(64) int64_t offset[kRoom];  // of the first tap
  alignas(64) int32_t state[kRoom];   // a TapState
  int64_t row[S::kRows];              // of a row of taps behind the first

  template <class T, class Real, class U>
  TapPlaces(const Places<T>& at, const Run<Real>& run, const ImageView<U>& view) {
    const int64_t step[3] = {view.w, view.h, view.d};
    for (int r = 0; r < S::kRows; ++r) row[r] = r % S::kTaps * view.h + r / S::kTaps * view.d;
    int64_t farthest = 0;
    for (int a = 0; a < S::kDims; ++a)
      farthest += (at.in_size(a) + S::kTaps) * (step[a] < 0 ? -step[a] : step[a]);
    if (farthest <= INT32_MAX) {  // products of 64 bits take several instructions
      fill<int32_t>(at, run, step);
    } else {
      fill<int64_t>(at, run, step);
    }
  }

 private:
  template <class Offset, class T, class Real>
  void fill(const Places<T>& at, const Run<Real>& run, const int64_t (&step)[3]) {
    constexpr int before = S::kTaps / 2 - 1;
    const bool padded_by_tap = S::kTaps == 4 && at.p.padding != Padding::kZeros;
    const int32_t lowest = padded_by_tap ? INT32_MIN : -S::kTaps;
    int32_t last[S::kDims], highest[S::kDims];
    Offset stride[S::kDims];
    for (int a = 0; a < S::kDims; ++a) {
      const int32_t size = static_cast<int32_t>(at.in_size(a));
      last[a] = size - S::kTaps;
      highest[a] = padded_by_tap ? INT32_MAX : size;
      stride[a] = static_cast<Offset>(step[a]);
    }
    const int count = round_up_to_slack(run.count);
#pragma omp simd
    for (int k = 0; k < count; ++k) {
      int32_t worst = kInside;
      Offset sum = 0;
      Real fractions = 0;
      for (int a = 0; a < S::kDims; ++a) {
        const int32_t first = run.index[a][k] - before;
        const int32_t partly = (first < 0) | (first > last[a]);
        const int32_t none = (first <= lowest) | (first >= highest[a]);
        worst = worst < partly + none ? partly + none : worst;
        sum += first * stride[a];
        fractions += run.fraction[a][k];
      }
      offset[k] = sum;
      // A coordinate of NaN makes a sample NaN wherever its taps are.
      state[k] = fractions == fractions ? worst : kPartly;
    }
  }
};

// Weights of a run's taps, sample by sample: that of tap t in row r is row[k][r] * x[k][t].
template <class S, class Real>
struct TapWeights {
  alignas(64) Real x[kRoom][S::kTaps];
  alignas(64) Real row[kRoom][S::kRows];

  explicit TapWeights(const Run<Real>& run) {
    using V = Vec<Real, 4>;
    for (int k = 0; k < run.count; k += 4) {
      V weight[S::kDims][S::kTaps];
      for (int a = 0; a < S::kDims; ++a) {
        const V t = load<4>(run.fraction[a] + k);
        if constexpr (S::kTaps == 4) {
          weight[a][0] = cubic_far(V(t + 1));
          weight[a][1] = cubic_near(t);
          weight[a][2] = cubic_near(V(1 - t));
          weight[a][3] = cubic_far(V(2 - t));
        } else {
          weight[a][0] = 1 - t;
          weight[a][1] = t;
        }
      }
      V of_row[S::kRows];
      for (int r = 0; r < S::kRows; ++r) {
        of_row[r] = weight[1][r % S::kTaps];
        if constexpr (S::kDims == 3) of_row[r] *= weight[2][r / S::kTaps];
      }
      put_four(weight[0], x[k]);
      put_four(of_row, row[k]);
    }
  }

  // Four samples' values, of kValues each, side by side.
  template <int kValues>
  static void put_four(Vec<Real, 4> (&value)[kValues], Real* out) {
    if constexpr (kValues == 4) {
      transpose4<Real>(value[0], value[1], value[2], value[3]);
      for (int l = 0; l < 4; ++l) store(out + 4 * l, value[l]);
    } else {
      store(out, Vec<Real, 4>(__builtin_shufflevector(value[0], value[1], 0, 4, 1, 5)));
      store(out + 4, Vec<Real, 4>(__builtin_shufflevector(value[0], value[1], 2, 6, 3, 7)));
    }
  }
};

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
