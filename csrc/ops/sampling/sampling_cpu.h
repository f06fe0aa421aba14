// How the CPU kernels divide a call into tasks, and the table of kernels that each instruction
// set exports. Kernels are serial and work on the tasks they are given; the driver brings threads
// and memory.
#pragma once

#include <cstdint>

#include "ops/sampling/sampling.h"

namespace pyfast {

// Output pixels that are handled at once: some rows of a tile. No tile is wider.
constexpr int kRun = 256;

// The three ways in which the channels of an image are met:
//   kPlanar    groups of 1, 4 or 16 channels are repacked, pixel by pixel, into a small box
//   kWide      channels are contiguous and many: each pixel is read where it lies
//   kNearest   one read for each output, nothing to gain from a box
enum class Route { kPlanar, kWide, kNearest };

// Neighbouring channels that are repacked together: `lanes` values a pixel, `channels` of them
// used.
struct Group {
  int64_t first, channels;
  int lanes;
};

struct Tile {
  int64_t top, left;
  int rows, columns;
};

struct SamplingPlan {
  Route route;
  int64_t groups;
  int64_t tiles_y, tiles_x;
  int tile_rows, tile_columns;
  int64_t box_pixels;  // a box of more pixels than this is not repacked

  int64_t tiles() const { return tiles_y * tiles_x; }
  Tile tile(int64_t index, int64_t out_h, int64_t out_w) const {
    const int64_t top = index / tiles_x * tile_rows, left = index % tiles_x * tile_columns;
    const int64_t rows = out_h - top, columns = out_w - left;
    return {top, left, static_cast<int>(rows < tile_rows ? rows : tile_rows),
            static_cast<int>(columns < tile_columns ? columns : tile_columns)};
  }
};

inline int64_t count_groups(int64_t channels) {
  const int64_t rest = channels % 16;
  return channels / 16 + (rest == 0 ? 0 : rest > 8 ? 1 : (rest + 3) / 4);
}

inline Group group_of(int64_t channels, int64_t index) {
  const int64_t wide = channels / 16 + (channels % 16 > 8 ? 1 : 0);
  const int64_t first = index < wide ? index * 16 : wide * 16 + (index - wide) * 4;
  const int64_t left = channels - first;
  if (index < wide) return {first, left < 16 ? left : 16, 16};
  return {first, left < 4 ? left : 4, left == 1 ? 1 : 4};
}

// A part of the input, with its frame of zeros where it reaches over the edge, that holds all
// neighbours of a tile's samples. `dense`: small enough to be repacked as a whole; otherwise the
// neighbours of every sample are fetched one by one.
struct Box {
  int32_t left, top, columns, rows;
  bool dense;
};

// Memory of one task, in values of Real.
struct ScratchSize {
  int64_t box, line;
};

template <class Real>
struct SamplingKernels {
  // output: tasks are (n, group, tile), groups 1 on the routes kWide and kNearest.
  void (*forward)(const SamplingParams<Real>&, const SamplingPlan&, int64_t begin, int64_t end,
                  Real* box, Real* line);

  // grad_input, kPlanar: add a tile's gradient to a box that `spread` first clears; then add the
  // boxes' rows [begin, end) of the image to grad_input.
  Box (*spread)(const SamplingParams<Real>&, const SamplingPlan&, int64_t n, const Group&,
                const Tile&, Real* box, Real* line);
  void (*merge)(const SamplingParams<Real>&, int64_t n, const Group&, const Tile&, const Box&,
                const Real* box, Real* line, int64_t begin, int64_t end);
  void (*clear)(const SamplingParams<Real>&, int64_t b, int64_t first, int64_t channels);

  // grad_input, kWide and kNearest: a range of channels of input b, over all its outputs.
  void (*spread_channels)(const SamplingParams<Real>&, const SamplingPlan&, int64_t b,
                          int64_t first, int64_t channels, Real* line);

  // grad_grid, and a tile's share of grad_theta (6 sums at task * 6): tasks are (n, tile).
  void (*coordinates)(const SamplingParams<Real>&, const SamplingPlan&, int64_t begin, int64_t end,
                      Real* box, Real* line, double* theta_sums);

  // The base grid and its adjoint: tasks are the rows (n, i) and the outputs n.
  void (*affine_grid)(const AffineGridParams<Real>&, int64_t begin, int64_t end);
  void (*affine_grid_backward)(const AffineGridParams<Real>&, int64_t begin, int64_t end);
};

#define PF_DECLARE(level)                                   \
  namespace level {                                         \
  const SamplingKernels<float>& sampling_kernels_float();   \
  const SamplingKernels<double>& sampling_kernels_double(); \
  }
PF_DECLARE(baseline)
PF_DECLARE(avx2)
PF_DECLARE(avx512)
#undef PF_DECLARE

}  // namespace pyfast
