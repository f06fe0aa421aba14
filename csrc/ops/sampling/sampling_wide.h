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

template <int kDims, int kTaps, class T, class Real>
auto pointers_of(const Taps<kDims, kTaps, Real>& taps, const ImageView<T>& view, T* image,
                 T* outside) {
  TapPointers<Taps<kDims, kTaps, Real>::kCount, T> pointers;
  taps.for_each([&](int t, int64_t z, int64_t y, int64_t x) {
    const bool inside = z >= 0 && y >= 0 && x >= 0;
    pointers.at[t] = inside ? image + z * view.d + y * view.h + x * view.w : outside;
  });
  return pointers;
}

template <int kCount, class T, class Real>
void blend_pixel(const TapPointers<kCount, const T>& taps, const Real weight[kCount],
                 int64_t channels, T* out) {
  constexpr int kStep = kNative<Real>;
  int64_t c = 0;
  for (; c + kStep <= channels; c += kStep) {
    auto sum = load<kStep>(taps.at[0] + c) * weight[0];
    for (int t = 1; t < kCount; ++t) sum += load<kStep>(taps.at[t] + c) * weight[t];
    store(out + c, sum);
  }
  for (; c < channels; ++c) {
    Real sum = widen(taps.at[0][c]) * weight[0];
    for (int t = 1; t < kCount; ++t) sum += widen(taps.at[t][c]) * weight[t];
    out[c] = narrow<T>(sum);
  }
}

// Adds grad * weight[t] to the channels of each tap; those outside the image are null.
template <int kCount, class Real>
void spread_pixel(const Real* grad, const Real weight[kCount], int64_t channels,
                  const TapPointers<kCount, Real>& to) {
  constexpr int kStep = kNative<Real>;
  for (int t = 0; t < kCount; ++t) {
    Real* out = to.at[t];
    if (out == nullptr) continue;
    int64_t c = 0;
    for (; c + kStep <= channels; c += kStep)
      store(out + c, load<kStep>(out + c) + load<kStep>(grad + c) * weight[t]);
    for (; c < channels; ++c) out[c] += grad[c] * weight[t];
  }
}

// out[t] = sum over the channels of grad * tap t.
template <int kCount, class T, class Real>
void multiply_pixel(const TapPointers<kCount, const T>& taps, const Real* grad, int64_t channels,
                    Real out[kCount]) {
  constexpr int kStep = kNative<Real>;
  for (int first = 0; first < kCount; first += 4) {
    Vec<Real, kStep> total[4] = {};
    int64_t c = 0;
    for (; c + kStep <= channels; c += kStep) {
      const auto g = load<kStep>(grad + c);
      for (int t = 0; t < 4; ++t) total[t] += g * load<kStep>(taps.at[first + t] + c);
    }
    Vec<Real, 4> sum[4];
    for (int t = 0; t < 4; ++t) sum[t] = to_four<kStep, Real>(total[t]);
    for (; c < channels; ++c)
      for (int t = 0; t < 4; ++t) sum[t][0] += grad[c] * widen(taps.at[first + t][c]);
    store(out + first, add_across<Real>(sum[0], sum[1], sum[2], sum[3]));
  }
}

template <class T, class Real>
void forward_wide(const SamplingParams<T>& p, int64_t n, const Tile& tile,
                  const TaskMemory<Real>& memory) {
  T* zeros = reinterpret_cast<T*>(memory.aside);
  std::memset(zeros, 0, sizeof(T) * p.channels);
  const T* image = p.input.at(input_of(p, n), 0, 0, 0);
  const Places<T> at(p, n);
  with_stencil(p, [&](auto stencil) {
    constexpr int kDims = stencil.kDims, kTaps = stencil.kTaps, kCount = power(kTaps, kDims);
    for_each_run<false>(at, tile, [&](int r, int, const Run<Real>& run) {
      for_each_pixel(tile, r, run.count, [&](int64_t i, int64_t j, int k) {
        const auto taps = taps_of<kDims, kTaps>(at, run, k);
        Real weight[kCount];
        taps.products(-1, weight);
        blend_pixel<kCount>(pointers_of<kDims, kTaps, const T>(taps, p.input, image, zeros), weight,
                            p.channels, p.output.at(n, 0, tile.plane, i, j));
      });
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
template <class Stencil, class T, class Real>
void spread_run_wide(const Places<T>& at, const Tile& tile, int r, const Run<Real>& run,
                     int64_t first, int64_t channels, const TaskMemory<Real>& memory) {
  constexpr int kDims = Stencil::kDims, kTaps = Stencil::kTaps, kCount = power(kTaps, kDims);
  const auto& p = at.p;
  Real* image = p.grad_input.at(input_of(p, at.n), first, 0, 0);
  for_each_pixel(tile, r, run.count, [&](int64_t i, int64_t j, int k) {
    const T* from = p.grad_output.at(at.n, first, tile.plane, i, j);
    const Real* grad = gradient_pixel(p, from, channels, memory.line);
    const auto taps = taps_of<kDims, kTaps>(at, run, k);
    Real weight[kCount];
    taps.products(-1, weight);
    spread_pixel<kCount>(grad, weight, channels,
                         pointers_of<kDims, kTaps, Real>(taps, p.grad_input, image, nullptr));
  });
}

// by[axis][k]: derivatives of the loss by the positions of a run, in pixels.
template <class Stencil, class T, class Real>
void slopes_run_wide(const Places<T>& at, const Tile& tile, int r, const Run<Real>& run,
                     const TaskMemory<Real>& memory, Positions<Real>* by) {
  constexpr int kDims = Stencil::kDims, kTaps = Stencil::kTaps, kCount = power(kTaps, kDims);
  const auto& p = at.p;
  T* zeros = reinterpret_cast<T*>(memory.aside);
  std::memset(zeros, 0, sizeof(T) * p.channels);
  const T* image = p.input.at(input_of(p, at.n), 0, 0, 0);
  for_each_pixel(tile, r, run.count, [&](int64_t i, int64_t j, int k) {
    const T* from = p.grad_output.at(at.n, 0, tile.plane, i, j);
    const Real* grad = gradient_pixel(p, from, p.channels, memory.line);
    const auto taps = taps_of<kDims, kTaps>(at, run, k);
    Real product[kCount], slope[kCount];
    multiply_pixel<kCount>(pointers_of<kDims, kTaps, const T>(taps, p.input, image, zeros), grad,
                           p.channels, product);
    for (int a = 0; a < kDims; ++a) {
      taps.products(a, slope);
      Real sum = 0;
      for (int t = 0; t < kCount; ++t) sum += product[t] * slope[t];
      by->at[a][k] = sum;
    }
  });
}

}  // namespace PF_ISA
}  // namespace pyfast
