// Which thread works where.
#pragma once

#include <cstdint>

#include "core/device.h"
#include "ops/sampling/sampling.h"

namespace pyfast {
namespace PF_ISA {

// Threads that fill the largest GPUs: with more than these, a thread takes several pixels or
// channels. The run on the host asks for few, so that small cases are divided as large ones are.
#ifndef PF_ENOUGH_THREADS
#define PF_ENOUGH_THREADS (1 << 18)
#endif

constexpr int kThreadsLog2 = 7;
constexpr int kThreads = 1 << kThreadsLog2;  // of every block
constexpr int64_t kMaxSide = 1 << 30;        // of an image: indices are 32-bit, offsets 64-bit
constexpr int64_t kMaxBlocks = 0x7fffffff;

// How the pixels and channels of a batch of images are divided. The rows of a volume count on from
// slice to slice. A block owns a group of channels in `stack` tiles of one image, one below the
// other. 2^slots_log2 threads, the slots, share a pixel: slot s takes channels s * vector, (s +
// slots) * vector and so on. Neighbouring threads are slots of one pixel where channels are
// neighbours in memory, otherwise neighbouring pixels.
struct Plan {
  int32_t width, rows;  // of the images
  int32_t tile_width_log2, tile_rows, stack;
  uint32_t tiles_x, tiles;  // of an image; `tiles` counts stacks
  int32_t slots_log2;
  bool slots_inner;
  int32_t channels, group_channels;
  uint32_t groups;
  int64_t blocks;

  PF_HD int32_t slots() const { return 1 << slots_log2; }
  PF_HD int32_t pixels_log2() const { return kThreadsLog2 - slots_log2; }  // of a tile
};

// What one thread works on.
struct Place {
  int64_t image;
  int32_t x, row;  // beyond the image for a thread without work
  int32_t channel, channels_end, slot;
};

PF_HD void move_to_tile(const Plan& plan, uint32_t tile, int thread, Place* place) {
  const int pixel =
      plan.slots_inner ? thread >> plan.slots_log2 : thread & ((1 << plan.pixels_log2()) - 1);
  place->slot = plan.slots_inner ? thread & (plan.slots() - 1) : thread >> plan.pixels_log2();
  const int32_t column = tile % plan.tiles_x, row = tile / plan.tiles_x;
  place->x = (column << plan.tile_width_log2) + (pixel & ((1 << plan.tile_width_log2) - 1));
  place->row = row * plan.tile_rows * plan.stack + (pixel >> plan.tile_width_log2);
}

PF_HD Place place_of(const Plan& plan, uint32_t block, int thread, int vector) {
  Place place;
  const int32_t group = block / plan.tiles % plan.groups;
  place.image = block / plan.tiles / plan.groups;
  move_to_tile(plan, block % plan.tiles, thread, &place);
  place.channel = group * plan.group_channels + place.slot * vector;
  const int32_t end = (group + 1) * plan.group_channels;
  place.channels_end = end < plan.channels ? end : plan.channels;
  return place;
}

PF_HD bool has_work(const Plan& plan, const Place& place) {
  return place.x < plan.width && place.row < plan.rows;
}

// Indices of a pixel: x, y and, in a volume, z.
template <int D>
struct Pixel {
  int32_t at[D];
  PF_HD int32_t x() const { return at[0]; }
  PF_HD int32_t y() const { return at[1]; }
  PF_HD int32_t z() const { return D == 3 ? at[D - 1] : 0; }
};

template <int D>
PF_HD Pixel<D> pixel_at(int32_t x, int32_t row, int64_t height) {
  if constexpr (D == 2) {
    return {{x, row}};
  } else {
    return {{x, row % int32_t(height), row / int32_t(height)}};
  }
}

// The smallest k with 2^k >= value, but no more than most.
inline int32_t log2_above(int64_t value, int32_t most) {
  int32_t k = 0;
  while (k < most && int64_t{1} << k < value) ++k;
  return k;
}

// How often a thread goes on to more work: up to `most` times, a power of two, as long as there
// are threads enough.
inline int64_t repeats(int64_t most, int64_t threads) {
  int64_t count = 1;
  while (2 * count <= most && threads / (2 * count) >= PF_ENOUGH_THREADS) count *= 2;
  return count;
}

// How the channels of a pixel are divided.
struct Slots {
  int32_t log2;
  bool inner;  // neighbouring threads take neighbouring channels
  int vector;  // channels moved at once
  int64_t step() const { return int64_t{vector} << log2; }
};

// A thread takes up to most_channels channels, 0 for its share of all, and up to most_tiles pixels.
inline Plan plan_tiles(int64_t images, int64_t rows, int64_t width, int64_t channels,
                       const Slots& slots, int64_t most_channels, int64_t most_tiles) {
  Plan plan;
  plan.width = int32_t(width);
  plan.rows = int32_t(rows);
  plan.slots_log2 = slots.log2;
  plan.slots_inner = slots.inner;
  plan.tile_width_log2 = log2_above(width, plan.pixels_log2() < 5 ? plan.pixels_log2() : 5);
  plan.tile_rows = 1 << (plan.pixels_log2() - plan.tile_width_log2);
  const int64_t steps = ceil_div(channels, slots.step());
  const int64_t threads = images * rows * width * steps << slots.log2;
  const int64_t moves = most_channels == 0 ? steps : repeats(most_channels / slots.vector, threads);
  plan.channels = int32_t(channels);
  plan.group_channels = int32_t(moves < steps ? moves * slots.step() : steps * slots.step());
  plan.groups = uint32_t(ceil_div(channels, plan.group_channels));
  plan.stack = int32_t(repeats(most_tiles, images * rows * width * plan.groups << slots.log2));
  const int64_t tiles_x = ceil_div(width, int64_t{1} << plan.tile_width_log2);
  const int64_t tiles = tiles_x * ceil_div(rows, int64_t{plan.tile_rows} * plan.stack);
  plan.tiles_x = uint32_t(tiles_x);
  plan.tiles = uint32_t(tiles);
  plan.blocks = tiles * plan.groups * images;
  return plan;
}

template <class T>
bool sides_fit(const SamplingParams<T>& p) {
  return p.in_d * p.in_h < kMaxSide && p.in_w < kMaxSide && p.out_d * p.out_h < kMaxSide &&
         p.out_w < kMaxSide && p.channels < kMaxSide;
}

}  // namespace PF_ISA
}  // namespace pyfast
