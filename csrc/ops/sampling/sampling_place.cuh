// Which thread works where, and where an output pixel samples.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/device.h"
#include "ops/sampling/sampling.h"
#include "ops/sampling/sampling_math.h"

namespace pyfast {
namespace PF_ISA {

constexpr int kThreads = 128;                // of every block
constexpr int64_t kEnoughThreads = 1 << 18;  // fill the largest GPUs; fewer wait for memory
constexpr int64_t kMaxSide = 1 << 30;        // of an image: indices are 32-bit, offsets 64-bit
constexpr int64_t kMaxBlocks = 0x7fffffff;

// How the pixels and channels of a batch of images are divided. A block owns a tile of pixels and
// a group of channels of one image. In it `slots` threads share a pixel: thread s takes channels
// s * vector, (s + slots) * vector and so on. Neighbouring threads are slots of one pixel where
// channels are neighbours in memory, otherwise neighbouring pixels.
struct Plan {
  int32_t width, height;  // of the images
  int32_t tile_width, tile_height, tiles_x, tiles_y;
  int32_t slots;
  bool slots_inner;
  int32_t channels, group_channels, groups;
  int64_t images;

  PF_HD int64_t tiles() const { return int64_t{tiles_x} * tiles_y; }
  int64_t blocks() const { return tiles() * groups * images; }
};

// What one thread works on.
struct Place {
  int64_t image;
  int32_t x, y;  // beyond the image for a thread without work
  int32_t channel, channels_end, slot;
};

PF_HD void move_to_tile(const Plan& plan, int64_t tile, int thread, Place* place) {
  const int pixels = plan.tile_width * plan.tile_height;
  const int pixel = plan.slots_inner ? thread / plan.slots : thread % pixels;
  place->x = int32_t(tile % plan.tiles_x) * plan.tile_width + pixel % plan.tile_width;
  place->y = int32_t(tile / plan.tiles_x) * plan.tile_height + pixel / plan.tile_width;
  place->slot = plan.slots_inner ? thread % plan.slots : thread / pixels;
}

PF_HD Place place_of(const Plan& plan, int64_t block, int thread, int vector) {
  Place place;
  const int64_t tile = block % plan.tiles();
  const int32_t group = int32_t(block / plan.tiles() % plan.groups);
  place.image = block / plan.tiles() / plan.groups;
  move_to_tile(plan, tile, thread, &place);
  place.channel = group * plan.group_channels + place.slot * vector;
  const int32_t end = (group + 1) * plan.group_channels;
  place.channels_end = end < plan.channels ? end : plan.channels;
  return place;
}

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

inline int32_t power_of_two_above(int64_t value, int32_t most) {
  int32_t power = 1;
  while (power < value && power < most) power *= 2;
  return power;
}

// Divides `images` images among blocks; slots * tile pixels = kThreads.
inline Plan plan_tiles(int64_t images, int64_t height, int64_t width, int64_t channels,
                       int32_t slots, bool slots_inner, int64_t group_channels) {
  Plan plan;
  plan.images = images;
  plan.width = int32_t(width);
  plan.height = int32_t(height);
  plan.slots = slots;
  plan.slots_inner = slots_inner;
  const int32_t pixels = kThreads / slots;
  plan.tile_width = power_of_two_above(width, pixels < 32 ? pixels : 32);
  plan.tile_height = pixels / plan.tile_width;
  plan.tiles_x = int32_t(ceil_div(width, plan.tile_width));
  plan.tiles_y = int32_t(ceil_div(height, plan.tile_height));
  plan.channels = int32_t(channels);
  plan.group_channels = int32_t(group_channels);
  plan.groups = int32_t(ceil_div(channels, group_channels));
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

// How many threads share a pixel of two images whose channels are walked together, 0 where
// neighbouring threads had better take neighbouring pixels.
template <class Real>
int32_t slots_for(int64_t stride_a, int64_t stride_b, int64_t channels, bool vectors) {
  if (vectors) return power_of_two_above(channels / kVector<Real>, 32);
  return stride_a == 1 && stride_b == 1 && channels > 4 ? power_of_two_above(channels, 32) : 0;
}

// How often a thread moves on to its next channel: several channels share the coordinates, as
// long as there are threads enough.
inline int64_t repeats(int64_t most, int64_t threads_a_step, int64_t steps) {
  int64_t count = most;
  while (count > 1 && threads_a_step * ceil_div(steps, count) < kEnoughThreads) count /= 2;
  return count;
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
  PixelScale<Real> base_x, base_y, pixel_x, pixel_y;

  PF_HD void set(const SamplingParams<Real>& p, int64_t n) {
    for (int k = 0; k < 6; ++k) theta[k] = p.theta[6 * n + k];
    map = affine_map(theta, p.in_h, p.in_w, p.out_h, p.out_w, p.align_corners);
    moderate = is_moderate(map);
    base_x = base_scale<Real>(p.out_w, p.align_corners);
    base_y = base_scale<Real>(p.out_h, p.align_corners);
    pixel_x = pixel_scale<Real>(p.in_w, p.align_corners);
    pixel_y = pixel_scale<Real>(p.in_h, p.align_corners);
  }

  // Where row i starts; meant for moderate maps.
  PF_HD Point<Real> row(int32_t i) const {
    return {Real(std::fma(map.xi, double(i), map.x0)), Real(std::fma(map.yi, double(i), map.y0))};
  }

  // The fma is spelt out so that every kernel finds the same bits.
  PF_HD Point<Real> along(const Point<Real>& row, int32_t j) const {
    return {std::fma(Real(map.xj), Real(j), row.x), std::fma(Real(map.yj), Real(j), row.y)};
  }

  PF_HD Point<Real> at(int32_t i, int32_t j) const {
    if (moderate) return along(row(i), j);
    const Real x = std::fma(Real(j), base_x.scale, base_x.shift);
    const Real y = std::fma(Real(i), base_y.scale, base_y.shift);
    return {std::fma(theta[0] * x + theta[1] * y + theta[2], pixel_x.scale, pixel_x.shift),
            std::fma(theta[3] * x + theta[4] * y + theta[5], pixel_y.scale, pixel_y.shift)};
  }
};

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
