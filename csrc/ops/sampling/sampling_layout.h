// Between planes (one channel after another) and pixels (all channels of a pixel together).
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "ops/sampling/sampling_transpose.h"

namespace pyfast {
namespace PF_ISA {

// A number of lanes as a type, to hand it to a generic lambda.
template <int N>
struct Lanes {
  static constexpr int value = N;
};

template <bool kAdd, class T, class V>
inline void put(T* to, const V& value) {
  constexpr int n = sizeof(V) / sizeof(Accumulator<T>);
  store(to, kAdd ? load<n>(to) + value : value);
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

// The same for sixteen planes, a register of each at a time, so that none of its lines is met
// again; the last ones overlap. Needs 16 pixels.
template <class T, class Real = Accumulator<T>>
inline void gather_sixteen(const T* from, int64_t c_stride, int count, Real* pixels) {
  for (int k = 0; k < count; k += 16) {
    const int first = k + 16 <= count ? k : count - 16;
    Vec<Real, 16> v[16];
#pragma GCC unroll 16
    for (int c = 0; c < 16; ++c) v[c] = load<16>(from + c * c_stride + first);
    transpose16<Real>(v);
#pragma GCC unroll 16
    for (int l = 0; l < 16; ++l) store(pixels + (first + l) * 16, v[l]);
  }
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
  if constexpr (kLanes == 16 && kNative<Real> == 16)
    if (w_stride == 1 && c_stride != 1 && channels == 16 && count >= 16)
      return gather_sixteen(from, c_stride, count, pixels);
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
      if constexpr (kLanes == 4 && kNative<Real> > 4)
        for (constexpr int n = kNative<Real>; k + n <= count; k += n) {
          constexpr FirstNumbers<n> all{};
          Vec<Real, n> v[4] = {};
          const T* const plane[4] = {a, b, e, d};
#pragma GCC unroll 4
          for (int l = 0; l < 4; ++l)
            if (l < used) v[l] = to_blocks(load<n>(plane[l] + k), all);
          transpose4<Real, n>(v[0], v[1], v[2], v[3]);
          for (int l = 0; l < 4; ++l) store(to + 4 * k + l * n, v[l]);
        }
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
      if constexpr (kLanes == 4 && kNative<Real> > 4)
        for (constexpr int n = kNative<Real>; k + n <= count; k += n) {
          constexpr FirstNumbers<n> all{};
          Vec<Real, n> v[4];
          for (int l = 0; l < 4; ++l) v[l] = load<n>(from + 4 * k + l * n);
          transpose4<Real, n>(v[0], v[1], v[2], v[3]);
          for (int l = 0; l < used; ++l) put<kAdd, T>(a + l * c_stride + k, from_blocks(v[l], all));
        }
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
