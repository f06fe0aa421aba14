// Blocks of values in registers: transposed, split in three and put together.
#pragma once

#include "ops/sampling/sampling_halves.h"

namespace pyfast {
namespace PF_ISA {

// Of every four values the two from kFrom on, of a and b in turn.
template <int kFrom, class V, int... I>
inline V interleave(const V& a, const V& b, Numbers<I...>) {
  constexpr int n = sizeof...(I);
  return __builtin_shufflevector(a, b, (I / 4 * 4 + I % 4 / 2 + kFrom + I % 2 * n)...);
}

// Transposes every block of four by four values.
template <class T, int N = 4>
inline void transpose4(Vec<T, N>& a, Vec<T, N>& b, Vec<T, N>& c, Vec<T, N>& d) {
  constexpr FirstNumbers<N> all{};
  const Vec<T, N> ac0 = interleave<0>(a, c, all), ac1 = interleave<2>(a, c, all);
  const Vec<T, N> bd0 = interleave<0>(b, d, all), bd1 = interleave<2>(b, d, all);
  a = interleave<0>(ac0, bd0, all);
  b = interleave<2>(ac0, bd0, all);
  c = interleave<0>(ac1, bd1, all);
  d = interleave<2>(ac1, bd1, all);
}

// The order in which transpose4 takes the pixels of a plane and gives its values, kQuarter pixels a
// register, and the way back.
template <class V, int... I>
inline V to_blocks(const V& plane, Numbers<I...>) {
  constexpr int kQuarter = sizeof...(I) / 4;
  return __builtin_shufflevector(plane, plane, (I % 4 * kQuarter + I / 4)...);
}
template <class V, int... I>
inline V from_blocks(const V& plane, Numbers<I...>) {
  constexpr int kQuarter = sizeof...(I) / 4;
  return __builtin_shufflevector(plane, plane, (I % kQuarter * 4 + I / kQuarter)...);
}

// Transposes eight by eight values.
template <class T>
inline void transpose8(Vec<T, 8> v[8]) {
  Vec<T, 8> low[4], high[4];
  for (int k = 0; k < 4; ++k) {
    low[k] = __builtin_shufflevector(v[k], v[k + 4], 0, 1, 2, 3, 8, 9, 10, 11);
    high[k] = __builtin_shufflevector(v[k], v[k + 4], 4, 5, 6, 7, 12, 13, 14, 15);
  }
  transpose4<T, 8>(low[0], low[1], low[2], low[3]);
  transpose4<T, 8>(high[0], high[1], high[2], high[3]);
  for (int k = 0; k < 4; ++k) {
    v[k] = low[k];
    v[k + 4] = high[k];
  }
}

// Of every 16 values, in four blocks: the blocks kFrom and kFrom + 2 of a and of b.
template <int kFrom, class V, int... I>
inline V every_other_block(const V& a, const V& b, Numbers<I...>) {
  return __builtin_shufflevector(a, b, (I % 4 + 4 * kFrom + I / 4 % 2 * 8 + I / 8 * 16)...);
}

// Transposes sixteen by sixteen values: within blocks of four by four, then the blocks.
template <class T>
inline void transpose16(Vec<T, 16> v[16]) {
  constexpr FirstNumbers<16> all{};
  for (int k = 0; k < 16; k += 4) transpose4<T, 16>(v[k], v[k + 1], v[k + 2], v[k + 3]);
  for (int k = 0; k < 4; ++k) {
    Vec<T, 16>&a = v[k], &b = v[k + 4], &c = v[k + 8], &d = v[k + 12];
    const Vec<T, 16> ab0 = every_other_block<0>(a, b, all), ab1 = every_other_block<1>(a, b, all);
    const Vec<T, 16> cd0 = every_other_block<0>(c, d, all), cd1 = every_other_block<1>(c, d, all);
    a = every_other_block<0>(ab0, cd0, all);
    b = every_other_block<0>(ab1, cd1, all);
    c = every_other_block<1>(ab0, cd0, all);
    d = every_other_block<1>(ab1, cd1, all);
  }
}

// Four pixels of three channels: twelve contiguous values into one vector a pixel, and back.
template <class T, class Real = Accumulator<T>>
inline void load_triples(const T* from, Vec<Real, 4> pixel[4]) {
  const auto a = load<4>(from), b = load<4>(from + 4), c = load<4>(from + 8);
  const Vec<Real, 4> second = __builtin_shufflevector(a, b, 3, 4, 5, 5);
  const Vec<Real, 4> third = __builtin_shufflevector(b, c, 2, 3, 4, 4);
  pixel[0] = __builtin_shufflevector(a, Vec<Real, 4>{}, 0, 1, 2, 4);
  pixel[1] = __builtin_shufflevector(second, Vec<Real, 4>{}, 0, 1, 2, 4);
  pixel[2] = __builtin_shufflevector(third, Vec<Real, 4>{}, 0, 1, 2, 4);
  pixel[3] = __builtin_shufflevector(c, Vec<Real, 4>{}, 1, 2, 3, 4);
}

// Lane k of the result is value 3 * k + kPlace of three registers.
template <int kPlace, class V, int... kLane>
inline V every_third(const V& a, const V& b, const V& c, Numbers<kLane...>) {
  constexpr int n = sizeof...(kLane);
  const V first =
      __builtin_shufflevector(a, b, (3 * kLane + kPlace < 2 * n ? 3 * kLane + kPlace : 0)...);
  return __builtin_shufflevector(first, c,
                                 (3 * kLane + kPlace < 2 * n ? kLane : 3 * kLane + kPlace - n)...);
}

// As many points of three coordinates as a register has lanes, a coordinate a register.
template <class T, class Real = Accumulator<T>, int kStep = kNative<Real>>
inline void load_points(const T* from, Vec<Real, kStep> point[3]) {
  const auto a = load<kStep>(from), b = load<kStep>(from + kStep),
             c = load<kStep>(from + 2 * kStep);
  constexpr FirstNumbers<kStep> lanes{};
  point[0] = every_third<0>(a, b, c, lanes);
  point[1] = every_third<1>(a, b, c, lanes);
  point[2] = every_third<2>(a, b, c, lanes);
}

// The way back: register kPart of a coordinate after another.
template <int kPart, class V, int... kLane>
inline V in_thirds(const V& a, const V& b, const V& c, Numbers<kLane...>) {
  constexpr int n = sizeof...(kLane);
  constexpr auto source = [](int lane) { return (n * kPart + lane) % 3; };
  constexpr auto point = [](int lane) { return (n * kPart + lane) / 3; };
  const V first = __builtin_shufflevector(a, b, (point(kLane) + source(kLane) % 2 * n)...);
  return __builtin_shufflevector(first, c, (source(kLane) == 2 ? n + point(kLane) : kLane)...);
}

template <class T, class Real = Accumulator<T>, int kStep = kNative<Real>>
inline void store_points(T* to, const Vec<Real, kStep> point[3]) {
  constexpr FirstNumbers<kStep> lanes{};
  store(to, in_thirds<0>(point[0], point[1], point[2], lanes));
  store(to + kStep, in_thirds<1>(point[0], point[1], point[2], lanes));
  store(to + 2 * kStep, in_thirds<2>(point[0], point[1], point[2], lanes));
}

}  // namespace PF_ISA
}  // namespace pyfast
