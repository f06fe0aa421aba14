// Vectors of 16-bit floats: widened as they are loaded, and rounded as they are stored.
#pragma once

#include <cstdint>
#include <cstring>

#include "core/half.h"
#include "core/vectors.h"

#if defined(__F16C__)
#include <immintrin.h>
#endif

namespace pyfast {
namespace PF_ISA {

template <int N>
struct VecOf<Half, N> : VecOf<float, N> {};
template <int N>
struct VecOf<BFloat16, N> : VecOf<float, N> {};

template <int N>
inline Vec<float, N> load(const BFloat16* from) {
  const auto bits = __builtin_convertvector(load<N>(&from->bits), Vec<uint32_t, N>) << 16;
  Vec<float, N> value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

template <class V>
inline void store(BFloat16* to, const V& value) {
  constexpr int n = sizeof(V) / sizeof(float);
  Vec<uint32_t, n> bits;
  std::memcpy(&bits, &value, sizeof(bits));
  const auto rounded = bits + 0x7fffu + (bits >> 16 & 1u);
  const auto kept = value == value ? rounded : (bits | 0x400000u);
  store(&to->bits, __builtin_convertvector(kept >> 16, Vec<uint16_t, n>));
}

template <int N>
inline Vec<float, N> load(const Half* from) {
  Vec<float, N> value;
#if defined(__F16C__)
  if constexpr (N == 4) {
    int64_t bits;
    std::memcpy(&bits, from, sizeof(bits));
    value = reinterpret_cast<Vec<float, 4>>(_mm_cvtph_ps(_mm_cvtsi64_si128(bits)));
  } else if constexpr (N == 8) {
    value = reinterpret_cast<Vec<float, 8>>(
        _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
#if defined(__AVX512F__)
  } else if constexpr (N == 16) {
    value = reinterpret_cast<Vec<float, 16>>(
        _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from))));
#endif
  } else if constexpr (N % 8 == 0) {
    for (int l = 0; l < N; l += 8) {
      const auto part = load<8>(from + l);
      std::memcpy(reinterpret_cast<float*>(&value) + l, &part, sizeof(part));
    }
  } else
#endif
    for (int l = 0; l < N; ++l) value[l] = widen(from[l]);
  return value;
}

template <class V>
inline void store(Half* to, const V& value) {
  constexpr int n = sizeof(V) / sizeof(float);
#if defined(__F16C__)
  if constexpr (n == 4) {
    const int64_t bits =
        _mm_cvtsi128_si64(_mm_cvtps_ph(reinterpret_cast<__m128>(value), _MM_FROUND_TO_NEAREST_INT));
    std::memcpy(to, &bits, sizeof(bits));
  } else if constexpr (n == 8) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to),
                     _mm256_cvtps_ph(reinterpret_cast<__m256>(value), _MM_FROUND_TO_NEAREST_INT));
#if defined(__AVX512F__)
  } else if constexpr (n == 16) {
    _mm256_storeu_si256(
        reinterpret_cast<__m256i*>(to),
        _mm512_cvtps_ph(reinterpret_cast<__m512>(value), _MM_FROUND_TO_NEAREST_INT));
#endif
  } else if constexpr (n % 8 == 0) {
    store(to, half<0>(value));
    store(to + n / 2, half<1>(value));
  } else
#endif
    for (int l = 0; l < n; ++l) to[l] = narrow<Half>(value[l]);
}

}  // namespace PF_ISA
}  // namespace pyfast
