// The inner loops: a run of samples out of a box, the scatter of a run of gradients into one, and
// the derivatives by the position. A box holds kLanes values a pixel; the lower neighbours lie
// `below` values behind the upper ones.
#pragma once

#include <cstdint>

#include "ops/sampling/sampling_layout.h"
#include "ops/sampling/sampling_rows.h"

namespace pyfast {
namespace PF_ISA {

#if defined(__AVX512F__)
constexpr int kPairs = 8;
#elif defined(__AVX__)
constexpr int kPairs = 4;
#else
constexpr int kPairs = 2;
#endif

// One 64-bit load fetches both neighbours of a row: much faster than a gather of 32-bit values.
inline Vec<float, 2 * kPairs> load_pairs(const float* box, const int32_t* base) {
  Vec<int64_t, kPairs> pairs;
  for (int l = 0; l < kPairs; ++l) {
    int64_t pair;
    std::memcpy(&pair, box + base[l], sizeof(pair));
    pairs[l] = pair;
  }
  Vec<float, 2 * kPairs> values;
  std::memcpy(&values, &pairs, sizeof(values));
  return values;
}

// Left and right neighbours of kPairs * 2 samples.
struct Neighbourhood {
  Vec<float, 2 * kPairs> left, right;
};

template <int... I>
struct Indices {};
template <int N, int... I>
struct MakeIndices : MakeIndices<N - 1, N - 1, I...> {};
template <int... I>
struct MakeIndices<0, I...> {
  using type = Indices<I...>;
};

template <int... I>
inline Neighbourhood split(const Vec<float, 2 * kPairs>& a, const Vec<float, 2 * kPairs>& b,
                           Indices<I...>) {
  return {__builtin_shufflevector(a, b, (2 * I)...), __builtin_shufflevector(a, b, (2 * I + 1)...)};
}

inline Neighbourhood load_neighbourhood(const float* box, const int32_t* base) {
  return split(load_pairs(box, base), load_pairs(box, base + kPairs),
               typename MakeIndices<2 * kPairs>::type{});
}

// --- one lane: a vector of samples at a time -------------------------------------------------------

// The first `count` values of a vector, or all of them where there are as many.
template <int N, class Real>
inline Vec<Real, N> load_part(const Real* from, int count) {
  if (count >= N) return load<N>(from);
  Vec<Real, N> value{};
  std::memcpy(&value, from, count * sizeof(Real));
  return value;
}

template <int N, class Real>
inline void store_part(Real* to, const Vec<Real, N>& value, int count) {
  if (count >= N) {
    store(to, value);
  } else {
    std::memcpy(to, &value, count * sizeof(Real));
  }
}

inline void blend_one_lane(const float* box, int64_t below, const Run<float>& run, float* out) {
  constexpr int kStep = 2 * kPairs;
  for (int k = 0; k < run.count; k += kStep) {
    const auto fx = load<kStep>(run.fx + k), fy = load<kStep>(run.fy + k);
    const auto top = load_neighbourhood(box, run.base + k);
    const auto bottom = load_neighbourhood(box + below, run.base + k);
    const auto left = top.left * (1 - fy) + bottom.left * fy;
    const auto right = top.right * (1 - fy) + bottom.right * fy;
    store_part<kStep>(out + k, left * (1 - fx) + right * fx, run.count - k);
  }
}

inline void blend_one_lane(const double* box, int64_t below, const Run<double>& run, double* out) {
  for (int k = 0; k < run.count; ++k) {
    const double *top = box + run.base[k], *bottom = top + below;
    const double fx = run.fx[k], fy = run.fy[k];
    const double left = top[0] * (1 - fy) + bottom[0] * fy;
    const double right = top[1] * (1 - fy) + bottom[1] * fy;
    out[k] = left * (1 - fx) + right * fx;
  }
}

inline void slopes_one_lane(const float* box, int64_t below, const Run<float>& run,
                            const float* grad, float* by_x, float* by_y) {
  constexpr int kStep = 2 * kPairs;
  for (int k = 0; k < run.count; k += kStep) {
    const auto fx = load<kStep>(run.fx + k), fy = load<kStep>(run.fy + k);
    const int left = run.count - k;
    const auto g = load_part<kStep>(grad + k, left);
    const auto top = load_neighbourhood(box, run.base + k);
    const auto bottom = load_neighbourhood(box + below, run.base + k);
    const auto dx = (top.right - top.left) * (1 - fy) + (bottom.right - bottom.left) * fy;
    const auto dy = (bottom.left - top.left) * (1 - fx) + (bottom.right - top.right) * fx;
    store_part<kStep>(by_x + k, load_part<kStep>(by_x + k, left) + g * dx, left);
    store_part<kStep>(by_y + k, load_part<kStep>(by_y + k, left) + g * dy, left);
  }
}

inline void slopes_one_lane(const double* box, int64_t below, const Run<double>& run,
                            const double* grad, double* by_x, double* by_y) {
  for (int k = 0; k < run.count; ++k) {
    const double *top = box + run.base[k], *bottom = top + below;
    const double fx = run.fx[k], fy = run.fy[k];
    by_x[k] += grad[k] * ((top[1] - top[0]) * (1 - fy) + (bottom[1] - bottom[0]) * fy);
    by_y[k] += grad[k] * ((bottom[0] - top[0]) * (1 - fx) + (bottom[1] - top[1]) * fx);
  }
}

// --- kLanes = 1, 4 or 16 ------------------------------------------------------------------------

template <int kLanes, class Real>
inline Vec<Real, kLanes> lower_half(const Vec<Real, 2 * kLanes>& v) {
  Vec<Real, kLanes> half;
  std::memcpy(&half, &v, sizeof(half));
  return half;
}

template <int kLanes, class Real>
inline Vec<Real, kLanes> upper_half(const Vec<Real, 2 * kLanes>& v) {
  Vec<Real, kLanes> half;
  std::memcpy(&half, reinterpret_cast<const char*>(&v) + sizeof(half), sizeof(half));
  return half;
}

// out[k][lane]: the bilinear mean of the four neighbours.
template <int kLanes, class Real>
void blend(const Real* box, int64_t below, const Run<Real>& run, Real* out) {
  if constexpr (kLanes == 1) {
    blend_one_lane(box, below, run, out);
  } else {
    for (int k = 0; k < run.count; ++k) {
      const Real *top = box + run.base[k], *bottom = top + below;
      const Real fx = run.fx[k], fy = run.fy[k];
      if constexpr (kLanes == 4) {
        const auto both = load<8>(top) * (1 - fy) + load<8>(bottom) * fy;
        store(out + k * 4, lower_half<4, Real>(both) * (1 - fx) + upper_half<4, Real>(both) * fx);
      } else {
        const auto left = load<kLanes>(top) * (1 - fy) + load<kLanes>(bottom) * fy;
        const auto right =
            load<kLanes>(top + kLanes) * (1 - fy) + load<kLanes>(bottom + kLanes) * fy;
        store(out + k * kLanes, left * (1 - fx) + right * fx);
      }
    }
  }
}

// Values a pixel of the box that `spread` accumulates in: with one lane, the four shares of a
// gradient go side by side into one pixel, in one load and one store; `fold` adds them up later.
template <int kLanes>
constexpr int kSpreadLanes = kLanes == 1 ? 4 : kLanes;

template <int kLanes, class Real>
void spread(Real* box, int64_t below, const Run<Real>& run, const Real* grad) {
  for (int k = 0; k < run.count; ++k) {
    const Real fx = run.fx[k], fy = run.fy[k];
    if constexpr (kLanes == 1) {
      Real* at = box + run.base[k];
      const Vec<Real, 4> share = {(1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy};
      store(at, load<4>(at) + grad[k] * share);
    } else {
      // Equal widths of loads and stores: a load that straddles two recent stores would stall.
      const auto g = load<kLanes>(grad + k * kLanes);
      const auto upper = g * (1 - fy), lower = g * fy;
      Real *top = box + run.base[k], *bottom = top + below;
      store(top, load<kLanes>(top) + upper * (1 - fx));
      store(top + kLanes, load<kLanes>(top + kLanes) + upper * fx);
      store(bottom, load<kLanes>(bottom) + lower * (1 - fx));
      store(bottom + kLanes, load<kLanes>(bottom + kLanes) + lower * fx);
    }
  }
}

// One line of a box that was filled with one lane: line[k] = sum of the four shares that met there.
template <class Real>
void fold(const Real* upper, const Real* line, int columns, Real* out) {
  for (int k = 0; k < columns; ++k) {
    Real sum = line[4 * k] + (k > 0 ? line[4 * k - 3] : Real(0));
    if (upper != nullptr) sum += upper[4 * k + 2] + (k > 0 ? upper[4 * k - 1] : Real(0));
    out[k] = sum;
  }
}

template <int kLanes, class Real>
Real add_lanes(const Vec<Real, kLanes>& v) {
  if constexpr (kLanes == 4) {
    return (v[0] + v[2]) + (v[1] + v[3]);
  } else {
    Vec<Real, 4> sum{};
    for (int l = 0; l < kLanes; l += 4) {
      Vec<Real, 4> part;
      std::memcpy(&part, reinterpret_cast<const char*>(&v) + l * sizeof(Real), sizeof(part));
      sum += part;
    }
    return add_lanes<4, Real>(sum);
  }
}

// by_x, by_y += derivative of sum(grad * sample) by the position in pixels.
template <int kLanes, class Real>
void slopes(const Real* box, int64_t below, const Run<Real>& run, const Real* grad, Real* by_x,
            Real* by_y) {
  if constexpr (kLanes == 1) {
    slopes_one_lane(box, below, run, grad, by_x, by_y);
  } else {
    for (int k = 0; k < run.count; ++k) {
      const Real *top = box + run.base[k], *bottom = top + below;
      const Real fx = run.fx[k], fy = run.fy[k];
      const auto g = load<kLanes>(grad + k * kLanes);
      const auto a = load<kLanes>(top), b = load<kLanes>(top + kLanes);
      const auto c = load<kLanes>(bottom), d = load<kLanes>(bottom + kLanes);
      const Vec<Real, kLanes> dx = g * ((b - a) * (1 - fy) + (d - c) * fy);
      const Vec<Real, kLanes> dy = g * ((c - a) * (1 - fx) + (d - b) * fx);
      by_x[k] += add_lanes<kLanes, Real>(dx);
      by_y[k] += add_lanes<kLanes, Real>(dy);
    }
  }
}

// --- many contiguous channels, read where they lie -----------------------------------------------

template <class Real>
void blend_wide(const Real* const tap[4], Real fx, Real fy, int64_t channels, Real* out) {
  const Real *a = tap[0], *b = tap[1], *c = tap[2], *d = tap[3];
  const Real gx = 1 - fx, gy = 1 - fy;
#pragma omp simd
  for (int64_t l = 0; l < channels; ++l)
    out[l] = (a[l] * gy + c[l] * fy) * gx + (b[l] * gy + d[l] * fy) * fx;
}

template <class Real>
void add_wide(const Real* grad, Real weight, int64_t channels, Real* out) {
#pragma omp simd
  for (int64_t l = 0; l < channels; ++l) out[l] += grad[l] * weight;
}

template <class Real>
void slopes_wide(const Real* const tap[4], const Real* grad, Real fx, Real fy, int64_t channels,
                 Real* by_x, Real* by_y) {
  // The order of this sum depends on the number of channels alone.
  constexpr int kStep = 16;
  const Real *a = tap[0], *b = tap[1], *c = tap[2], *d = tap[3];
  Vec<Real, kStep> sum_x{}, sum_y{};
  int64_t l = 0;
  for (; l + kStep <= channels; l += kStep) {
    const auto g = load<kStep>(grad + l);
    const auto va = load<kStep>(a + l), vb = load<kStep>(b + l);
    const auto vc = load<kStep>(c + l), vd = load<kStep>(d + l);
    sum_x += g * ((vb - va) * (1 - fy) + (vd - vc) * fy);
    sum_y += g * ((vc - va) * (1 - fx) + (vd - vb) * fx);
  }
  Real x = add_lanes<kStep, Real>(sum_x), y = add_lanes<kStep, Real>(sum_y);
  for (; l < channels; ++l) {
    x += grad[l] * ((b[l] - a[l]) * (1 - fy) + (d[l] - c[l]) * fy);
    y += grad[l] * ((c[l] - a[l]) * (1 - fx) + (d[l] - b[l]) * fx);
  }
  *by_x = x;
  *by_y = y;
}

}  // namespace PF_ISA
}  // namespace pyfast
