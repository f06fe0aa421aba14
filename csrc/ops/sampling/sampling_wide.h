// Images whose channels are contiguous: every pixel is read and written where it lies, all its
// channels at once.
#pragma once

#include <cstdint>
#include <cstring>

#include "ops/sampling/sampling_pixels.h"
#include "ops/sampling/sampling_stencil.h"

namespace pyfast {
namespace PF_ISA {

// Where the taps of a sample lie; those outside the image are at `outside`.
template <int kCount, class T>
struct TapPointers {
  T* at[kCount];
};

template <class S, class T, class U, class Real>
TapPointers<S::kCount, U> pointers_of(const Places<T>& at, const Run<Real>& run,
                                      const TapPlaces<S>& places, int k, const ImageView<U>& view,
                                      U* image, U* outside) {
  TapPointers<S::kCount, U> pointers;
  if (places.state[k] == kInside) {
    U* first = image + places.offset[k];
    for (int t = 0; t < S::kCount; ++t)
      pointers.at[t] = first + places.row[t / S::kTaps] + t % S::kTaps * view.w;
  } else if (places.state[k] == kOutside) {
    for (int t = 0; t < S::kCount; ++t) pointers.at[t] = outside;
  } else {
    const auto taps = tap_indices<S>(at, run, k);
    for (int t = 0; t < S::kCount; ++t) {
      const int64_t offset = taps.offset(t, view);
      pointers.at[t] = offset == kNoTap ? outside : image + offset;
    }
  }
  return pointers;
}

template <class S, class Real>
void weights_of(const TapWeights<S, Real>& weights, int k, Real out[S::kCount]) {
  for (int t = 0; t < S::kCount; ++t)
    out[t] = weights.row[k][t / S::kTaps] * weights.x[k][t % S::kTaps];
}

// Fetches what a later sample reads, or will add to, into the cache: a rotated row is no pattern
// that the processor foresees. Inlined, as the compiler drops calls that have no effect but this.
constexpr int kAhead = 8;

template <bool kWrite, class S, class U>
[[gnu::always_inline]] inline void prefetch_pixel(const TapPlaces<S>& places, int k, int count,
                                                  int64_t channels, U* image) {
  if (k >= count || places.state[k] != kInside) return;
  for (int r = 0; r < S::kRows; ++r)
    fetch_lines<kWrite>(image + places.offset[k] + places.row[r], S::kTaps * channels);
}

// Bytes of output from which on it is written past the caches, which cannot keep it.
constexpr int64_t kStreamBytes = int64_t{16} << 20;

// Whether the output's pixels are whole registers, where streaming pays.
template <class T, class Real>
bool can_stream(const SamplingParams<T>& p) {
  constexpr int64_t kStep = kNative<Real>;
  const auto& view = p.output;
  const int64_t bytes = p.batch * p.channels * p.out_size() * static_cast<int64_t>(sizeof(T));
  const int64_t places = p.channels | view.n | view.d | view.h | view.w;
  return std::is_same_v<T, Real> && bytes >= kStreamBytes && places % kStep == 0 &&
         reinterpret_cast<uintptr_t>(view.data) % kRegisterBytes == 0;
}

// Pointers and weights are copied first: the compiler cannot know that what is stored is neither.
template <bool kStream, int kCount, class T, class Real, class Out>
void blend_pixel(const TapPointers<kCount, const T>& taps, const Real weight[kCount],
                 int64_t channels, Out* out) {
  constexpr int kStep = kNative<Real>;
  const TapPointers<kCount, const T> from = taps;
  Vec<Real, kStep> factor[kCount];
  for (int t = 0; t < kCount; ++t) factor[t] = Vec<Real, kStep>{} + weight[t];
  int64_t c = 0;
  for (; c + kStep <= channels; c += kStep) {
    auto sum = load<kStep>(from.at[0] + c) * factor[0];
    for (int t = 1; t < kCount; ++t) sum += load<kStep>(from.at[t] + c) * factor[t];
    if constexpr (kStream && std::is_same_v<Out, Real>) {
      stream(out + c, sum);
    } else {
      store(out + c, sum);
    }
  }
  for (; c < channels; ++c) {
    Real sum = widen(from.at[0][c]) * weight[0];
    for (int t = 1; t < kCount; ++t) sum += widen(from.at[t][c]) * weight[t];
    out[c] = narrow<Out>(sum);
  }
}

// The same where all taps lie in the image and its channels fill whole registers: then the taps of
// a row are neighbours, and neither pointers nor products of weights go through memory.
template <bool kStream, class S, class T, class Real, class Out>
[[gnu::always_inline]] inline void blend_inside(const T* first, const int64_t row[S::kRows],
                                                int64_t step, const Real x[S::kTaps],
                                                const Real of_row[S::kRows], int64_t channels,
                                                Out* out) {
  constexpr int kStep = kNative<Real>;
  for (int64_t c = 0; c < channels; c += kStep) {
    Vec<Real, kStep> sum{};
    for (int r = 0; r < S::kRows; ++r) {
      const T* line = first + row[r] + c;
      auto value = load<kStep>(line) * x[0];
      for (int t = 1; t < S::kTaps; ++t) value += load<kStep>(line + t * step) * x[t];
      sum += value * of_row[r];
    }
    if constexpr (kStream && std::is_same_v<Out, Real>) {
      stream(out + c, sum);
    } else {
      store(out + c, sum);
    }
  }
}

// Adds grad * weight[t] to the channels of each tap; those outside the image are null.
template <int kCount, class Real>
void spread_pixel(const Real* grad, const Real weight[kCount], int64_t channels,
                  const TapPointers<kCount, Real>& taps) {
  constexpr int kStep = kNative<Real>;
  for (int first = 0; first < kCount; first += 4) {
    Real* const to[4] = {taps.at[first], taps.at[first + 1], taps.at[first + 2],
                         taps.at[first + 3]};
    Vec<Real, kStep> factor[4];
    bool all = true;
    for (int t = 0; t < 4; ++t) {
      factor[t] = Vec<Real, kStep>{} + weight[first + t];
      all = all && to[t] != nullptr;
    }
    int64_t done = 0;  // channels that all four have had
    if (all)
      for (; done + kStep <= channels; done += kStep) {
        const auto g = load<kStep>(grad + done);
        for (int t = 0; t < 4; ++t) store(to[t] + done, load<kStep>(to[t] + done) + g * factor[t]);
      }
    for (int t = 0; t < 4; ++t) {
      if (to[t] == nullptr) continue;
      int64_t c = done;
      for (; c + kStep <= channels; c += kStep)
        store(to[t] + c, load<kStep>(to[t] + c) + load<kStep>(grad + c) * factor[t]);
      for (; c < channels; ++c) to[t][c] += grad[c] * weight[first + t];
    }
  }
}

// out[t] = sum over the channels of grad * tap t.
template <int kCount, class T, class Real>
void multiply_pixel(const TapPointers<kCount, const T>& taps, const Real* grad, int64_t channels,
                    Real out[kCount]) {
  constexpr int kStep = kNative<Real>;
  for (int first = 0; first < kCount; first += 4) {
    const T* const from[4] = {taps.at[first], taps.at[first + 1], taps.at[first + 2],
                              taps.at[first + 3]};
    Vec<Real, kStep> total[4] = {};
    int64_t c = 0;
    for (; c + kStep <= channels; c += kStep) {
      const auto g = load<kStep>(grad + c);
      for (int t = 0; t < 4; ++t) total[t] += g * load<kStep>(from[t] + c);
    }
    Vec<Real, 4> sum[4];
    for (int t = 0; t < 4; ++t) sum[t] = to_four<kStep, Real>(total[t]);
    for (; c < channels; ++c)
      for (int t = 0; t < 4; ++t) sum[t][0] += grad[c] * widen(from[t][c]);
    store(out + first, add_across<Real>(sum[0], sum[1], sum[2], sum[3]));
  }
}

// Samples a run's channels [first, first + channels); pixel k of it is written at out_of(i, j, k).
template <bool kStream, class S, class T, class Real, class OutOf>
void blend_run(const Places<T>& at, const Tile& tile, int r, const Run<Real>& run, int64_t first,
               int64_t channels, const T* zeros, const OutOf& out_of) {
  const auto& p = at.p;
  const T* image = p.input.at(input_of(p, at.n), first, 0, 0);
  const TapPlaces<S> places(at, run, p.input);
  const TapWeights<S, Real> weights(run);
  const bool whole = channels % kNative<Real> == 0;
  for_each_pixel(tile, r, run.count, [&](int64_t i, int64_t j, int k) {
    if (S::kDims == 2) prefetch_pixel<false>(places, k + kAhead, run.count, channels, image);
    auto* out = out_of(i, j, k);
    if (whole && places.state[k] == kInside) {
      blend_inside<kStream, S>(image + places.offset[k], places.row, p.input.w, weights.x[k],
                               weights.row[k], channels, out);
      return;
    }
    Real weight[S::kCount];
    weights_of(weights, k, weight);
    const auto taps = pointers_of<S, T, const T>(at, run, places, k, p.input, image, zeros);
    blend_pixel<kStream, S::kCount>(taps, weight, channels, out);
  });
}

template <class T, class Real>
void forward_wide(const SamplingParams<T>& p, int64_t n, const Tile& tile,
                  const TaskMemory<Real>& memory) {
  T* zeros = reinterpret_cast<T*>(memory.aside);
  std::memset(zeros, 0, sizeof(T) * p.channels);
  const Places<T> at(p, n);
  const bool streams = can_stream<T, Real>(p);
  const auto out_of = [&](int64_t i, int64_t j, int) {
    return p.output.at(n, 0, tile.plane, i, j);
  };
  with_stencil(p, [&](auto stencil) {
    using S = decltype(stencil);
    for_each_run<false>(at, tile, [&](int r, int, const Run<Real>& run) {
      if (streams) {
        blend_run<true, S>(at, tile, r, run, 0, p.channels, zeros, out_of);
      } else {
        blend_run<false, S>(at, tile, r, run, 0, p.channels, zeros, out_of);
      }
    });
  });
  if (streams) end_of_stream();
}

// From an image whose pixels have lanes to spare (see SamplingKernels::pack) into planes.
template <class T, class Real>
void forward_packed(const SamplingParams<T>& p, int64_t n, const Tile& tile,
                    const TaskMemory<Real>& memory) {
  const Places<T> at(p, n);
  const T zeros[kPixelLanes] = {};
  const auto out_of = [&](int64_t, int64_t, int k) { return memory.line + k * kPixelLanes; };
  with_stencil(p, [&](auto stencil) {
    using S = decltype(stencil);
    for_each_run<false>(at, tile, [&](int r, int rows, const Run<Real>& run) {
      for (int64_t c = 0; c < p.channels; c += kPixelLanes) {
        blend_run<false, S>(at, tile, r, run, c, kPixelLanes, zeros, out_of);
        const int64_t used = p.channels - c < kPixelLanes ? p.channels - c : kPixelLanes;
        for (int row = 0; row < rows; ++row)
          scatter_pixels<kPixelLanes, false>(
              memory.line + row * tile.columns * kPixelLanes, p.output.c, p.output.w, used,
              tile.columns, p.output.at(n, c, tile.plane, tile.top + r + row, tile.left));
      }
    });
  });
}

// Channels of a pixel of the incoming gradient, contiguous and wide.
template <class T, class Real>
const Real* gradient_pixel(const SamplingParams<T>& p, const T* grad, int64_t channels,
                           Real* line) {
  if constexpr (std::is_same_v<T, Real>) {
    if (p.grad_output.c == 1) return grad;
  }
  gather_pixels<1>(grad, 0, p.grad_output.c, 1, static_cast<int>(channels), line);
  return line;
}

// Adds a run's gradients to channels [first, first + channels) of grad_input.
template <class S, class T, class Real>
void spread_run_wide(const Places<T>& at, const Tile& tile, int r, const Run<Real>& run,
                     const TapPlaces<S>& places, int64_t first, int64_t channels,
                     const TaskMemory<Real>& memory) {
  const auto& p = at.p;
  Real* image = p.grad_input.at(input_of(p, at.n), first, 0, 0);
  Real* nowhere = nullptr;
  const TapWeights<S, Real> weights(run);
  for_each_pixel(tile, r, run.count, [&](int64_t i, int64_t j, int k) {
    const T* from = p.grad_output.at(at.n, first, tile.plane, i, j);
    const Real* grad = gradient_pixel(p, from, channels, memory.line);
    Real weight[S::kCount];
    weights_of(weights, k, weight);
    prefetch_pixel<true>(places, k + kAhead, run.count, channels, image);
    const auto to = pointers_of<S, T, Real>(at, run, places, k, p.grad_input, image, nowhere);
    spread_pixel<S::kCount>(grad, weight, channels, to);
  });
}

// Derivatives of sum(product * weight) over the taps of a sample by its position on each axis.
template <class S, class Real>
void slopes_of(const Run<Real>& run, int k, const Real product[S::kCount], Real by[3]) {
  Real weight[S::kDims][S::kTaps], slope[S::kDims][S::kTaps];
  for (int a = 0; a < S::kDims; ++a) {
    const Real t = run.fraction[a][k];
    if constexpr (S::kTaps == 4) {
      cubic_weights(t, weight[a]);
      cubic_slopes(t, slope[a]);
    } else {
      weight[a][0] = 1 - t;
      weight[a][1] = t;
      slope[a][0] = -1;
      slope[a][1] = 1;
    }
  }
  Real sum[3] = {0, 0, 0};
  for (int r = 0; r < S::kRows; ++r) {
    Real value = 0, by_x = 0;
    for (int t = 0; t < S::kTaps; ++t) {
      value += product[r * S::kTaps + t] * weight[0][t];
      by_x += product[r * S::kTaps + t] * slope[0][t];
    }
    const int y = r % S::kTaps, z = r / S::kTaps;
    if constexpr (S::kDims == 3) {
      sum[0] += by_x * weight[1][y] * weight[2][z];
      sum[1] += value * slope[1][y] * weight[2][z];
      sum[2] += value * weight[1][y] * slope[2][z];
    } else {
      sum[0] += by_x * weight[1][y];
      sum[1] += value * slope[1][y];
    }
  }
  for (int a = 0; a < S::kDims; ++a) by[a] = sum[a];
}

// by[axis][k]: derivatives of the loss by the positions of a run, in pixels.
template <class S, class T, class Real>
void slopes_run_wide(const Places<T>& at, const Tile& tile, int r, const Run<Real>& run,
                     const TapPlaces<S>& places, const TaskMemory<Real>& memory,
                     Positions<Real>* by) {
  const auto& p = at.p;
  T* zeros = reinterpret_cast<T*>(memory.aside);
  std::memset(zeros, 0, sizeof(T) * p.channels);
  const T* image = p.input.at(input_of(p, at.n), 0, 0, 0);
  for_each_pixel(tile, r, run.count, [&](int64_t i, int64_t j, int k) {
    const T* from = p.grad_output.at(at.n, 0, tile.plane, i, j);
    const Real* grad = gradient_pixel(p, from, p.channels, memory.line);
    const auto taps = pointers_of<S, T, const T>(at, run, places, k, p.input, image, zeros);
    Real product[S::kCount], of_sample[3];
    prefetch_pixel<false>(places, k + kAhead, run.count, p.channels, image);
    multiply_pixel<S::kCount>(taps, grad, p.channels, product);
    slopes_of<S>(run, k, product, of_sample);
    for (int a = 0; a < S::kDims; ++a) by->at[a][k] = of_sample[a];
  });
}

}  // namespace PF_ISA
}  // namespace pyfast
