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

// Ranges of a tile's grid in pixels, as {low x, low y, high x, high y}. A value that is not finite
// makes them infinite.
template <class Real>
void grid_range(const Places<Real>& at, const Tile& tile, double range[4]) {
  constexpr int kStep = kNative<Real>;
  const int64_t* stride = at.p.grid_stride;
  const bool pairs = stride[2] == 2 && stride[3] == 1;
  Vec<Real, kStep> low = Vec<Real, kStep>{} + HUGE_VALF, high = -low, odd{};
  for (int r = 0; r < tile.rows; ++r) {
    const Real* row = at.grid + (tile.top + r) * stride[1] + tile.left * stride[2];
    for (int k = 0; k < 2 * tile.columns; k += kStep) {
      Vec<Real, kStep> v;  // x in even lanes, y in odd ones
      if (pairs && k + kStep <= 2 * tile.columns) {
        v = load<kStep>(row + k);
      } else {
        for (int l = 0; l < kStep; ++l) {
          const int last = 2 * tile.columns - 2 + (l & 1), m = k + l < last ? k + l : last;
          v[l] = row[(m >> 1) * stride[2] + (m & 1) * stride[3]];
        }
      }
      low = v < low ? v : low;
      high = v > high ? v : high;
      odd += v - v;  // NaN as soon as one value is not finite
    }
  }
  for (int c = 0; c < 2; ++c) {
    const auto scale = c == 0 ? at.scale_x : at.scale_y;
    Real lowest = low[c], highest = high[c], sum = odd[c];
    for (int l = c; l < kStep; l += 2) {
      lowest = low[l] < lowest ? low[l] : lowest;
      highest = high[l] > highest ? high[l] : highest;
      sum += odd[l];
    }
    range[c] = sum == 0 ? double{lowest * scale.scale + scale.shift} : -HUGE_VAL;
    range[2 + c] = sum == 0 ? double{highest * scale.scale + scale.shift} : HUGE_VAL;
  }
}

inline void affine_range(const AffineMap& m, const Tile& tile, double range[4]) {
  const double j = static_cast<double>(tile.left), i = static_cast<double>(tile.top);
  const double dj = tile.columns - 1, di = tile.rows - 1;
  range[0] = m.xj * j + m.xi * i + m.x0 + (m.xj < 0 ? m.xj * dj : 0) + (m.xi < 0 ? m.xi * di : 0);
  range[1] = m.yj * j + m.yi * i + m.y0 + (m.yj < 0 ? m.yj * dj : 0) + (m.yi < 0 ? m.yi * di : 0);
  range[2] = range[0] + std::fabs(m.xj) * dj + std::fabs(m.xi) * di;
  range[3] = range[1] + std::fabs(m.yj) * dj + std::fabs(m.yi) * di;
}

template <class Real>
Box box_of(const Places<Real>& at, const SamplingPlan& plan, const Tile& tile) {
  double range[4] = {-HUGE_VAL, -HUGE_VAL, HUGE_VAL, HUGE_VAL};  // everywhere
  if (at.grid != nullptr) {
    // An image no larger than the tile is repacked whole: cheaper than to look through the grid.
    const bool whole = at.p.in_h * at.p.in_w <= int64_t{tile.rows} * tile.columns;
    if (!whole) grid_range(at, tile, range);
  } else if (at.moderate) {
    affine_range(at.map, tile, range);
  }
  Box box;
  int32_t last_x, last_y;
  index_range(range[0], range[2], at.p.padding, at.p.in_w, &box.left, &last_x);
  index_range(range[1], range[3], at.p.padding, at.p.in_h, &box.top, &last_y);
  box.columns = last_x - box.left + 2;
  box.rows = last_y - box.top + 2;
  box.dense = static_cast<int64_t>(box.columns) * box.rows <= plan.box_pixels;
  return box;
}

// The box of samples that are fetched one by one, a run at a time: two neighbours beside each
// other, the two below them kRun samples further.
constexpr int64_t kSparsePixels = 4 * kRun;

// Where each sample's upper left neighbour lies in the box, in values; returns how far the lower
// neighbours lie behind it.
template <int kLanes, class Real>
int64_t place(const Box& box, Run<Real>* run) {
  const int count = (run->count + kSlack - 1) / kSlack * kSlack;
  int32_t* base = run->base;
  if (!box.dense) {
#pragma omp simd
    for (int k = 0; k < count; ++k) base[k] = 2 * k * kLanes;
    return 2 * kRun * kLanes;
  }
  const int32_t left = box.left, top = box.top, columns = box.columns;
  const int32_t last_x = box.columns - 2, last_y = box.rows - 2;
  const int32_t *x = run->x, *y = run->y;
#pragma omp simd
  for (int k = 0; k < count; ++k) {
    // The clamps change nothing but the index of a sample that is NaN or lies beyond the run.
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
void pack_dense(const SamplingParams<Real>& p, int64_t n, const Group& group, const Box& box,
                Real* packed) {
  const int32_t from = clamp_index(box.left, 0, p.in_w);
  const int32_t to = clamp_index(box.left + box.columns, from, p.in_w);
  const int32_t first = clamp_index(box.top, 0, p.in_h);
  const int32_t last = clamp_index(box.top + box.rows, first, p.in_h);
  if (to - from < box.columns || last - first < box.rows)
    std::memset(packed, 0, sizeof(Real) * kLanes * box.columns * box.rows);
  if (from == to) return;
  for (int32_t y = first; y < last; ++y) {
    const int64_t pixel = static_cast<int64_t>(y - box.top) * box.columns + from - box.left;
    gather_pixels<kLanes>(p.input.at(n, group.first, y, from), p.input.c, p.input.w, group.channels,
                          to - from, packed + pixel * kLanes);
  }
}

template <int kLanes, class Real>
void pack_sparse(const SamplingParams<Real>& p, int64_t n, const Group& group, const Run<Real>& run,
                 Real* packed) {
  for (int dy = 0; dy < 2; ++dy) {
    for (int k = 0; k < 2 * run.count; ++k) {
      Real* to = packed + (2 * kRun * dy + k) * kLanes;
      const int64_t x = run.x[k / 2] + (k & 1), y = run.y[k / 2] + dy;
      const bool inside = x >= 0 && x < p.in_w && y >= 0 && y < p.in_h;
      const Real* from = inside ? p.input.at(n, group.first, y, x) : nullptr;
      for (int l = 0; l < kLanes; ++l)
        to[l] = inside && l < group.channels ? from[l * p.input.c] : Real(0);
    }
  }
}

// Adds what `spread` left for samples fetched one by one, where it falls on rows [begin, end).
template <int kLanes, class Real>
void add_sparse(const SamplingParams<Real>& p, int64_t n, const Group& group, const Run<Real>& run,
                const Real* packed, int64_t begin, int64_t end) {
  for (int k = 0; k < run.count; ++k) {
    for (int tap = 0; tap < 4; ++tap) {
      const int dx = tap & 1, dy = tap >> 1;
      const int64_t x = run.x[k] + dx, y = run.y[k] + dy;
      if (x < 0 || x >= p.in_w || y < begin || y >= end) continue;
      Real* to = p.grad_input.at(n, group.first, y, x);
      const Real* from =
          kLanes == 1 ? packed + 8 * k + tap : packed + (2 * kRun * dy + 2 * k + dx) * kLanes;
      for (int64_t l = 0; l < group.channels; ++l) to[l * p.grad_input.c] += from[l];
    }
  }
}

}  // namespace PF_ISA
}  // namespace pyfast
