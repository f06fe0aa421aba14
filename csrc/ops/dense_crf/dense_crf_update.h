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

// A Gaussian along one axis of the pixel grid. A wide one is a Gaussian of sigma / sqrt 2 twice,
// and between the two every `step`th place is enough, place c at pixel step * (c - margin); some
// lie outside. A narrow one has step 1, and pixels are places.
template <class Real>
struct GridAxis {
  int64_t length = 0, places = 0, step = 1, margin = 0;
  int64_t radius = 0;                                  // of the taps from places to pixels
  int64_t radius_before = 0;                           // of those from pixels to places
  const Real *taps = nullptr, *taps_before = nullptr;  // (2 radius + 1), symmetric
  const Real *pre = nullptr, *post = nullptr;  // what pixels are multiplied by before and after

  // Places within reach of a pixel, [first, last].
  int64_t first(int64_t pixel) const {
    const int64_t from = pixel - radius + margin * step;
    return from > 0 ? (from + step - 1) / step : 0;
  }
  int64_t last(int64_t pixel) const {
    const int64_t place = (pixel + radius) / step + margin;
    return place < places ? place : places - 1;
  }
  int64_t pixel(int64_t place) const { return step * (place - margin); }
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
  // The Gaussian, and the values at its places where these are not the pixels.
  GridAxis<Real> x, y;
  const Real* shrunk = nullptr;  // (B * places, channels) by groups
};

template <class S>
struct Update {
  using Real = Accumulator<S>;
  int64_t batch = 0, labels = 0, points = 0;
  int64_t height = 0, width = 0;     // rows of points; the last one may be shorter
  const Real* unary = nullptr;       // (B, L, N)
  const uint8_t* unknown = nullptr;  // (B * N,): no energy is known
  Real* logits = nullptr;            // (B * N, channels): -unary by rows, or null
  bool known_logits = false;         // they are there already
  const S* from = nullptr;           // (B * N, channels) by groups
  S* to = nullptr;                   // the same, or null
  Real* planes = nullptr;            // (B, L, N), or null
  int terms = 0;
  UpdateTerm<Real, S> term[kMostKernels];

  int64_t row_length(int64_t y) const {
    const int64_t left = points - y * width;
    return left < width ? left : width;
  }
};

// Values of scratch memory that a thread needs.
template <class S>
int64_t update_scratch(const Update<S>& u) {
  int64_t places = 0, width = 0;  // of a line of places along a tile, or of a row of one channel
  for (int t = 0; t < u.terms; ++t) {
    const GridAxis<typename Update<S>::Real>& axis = u.term[t].x;
    const int64_t reached = (kTile + 2 * axis.radius) / axis.step + 2;
    places = reached > places ? reached : places;
    const int64_t padded = u.width + 2 * axis.radius;
    width = padded > width ? padded : width;
  }
  const int64_t pair = u.width + width;
  const int64_t all = 2 * kTile * LabelGroups(u.labels).channels() + places * kGroupChannels;
  return pair > all ? pair : all;
}

template <class S>
struct UpdateKernels {
  using Real = Accumulator<S>;
  // Points [begin, end) of an image: which have a NaN, or nothing but +inf.
  void (*find_unknown)(const Real* unary, int64_t labels, int64_t points, int64_t begin,
                       int64_t end, uint8_t* unknown);
  // Rows [begin, end) of all images, of `height` each.
  void (*update)(const Update<S>&, int64_t begin, int64_t end, Real* scratch);
  // The same for two labels under Potts, by the difference of their probabilities.
  void (*update_pair)(const Update<S>&, int64_t begin, int64_t end, Real* scratch);
  // The first half of a wide Gaussian, from `rows` of an image (H, W, row) to rows [begin, end) of
  // places (places, row); scratch (W, row).
  void (*shrink)(const UpdateTerm<Real, S>&, int blocks, const S* rows, int64_t begin, int64_t end,
                 Real* scratch, Real* shrunk);
  // A narrow Gaussian on the pixel grid by itself: rows [begin, end) of all planes (planes, H, W).
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
