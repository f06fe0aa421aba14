// How the CPU kernels divide a call into tasks, and the table of kernels that each instruction
// set exports. Kernels are serial and work on the tasks they are given; the driver brings threads
// and memory.
#pragma once

#include <cstdint>

#include "ops/sampling/sampling.h"

namespace pyfast {

// Output pixels that are handled at once: some rows of a tile. No tile is wider.
constexpr int kRun = 256;

// The ways in which the channels of an image are met.
enum class Route {
  kPlanar,   // bilinear: groups of 1, 4 or more channels are repacked, pixel by pixel, into a small
             // box
  kGathers,  // bilinear: a few channels, neighbours gathered where they lie
  kTaps,     // trilinear and bicubic: channel by channel, neighbours read where they lie; with many
             // channels the driver repacks an image for kWide
  kFew,   // the same, 2 to 4 channels that are contiguous like their pixels: a row of taps at once
  kWide,  // more contiguous channels: each pixel is read where it lies, all its channels at once
  kPacked,   // the same, from an image that the driver has packed into planes of the output
  kNearest,  // one read for each output, nothing to gain from a box
};

// Neighbouring channels that are repacked together: `lanes` values a pixel, `channels` of them
// used.
struct Group {
  int64_t first, channels;
  int lanes;
};

// Part of one plane (in 2-D: of the image) of an output.
struct Tile {
  int64_t plane, top, left;
  int rows, columns;
};

struct SamplingPlan {
  Route route;
  int64_t groups;
  int64_t tiles_z, tiles_y, tiles_x;
  int tile_rows, tile_columns;
  int64_t box_pixels;  // a box of more pixels than this is not repacked
  bool brings_near;    // kGathers: what a tile reads is copied first
  int wide_lanes;      // of a group of many channels

  // As many wide groups as the channels fill, if only by more than half; the rest in fours.
  int64_t count_wide(int64_t channels) const {
    return (channels + wide_lanes / 2 - 1) / wide_lanes;
  }
  int64_t count_groups(int64_t channels) const {
    const int64_t rest = channels - count_wide(channels) * wide_lanes;
    return count_wide(channels) + (rest > 0 ? (rest + 3) / 4 : 0);
  }
  Group group(int64_t channels, int64_t index) const {
    const int64_t wide = count_wide(channels);
    const int64_t first =
        index < wide ? index * wide_lanes : wide * wide_lanes + (index - wide) * 4;
    const int64_t left = channels - first;
    if (index < wide) return {first, left < wide_lanes ? left : wide_lanes, wide_lanes};
    return {first, left < 4 ? left : 4, left == 1 ? 1 : 4};
  }

  int64_t tiles() const { return tiles_z * tiles_y * tiles_x; }
  Tile tile(int64_t index, int64_t out_h, int64_t out_w) const {
    const int64_t row = index / tiles_x;
    const int64_t top = row % tiles_y * tile_rows, left = index % tiles_x * tile_columns;
    const int64_t rows = out_h - top, columns = out_w - left;
    return {row / tiles_y, top, left, static_cast<int>(rows < tile_rows ? rows : tile_rows),
            static_cast<int>(columns < tile_columns ? columns : tile_columns)};
  }
};

// A part of the input, with its frame of zeros where it reaches over the edge, that holds all
// neighbours of a tile's samples. `dense`: small enough to be repacked as a whole; otherwise the
// neighbours of every sample are fetched one by one.
struct Box {
  int32_t left, top, columns, rows;
  bool dense;
};

// The box of samples that are fetched one by one, a run at a time: two neighbours beside each
// other, the two below them kRun samples further.
constexpr int64_t kSparsePixels = 4 * kRun;

// Channels that are brought into pixels together.
constexpr int kPixelLanes = 16;

struct ImageSize {
  int64_t channels, d, h, w;
};

// Memory of one task.
template <class Real>
struct TaskMemory {
  Real* box;    // a box
  Real* line;   // a run of pixels, or a line of a box
  Real* aside;  // zeros; samples fetched one by one; derivatives of a tile
};

template <class T>
struct SamplingKernels {
  using Real = Accumulator<T>;
  using Params = SamplingParams<T>;
  using Memory = TaskMemory<Real>;

  int forward_lanes, backward_lanes;  // see SamplingPlan::wide_lanes

  // output: tasks are (n, group, tile), groups 1 but on the route kPlanar.
  void (*forward)(const Params&, const SamplingPlan&, int64_t begin, int64_t end, const Memory&);

  // grad_input, kPlanar: add a tile's gradient to a box that `spread` first clears; then add the
  // boxes' rows [begin, end) of the image to grad_input.
  Box (*spread)(const Params&, const SamplingPlan&, int64_t n, const Group&, const Tile&,
                const Memory&);
  void (*merge)(const Params&, int64_t n, const Group&, const Tile&, const Box&, const Real* box,
                const Memory&, int64_t begin, int64_t end);
  void (*clear)(const Params&, int64_t b, int64_t first, int64_t channels);

  // grad_input, other routes: a range of channels of input b, over all its outputs.
  void (*spread_channels)(const Params&, const SamplingPlan&, int64_t b, int64_t first,
                          int64_t channels, const Memory&);

  // grad_field, and a tile's share of grad_matrix (matrix_size() sums a task): tasks are (n, tile).
  void (*coordinates)(const Params&, const SamplingPlan&, int64_t begin, int64_t end, const Memory&,
                      double* matrix_sums);

  // spread_channels and coordinates in one sweep over output n, of an input of its own, on the
  // routes kWide, kFew and kTaps: incoming gradients are read once.
  void (*sweep)(const Params&, const SamplingPlan&, int64_t n, const Memory&, double* matrix_sums);

  // Between image n of a view and pixels of `lanes` values, a multiple of kPixelLanes: its rows
  // [begin, end), counted over all planes. Lanes without a channel are filled with zeros.
  void (*pack)(const ImageView<const T>&, const ImageSize&, int64_t n, int64_t lanes, int64_t begin,
               int64_t end, Real* pixels);
  void (*unpack)(const Real* pixels, const ImageSize&, int64_t n, int64_t lanes, int64_t begin,
                 int64_t end, const ImageView<T>&);
};

template <class Real>
struct AffineGridKernels {
  // Tasks are the rows (n, d, i) and the outputs n.
  void (*forward)(const AffineGridParams<Real>&, int64_t begin, int64_t end);
  void (*backward)(const AffineGridParams<Real>&, int64_t begin, int64_t end);
};

#define PF_DECLARE(level)                               \
  namespace level {                                     \
  template <class T>                                    \
  const SamplingKernels<T>& sampling_kernels();         \
  template <class Real>                                 \
  const AffineGridKernels<Real>& affine_grid_kernels(); \
  }
PF_DECLARE(baseline)
PF_DECLARE(avx2)
PF_DECLARE(avx512)
#undef PF_DECLARE

}  // namespace pyfast
