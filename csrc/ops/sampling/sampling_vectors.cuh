// Neighbouring channels moved together, and whose threads then take which channels.
#pragma once

#include "ops/sampling/sampling_plan.cuh"

namespace pyfast {
namespace PF_ISA {

// V neighbouring channels, moved by instructions of up to 16 bytes.
template <int V, class T>
struct alignas(V * sizeof(T) < 16 ? V * sizeof(T) : 16) Pack {
  T value[V];
};

template <int V, class T>
__device__ __forceinline__ Pack<V, T> load(const T* from) {
  // __ldg tells the compiler that no store in between changes the value.
  if constexpr (V > 1) {
    return *reinterpret_cast<const Pack<V, T>*>(from);
  } else if constexpr (sizeof(T) == 2) {
    return {T{__ldg(&from->bits)}};
  } else {
    return {__ldg(from)};
  }
}

// Zeros for a pixel outside the image, so that no value of the image counts there.
template <int V, class T>
__device__ __forceinline__ Pack<V, T> load_inside(const T* image, int64_t offset, bool inside) {
  if (inside) return load<V>(image + offset);
  return Pack<V, T>{};
}

template <int V, class T>
PF_HD void store(T* to, const Pack<V, T>& pack) {
  *reinterpret_cast<Pack<V, T>*>(to) = pack;
}

// Channels of T in 16 bytes.
template <class T>
constexpr int kVector = 16 / sizeof(T);

template <int V, class Element>
bool fits_vectors(const ImageView<Element>& image, int64_t channels) {
  return image.c == 1 && channels % V == 0 && image.n % V == 0 && image.d % V == 0 &&
         image.h % V == 0 && image.w % V == 0 && reinterpret_cast<uintptr_t>(image.data) % 16 == 0;
}

// For two images whose channels are walked together: side by side in memory, moved as vectors of V
// where `vectors`, or else threads had better take neighbouring pixels.
inline Slots slots_for(int64_t stride_a, int64_t stride_b, int64_t channels, int V, bool vectors) {
  if (vectors) return {log2_above(channels / V, 5), true, V};
  if (stride_a == 1 && stride_b == 1 && channels > 4) return {log2_above(channels, 5), true, 1};
  return {0, false, 1};
}

template <int V, class A, class B>
Slots slots_for(const ImageView<A>& a, const ImageView<B>& b, int64_t channels) {
  const bool vectors = V > 1 && fits_vectors<V>(a, channels) && fits_vectors<V>(b, channels);
  return slots_for(a.c, b.c, channels, V, vectors);
}

}  // namespace PF_ISA
}  // namespace pyfast
