// The vertices of the lattice as numbers that can be sorted.
//
// The d + 1 coordinates of a vertex have one remainder modulo d + 1 and add up to zero: what tells
// vertices apart is that remainder and the quotients of the first d coordinates. A key has a field
// for each of them and, on top, one for the image, in as many 64-bit words as that takes. Fields
// have room for the steps to neighbours, so a step is an addition to the words.
#pragma once

#include "ops/dense_crf/dense_crf_device.cuh"
#include "ops/dense_crf/dense_crf_math.h"

namespace pyfast {
namespace PF_ISA {

constexpr int kMostSortWords = 8;
constexpr int kKeyBits = 64;

// The range of the quotients of the base vertices of all points.
struct Bounds {
  int32_t least[kMostFeatures], most[kMostFeatures];
};

struct SortKeys {
  int32_t dims, words;
  int32_t least[kMostFeatures];  // what a field of a quotient counts from
  int8_t word[kMostFeatures],
      shift[kMostFeatures];  // of the quotients; the remainder is lowest of all
  int8_t image_word, image_shift;
  int8_t bits[kMostSortWords];   // in use
  uint64_t all[kMostSortWords];  // one in each field of a quotient

  PF_HD uint64_t one(int field, int w) const {
    return word[field] == w ? uint64_t{1} << shift[field] : 0;
  }

  // The word `w` of the key to which one step along `axis`, forward or backward, leads.
  PF_HD uint64_t step(uint64_t lowest, uint64_t from, int w, int axis, bool forward) const {
    const int remainder = int(lowest & ((uint64_t{1} << shift[0]) - 1));
    const bool wraps = remainder == (forward ? dims : 0);
    uint64_t change = axis < dims ? 0 - one(axis, w) : 0;
    if (wraps) change += all[w];
    if (w == 0) change += wraps ? 0 - uint64_t(dims) : 1;
    if (forward) return from + change;
    return from - change;
  }
};

inline int bits_for(uint64_t most) {
  int bits = 1;
  while (bits < 64 && most >> bits != 0) ++bits;
  return bits;
}

// How far neighbours of neighbours and the vertices of a simplex can lie beside its base vertex.
constexpr int kMargin = 3;

// False where the keys would take more words than there are.
inline bool plan_keys(const Bounds& bounds, int dims, int64_t images, SortKeys* layout) {
  int word = 0, used = bits_for(uint64_t(dims));
  const auto place = [&](int bits, int8_t* in_word, int8_t* at) {
    if (used + bits > kKeyBits) {
      layout->bits[word++] = int8_t(used);
      used = 0;
    }
    *in_word = int8_t(word);
    *at = int8_t(used);
    used += bits;
    return word < kMostSortWords;
  };
  *layout = {};
  layout->dims = dims;
  for (int k = 0; k < dims; ++k) {
    layout->least[k] = bounds.least[k] - kMargin;
    const int64_t range = int64_t{bounds.most[k]} - bounds.least[k] + 2 * kMargin;
    if (!place(bits_for(uint64_t(range)), &layout->word[k], &layout->shift[k])) return false;
    layout->all[layout->word[k]] += uint64_t{1} << layout->shift[k];
  }
  if (!place(bits_for(uint64_t(images)), &layout->image_word, &layout->image_shift)) return false;
  layout->bits[word] = int8_t(used);
  layout->words = word + 1;
  return true;
}

}  // namespace PF_ISA
}  // namespace pyfast
