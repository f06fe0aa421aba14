// The lattice filter on the CPU: what its kernels work on, and what the drivers share.
#pragma once

#include <cstdint>

#include "ops/dense_crf/dense_crf.h"

namespace pyfast {

// Channels travel in groups of at most kMostBlocks blocks of eight; 0 blocks are one channel alone.
constexpr int kMostBlocks = 4;
constexpr int kBlockChannels = 8;

inline int64_t row_size(int blocks) { return blocks == 0 ? 1 : int64_t{blocks} * kBlockChannels; }

// What lies between splat and slice is done in stages: stage 0 is the splat, the others are blurs
// along one axis. A stage reads what the one before wrote, `reach` slabs to both sides, and writes
// into the other of two buffers. In one sweep over the slabs stage j is `lag[j]` slabs behind: as
// little as leaves it what it reads, and the stage before what that still reads.
struct SweepPlan {
  int stages = 0;
  int axis[kMostFeatures + 2];
  int64_t lag[kMostFeatures + 2];
};

// Slabs that each stage handles.
struct SweepRange {
  int64_t first[kMostFeatures + 2], last[kMostFeatures + 2];
};

// One group of channels on its way through a lattice. S is how values are stored.
template <class S>
struct Sweep {
  using Real = Accumulator<S>;
  const int32_t *starts, *list_points, *neighbours, *slab_starts;
  const Real* list_weights;
  int64_t vertices;
  int blocks;
  const S* points;  // (B * N, row)
  S* buffer[2];     // (M + 1, row): after an even and an odd stage; row M is 0
  SweepPlan plan;
};

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

void write_lattice_header(int32_t* words, const LatticeSizes& sizes, int64_t reach);

template <class Real>
LatticeView<Real> view_of(const int32_t* words) {
  return lattice_view<Real>(const_cast<int32_t*>(words), lattice_sizes(words), words[kWordReach]);
}

SweepPlan sweep_plan(int dims, int64_t reach, bool transposed);
template <class S>
Sweep<S> sweep_of(const LatticeView<Accumulator<S>>& view, int blocks, bool transposed);

// Runs all stages, in parallel where there are slabs enough; returns the buffer with the result.
template <class S>
S* run_sweep(const Sweep<S>& sweep, int64_t slabs);

// view.mass = K 1.
template <class Real>
void filter_ones(const LatticeView<Real>& view);

}  // namespace pyfast
