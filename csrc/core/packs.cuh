// Neighbouring values moved together by the threads of a GPU.
#pragma once

#include "core/device.h"

namespace pyfast {
namespace PF_ISA {

// V neighbours, moved by instructions of up to 16 bytes.
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

// Zeros for what lies outside of an image, so that no value of the image counts there.
template <int V, class T>
__device__ __forceinline__ Pack<V, T> load_inside(const T* image, int64_t offset, bool inside) {
  if (inside) return load<V>(image + offset);
  return Pack<V, T>{};
}

template <int V, class T>
PF_HD void store(T* to, const Pack<V, T>& pack) {
  *reinterpret_cast<Pack<V, T>*>(to) = pack;
}

// Values of T in 16 bytes.
template <class T>
constexpr int kVector = 16 / sizeof(T);

}  // namespace PF_ISA
}  // namespace pyfast
