// The inner loops: a run of samples out of a box, the scatter of a run of gradients into one, and
// the derivatives by the position. A box holds kLanes values a pixel; the lower neighbours lie
// `below` values behind the upper ones.
#pragma once

#include <cstdint>
#include <type_traits>

#include "ops/sampling/sampling_layout.h"
#include "ops/sampling/sampling_rows.h"

namespace pyfast {
namespace PF_ISA {

// Pairs that fill a vector. Wider ones are slower to put together than they save.
#if defined(__AVX__)
constexpr int kPairs = 4;
#else
constexpr int kPairs = 2;
#endif

// One load of a pair fetches both neighbours of a row: much faster than a gather of single values.
template <class T, class Offset>
inline Vec<float, 2 * kPairs> load_pairs(const T* box, const Offset* offset) {
  using Pair = std::conditional_t<sizeof(T) == 4, int64_t, int32_t>;
  Vec<Pair, kPairs> pairs;
  for (int l = 0; l < kPairs; ++l) {
    Pair pair;
    std::memcpy(&pair, box + offset[l], sizeof(pair));
    pairs[l] = pair;
  }
  T values[2 * kPairs];
  std::memcpy(values, &pairs, sizeof(values));
  return load<2 * kPairs>(values);
}

// Left and right neighbours of N samples.
template <class Real, int N>
struct Neighbourhood {
  Vec<Real, N> left, right;
};

template <class V, int... I>
inline Neighbourhood<float, sizeof...(I)> split(const V& a, const V& b, Numbers<I...>) {
  return {__builtin_shufflevector(a, b, (2 * I)...), __builtin_shufflevector(a, b, (2 * I + 1)...)};
}

// Samples that are handled at once where each has its own place.
template <class Real>
constexpr int kSamples = std::is_same_v<Real, float> ? 2 * kPairs
                         : kNative<double> < 4       ? kNative<double>
                                                     : 4;

template <class Real, class T, class Offset>
inline Neighbourhood<Real, kSamples<Real>> load_neighbourhood(const T* box, const Offset* offset) {
  if constexpr (std::is_same_v<Real, float>) {
    return split(load_pairs(box, offset), load_pairs(box, offset + kPairs),
                 FirstNumbers<2 * kPairs>{});
  } else {
    Neighbourhood<Real, kSamples<Real>> of;
    for (int l = 0; l < kSamples<Real>; ++l) {
      of.left[l] = box[offset[l]];
      of.right[l] = box[offset[l] + 1];
    }
    return of;
  }
}

// --- one lane: a vector of samples at a time
// ------------------------------------------------------

// The first `count` > 0 values of a vector, or all of them where there are as many.
template <int N, class Real>
inline Vec<Real, N> load_part(const Real* from, int count) {
  if (count >= N) return load<N>(from);
#if defined(__AVX512F__)
  if constexpr (N == 16 && sizeof(Real) == 4)
    return _mm512_maskz_loadu_ps(__mmask16((1u << count) - 1), from);
  if constexpr (N == 8 && sizeof(Real) == 4)
    return _mm256_maskz_loadu_ps(__mmask8((1u << count) - 1), from);
#endif
  Vec<Real, N> value{};
  std::memcpy(&value, from, count * sizeof(Real));
  return value;
}

template <int N, class Real>
inline void store_part(Real* to, const Vec<Real, N>& value, int count) {
  if (count >= N) return store(to, value);
#if defined(__AVX512F__)
  if constexpr (N == 16 && sizeof(Real) == 4)
    return _mm512_mask_storeu_ps(to, __mmask16((1u << count) - 1), value);
  if constexpr (N == 8 && sizeof(Real) == 4)
    return _mm256_mask_storeu_ps(to, __mmask8((1u << count) - 1), value);
#endif
  std::memcpy(to, &value, count * sizeof(Real));
}

template <class Real>
void blend_one_lane(const Real* box, int64_t below, const Run<Real>& run, Real* out) {
  constexpr int kStep = kSamples<Real>;
  for (int k = 0; k < run.count; k += kStep) {
    const auto fx = load<kStep>(run.fraction[0] + k), fy = load<kStep>(run.fraction[1] + k);
    const auto top = load_neighbourhood<Real>(box, run.base + k);
    const auto bottom = load_neighbourhood<Real>(box + below, run.base + k);
    const auto left = top.left * (1 - fy) + bottom.left * fy;
    const auto right = top.right * (1 - fy) + bottom.right * fy;
    const Vec<Real, kStep> value = left * (1 - fx) + right * fx;
    store_part<kStep>(out + k, value, run.count - k);
  }
}

template <class Real>
void slopes_one_lane(const Real* box, int64_t below, const Run<Real>& run, const Real* grad,
                     Real* by_x, Real* by_y) {
  constexpr int kStep = kSamples<Real>;
  for (int k = 0; k < run.count; k += kStep) {
    const auto fx = load<kStep>(run.fraction[0] + k), fy = load<kStep>(run.fraction[1] + k);
    const int left = run.count - k;
    const auto g = load_part<kStep>(grad + k, left);
    const auto top = load_neighbourhood<Real>(box, run.base + k);
    const auto bottom = load_neighbourhood<Real>(box + below, run.base + k);
    const Vec<Real, kStep> dx =
        (top.right - top.left) * (1 - fy) + (bottom.right - bottom.left) * fy;
    const Vec<Real, kStep> dy =
        (bottom.left - top.left) * (1 - fx) + (bottom.right - top.right) * fx;
    const Vec<Real, kStep> sum_x = load_part<kStep>(by_x + k, left) + g * dx;
    const Vec<Real, kStep> sum_y = load_part<kStep>(by_y + k, left) + g * dy;
    store_part<kStep>(by_x + k, sum_x, left);
    store_part<kStep>(by_y + k, sum_y, left);
  }
}

// --- kLanes = 1, 4, 8 or 16 ---------------------------------------------------------------------

// Lanes that are handled together: as many as a register holds.
template <int kLanes, class Real>
constexpr int kStepOf = kLanes < kNative<Real> ? kLanes : kNative<Real>;

// The bilinear mean of four neighbours of kLanes lanes; the weights of the left and the upper ones
// are given too.
template <int kLanes, class Real>
inline Vec<Real, kLanes> blend_lanes(const Real* top, const Real* bottom, Real left, Real right,
                                     Real upper, Real lower) {
  if constexpr (kNative<Real> >= 2 * kLanes) {
    const auto both = load<2 * kLanes>(top) * upper + load<2 * kLanes>(bottom) * lower;
    return half<0>(both) * left + half<1>(both) * right;
  } else {
    const auto first = load<kLanes>(top) * upper + load<kLanes>(bottom) * lower;
    const auto second = load<kLanes>(top + kLanes) * upper + load<kLanes>(bottom + kLanes) * lower;
    return first * left + second * right;
  }
}

// Whether kLanes pixels of as many lanes are transposed in registers.
template <int kLanes, class Real>
constexpr bool kTransposes = kLanes == 4 || (kLanes >= 8 && kNative<Real> >= kLanes);

// kLanes samples from number k of a run on: a register for each lane.
template <int kLanes, class Real>
inline void blend_lanes_apart(const Real* box, int64_t below, const Run<Real>& run, int k,
                              Vec<Real, kLanes> lane[kLanes]) {
  using V = Vec<Real, kLanes>;
  const V fx = load<kLanes>(run.fraction[0] + k), fy = load<kLanes>(run.fraction[1] + k);
  if constexpr (kLanes == 4) {
    // Both neighbours of a row are turned at once, before they are weighed.
    using Pair = Vec<Real, 8>;
    Pair top[4], bottom[4];
    for (int l = 0; l < 4; ++l) {
      top[l] = load<8>(box + run.base[k + l]);
      bottom[l] = load<8>(box + run.base[k + l] + below);
    }
    transpose4<Real, 8>(top[0], top[1], top[2], top[3]);
    transpose4<Real, 8>(bottom[0], bottom[1], bottom[2], bottom[3]);
    const auto twice = [](const V& v) {
      return Pair(__builtin_shufflevector(v, v, 0, 1, 2, 3, 0, 1, 2, 3));
    };
    const V left = 1 - fx, upper = 1 - fy;
    const Pair of_column = __builtin_shufflevector(left, fx, 0, 1, 2, 3, 4, 5, 6, 7);
    const Pair of_top = of_column * twice(upper), of_bottom = of_column * twice(fy);
    for (int c = 0; c < 4; ++c) {
      const Pair sum = top[c] * of_top + bottom[c] * of_bottom;
      lane[c] = half<0>(sum) + half<1>(sum);
    }
  } else {
    alignas(64) Real left[kLanes], upper[kLanes];  // from memory a broadcast is free
    store(left, V(1 - fx));
    store(upper, V(1 - fy));
#pragma GCC unroll 16
    for (int l = 0; l < kLanes; ++l) {
      const Real* top = box + run.base[k + l];
      lane[l] = blend_lanes<kLanes>(top, top + below, left[l], run.fraction[0][k + l], upper[l],
                                    run.fraction[1][k + l]);
    }
    if constexpr (kLanes == 8) {
      transpose8<Real>(lane);
    } else {
      transpose16<Real>(lane);
    }
  }
}

// The bilinear mean of a box, channel after channel, in rows of `columns` pixels.
template <int kLanes, class Real>
void blend_to_planes(const Real* box, int64_t below, const Run<Real>& run, int columns,
                     int64_t channels, Real* out, int64_t plane, int64_t row) {
  for (int first = 0; first < run.count; first += columns, out += row) {
    for (int j = 0; j < columns; j += kLanes) {
      Vec<Real, kLanes> lane[kLanes];
      blend_lanes_apart<kLanes>(box, below, run, first + j, lane);
#pragma GCC unroll 16
      for (int c = 0; c < kLanes; ++c)
        if (c < channels) store_part<kLanes>(out + c * plane + j, lane[c], columns - j);
    }
  }
}

// out[k][lane]: the bilinear mean of the four neighbours.
template <int kLanes, class Real>
void blend(const Real* box, int64_t below, const Run<Real>& run, Real* out) {
  if constexpr (kLanes == 1) {
    blend_one_lane(box, below, run, out);
  } else {
    constexpr int kStep = kStepOf<kLanes, Real>;
    for (int k = 0; k < run.count; ++k) {
      const Real *top = box + run.base[k], *bottom = top + below;
      const Real fx = run.fraction[0][k], fy = run.fraction[1][k];
      if constexpr (kLanes == 4) {
        store(out + k * 4, blend_lanes<4>(top, bottom, 1 - fx, fx, 1 - fy, fy));
      } else {
        for (int l = 0; l < kLanes; l += kStep) {
          const auto left = load<kStep>(top + l) * (1 - fy) + load<kStep>(bottom + l) * fy;
          const auto right =
              load<kStep>(top + kLanes + l) * (1 - fy) + load<kStep>(bottom + kLanes + l) * fy;
          store(out + k * kLanes + l, left * (1 - fx) + right * fx);
        }
      }
    }
  }
}

// Values a pixel of the box that `spread` accumulates in: with one lane, the four shares of a
// gradient go side by side into one pixel, in one load and one store; `fold` adds them up later.
template <int kLanes>
constexpr int kSpreadLanes = kLanes == 1 ? 4 : kLanes;

template <class Real>
void spread_one_lane(Real* box, const Run<Real>& run, const Real* grad) {
  for (int k = 0; k < run.count; k += 4) {
    const auto fx = load<4>(run.fraction[0] + k), fy = load<4>(run.fraction[1] + k);
    const auto g = load_part<4>(grad + k, run.count - k);
    const Vec<Real, 4> right = g * fx, left = g * (1 - fx);
    Vec<Real, 4> share[4] = {left * (1 - fy), right * (1 - fy), left * fy, right * fy};
    transpose4<Real>(share[0], share[1], share[2], share[3]);
    for (int l = 0; l < 4 && k + l < run.count; ++l) {
      Real* at = box + run.base[k + l];
      store(at, load<4>(at) + share[l]);
    }
  }
}

template <int kLanes, class Real>
void spread(Real* box, int64_t below, const Run<Real>& run, const Real* grad) {
  if constexpr (kLanes == 1) {
    spread_one_lane(box, run, grad);
  } else {
    // Equal widths of loads and stores: a load that straddles two recent stores would stall.
    constexpr int kStep = kStepOf<kLanes, Real>;
    for (int k = 0; k < run.count; ++k) {
      const Real fx = run.fraction[0][k], fy = run.fraction[1][k];
      Real *top = box + run.base[k], *bottom = top + below;
      for (int l = 0; l < kLanes; l += kStep) {
        const auto g = load<kStep>(grad + k * kLanes + l);
        const auto upper = g * (1 - fy), lower = g * fy;
        store(top + l, load<kStep>(top + l) + upper * (1 - fx));
        store(bottom + l, load<kStep>(bottom + l) + lower * (1 - fx));
        Real *top_right = top + kLanes + l, *bottom_right = bottom + kLanes + l;
        store(top_right, load<kStep>(top_right) + upper * fx);
        store(bottom_right, load<kStep>(bottom_right) + lower * fx);
      }
    }
  }
}

// One line of a box that was filled with one lane: out[k] = sum of the four shares that met there,
// two of this line and two of the one above.
template <class Real>
void fold(const Real* upper, const Real* line, int columns, Real* out) {
  Vec<Real, 4> before{};  // shares of the previous four pixels for their right neighbours
  for (int k = 0; k < columns; k += 4) {
    const int count = columns - k < 4 ? columns - k : 4;
    Vec<Real, 4> share[4] = {};
    for (int l = 0; l < count; ++l) {
      const auto below = load<4>(line + 4 * (k + l)), above = load<4>(upper + 4 * (k + l));
      share[l] = __builtin_shufflevector(below, above, 0, 1, 6, 7);
    }
    transpose4<Real>(share[0], share[1], share[2], share[3]);
    const Vec<Real, 4> right = share[1] + share[3];
    const Vec<Real, 4> sum =
        share[0] + share[2] + __builtin_shufflevector(before, right, 3, 4, 5, 6);
    before = right;
    store_part<4>(out + k, sum, count);
  }
}

// sum(grad * neighbour) over the lanes, for four samples: a vector for each of the neighbours.
template <class Real>
struct Products {
  Vec<Real, 4> top_left, top_right, bottom_left, bottom_right;
};

// The sums of four vectors, in one.
template <class Real>
inline Vec<Real, 4> add_across(Vec<Real, 4> a, Vec<Real, 4> b, Vec<Real, 4> c, Vec<Real, 4> d) {
  transpose4<Real>(a, b, c, d);
  return (a + b) + (c + d);
}

template <int kStep, class Real>
inline Vec<Real, 4> to_four(const Vec<Real, kStep>& v) {
  if constexpr (kStep == 2) {
    return Vec<Real, 4>{v[0], v[1], Real(0), Real(0)};
  } else if constexpr (kStep == 4) {
    return v;
  } else {
    return to_four<kStep / 2, Real>(half<0>(v) + half<1>(v));
  }
}

// Of four samples: neighbour[k][...] are sample k's upper left, upper right, lower left and lower
// right pixels.
template <int kStep, class Real>
inline Products<Real> products(const Real* const (&neighbour)[4][4], const Real* const (&grad)[4],
                               int64_t channels) {
  Vec<Real, 4> sum[4][4];
  for (int k = 0; k < 4; ++k) {
    Vec<Real, kStep> total[4] = {};
    int64_t l = 0;
    for (; l + kStep <= channels; l += kStep) {
      const auto g = load<kStep>(grad[k] + l);
      for (int tap = 0; tap < 4; ++tap) total[tap] += g * load<kStep>(neighbour[k][tap] + l);
    }
    for (int tap = 0; tap < 4; ++tap) sum[tap][k] = to_four<kStep, Real>(total[tap]);
    for (; l < channels; ++l)
      for (int tap = 0; tap < 4; ++tap) sum[tap][k][0] += grad[k][l] * neighbour[k][tap][l];
  }
  const auto add = [](const Vec<Real, 4>(&s)[4]) {
    return add_across<Real>(s[0], s[1], s[2], s[3]);
  };
  return {add(sum[0]), add(sum[1]), add(sum[2]), add(sum[3])};
}

// Adds the derivatives by the position of samples k .. k + 3 of a run.
template <class Real>
inline void add_slopes(const Products<Real>& p, const Run<Real>& run, int k, Real* by_x,
                       Real* by_y) {
  const auto fx = load<4>(run.fraction[0] + k), fy = load<4>(run.fraction[1] + k);
  const Vec<Real, 4> dx =
      (p.top_right - p.top_left) * (1 - fy) + (p.bottom_right - p.bottom_left) * fy;
  const Vec<Real, 4> dy =
      (p.bottom_left - p.top_left) * (1 - fx) + (p.bottom_right - p.top_right) * fx;
  const int left = run.count - k;
  store_part<4>(by_x + k, load_part<4>(by_x + k, left) + dx, left);
  store_part<4>(by_y + k, load_part<4>(by_y + k, left) + dy, left);
}

// by_x, by_y += derivative of sum(grad * sample) by the position in pixels. `grad` has room for
// four samples more than the run.
template <int kLanes, class Real>
void slopes(const Real* box, int64_t below, const Run<Real>& run, const Real* grad, Real* by_x,
            Real* by_y) {
  if constexpr (kLanes == 1) {
    slopes_one_lane(box, below, run, grad, by_x, by_y);
  } else {
    // Half a large register: four sums and what adds them up then stay in registers.
    constexpr int kStep = kStepOf<kLanes, Real> < 8 ? kStepOf<kLanes, Real> : 8;
    for (int k = 0; k < run.count; k += 4) {
      const Real* neighbour[4][4];
      const Real* of_sample[4];
      for (int l = 0; l < 4; ++l) {
        const Real *top = box + run.base[k + l], *bottom = top + below;
        neighbour[l][0] = top;
        neighbour[l][1] = top + kLanes;
        neighbour[l][2] = bottom;
        neighbour[l][3] = bottom + kLanes;
        of_sample[l] = grad + (k + l) * kLanes;
      }
      add_slopes(products<kStep, Real>(neighbour, of_sample, kLanes), run, k, by_x, by_y);
    }
  }
}

}  // namespace PF_ISA
}  // namespace pyfast
