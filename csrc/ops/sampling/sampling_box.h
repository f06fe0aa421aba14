// The box: the part of the input around a tile's samples, repacked so that all lanes of a pixel
// lie together, with zeros where it reaches into the frame around the image.
#pragma once

#include <cstdint>
#include <cstring>

#include "ops/sampling/sampling_layout.h"
#include "ops/sampling/sampling_rows.h"

namespace pyfast {
namespace PF_ISA {

// Lowest and highest index of an upper left neighbour, given the range of positions on one axis.
inline void index_range(double low, double high, Padding padding, int64_t size, int32_t* first,
                        int32_t* last) {
  const double end = static_cast<double>(size);
  if (padding == Padding::kReflection && !(low >= 0 && high <= end - 1)) {
    low = 0;
    high = end;
  }
  // A pixel to spare on both sides covers the rounding of positions; NaN takes the whole axis.
  const double bottom = padding == Padding::kZeros ? -kFrame : 0;
  const double top = padding == Padding::kZeros ? end : end - 1;
  const double from = std::floor(low) - 1, to = std::floor(high) + 1;
  *first = static_cast<int32_t>(from > bottom ? (from < top ? from : top) : bottom);
  *last = static_cast<int32_t>(to < top ? (to > bottom ? to : bottom) : top);
}

// Range of one component of a tile's grid. NaN and infinite values count as everywhere.
template <class Real>
void grid_range(const SamplingParams<Real>& p, int64_t n, const Tile& tile, int component,
                double* low, double* high) {
  const auto scale = component == 0 ? pixel_scale<Real>(p.in_w, p.align_corners)
                                    : pixel_scale<Real>(p.in_h, p.align_corners);
  const int64_t step = p.grid_stride[2];
  constexpr int kLanes = 8;
  Vec<Real, kLanes> least = Vec<Real, kLanes>{} + HUGE_VALF, most = -least, odd{};
  for (int r = 0; r < tile.rows; ++r) {
    const Real* g = p.grid + n * p.grid_stride[0] + (tile.top + r) * p.grid_stride[1] +
                    tile.left * step + component * p.grid_stride[3];
    for (int k = 0; k < tile.columns; k += kLanes) {
      Vec<Real, kLanes> v;
      if (k + kLanes <= tile.columns) {
        for (int l = 0; l < kLanes; ++l) v[l] = g[(k + l) * step];
      } else {
        for (int l = 0; l < kLanes; ++l) v[l] = g[(k + l < tile.columns ? k + l : k) * step];
      }
      least = v < least ? v : least;
      most = v > most ? v : most;
      odd += v - v;  // NaN as soon as one value is not finite
    }
  }
  Real lo = least[0], hi = most[0], finite = odd[0];
  for (int l = 1; l < kLanes; ++l) {
    lo = least[l] < lo ? least[l] : lo;
    hi = most[l] > hi ? most[l] : hi;
    finite += odd[l];
  }
  *low = finite == 0 ? static_cast<double>(lo * scale.scale + scale.shift) : -HUGE_VAL;
  *high = finite == 0 ? static_cast<double>(hi * scale.scale + scale.shift) : HUGE_VAL;
}

template <class Real>
Box box_of(const SamplingParams<Real>& p, const SamplingPlan& plan, int64_t n, const Tile& tile) {
  double low_x = -HUGE_VAL, high_x = HUGE_VAL, low_y = -HUGE_VAL, high_y = HUGE_VAL;
  if (p.grid != nullptr) {
    grid_range(p, n, tile, 0, &low_x, &high_x);
    grid_range(p, n, tile, 1, &low_y, &high_y);
  } else {
    const AffineMap m = map_of(p, n);
    if (is_moderate(m)) {
      const double j = static_cast<double>(tile.left), i = static_cast<double>(tile.top);
      const double dj = tile.columns - 1, di = tile.rows - 1;
      low_x = m.xj * j + m.xi * i + m.x0 + (m.xj < 0 ? m.xj * dj : 0) + (m.xi < 0 ? m.xi * di : 0);
      low_y = m.yj * j + m.yi * i + m.y0 + (m.yj < 0 ? m.yj * dj : 0) + (m.yi < 0 ? m.yi * di : 0);
      high_x = low_x + std::fabs(m.xj) * dj + std::fabs(m.xi) * di;
      high_y = low_y + std::fabs(m.yj) * dj + std::fabs(m.yi) * di;
    }
  }
  Box box;
  int32_t last_x, last_y;
  index_range(low_x, high_x, p.padding, p.in_w, &box.left, &last_x);
  index_range(low_y, high_y, p.padding, p.in_h, &box.top, &last_y);
  box.columns = last_x - box.left + 2;
  box.rows = last_y - box.top + 2;
  box.dense = static_cast<int64_t>(box.columns) * box.rows <= plan.box_pixels;
  return box;
}

// The box of a single row of samples that are fetched one by one: two neighbours beside each
// other, the lower two kRow samples further.
constexpr int64_t kSparsePixels = 4 * kRow;

// Where each sample's upper left neighbour lies in the box, in values; returns how far the lower
// neighbours lie behind it.
template <int kLanes, class Real>
int64_t place(const Box& box, int count, Row<Real>* row) {
  int32_t* base = row->base;
  if (!box.dense) {
#pragma omp simd
    for (int k = 0; k < count; ++k) base[k] = 2 * k * kLanes;
    return 2 * kRow * kLanes;
  }
  const int32_t left = box.left, top = box.top, columns = box.columns;
  const int32_t last_x = box.columns - 2, last_y = box.rows - 2;
  const int32_t *x = row->x, *y = row->y;
#pragma omp simd
  for (int k = 0; k < count; ++k) {
    // The clamps change nothing but the index of a sample that is NaN.
    const int32_t from_left = x[k] - left, from_top = y[k] - top;
    const int32_t u = from_left < 0 ? 0 : from_left > last_x ? last_x : from_left;
    const int32_t v = from_top < 0 ? 0 : from_top > last_y ? last_y : from_top;
    base[k] = (v * columns + u) * kLanes;
  }
  return static_cast<int64_t>(columns) * kLanes;
}

inline int32_t clamp_index(int64_t value, int64_t low, int64_t high) {
  return static_cast<int32_t>(value < low ? low : value > high ? high : value);
}

template <int kLanes, class Real>
void pack_dense(const ImageView<const Real>& image, int64_t n, const Group& group, int64_t in_h,
                int64_t in_w, const Box& box, Real* packed) {
  const int32_t from = clamp_index(box.left, 0, in_w);
  const int32_t to = clamp_index(box.left + box.columns, from, in_w);
  const int64_t before = static_cast<int64_t>(from - box.left) * kLanes;
  const int64_t inside = static_cast<int64_t>(to - from) * kLanes;
  const int64_t width = static_cast<int64_t>(box.columns) * kLanes;
  for (int32_t r = 0; r < box.rows; ++r) {
    Real* line = packed + r * width;
    const int64_t y = box.top + r;
    if (y < 0 || y >= in_h || inside <= 0 || before >= width) {
      std::memset(line, 0, width * sizeof(Real));
      continue;
    }
    if (before > 0) std::memset(line, 0, before * sizeof(Real));
    gather_pixels<kLanes>(image.at(n, group.first, y, from), image.c, image.w, group.channels,
                          to - from, line + before);
    const int64_t done = before + inside;
    if (done < width) std::memset(line + done, 0, (width - done) * sizeof(Real));
  }
}

template <int kLanes, class Real>
void pack_sparse(const ImageView<const Real>& image, int64_t n, const Group& group, int64_t in_h,
                 int64_t in_w, const Row<Real>& row, int count, Real* packed) {
  for (int dy = 0; dy < 2; ++dy) {
    for (int k = 0; k < 2 * count; ++k) {
      Real* to = packed + (2 * kRow * dy + k) * kLanes;
      const int64_t x = row.x[k / 2] + (k & 1), y = row.y[k / 2] + dy;
      const bool inside = x >= 0 && x < in_w && y >= 0 && y < in_h;
      const Real* from = inside ? image.at(n, group.first, y, x) : nullptr;
      for (int l = 0; l < kLanes; ++l)
        to[l] = inside && l < group.channels ? from[l * image.c] : Real(0);
    }
  }
}

// Adds what `spread` left for samples fetched one by one, where it falls on rows [begin, end).
template <int kLanes, class Real>
void add_sparse(const SamplingParams<Real>& p, int64_t n, const Group& group, const Row<Real>& row,
                int count, const Real* packed, int64_t begin, int64_t end) {
  for (int k = 0; k < count; ++k) {
    for (int tap = 0; tap < 4; ++tap) {
      const int dx = tap & 1, dy = tap >> 1;
      const int64_t x = row.x[k] + dx, y = row.y[k] + dy;
      if (x < 0 || x >= p.in_w || y < begin || y >= end) continue;
      Real* to = p.grad_input.at(n, group.first, y, x);
      const Real* from = kLanes == 1 ? packed + 8 * k + tap
                                     : packed + (2 * kRow * dy + 2 * k + dx) * kLanes;
      for (int64_t l = 0; l < group.channels; ++l) to[l * p.grad_input.c] += from[l];
    }
  }
}

}  // namespace PF_ISA
}  // namespace pyfast
