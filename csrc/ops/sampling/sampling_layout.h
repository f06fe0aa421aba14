// Between planes (one channel after another) and pixels (all channels of a pixel together).
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "core/half.h"
#include "core/vectors.h"

#if defined(__F16C__)
#include <immintrin.h>
#endif

namespace pyfast {
namespace PF_ISA {

template <int N>
struct VecOf<Half, N> : VecOf<float, N> {};  // widened as they are loaded
template <int N>
struct VecOf<BFloat16, N> : VecOf<float, N> {};

// A number of lanes as a type, to hand it to a generic lambda.
template <int N>
struct Lanes {
  static constexpr int value = N;
};

// 16-bit floats are widened as they are loaded, and rounded as they are stored.
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

template <bool kAdd, class T>
inline void put(T* to, const Vec<Accumulator<T>, 4>& value) {
  store(to, kAdd ? load<4>(to) + value : value);
}

template <bool kAdd = false, class T, class V>
inline void store_triples(T* to, const V pixel[4]) {
  put<kAdd, T>(to, __builtin_shufflevector(pixel[0], pixel[1], 0, 1, 2, 4));
  put<kAdd, T>(to + 4, __builtin_shufflevector(pixel[1], pixel[2], 1, 2, 4, 5));
  put<kAdd, T>(to + 8, __builtin_shufflevector(pixel[2], pixel[3], 2, 4, 5, 6));
}

// Whether eight planes at once are faster than four: with registers of eight values.
template <int kLanes, class T>
constexpr bool kEight = kLanes >= 8 && kNative<Accumulator<T>> >= 8;

// Eight planes of a row into pixels `lanes` values apart, four pixels at a time; returns the first
// pixel that is left. More planes at once would evict each other from the first cache where they
// lie a power of two apart.
template <class T, class Real = Accumulator<T>>
inline int gather_eight(const T* from, int64_t c_stride, int lanes, int count, Real* pixels) {
  int k = 0;
  for (; k + 4 <= count; k += 4) {
    Vec<Real, 8> v[4];
    for (int c = 0; c < 4; ++c) {
      const auto low = load<4>(from + c * c_stride + k);
      const auto high = load<4>(from + (c + 4) * c_stride + k);
      v[c] = __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7);
    }
    transpose4<Real, 8>(v[0], v[1], v[2], v[3]);
    for (int l = 0; l < 4; ++l) store(pixels + (k + l) * lanes, v[l]);
  }
  return k;
}

// `count` pixels of `channels` <= kLanes channels, at c_stride and w_stride, into kLanes values a
// pixel; unused lanes become zero.
template <int kLanes, class T, class Real = Accumulator<T>>
void gather_pixels(const T* from, int64_t c_stride, int64_t w_stride, int64_t channels, int count,
                   Real* pixels) {
  if (kLanes == 1) {
    int k = 0;
    if (w_stride == 1) {
      if constexpr (std::is_same_v<T, Real>) {
        std::memcpy(pixels, from, count * sizeof(T));
        return;
      }
      for (; k + kNative<Real> <= count; k += kNative<Real>)
        store(pixels + k, load<kNative<Real>>(from + k));
      for (; k + 4 <= count; k += 4) store(pixels + k, load<4>(from + k));
    }
    for (; k < count; ++k) pixels[k] = widen(from[k * w_stride]);
    return;
  }
  for (int64_t c = 0, step; c < kLanes; c += step) {
    const bool eight = kEight<kLanes, T> && w_stride == 1 && c_stride != 1 && channels - c >= 8;
    step = eight ? 8 : 4;
    const T* a = from + c * c_stride;
    const int64_t used = channels - c < step ? channels - c : step;
    Real* to = pixels + c;
    int k = 0;
    if (eight) {
      k = gather_eight(a, c_stride, kLanes, count, to);
    } else if (used <= 0) {
      for (; k < count; ++k) store(to + k * kLanes, Vec<Real, 4>{});
    } else if (c_stride == 1) {
      if (used == 4) {
        for (; k < count; ++k) store(to + k * kLanes, load<4>(a + k * w_stride));
      } else if (used == 3 && w_stride == 3) {
        for (; k + 4 <= count; k += 4) {
          Vec<Real, 4> pixel[4];
          load_triples(a + 3 * k, pixel);
          for (int l = 0; l < 4; ++l) store(to + (k + l) * kLanes, pixel[l]);
        }
      }
    } else if (w_stride == 1) {
      const T* b = used > 1 ? a + c_stride : a;
      const T* e = used > 2 ? a + 2 * c_stride : a;
      const T* d = used > 3 ? a + 3 * c_stride : a;
      for (; k + 4 <= count; k += 4) {
        Vec<Real, 4> v0 = load<4>(a + k), v1 = load<4>(b + k), v2 = load<4>(e + k),
                     v3 = load<4>(d + k);
        if (used < 2) v1 = Vec<Real, 4>{};
        if (used < 3) v2 = Vec<Real, 4>{};
        if (used < 4) v3 = Vec<Real, 4>{};
        transpose4<Real>(v0, v1, v2, v3);
        Real* q = to + k * kLanes;
        store(q, v0);
        store(q + kLanes, v1);
        store(q + 2 * kLanes, v2);
        store(q + 3 * kLanes, v3);
      }
    }
    for (; k < count; ++k)
      for (int64_t l = 0; l < step; ++l)
        to[k * kLanes + l] = l < used ? widen(a[l * c_stride + k * w_stride]) : Real(0);
  }
}

// The same into planes: a channel every `plane` values.
template <class T, class Real = Accumulator<T>>
void gather_planes(const T* from, int64_t c_stride, int64_t w_stride, int64_t channels, int count,
                   Real* out, int64_t plane) {
  int k = 0;
  if (channels == 3 && c_stride == 1 && w_stride == 3)
    for (constexpr int kStep = kNative<Real>; k + kStep <= count; k += kStep) {
      Vec<Real, kStep> point[3];
      load_points(from + 3 * k, point);
      for (int c = 0; c < 3; ++c) store(out + c * plane + k, point[c]);
    }
  for (int64_t c = 0; c < channels; ++c)
    gather_pixels<1>(from + c * c_stride + k * w_stride, c_stride, w_stride, 1, count - k,
                     out + c * plane + k);
}

// The way back: writes (kAdd: adds) the used lanes of `count` pixels.
template <int kLanes, bool kAdd, class T, class Real = Accumulator<T>>
void scatter_pixels(const Real* pixels, int64_t c_stride, int64_t w_stride, int64_t channels,
                    int count, T* out) {
  const auto put_one = [](T* to, Real value) {
    *to = narrow<T>(kAdd ? widen(*to) + value : value);
  };
  if (kLanes == 1) {
    constexpr int kStep = kNative<Real>;
    int k = 0;
    if (w_stride == 1)
      for (; k + kStep <= count; k += kStep) {
        const auto value = load<kStep>(pixels + k);
        store(out + k, kAdd ? load<kStep>(out + k) + value : value);
      }
    if (w_stride == 1)
      for (; k + 4 <= count; k += 4) put<kAdd, T>(out + k, load<4>(pixels + k));
    for (; k < count; ++k) put_one(out + k * w_stride, pixels[k]);
    return;
  }
  for (int64_t c = 0; c < channels; c += 4) {
    const int64_t used = channels - c < 4 ? channels - c : 4;
    const Real* from = pixels + c;
    T* a = out + c * c_stride;
    int k = 0;
    if (c_stride == 1 && used == 4) {
      for (; k < count; ++k) put<kAdd, T>(a + k * w_stride, load<4>(from + k * kLanes));
    } else if (c_stride == 1 && used == 3 && w_stride == 3) {
      for (; k + 4 <= count; k += 4) {
        Vec<Real, 4> pixel[4];
        for (int l = 0; l < 4; ++l) pixel[l] = load<4>(from + (k + l) * kLanes);
        store_triples<kAdd>(a + k * 3, pixel);
      }
    } else if (w_stride == 1) {
      for (; k + 4 <= count; k += 4) {
        const Real* q = from + k * kLanes;
        Vec<Real, 4> v0 = load<4>(q), v1 = load<4>(q + kLanes), v2 = load<4>(q + 2 * kLanes),
                     v3 = load<4>(q + 3 * kLanes);
        transpose4<Real>(v0, v1, v2, v3);
        put<kAdd, T>(a + k, v0);
        if (used > 1) put<kAdd, T>(a + c_stride + k, v1);
        if (used > 2) put<kAdd, T>(a + 2 * c_stride + k, v2);
        if (used > 3) put<kAdd, T>(a + 3 * c_stride + k, v3);
      }
    }
    for (; k < count; ++k)
      for (int64_t l = 0; l < used; ++l)
        put_one(a + l * c_stride + k * w_stride, from[k * kLanes + l]);
  }
}

// From planes, a channel every `plane` values, that have room for a register more than `count`.
template <class T, class Real = Accumulator<T>>
void scatter_planes(const Real* planes, int64_t plane, int64_t c_stride, int64_t w_stride,
                    int64_t channels, int count, T* out) {
  int k = 0;
  if (channels == 3 && c_stride == 1 && w_stride == 3)
    for (constexpr int kStep = kNative<Real>; k + kStep <= count; k += kStep) {
      const Vec<Real, kStep> point[3] = {load<kStep>(planes + k), load<kStep>(planes + plane + k),
                                         load<kStep>(planes + 2 * plane + k)};
      store_points(out + 3 * k, point);
    }
  for (int64_t c = 0; c < channels; ++c)
    scatter_pixels<1, false>(planes + c * plane + k, c_stride, w_stride, 1, count - k,
                             out + c * c_stride + k * w_stride);
}

}  // namespace PF_ISA
}  // namespace pyfast
