// Between planes (one channel after another) and pixels (all channels of a pixel together).
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "core/device.h"

namespace pyfast {
namespace PF_ISA {

template <class T, int N>
struct VecOf {
  typedef T type __attribute__((vector_size(N * sizeof(T))));
};
// N values in vector registers; operators and shuffles are the compiler's own.
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

// A number of lanes as a type, to hand it to a generic lambda.
template <int N>
struct Lanes {
  static constexpr int value = N;
};

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

template <int... I>
struct Indices {};
template <int N, int... I>
struct MakeIndices : MakeIndices<N - 1, N - 1, I...> {};
template <int... I>
struct MakeIndices<0, I...> {
  using type = Indices<I...>;
};
template <int N>
using FirstIndices = typename MakeIndices<N>::type;

// Of every four values the two from kFrom on, of a and b in turn.
template <int kFrom, class V, int... I>
inline V interleave(const V& a, const V& b, Indices<I...>) {
  constexpr int n = sizeof...(I);
  return __builtin_shufflevector(a, b, (I / 4 * 4 + I % 4 / 2 + kFrom + I % 2 * n)...);
}

// Transposes every block of four by four values.
template <class T, int N = 4>
inline void transpose4(Vec<T, N>& a, Vec<T, N>& b, Vec<T, N>& c, Vec<T, N>& d) {
  constexpr FirstIndices<N> all{};
  const Vec<T, N> ac0 = interleave<0>(a, c, all), ac1 = interleave<2>(a, c, all);
  const Vec<T, N> bd0 = interleave<0>(b, d, all), bd1 = interleave<2>(b, d, all);
  a = interleave<0>(ac0, bd0, all);
  b = interleave<2>(ac0, bd0, all);
  c = interleave<0>(ac1, bd1, all);
  d = interleave<2>(ac1, bd1, all);
}

// Four pixels of three channels: twelve contiguous values into one vector a pixel, and back.
template <class T>
inline void load_triples(const T* from, Vec<T, 4> pixel[4]) {
  const auto a = load<4>(from), b = load<4>(from + 4), c = load<4>(from + 8);
  const Vec<T, 4> second = __builtin_shufflevector(a, b, 3, 4, 5, 5);
  const Vec<T, 4> third = __builtin_shufflevector(b, c, 2, 3, 4, 4);
  pixel[0] = __builtin_shufflevector(a, Vec<T, 4>{}, 0, 1, 2, 4);
  pixel[1] = __builtin_shufflevector(second, Vec<T, 4>{}, 0, 1, 2, 4);
  pixel[2] = __builtin_shufflevector(third, Vec<T, 4>{}, 0, 1, 2, 4);
  pixel[3] = __builtin_shufflevector(c, Vec<T, 4>{}, 1, 2, 3, 4);
}

template <bool kAdd, class T>
inline void put(T* to, const Vec<T, 4>& value) {
  store(to, kAdd ? load<4>(to) + value : value);
}

template <bool kAdd, class T>
inline void put_triples(T* to, const T* pixels, int lanes) {
  const auto a = load<4>(pixels), b = load<4>(pixels + lanes);
  const auto c = load<4>(pixels + 2 * lanes), d = load<4>(pixels + 3 * lanes);
  put<kAdd, T>(to, __builtin_shufflevector(a, b, 0, 1, 2, 4));
  put<kAdd, T>(to + 4, __builtin_shufflevector(b, c, 1, 2, 4, 5));
  put<kAdd, T>(to + 8, __builtin_shufflevector(c, d, 2, 4, 5, 6));
}

// Whether eight planes at once are faster than four: with AVX-512 registers to spare.
template <int kLanes, class T>
constexpr bool kEight = kLanes == 16 && kNative<T> == 16;

// Eight planes of a row into pixels `lanes` values apart, four pixels at a time; returns the first
// pixel that is left. More planes at once would evict each other from the first cache where they
// lie a power of two apart.
template <class T>
inline int gather_eight(const T* from, int64_t c_stride, int lanes, int count, T* pixels) {
  int k = 0;
  for (; k + 4 <= count; k += 4) {
    Vec<T, 8> v[4];
    for (int c = 0; c < 4; ++c) {
      const auto low = load<4>(from + c * c_stride + k);
      const auto high = load<4>(from + (c + 4) * c_stride + k);
      v[c] = __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7);
    }
    transpose4<T, 8>(v[0], v[1], v[2], v[3]);
    for (int l = 0; l < 4; ++l) store(pixels + (k + l) * lanes, v[l]);
  }
  return k;
}

// `count` pixels of `channels` <= kLanes channels, at c_stride and w_stride, into kLanes values a
// pixel; unused lanes become zero.
template <int kLanes, class T>
void gather_pixels(const T* from, int64_t c_stride, int64_t w_stride, int64_t channels, int count,
                   T* pixels) {
  if (kLanes == 1) {
    if (w_stride == 1) {
      std::memcpy(pixels, from, count * sizeof(T));
    } else {
      for (int k = 0; k < count; ++k) pixels[k] = from[k * w_stride];
    }
    return;
  }
  for (int64_t c = 0, step; c < kLanes; c += step) {
    const bool eight = kEight<kLanes, T> && w_stride == 1 && c_stride != 1 && channels - c >= 8;
    step = eight ? 8 : 4;
    const T* a = from + c * c_stride;
    const int64_t used = channels - c < step ? channels - c : step;
    T* to = pixels + c;
    int k = 0;
    if (eight) {
      k = gather_eight(a, c_stride, kLanes, count, to);
    } else if (used <= 0) {
      for (; k < count; ++k) store(to + k * kLanes, Vec<T, 4>{});
    } else if (c_stride == 1) {
      if (used == 4) {
        for (; k < count; ++k) store(to + k * kLanes, load<4>(a + k * w_stride));
      } else if (used == 3 && w_stride == 3) {
        for (; k + 4 <= count; k += 4) {
          Vec<T, 4> pixel[4];
          load_triples(a + 3 * k, pixel);
          for (int l = 0; l < 4; ++l) store(to + (k + l) * kLanes, pixel[l]);
        }
      }
    } else if (w_stride == 1) {
      const T* b = used > 1 ? a + c_stride : a;
      const T* e = used > 2 ? a + 2 * c_stride : a;
      const T* d = used > 3 ? a + 3 * c_stride : a;
      for (; k + 4 <= count; k += 4) {
        Vec<T, 4> v0 = load<4>(a + k), v1 = load<4>(b + k), v2 = load<4>(e + k),
                  v3 = load<4>(d + k);
        if (used < 2) v1 = Vec<T, 4>{};
        if (used < 3) v2 = Vec<T, 4>{};
        if (used < 4) v3 = Vec<T, 4>{};
        transpose4<T>(v0, v1, v2, v3);
        T* q = to + k * kLanes;
        store(q, v0);
        store(q + kLanes, v1);
        store(q + 2 * kLanes, v2);
        store(q + 3 * kLanes, v3);
      }
    }
    for (; k < count; ++k)
      for (int64_t l = 0; l < step; ++l)
        to[k * kLanes + l] = l < used ? a[l * c_stride + k * w_stride] : T(0);
  }
}

// The way back: writes (kAdd: adds) the used lanes of `count` pixels.
template <int kLanes, bool kAdd, class T>
void scatter_pixels(const T* pixels, int64_t c_stride, int64_t w_stride, int64_t channels,
                    int count, T* out) {
  const auto put_one = [](T* to, T value) { *to = kAdd ? *to + value : value; };
  if (kLanes == 1) {
    if (w_stride == 1) {
#pragma omp simd
      for (int k = 0; k < count; ++k) put_one(out + k, pixels[k]);
    } else {
      for (int k = 0; k < count; ++k) put_one(out + k * w_stride, pixels[k]);
    }
    return;
  }
  for (int64_t c = 0; c < channels; c += 4) {
    const int64_t used = channels - c < 4 ? channels - c : 4;
    const T* from = pixels + c;
    T* a = out + c * c_stride;
    int k = 0;
    if (c_stride == 1 && used == 4) {
      for (; k < count; ++k) put<kAdd, T>(a + k * w_stride, load<4>(from + k * kLanes));
    } else if (c_stride == 1 && used == 3 && w_stride == 3) {
      for (; k + 4 <= count; k += 4) put_triples<kAdd>(a + k * 3, from + k * kLanes, kLanes);
    } else if (w_stride == 1) {
      for (; k + 4 <= count; k += 4) {
        const T* q = from + k * kLanes;
        Vec<T, 4> v0 = load<4>(q), v1 = load<4>(q + kLanes), v2 = load<4>(q + 2 * kLanes),
                  v3 = load<4>(q + 3 * kLanes);
        transpose4<T>(v0, v1, v2, v3);
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

}  // namespace PF_ISA
}  // namespace pyfast
