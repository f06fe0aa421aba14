// The lattice filter on the CPU: what its kernels work on, and what the drivers share.
#pragma once

#include <cstdint>

#include "ops/dense_crf/dense_crf.h"

namespace pyfast {

// Channels travel in groups of at most kMostBlocks blocks of eight; 0 blocks are one channel alone.
constexpr int kMostBlocks = 4;
constexpr int kBlockChannels = 8;

inline int64_t row_size(int blocks) { return blocks == 0 ? 1 : int64_t{blocks} * kBlockChannels; }

// Splat and blurs are done in one sweep over the slabs, in three stages: the splat to the
// used vertices; the blur along the first axis, 0 or d, from there to all, and in place there those
// along the axes that stay inside a slab; the blur along the last axis, back to the used ones. A
// blur across slabs reads one on both sides of its own, so each stage is one slab behind the one
// before.
constexpr int kSweepStages = 3;

// Slabs that each stage handles.
struct SweepRange {
  int64_t first[kSweepStages], last[kSweepStages];
};

// One group of channels on its way through a lattice. S is how values are stored.
template <class S>
struct Sweep {
  using Real = Accumulator<S>;
  LatticeView<Real> lattice;
  const Real* list_weights;
  bool transposed;  // axes in reverse order
  int blocks;
  const S* points;  // (B * N, row); null, for one channel: ones
  S* used;          // (U + 1, row), row U is 0: what comes in and goes out at used vertices
  S* all;           // (M + 1, row), row M is 0
};

// The vertex of a word of chains.
inline int32_t chained_vertex(int32_t word) { return word < 0 ? ~word : word; }

template <class S>
struct FilterKernels {
  using Real = Accumulator<S>;
  // Rows of `channels` planes (channels, plane), points [begin, end), each times its factor unless
  // that is null. Channels that fill up a row are 0.
  void (*pack)(const Real* planes, int64_t plane, int channels, int blocks, int64_t begin,
               int64_t end, const Real* factor, S* rows);
  void (*sweep)(const Sweep<S>&, const SweepRange&);
  // planes = factor * (what the corners of each point hold). `corners` and `weights` are those of
  // point 0.
  void (*slice)(const S* lattice, const int32_t* corners, const Real* weights, int corner_count,
                int channels, int blocks, int64_t begin, int64_t end, Real factor, Real* planes,
                int64_t plane);
  // Adds factor * <row of a point, what its corner holds> to each corner's sum.
  void (*dot)(const S* lattice, const int32_t* corners, int corner_count, const S* rows, int blocks,
              int64_t begin, int64_t end, Real factor, Real* sums);
};

#define PF_DECLARE(level)                   \
  namespace level {                         \
  template <class S>                        \
  const FilterKernels<S>& filter_kernels(); \
  }
PF_DECLARE(baseline)
PF_DECLARE(avx2)
PF_DECLARE(avx512)
#undef PF_DECLARE

// --- of the drivers ---

void write_lattice_header(int32_t* words, const LatticeSizes& sizes);

template <class Real>
LatticeView<Real> view_of(const int32_t* words) {
  return lattice_view<Real>(const_cast<int32_t*>(words), lattice_sizes(words));
}

// Runs all stages, in parallel where there are slabs enough; what comes out is in sweep.used.
template <class S>
void run_sweep(const Sweep<S>& sweep);

// view.mass = K 1.
template <class Real>
void filter_ones(const LatticeView<Real>& view);

}  // namespace pyfast
