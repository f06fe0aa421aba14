// The Gaussian sum itself on the CPU: points are sorted into blocks of neighbours, so that pairs of
// blocks further apart than a cutoff are left out.
#pragma once

#include <cstdint>

#include "ops/dense_crf/dense_crf.h"

namespace pyfast {

constexpr int kExactBlock = 64;  // points

// One image, its points in the order of the blocks; what fills up the last block has value 0.
template <class Real>
struct ExactTask {
  int dims, channels;
  int64_t blocks;
  const Real* features;  // (d, blocks * kExactBlock)
  const Real* boxes;     // (blocks, 2, d): least and largest features
  const Real* values;    // (blocks * kExactBlock, C)
  const Real* grad;      // the same, for the gradient
  Real* output;          // (blocks * kExactBlock, C), or for the gradient (d, blocks * kExactBlock)
  Real cutoff;           // a squared distance, negative: none
};

template <class Real>
struct ExactKernels {
  // Rows of blocks [begin, end).
  void (*filter)(const ExactTask<Real>&, int64_t begin, int64_t end);
  void (*gradient)(const ExactTask<Real>&, int64_t begin, int64_t end);
};

#define PF_DECLARE(level)                    \
  namespace level {                          \
  template <class Real>                      \
  const ExactKernels<Real>& exact_kernels(); \
  }
PF_DECLARE(baseline)
PF_DECLARE(avx2)
PF_DECLARE(avx512)
#undef PF_DECLARE

}  // namespace pyfast
