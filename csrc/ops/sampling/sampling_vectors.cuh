// Whose threads take which channels where neighbouring ones are moved together.
#pragma once

#include "core/packs.cuh"
#include "ops/sampling/sampling_plan.cuh"

namespace pyfast {
namespace PF_ISA {

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
