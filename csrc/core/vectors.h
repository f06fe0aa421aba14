// Vectors of numbers in registers; operators and shuffles are the compiler's own.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "core/device.h"

#if defined(__AVX__)
#include <immintrin.h>
#endif

namespace pyfast {
namespace PF_ISA {

template <class T, int N>
struct VecOf {
  typedef T type __attribute__((vector_size(N * sizeof(T))));
};
// N values in vector registers.
template <class T, int N>
using Vec = typename VecOf<T, N>::type;

// Values in one register.
#if defined(__AVX512F__)
constexpr int kRegisterBytes = 64;
#elif defined(__AVX__)
constexpr int kRegisterBytes = 32;
#else
constexpr int kRegisterBytes = 16;
#endif
template <class T>
constexpr int kNative = kRegisterBytes / sizeof(T);

// Numbers for the compiler: FirstNumbers<3> is Numbers<0, 1, 2>.
template <int... I>
struct Numbers {};
template <int kCount, int... I>
struct MakeNumbers : MakeNumbers<kCount - 1, kCount - 1, I...> {};
template <int... I>
struct MakeNumbers<0, I...> {
  using type = Numbers<I...>;
};
template <int kCount>
using FirstNumbers = typename MakeNumbers<kCount>::type;

// The lower (0) or upper (1) half of a vector.
template <int kPart, class V>
inline auto half(const V& v) {
  using T = std::remove_cv_t<std::remove_reference_t<decltype(v[0])>>;
  Vec<T, sizeof(V) / sizeof(T) / 2> part;
  std::memcpy(&part, reinterpret_cast<const char*>(&v) + kPart * sizeof(part), sizeof(part));
  return part;
}

template <class T, int N>
inline T add_lanes(const Vec<T, N>& v) {
  if constexpr (N == 2) {
    return v[0] + v[1];
  } else {
    return add_lanes<T, N / 2>(half<0>(v) + half<1>(v));
  }
}

template <int N, class T>
inline Vec<T, N> load(const T* from) {
  Vec<T, N> value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}

template <class T, class V>
inline void store(T* to, const V& value) {
  std::memcpy(to, &value, sizeof(value));
}

// The values of two vectors in turns, from number kFrom of each on.
template <int kFrom, class V, int... I>
inline V interleaved(const V& a, const V& b, Numbers<I...>) {
  return __builtin_shufflevector(a, b, (kFrom + I / 2 + I % 2 * int{sizeof...(I)})...);
}

// Of N vectors of N values.
template <int N, class V>
inline void transpose(V* v) {
  const auto lanes = FirstNumbers<N>{};
  for (int round = 1; round < N; round *= 2) {
    V next[N];
    for (int i = 0; i < N / 2; ++i) {
      next[2 * i] = interleaved<0>(v[i], v[i + N / 2], lanes);
      next[2 * i + 1] = interleaved<N / 2>(v[i], v[i + N / 2], lanes);
    }
    for (int i = 0; i < N; ++i) v[i] = next[i];
  }
}

// Of one register. Where a value is NaN: b.
template <class V>
inline V larger(const V& a, const V& b) {
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<V, Vec<float, 16>>) return _mm512_max_ps(a, b);
#elif defined(__AVX__)
  if constexpr (std::is_same_v<V, Vec<float, 8>>) return _mm256_max_ps(a, b);
#endif
  return a > b ? a : b;
}
template <class V>
inline V smaller(const V& a, const V& b) {
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<V, Vec<float, 16>>) return _mm512_min_ps(a, b);
#elif defined(__AVX__)
  if constexpr (std::is_same_v<V, Vec<float, 8>>) return _mm256_min_ps(a, b);
#endif
  return a < b ? a : b;
}

// Of values that an int32 can hold.
template <int N>
inline Vec<float, N> floor_of(const Vec<float, N>& v) {
#if defined(__AVX512F__)
  if constexpr (N == 16) return _mm512_roundscale_ps(v, _MM_FROUND_TO_NEG_INF);
#elif defined(__AVX__)
  if constexpr (N == 8) return _mm256_floor_ps(v);
#endif
  using V = Vec<float, N>;
  const V truncated = __builtin_convertvector(__builtin_convertvector(v, Vec<int32_t, N>), V);
  return truncated - (v < truncated ? V{} + 1 : V{});
}

// Fetches the cache lines of `count` values that are soon to be met. Inlined, as the compiler drops
// calls that have no effect but this.
template <bool kWrite = false, class T>
[[gnu::always_inline]] inline void fetch_lines(const T* from, int64_t count) {
  constexpr int64_t kLine = 64 / sizeof(T);
  for (int64_t i = 0; i < count; i += kLine) __builtin_prefetch(from + i, kWrite);
}

// Stores a register's worth past the caches, which would otherwise read what is overwritten; `to`
// is aligned to kRegisterBytes. `end_of_stream` follows the last one.
template <class T, class V>
inline void stream(T* to, const V& value) {
  static_assert(sizeof(V) == kRegisterBytes, "a whole register");
#if defined(__AVX512F__)
  _mm512_stream_si512(reinterpret_cast<__m512i*>(to), reinterpret_cast<__m512i>(value));
#elif defined(__AVX__)
  _mm256_stream_si256(reinterpret_cast<__m256i*>(to), reinterpret_cast<__m256i>(value));
#else
  store(to, value);
#endif
}

inline void end_of_stream() {
#if defined(__AVX__)
  _mm_sfence();
#endif
}

}  // namespace PF_ISA
}  // namespace pyfast
