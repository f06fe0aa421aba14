// One iteration of the mean field on the CPU, after the lattices have been swept: messages,
// energies and softmax, tile by tile.
#pragma once

#include <cstdint>

#include "ops/dense_crf/dense_crf_filter.h"

namespace pyfast {

constexpr int64_t kTile = 128;  // points of a row that are handled together
constexpr int kGroupChannels = kMostBlocks * kBlockChannels;

// Labels lie in groups of 32, the last one of fewer blocks. Group g of M rows starts at 32 g M.
struct LabelGroups {
  explicit LabelGroups(int64_t labels)
      : count(static_cast<int>((labels + kGroupChannels - 1) / kGroupChannels)),
        last_blocks(static_cast<int>((labels - (count - 1) * kGroupChannels + kBlockChannels - 1) /
                                     kBlockChannels)) {}
  // One channel is enough for two labels: the difference of their probabilities.
  static LabelGroups of_difference() {
    LabelGroups groups(1);
    groups.last_blocks = 0;
    return groups;
  }
  int blocks(int group) const { return group + 1 < count ? kMostBlocks : last_blocks; }
  int64_t channels() const { return (count - 1) * kGroupChannels + row_size(last_blocks); }

  int count, last_blocks;
};

// One pairwise term. Energies fall by post * (sum of neighbours), or grow by cost times that.
template <class Real, class S>
struct UpdateTerm {
  const Real* cost = nullptr;  // (L, channels), or null: Potts, its weight in `post`
  // A lattice; null for a Gaussian on the pixel grid.
  const S* lattice = nullptr;  // (M + 1, channels) by groups
  int64_t vertices = 0;
  int corner_count = 0;
  const int32_t* corners = nullptr;  // (B * N, d + 1)
  const Real* weights = nullptr;
  const Real* post = nullptr;  // (B * N,)
  // The Gaussian: taps (2 radius + 1), and what rows and columns are multiplied by before and
  // after.
  int64_t radius_x = 0, radius_y = 0;
  const Real *taps_x = nullptr, *taps_y = nullptr;
  const Real *pre_x = nullptr, *pre_y = nullptr, *post_x = nullptr, *post_y = nullptr;
};

template <class S>
struct Update {
  using Real = Accumulator<S>;
  int64_t batch = 0, labels = 0, height = 0, width = 0;
  const Real* unary = nullptr;       // (B, L, N)
  const uint8_t* unknown = nullptr;  // (B * N,): no energy is known
  Real* logits = nullptr;            // (B * N, channels): -unary by rows, or null
  bool known_logits = false;         // they are there already
  const S* from = nullptr;           // (B * N, channels) by groups
  S* to = nullptr;                   // the same, or null
  Real* planes = nullptr;            // (B, L, N), or null
  int terms = 0;
  UpdateTerm<Real, S> term[kMostKernels];
};

// Values of scratch memory that a thread needs.
template <class S>
int64_t update_scratch(const Update<S>& u) {
  int64_t radius = 0;
  for (int t = 0; t < u.terms; ++t)
    radius = radius > u.term[t].radius_x ? radius : u.term[t].radius_x;
  const int64_t pair = 2 * (u.width + 2 * radius);
  const int64_t all =
      2 * kTile * LabelGroups(u.labels).channels() + (kTile + 2 * radius) * kGroupChannels;
  return pair > all ? pair : all;
}

template <class S>
struct UpdateKernels {
  using Real = Accumulator<S>;
  // Points [begin, end) of an image: which have a NaN, or nothing but +inf.
  void (*find_unknown)(const Real* unary, int64_t labels, int64_t points, int64_t begin,
                       int64_t end, uint8_t* unknown);
  // Rows [begin, end) of all images.
  void (*update)(const Update<S>&, int64_t begin, int64_t end, Real* scratch);
  // The same for two labels under Potts, by the difference of their probabilities.
  void (*update_pair)(const Update<S>&, int64_t begin, int64_t end, Real* scratch);
  // A Gaussian on the pixel grid by itself: rows [begin, end) of all planes (planes, H, W).
  void (*grid)(const UpdateTerm<Real, S>&, int64_t height, int64_t width, const Real* values,
               int64_t begin, int64_t end, Real* scratch, Real* output);
};

#define PF_DECLARE(level)                   \
  namespace level {                         \
  template <class S>                        \
  const UpdateKernels<S>& update_kernels(); \
  }
PF_DECLARE(baseline)
PF_DECLARE(avx2)
PF_DECLARE(avx512)
#undef PF_DECLARE

}  // namespace pyfast
