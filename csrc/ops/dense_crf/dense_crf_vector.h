// Vectors of numbers on the CPU, and rows of channels as they are stored and computed with.
#pragma once

#include <cstdint>
#include <cstring>

#include "core/vectors.h"
#include "ops/dense_crf/dense_crf_math.h"

#if defined(__F16C__)
#include <immintrin.h>
#endif

namespace pyfast {
namespace PF_ISA {

template <class T, class I, int N, int kMantissa, int kBias>
struct VectorOps {
  using Real = Vec<T, N>;
  using Int = Vec<I, N>;
  static constexpr bool kIsDouble = sizeof(T) == 8;
  static T number(double x) { return static_cast<T>(x); }
  static Int less(Real a, Real b) { return -(a < b); }
  static Int equal(Int a, Int b) { return -(a == b); }
  static Int to_int(Real x) { return __builtin_convertvector(x, Int); }
  static Real to_real(Int x) { return __builtin_convertvector(x, Real); }
  static Real round(Real x) {
    constexpr T shift = sizeof(T) == 4 ? T(12582912) : T(6755399441055744);
    return (x + shift) - shift;
  }
  static Real scale_by_power(Real p, Real n, Real x) {
    const Int bits = (to_int(n) + kBias) << kMantissa;
    Real power;
    std::memcpy(&power, &bits, sizeof(power));
    return x < -87 ? Real{} : p * power;
  }
};
template <>
struct LaneOps<Vec<float, 16>> : VectorOps<float, int32_t, 16, 23, 127> {};
template <>
struct LaneOps<Vec<float, 8>> : VectorOps<float, int32_t, 8, 23, 127> {};
template <>
struct LaneOps<Vec<double, 16>> : VectorOps<double, int64_t, 16, 52, 1023> {};
template <>
struct LaneOps<Vec<double, 8>> : VectorOps<double, int64_t, 8, 52, 1023> {};

template <class V>
inline V load(const void* from) {
  V value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}

// N values that are stored as S, widened.
template <class S, int N>
struct Lanes {
  using V = Vec<S, N>;
  static V load(const S* from) { return PF_ISA::load<V>(from); }
  static void store(S* to, const V& value) { PF_ISA::store(to, value); }
};
template <int N>
struct Lanes<Half, N> {
  using V = Vec<float, N>;
  static V load(const Half* from) {
#if defined(__AVX512F__)
    if constexpr (N == 16)
      return (V)_mm512_maskz_cvtph_ps(0xffff,
                                      _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
#endif
#if defined(__F16C__)
    if constexpr (N == 8)
      return (V)_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
#endif
    V value;
    for (int i = 0; i < N; ++i) value[i] = widen(from[i]);
    return value;
  }
  static void store(Half* to, const V& value) {
#if defined(__AVX512F__)
    if constexpr (N == 16) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to),
                          _mm512_maskz_cvtps_ph(0xffff, (__m512)value, _MM_FROUND_TO_NEAREST_INT));
      return;
    }
#endif
#if defined(__F16C__)
    if constexpr (N == 8) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to),
                       _mm256_cvtps_ph((__m256)value, _MM_FROUND_TO_NEAREST_INT));
      return;
    }
#endif
    for (int i = 0; i < N; ++i) to[i] = narrow<Half>(value[i]);
  }
};

// A number or vector, or zeros: by its bits, as 0 times infinity is none.
template <class V>
inline V where(bool on, const V& v) {
  using Words = Vec<int32_t, sizeof(V) / 4>;
  const Words bits = load<Words>(&v) & (Words{} - static_cast<int>(on));
  return load<V>(&bits);
}

// Channels are handled eight at a time, sixteen where registers hold as many.
constexpr int kBlock = 8;
#if defined(__AVX512F__)
constexpr int kWide = 16;
#else
constexpr int kWide = 8;
#endif

template <class T>
inline Vec<T, kBlock> fold(const Vec<T, kWide>& v) {
  if constexpr (kWide == kBlock) {
    return v;
  } else {
    return load<Vec<T, kBlock>>(&v) + load<Vec<T, kBlock>>(reinterpret_cast<const T*>(&v) + kBlock);
  }
}

// All lanes are join(lanes).
template <class V, class Join>
inline V join_lanes(V v, const Join& join) {
  v = join(v, __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3));
  v = join(v, __builtin_shufflevector(v, v, 2, 3, 0, 1, 6, 7, 4, 5));
  return join(v, __builtin_shufflevector(v, v, 1, 0, 3, 2, 5, 4, 7, 6));
}

template <class T>
inline T add_lanes(const Vec<T, kBlock>& v) {
  return join_lanes(v, [](const auto& a, const auto& b) { return a + b; })[0];
}

// kBlocks * 8 channels of one point or vertex.
template <class Real, int kBlocks>
struct Row {
  static constexpr int kChannels = kBlocks * kBlock;
  static constexpr int kWides = kChannels / kWide, kRests = kChannels % kWide / kBlock;
  Vec<Real, kWide> wide[kWides > 0 ? kWides : 1];
  Vec<Real, kBlock> rest;

  template <class S>
  static Row load(const S* from) {
    Row row;
    for (int i = 0; i < kWides; ++i) row.wide[i] = Lanes<S, kWide>::load(from + i * kWide);
    if constexpr (kRests > 0) row.rest = Lanes<S, kBlock>::load(from + kWides * kWide);
    return row;
  }
  template <class S>
  void store(S* to) const {
    for (int i = 0; i < kWides; ++i) Lanes<S, kWide>::store(to + i * kWide, wide[i]);
    if constexpr (kRests > 0) Lanes<S, kBlock>::store(to + kWides * kWide, rest);
  }
  static Row zeros() {
    Row row;
    for (int i = 0; i < kWides; ++i) row.wide[i] = Vec<Real, kWide>{};
    if constexpr (kRests > 0) row.rest = Vec<Real, kBlock>{};
    return row;
  }
  // Adds factor * other.
  void add(Real factor, const Row& other) {
    for (int i = 0; i < kWides; ++i) wide[i] += factor * other.wide[i];
    if constexpr (kRests > 0) rest += factor * other.rest;
  }
  // The row, or zeros.
  Row where(bool on) const {
    Row row;
    for (int i = 0; i < kWides; ++i) row.wide[i] = PF_ISA::where(on, wide[i]);
    if constexpr (kRests > 0) row.rest = PF_ISA::where(on, rest);
    return row;
  }
  Real dot(const Row& other) const {
    Vec<Real, kBlock> sums{};
    if constexpr (kRests > 0) sums = rest * other.rest;
    for (int i = 0; i < kWides; ++i) sums += fold<Real>(wide[i] * other.wide[i]);
    return add_lanes<Real>(sums);
  }
  void multiply(Real factor) {
    for (int i = 0; i < kWides; ++i) wide[i] *= factor;
    if constexpr (kRests > 0) rest *= factor;
  }
  // Becomes exp(row - top).
  void exponentiate(Real top) {
    for (int i = 0; i < kWides; ++i) wide[i] = fast_exp(wide[i] - top);
    if constexpr (kRests > 0) rest = fast_exp(rest - top);
  }
  // By lane, over all blocks.
  Vec<Real, kBlock> largest() const {
    Vec<Real, kBlock> most = block(0);
    for (int b = 1; b < kBlocks; ++b) most = larger(most, block(b));
    return most;
  }
  // `sum`, and one block after another added to it.
  Vec<Real, kBlock> added_to(Vec<Real, kBlock> sum) const {
    for (int b = 0; b < kBlocks; ++b) sum += block(b);
    return sum;
  }
  Vec<Real, kBlock> block(int b) const {
    const int at = b * kBlock;
    if (at >= kWides * kWide) return rest;
    return PF_ISA::load<Vec<Real, kBlock>>(reinterpret_cast<const Real*>(&wide[at / kWide]) +
                                           at % kWide);
  }
};

// The rows of kPoints points, one after another: two fill registers that one leaves half empty.
template <class Real, int kBlocks, int kPoints>
struct RowOfPoints : Row<Real, kBlocks * kPoints> {
  using Base = Row<Real, kBlocks * kPoints>;
  using Base::kRests;
  using Base::kWides;
  using Base::rest;
  using Base::wide;
  using Wide = Vec<Real, kWide>;
  using Narrow = Vec<Real, kBlock>;
  static constexpr int kSteps = kWide / kBlock;
  static_assert(kRests == 0 || kPoints == 1, "a rest is of the only point");

  RowOfPoints(const Base& base) : Base(base) {}

  // Rows lie `stride` apart.
  static RowOfPoints load_apart(const Real* from, int64_t stride) {
    RowOfPoints row = Base::zeros();
    for (int i = 0; i < kWides; ++i)
      row.wide[i] = is_of_one(i) ? PF_ISA::load<Wide>(from + place(i * kSteps, stride))
                                 : both(PF_ISA::load<Narrow>(from + place(i * kSteps, stride)),
                                        PF_ISA::load<Narrow>(from + place(i * kSteps + 1, stride)));
    if constexpr (kRests > 0) row.rest = PF_ISA::load<Narrow>(from + kWides * kWide);
    return row;
  }
  void store_apart(Real* to, int64_t stride) const {
    for (int i = 0; i < kWides; ++i) {
      if (is_of_one(i)) {
        PF_ISA::store(to + place(i * kSteps, stride), wide[i]);
      } else {
        PF_ISA::store(to + place(i * kSteps, stride), this->block(i * kSteps));
        PF_ISA::store(to + place(i * kSteps + 1, stride), this->block(i * kSteps + 1));
      }
    }
    if constexpr (kRests > 0) PF_ISA::store(to + kWides * kWide, rest);
  }
  // Points have a factor each.
  void multiply(const Real* factors) {
    for (int i = 0; i < kWides; ++i) wide[i] *= factors_of(factors, i);
    if constexpr (kRests > 0) rest *= factors[0];
  }
  // Adds factors * other.
  void add(const Real* factors, const Base& other) {
    for (int i = 0; i < kWides; ++i) wide[i] += factors_of(factors, i) * other.wide[i];
    if constexpr (kRests > 0) rest += factors[0] * other.rest;
  }

 private:
  // Of block b.
  static constexpr int point(int b) { return b / kBlocks; }
  static int64_t place(int b, int64_t stride) { return point(b) * stride + b % kBlocks * kBlock; }
  // Whether register i is within one point.
  static constexpr bool is_of_one(int i) {
    return point(i * kSteps) == point(i * kSteps + kSteps - 1);
  }
  static Wide both(const Narrow& low, const Narrow& high) {
    if constexpr (kSteps == 1) {
      return low;
    } else {
      return __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14,
                                     15);
    }
  }
  static Wide factors_of(const Real* factors, int i) {
    const Real first = factors[point(i * kSteps)];
    if (is_of_one(i)) return Wide{} + first;
    return both(Narrow{} + first, Narrow{} + factors[point(i * kSteps + kSteps - 1)]);
  }
};

}  // namespace PF_ISA
}  // namespace pyfast
