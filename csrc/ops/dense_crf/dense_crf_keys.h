// Keys of lattice vertices as the build handles them: words of 63 bits, most significant first.
#pragma once

#include <cstdint>

#include "ops/dense_crf/dense_crf_math.h"

namespace pyfast {

template <int W>
struct Key {
  uint64_t word[W];
};

namespace PF_ISA {

template <int W>
inline bool operator==(const Key<W>& a, const Key<W>& b) {
  bool same = true;
  for (int w = 0; w < W; ++w) same = same && a.word[w] == b.word[w];
  return same;
}
template <int W>
inline bool operator<(const Key<W>& a, const Key<W>& b) {
  for (int w = 0; w + 1 < W; ++w)
    if (a.word[w] != b.word[w]) return a.word[w] < b.word[w];
  return a.word[W - 1] < b.word[W - 1];
}
// Word by word: no field overflows into another.
template <int W>
inline Key<W> operator+(Key<W> a, const Key<W>& b) {
  for (int w = 0; w < W; ++w) a.word[w] += b.word[w];
  return a;
}

template <int W>
inline uint64_t hash(const Key<W>& key) {
  uint64_t h = key.word[0] * 0x9e3779b97f4a7c15u;
  for (int w = 1; w < W; ++w) h = (h ^ h >> 29 ^ key.word[w]) * 0x9e3779b97f4a7c15u;
  return h ^ h >> 32;
}

// What a step along an axis, forward (1) or backward (-1), adds to a key: d to that coordinate, -1
// to all others.
template <int W>
inline Key<W> key_step(const KeyLayout& layout, int axis, int64_t sign) {
  const int d = layout.dims;
  Key<W> step{};
  const auto add = [&](int field, int64_t amount) {
    step.word[layout.field_word[field]] += static_cast<uint64_t>(sign * amount)
                                           << layout.field_shift[field];
  };
  for (int c = 0; c < d; ++c)
    if (layout.is_stored(c)) add(c, c == axis ? d : -1);
  add(d, (axis == d) - (axis == 0));
  return step;
}

}  // namespace PF_ISA
}  // namespace pyfast
