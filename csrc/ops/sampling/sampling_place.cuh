// Which thread works where, and where an output pixel samples.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/device.h"
#include "ops/sampling/sampling.h"
#include "ops/sampling/sampling_math.h"

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

// How the pixels and channels of a batch of images are divided. A block owns a group of channels
// in `stack` tiles of one image, one below the other. 2^slots_log2 threads, the slots, share a
// pixel: slot s takes channels s * vector, (s + slots) * vector and so on. Neighbouring threads
// are slots of one pixel where channels are neighbours in memory, otherwise neighbouring pixels.
struct Plan {
  int32_t width, height;  // of the images
  int32_t tile_width_log2, tile_height, stack;
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
  int32_t x, y;  // beyond the image for a thread without work
  int32_t channel, channels_end, slot;
};

PF_HD void move_to_tile(const Plan& plan, uint32_t tile, int thread, Place* place) {
  const int pixel =
      plan.slots_inner ? thread >> plan.slots_log2 : thread & ((1 << plan.pixels_log2()) - 1);
  place->slot = plan.slots_inner ? thread & (plan.slots() - 1) : thread >> plan.pixels_log2();
  const int32_t column = tile % plan.tiles_x, row = tile / plan.tiles_x;
  place->x = (column << plan.tile_width_log2) + (pixel & ((1 << plan.tile_width_log2) - 1));
  place->y = row * plan.tile_height * plan.stack + (pixel >> plan.tile_width_log2);
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

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

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
inline Plan plan_tiles(int64_t images, int64_t height, int64_t width, int64_t channels,
                       const Slots& slots, int64_t most_channels, int64_t most_tiles) {
  Plan plan;
  plan.width = int32_t(width);
  plan.height = int32_t(height);
  plan.slots_log2 = slots.log2;
  plan.slots_inner = slots.inner;
  plan.tile_width_log2 = log2_above(width, plan.pixels_log2() < 5 ? plan.pixels_log2() : 5);
  plan.tile_height = 1 << (plan.pixels_log2() - plan.tile_width_log2);
  const int64_t steps = ceil_div(channels, slots.step());
  const int64_t threads = images * height * width * steps << slots.log2;
  const int64_t moves = most_channels == 0 ? steps : repeats(most_channels / slots.vector, threads);
  plan.channels = int32_t(channels);
  plan.group_channels = int32_t(moves < steps ? moves * slots.step() : steps * slots.step());
  plan.groups = uint32_t(ceil_div(channels, plan.group_channels));
  plan.stack = int32_t(repeats(most_tiles, images * height * width * plan.groups << slots.log2));
  const int64_t tiles_x = ceil_div(width, int64_t{1} << plan.tile_width_log2);
  const int64_t tiles = tiles_x * ceil_div(height, int64_t{plan.tile_height} * plan.stack);
  plan.tiles_x = uint32_t(tiles_x);
  plan.tiles = uint32_t(tiles);
  plan.blocks = tiles * plan.groups * images;
  return plan;
}

// V neighbouring channels, moved by one instruction.
template <int V, class Real>
struct alignas(V * sizeof(Real)) Pack {
  Real value[V];
};

template <int V, class Real>
__device__ __forceinline__ Pack<V, Real> load(const Real* from) {
  // __ldg tells the compiler that no store in between changes the value.
  if constexpr (V == 1) return {__ldg(from)};
  return *reinterpret_cast<const Pack<V, Real>*>(from);
}

// Zeros for a pixel outside the image, so that no value of the image counts there.
template <int V, class Real>
__device__ __forceinline__ Pack<V, Real> load_inside(const Real* image, int64_t offset,
                                                     bool inside) {
  if (inside) return load<V>(image + offset);
  return Pack<V, Real>{};
}

template <int V, class Real>
PF_HD void store(Real* to, const Pack<V, Real>& pack) {
  *reinterpret_cast<Pack<V, Real>*>(to) = pack;
}

template <class Real>
constexpr int kVector = 16 / sizeof(Real);

template <class Real, class Element>
bool fits_vectors(const ImageView<Element>& image, int64_t channels) {
  const int64_t v = kVector<Real>;
  return image.c == 1 && channels % v == 0 && image.n % v == 0 && image.h % v == 0 &&
         image.w % v == 0 && reinterpret_cast<uintptr_t>(image.data) % 16 == 0;
}

// For two images whose channels are walked together: side by side in memory, moved as vectors
// where `vectors`, or else threads had better take neighbouring pixels.
template <class Real>
Slots slots_for(int64_t stride_a, int64_t stride_b, int64_t channels, bool vectors) {
  if (vectors) return {log2_above(channels / kVector<Real>, 5), true, kVector<Real>};
  if (stride_a == 1 && stride_b == 1 && channels > 4) return {log2_above(channels, 5), true, 1};
  return {0, false, 1};
}

template <class Real, class A, class B>
Slots slots_for(const ImageView<A>& a, const ImageView<B>& b, int64_t channels) {
  const bool vectors = fits_vectors<Real>(a, channels) && fits_vectors<Real>(b, channels);
  return slots_for<Real>(a.c, b.c, channels, vectors);
}

template <class Real>
bool sides_fit(const SamplingParams<Real>& p) {
  return p.in_h < kMaxSide && p.in_w < kMaxSide && p.out_h < kMaxSide && p.out_w < kMaxSide &&
         p.channels < kMaxSide;
}

template <class Real>
struct Point {
  Real x, y;
};

template <class Real>
PF_HD Padded<Real> pad(Padding padding, Real x, Real size, bool align_corners) {
  if (padding == Padding::kBorder) return pad<Padding::kBorder>(x, size, align_corners);
  if (padding == Padding::kReflection) return pad<Padding::kReflection>(x, size, align_corners);
  return pad<Padding::kZeros>(x, size, align_corners);
}

// Where one affine map samples, in pixels before padding. Built by one thread of a block for all:
// the map is composed in double precision, which is slow on most GPUs.
template <class Real>
struct AffineImage {
  AffineMap map;
  bool moderate;
  Real theta[6];

  PF_HD void set(const Real* thetas, const AffineFrame& frame, int64_t n) {
    for (int k = 0; k < 6; ++k) theta[k] = thetas[6 * n + k];
    map = affine_map(theta, frame);
    moderate = is_moderate(map);
  }

  // Where row i starts; meant for moderate maps.
  PF_HD Point<Real> row(int32_t i) const {
    return {Real(std::fma(map.xi, double(i), map.x0)), Real(std::fma(map.yi, double(i), map.y0))};
  }

  // The fma is spelt out so that every kernel finds the same bits.
  PF_HD Point<Real> along(const Point<Real>& row, int32_t j) const {
    return {std::fma(Real(map.xj), Real(j), row.x), std::fma(Real(map.yj), Real(j), row.y)};
  }

  PF_HD Point<Real> at(const AffineFrame& frame, int32_t i, int32_t j) const {
    if (moderate) return along(row(i), j);
    const Real x = std::fma(Real(j), Real(frame.bx.scale), Real(frame.bx.shift));
    const Real y = std::fma(Real(i), Real(frame.by.scale), Real(frame.by.shift));
    const Real to_x = theta[0] * x + theta[1] * y + theta[2];
    const Real to_y = theta[3] * x + theta[4] * y + theta[5];
    return {std::fma(to_x, Real(frame.px.scale), Real(frame.px.shift)),
            std::fma(to_y, Real(frame.py.scale), Real(frame.py.shift))};
  }
};

template <class Real>
AffineFrame frame_of(const SamplingParams<Real>& p) {
  return affine_frame(p.in_h, p.in_w, p.out_h, p.out_w, p.align_corners);
}

template <class Real>
PF_HD Point<Real> grid_position(const SamplingParams<Real>& p, int64_t n, int32_t i, int32_t j) {
  const auto sx = pixel_scale<Real>(p.in_w, p.align_corners);
  const auto sy = pixel_scale<Real>(p.in_h, p.align_corners);
  const Real* at = p.grid + n * p.grid_stride[0] + i * p.grid_stride[1] + j * p.grid_stride[2];
  return {std::fma(at[0], sx.scale, sx.shift), std::fma(at[p.grid_stride[3]], sy.scale, sy.shift)};
}

// The pixels that a sample reads: four for bilinear, one for nearest.
template <Interpolation I, class Real>
struct Taps {
  static constexpr int kCount = I == Interpolation::kBilinear ? 4 : 1;
  Real weight[kCount];
  int64_t offset[kCount];  // in an image with strides h and w
  bool inside[kCount];

  // x, y: position after padding.
  PF_HD Taps(const SamplingParams<Real>& p, Real x, Real y, int64_t h, int64_t w) {
    const Real width = Real(p.in_w), height = Real(p.in_h);
    if constexpr (I == Interpolation::kNearest) {
      set(0, p, nearest_index(x, width), nearest_index(y, height), Real(1), h, w);
    } else {
      const Neighbours<Real> nx = neighbours(x, width), ny = neighbours(y, height);
      const Real fx = nx.fraction, fy = ny.fraction;
      set(0, p, nx.index, ny.index, (1 - fx) * (1 - fy), h, w);
      set(1, p, nx.index + 1, ny.index, fx * (1 - fy), h, w);
      set(2, p, nx.index, ny.index + 1, (1 - fx) * fy, h, w);
      set(3, p, nx.index + 1, ny.index + 1, fx * fy, h, w);
    }
  }

  PF_HD void set(int k, const SamplingParams<Real>& p, int32_t x, int32_t y, Real w_k, int64_t h,
                 int64_t w) {
    weight[k] = w_k;
    offset[k] = y * h + x * w;
    inside[k] = x >= 0 && x < p.in_w && y >= 0 && y < p.in_h;
  }
};

}  // namespace PF_ISA
}  // namespace pyfast
