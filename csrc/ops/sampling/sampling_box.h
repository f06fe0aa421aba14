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

// Positions on each axis, {lowest, highest}; infinite where one of them may be anything.
struct Range {
  double low[2] = {-HUGE_VAL, -HUGE_VAL}, high[2] = {HUGE_VAL, HUGE_VAL};
};

// The lowest and the highest value of some rows; `odd` is not 0 where one of them is not finite.
template <class Real>
struct Extremes {
  static constexpr int kStep = kNative<Real>;
  Vec<Real, kStep> low = Vec<Real, kStep>{} + static_cast<Real>(HUGE_VALF), high = -low, odd{};

  // Of `count` values `step` apart, of which `pairs` at a time are kept in lanes of their own.
  void add_row(const Real* row, int64_t step, int count, int pairs) {
    for (int k = 0; k < count; k += kStep) {
      Vec<Real, kStep> v;
      if (step == 1 && k + kStep <= count) {
        v = load<kStep>(row + k);
      } else {
        for (int l = 0; l < kStep; ++l) {
          const int last = count - pairs + l % pairs;
          v[l] = row[(k + l < last ? k + l : last) * step];
        }
      }
      low = v < low ? v : low;
      high = v > high ? v : high;
      odd += v - v;
    }
  }

  // Of the lanes lane, lane + step, ...
  void reduce(int lane, int step, PixelScale<Real> scale, Range* range, int axis) const {
    Real lowest = low[lane], highest = high[lane], sum = odd[lane];
    for (int l = lane + step; l < kStep; l += step) {
      lowest = low[l] < lowest ? low[l] : lowest;
      highest = high[l] > highest ? high[l] : highest;
      sum += odd[l];
    }
    if (sum != 0) return;
    range->low[axis] = double{lowest * scale.scale + scale.shift};
    range->high[axis] = double{highest * scale.scale + scale.shift};
  }
};

template <class T>
Range field_range(const Places<T>& at, const Tile& tile) {
  using Real = Accumulator<T>;
  const auto& field = at.p.field;
  Range range;
  if (field.w == 2 && field.c == 1) {  // x in even lanes, y in odd ones
    Extremes<Real> both;
    for (int r = 0; r < tile.rows; ++r)
      both.add_row(field.at(at.n, 0, tile.top + r, tile.left), 1, 2 * tile.columns, 2);
    for (int a = 0; a < 2; ++a) both.reduce(a, 2, at.scale(a), &range, a);
    return range;
  }
  for (int a = 0; a < 2; ++a) {
    Extremes<Real> one;
    for (int r = 0; r < tile.rows; ++r)
      one.add_row(field.at(at.n, 0, tile.top + r, tile.left) + a * field.c, field.w, tile.columns,
                  1);
    one.reduce(0, 1, at.scale(a), &range, a);
  }
  return range;
}

template <class T>
Range flow_range(const Places<T>& at, const Tile& tile) {
  Range range = field_range(at, tile);
  const int64_t first[2] = {tile.left, tile.top};
  const int length[2] = {tile.columns, tile.rows};
  for (int a = 0; a < 2; ++a) {
    range.low[a] += static_cast<double>(first[a]);
    range.high[a] += static_cast<double>(first[a]) + length[a] - 1;
  }
  return range;
}

// A map takes a tile to a quadrilateral: its corners have the extremes. Where the denominator of a
// homography changes sign or comes near 0 on the tile, positions may be anything.
template <int kRows>
Range map_range(const LinearMap<kRows, 3>& map, const Tile& tile) {
  Range range;
  double low[2], high[2], denominator = 1;
  for (int corner = 0; corner < 4; ++corner) {
    const int64_t j = tile.left + (corner & 1 ? tile.columns - 1 : 0);
    const int64_t i = tile.top + (corner & 2 ? tile.rows - 1 : 0);
    if constexpr (kRows == 3) {
      const double w = row_start(map, 2, 0, i, j);
      if (!(std::fabs(w) > 1e-4) || (corner > 0 && (w > 0) != (denominator > 0))) return range;
      denominator = w;
    }
    for (int a = 0; a < 2; ++a) {
      const double x = row_start(map, a, 0, i, j) / denominator;
      low[a] = corner == 0 || x < low[a] ? x : low[a];
      high[a] = corner == 0 || x > high[a] ? x : high[a];
    }
  }
  for (int a = 0; a < 2; ++a) {
    range.low[a] = low[a];
    range.high[a] = high[a];
  }
  return range;
}

template <class T>
Range range_of(const Places<T>& at, const Tile& tile) {
  // An image no larger than the tile is repacked whole: cheaper than to look through a field.
  const bool whole = at.p.in_h * at.p.in_w <= int64_t{tile.rows} * tile.columns;
  switch (at.p.source) {
    case Source::kGrid:
      return whole ? Range{} : field_range(at, tile);
    case Source::kFlow:
      return whole ? Range{} : flow_range(at, tile);
    case Source::kAffine:
      return at.moderate ? map_range(at.affine, tile) : Range{};
    case Source::kHomography:
      return at.moderate ? map_range(at.projective, tile) : Range{};
  }
  return Range{};
}

template <class T>
Box box_of(const Places<T>& at, const SamplingPlan& plan, const Tile& tile) {
  const Range range = range_of(at, tile);
  Box box;
  int32_t last_x, last_y;
  index_range(range.low[0], range.high[0], at.p.padding, at.p.in_w, &box.left, &last_x);
  index_range(range.low[1], range.high[1], at.p.padding, at.p.in_h, &box.top, &last_y);
  box.columns = last_x - box.left + 2;
  box.rows = last_y - box.top + 2;
  box.dense = static_cast<int64_t>(box.columns) * box.rows <= plan.box_pixels;
  return box;
}

// Where each sample's upper left neighbour lies in the box, in values; returns how far the lower
// neighbours lie behind it. What follows the run has a place in the box too: a row of a run that
// ends within a register is read beyond its end, the last one beyond that of the run.
template <int kLanes, class Real>
int64_t place(const Box& box, Run<Real>* run) {
  const int count = round_up_to_slack(run->count);
  int32_t* base = run->base;
  std::memset(base + run->count, 0, sizeof(int32_t) * kSlack);
  if (!box.dense) {
#pragma omp simd
    for (int k = 0; k < count; ++k) base[k] = 2 * k * kLanes;
    return 2 * kRun * kLanes;
  }
  const int32_t left = box.left, top = box.top, columns = box.columns;
  const int32_t last_x = box.columns - 2, last_y = box.rows - 2;
  const int32_t *x = run->index[0], *y = run->index[1];
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

template <int kLanes, class T, class Real>
void pack_dense(const SamplingParams<T>& p, int64_t n, const Group& group, const Box& box,
                Real* packed) {
  const int32_t from = clamp_index(box.left, 0, p.in_w);
  const int32_t to = clamp_index(box.left + box.columns, from, p.in_w);
  const int32_t first = clamp_index(box.top, 0, p.in_h);
  const int32_t last = clamp_index(box.top + box.rows, first, p.in_h);
  const auto at = [&](int64_t y, int64_t x) {
    return packed + ((y - box.top) * box.columns + x - box.left) * kLanes;
  };
  if (from == to || first == last) {
    std::memset(packed, 0, sizeof(Real) * kLanes * box.columns * box.rows);
    return;
  }
  // What lies outside is 0: before the first pixel, between the rows, and behind the last.
  const auto clear = [](Real* begin, Real* end) {
    std::memset(begin, 0, sizeof(Real) * (end - begin));
  };
  clear(packed, at(first, from));
  for (int32_t y = first; y < last; ++y) {
    gather_pixels<kLanes>(p.input.at(n, group.first, y, from), p.input.c, p.input.w, group.channels,
                          to - from, at(y, from));
    clear(at(y, to), y + 1 < last ? at(y + 1, from) : at(box.top + box.rows, box.left));
  }
}

template <int kLanes, class T, class Real>
void pack_sparse(const SamplingParams<T>& p, int64_t n, const Group& group, const Run<Real>& run,
                 Real* packed) {
  for (int dy = 0; dy < 2; ++dy) {
    for (int k = 0; k < 2 * run.count; ++k) {
      Real* to = packed + (2 * kRun * dy + k) * kLanes;
      const int64_t x = run.index[0][k / 2] + (k & 1), y = run.index[1][k / 2] + dy;
      const bool inside = x >= 0 && x < p.in_w && y >= 0 && y < p.in_h;
      const T* from = inside ? p.input.at(n, group.first, y, x) : nullptr;
      for (int l = 0; l < kLanes; ++l)
        to[l] = inside && l < group.channels ? widen(from[l * p.input.c]) : Real(0);
    }
  }
}

// Adds what `spread` left for samples fetched one by one, where it falls on rows [begin, end).
template <int kLanes, class T, class Real>
void add_sparse(const SamplingParams<T>& p, int64_t n, const Group& group, const Run<Real>& run,
                const Real* packed, int64_t begin, int64_t end) {
  for (int k = 0; k < run.count; ++k) {
    for (int tap = 0; tap < 4; ++tap) {
      const int dx = tap & 1, dy = tap >> 1;
      const int64_t x = run.index[0][k] + dx, y = run.index[1][k] + dy;
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
