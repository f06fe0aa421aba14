// The tables of CPU kernels that each instruction set exports. Kernels are serial and work on the
// range they are given; the drivers bring threads and memory.
#pragma once

#include <cstdint>

#include "ops/dense_crf/dense_crf.h"
#include "ops/dense_crf/dense_crf_keys.h"

namespace pyfast {

// A hash table of keys, open addressing. A word is the key itself where that has one word, else 32
// bits of its hash and the number of an entry of `keys`.
template <int W>
struct KeyTable {
  static constexpr uint64_t kEmpty = ~uint64_t{0};
  uint64_t* words;
  uint64_t mask;  // size - 1, a power of two
  Key<W>* keys;   // W > 1: of every corner, and of every neighbour in a closed lattice
  bool shared;    // several threads insert at a time
};

template <class Real>
struct LatticeKernels {
  // Least and largest of `count` values; false if one is not finite.
  bool (*extent)(const Real* values, int64_t count, Real* least, Real* largest);
  // grad_features of points [begin, end) of an image from the gradients of their weights.
  void (*adjoint)(int dims, const Real* features, int64_t points, const Real* grad_weights,
                  int64_t begin, int64_t end, Real* grad_features);
};

template <class Real, int W>
struct CornerKernels {
  // Weights of points [begin, end) of an image, and their vertices' slots in the table, into which
  // they are inserted; false if it is full. `exact`: coordinates so large that float is too coarse.
  bool (*find_corners)(const LatticeParams<Real>&, const KeyLayout&, const KeyTable<W>&, bool exact,
                       int64_t image, int64_t begin, int64_t end, int32_t* slots, Real* weights);
  // Inserts keys[i] + step for i in [begin, end); it becomes number first + i of table.keys.
  bool (*insert_steps)(const KeyTable<W>&, const Key<W>* keys, int64_t begin, int64_t end,
                       const Key<W>& step, int64_t first);
  // Leaves i in the low half of the word of keys[i], for i in [begin, end).
  void (*number_keys)(const KeyTable<W>&, const Key<W>* keys, int64_t begin, int64_t end);
};

#define PF_DECLARE(level)                        \
  namespace level {                              \
  template <class Real>                          \
  const LatticeKernels<Real>& lattice_kernels(); \
  template <class Kernels>                       \
  const Kernels& corner_kernels();               \
  }
PF_DECLARE(baseline)
PF_DECLARE(avx2)
PF_DECLARE(avx512)
#undef PF_DECLARE

}  // namespace pyfast
