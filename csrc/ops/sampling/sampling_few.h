// Trilinear and bicubic sampling of two to four contiguous channels: the values of one row of taps
// lie side by side, tap after tap, and are added up with the weights of the rows before those of
// the columns.
#pragma once

#include <cstdint>
#include <cstring>

#include "ops/sampling/sampling_wide.h"

namespace pyfast {
namespace PF_ISA {

// The rows of taps of one sample, of C channels each.
template <class S, int C, class T>
struct RowReader {
  static constexpr int kValues = S::kTaps * C, kStep = kValues % 4 == 0 ? 4 : 2;

  // Calls body(row, values) for the rows; where not all taps lie in the image, for a copy of them.
  template <class Real, class Body>
  static void read(const Places<T>& at, const Run<Real>& run, const TapPlaces<S>& places, int k,
                   const T* image, const Body& body) {
    const auto& view = at.p.input;
    T copy[S::kRows * kValues];
    const bool inside = places.state[k] == kInside;
    if (!inside) {
      const auto taps = tap_indices<S>(at, run, k);
      for (int t = 0; t < S::kCount; ++t) {
        const int64_t offset = taps.offset(t, view);
        for (int c = 0; c < C; ++c) copy[t * C + c] = offset == kNoTap ? T{} : image[offset + c];
      }
    }
    const T* first = inside ? image + places.offset[k] : copy;
    for (int r = 0; r < S::kRows; ++r) body(r, inside ? first + places.row[r] : copy + r * kValues);
  }
};

template <class S, int C, class T, class Real>
void forward_few(const Places<T>& at, const Tile& tile) {
  using Reader = RowReader<S, C, T>;
  constexpr int kStep = Reader::kStep;
  const SamplingParams<T>& p = at.p;
  const T* image = p.input.at(input_of(p, at.n), 0, 0, 0);
  for_each_run<false>(at, tile, [&](int r, int, const Run<Real>& run) {
    const TapPlaces<S> places(at, run, p.input);
    const TapWeights<S, Real> weights(run);
    for_each_pixel(tile, r, run.count, [&](int64_t i, int64_t j, int k) {
      Vec<Real, kStep> sum[Reader::kValues / kStep] = {};
      Reader::read(at, run, places, k, image, [&](int row, const T* values) {
        for (int v = 0; v < Reader::kValues; v += kStep)
          sum[v / kStep] += load<kStep>(values + v) * weights.row[k][row];
      });
      T* out = p.output.at(at.n, 0, tile.plane, i, j);
      for (int c = 0; c < C; ++c) {
        Real total = 0;
        for (int v = c; v < Reader::kValues; v += C)
          total += sum[v / kStep][v % kStep] * weights.x[k][v / C];
        out[c] = narrow<T>(total);
      }
    });
  });
}

// Adds a run's gradients to grad_input.
template <class S, int C, class T, class Real>
void spread_run_few(const Places<T>& at, const Tile& tile, int r, const Run<Real>& run,
                    const TapPlaces<S>& places) {
  using Reader = RowReader<S, C, T>;
  constexpr int kStep = Reader::kStep;
  const SamplingParams<T>& p = at.p;
  const auto& view = p.grad_input;
  Real* image = view.at(input_of(p, at.n), 0, 0, 0);
  const TapWeights<S, Real> weights(run);
  for_each_pixel(tile, r, run.count, [&](int64_t i, int64_t j, int k) {
    const T* grad = p.grad_output.at(at.n, 0, tile.plane, i, j);
    alignas(64) Real share[Reader::kValues];
    for (int v = 0; v < Reader::kValues; ++v)
      share[v] = widen(grad[v % C * p.grad_output.c]) * weights.x[k][v / C];
    if (places.state[k] == kInside) {
      for (int row = 0; row < S::kRows; ++row) {
        Real* to = image + places.offset[k] + places.row[row];
        for (int v = 0; v < Reader::kValues; v += kStep)
          store(to + v, load<kStep>(to + v) + load<kStep>(share + v) * weights.row[k][row]);
      }
    } else {
      const auto taps = tap_indices<S>(at, run, k);
      for (int t = 0; t < S::kCount; ++t) {
        const int64_t offset = taps.offset(t, view);
        for (int c = 0; c < C && offset != kNoTap; ++c)
          image[offset + c] += share[t % S::kTaps * C + c] * weights.row[k][t / S::kTaps];
      }
    }
  });
}

// by[axis][k]: derivatives of the loss by the positions of a run, in pixels.
template <class S, int C, class T, class Real>
void slopes_run_few(const Places<T>& at, const Tile& tile, int r, const Run<Real>& run,
                    const TapPlaces<S>& places, Positions<Real>* by) {
  using Reader = RowReader<S, C, T>;
  const SamplingParams<T>& p = at.p;
  const T* image = p.input.at(input_of(p, at.n), 0, 0, 0);
  for_each_pixel(tile, r, run.count, [&](int64_t i, int64_t j, int k) {
    const T* grad = p.grad_output.at(at.n, 0, tile.plane, i, j);
    Real g[C], product[S::kCount], of_sample[3];
    for (int c = 0; c < C; ++c) g[c] = widen(grad[c * p.grad_output.c]);
    Reader::read(at, run, places, k, image, [&](int row, const T* values) {
      for (int t = 0; t < S::kTaps; ++t) {
        Real sum = 0;
        for (int c = 0; c < C; ++c) sum += g[c] * widen(values[t * C + c]);
        product[row * S::kTaps + t] = sum;
      }
    });
    slopes_of<S>(run, k, product, of_sample);
    for (int a = 0; a < S::kDims; ++a) by->at[a][k] = of_sample[a];
  });
}

// Calls body(Lanes<C>{}) with the number of channels.
template <class Body>
void with_few(int64_t channels, const Body& body) {
  if (channels == 2) body(Lanes<2>{});
  if (channels == 3) body(Lanes<3>{});
  if (channels == 4) body(Lanes<4>{});
}

}  // namespace PF_ISA
}  // namespace pyfast
