// The weights of one block of pixels, as the loops over stored blocks read them.
#pragma once

#include "ops/matting/matting_multigrid.h"
#include "ops/matting/matting_window.h"

namespace pyfast {
namespace PF_ISA {

using Floats = Vec<float, kPixels>;
constexpr int kHalf = kPixels / 2;
using HalfFloats = Vec<float, kHalf>;
using Doubles16 = Vec<double, kPixels>;
using HalfDoubles = Vec<double, kHalf>;

// Lanes kFrom, kFrom + 1, ... of two blocks side by side.
template <int kFrom, class V, int... I>
inline V shifted(const V& left, const V& right, Numbers<I...>) {
  return __builtin_shufflevector(left, right, (kFrom + I)...);
}

// One block of pixels. `values` are FineLevel's `weight` or `exact`.
struct PixelBlock {
  const FineLevel& level;
  int64_t index, y, block, at;  // `at`: of the first pixel, in vectors on the grid

  PixelBlock(const FineLevel& l, int64_t b)
      : level(l),
        index(b),
        y(l.table.row[b]),
        block(l.table.block[b]),
        at(l.at(l.table.row[b], l.table.block[b] * kPixels)) {}

  template <class T>
  Vec<T, kPixels> stored(const T* values, int64_t row, int64_t block_of_row, int64_t offset) const {
    const int64_t index = *level.table.at(row, block_of_row);
    return load<kPixels>(values + (index * level.half + offset) * kPixels);
  }

  // The weights of a block that is soon to come.
  template <class T>
  [[gnu::always_inline]] inline void fetch_ahead(const T* values) const {
    constexpr int64_t kAhead = 4;
    const int64_t size = level.half * kPixels;
    fetch_lines(values + (index + kAhead) * size, size);
  }
};

// An offset that the compiler knows: the kIndex-th of those of radius 1.
template <int kIndex>
struct KnownOffset {
  static constexpr int kDy = (kIndex + 3) / 5, kDx = (kIndex + 3) % 5 - 2;
  int64_t distance;  // in vectors on the grid

  explicit KnownOffset(const FineLevel& level) : distance(kDy * level.stride() + kDx) {}
  // The weights of the block's pixels with those at the offset, and at the opposite one.
  template <class T>
  static Vec<T, kPixels> own(const PixelBlock& b, const T* values) {
    return b.stored(values, b.y, b.block, kIndex);
  }
  template <class T>
  static Vec<T, kPixels> mirrored(const PixelBlock& b, const T* values) {
    const auto lanes = FirstNumbers<kPixels>{};
    const Vec<T, kPixels> here = b.stored(values, b.y - kDy, b.block, kIndex);
    if constexpr (kDx == 0) {
      return here;
    } else if constexpr (kDx > 0) {
      return shifted<kPixels - kDx>(b.stored(values, b.y - kDy, b.block - 1, kIndex), here, lanes);
    } else {
      return shifted<-kDx>(here, b.stored(values, b.y - kDy, b.block + 1, kIndex), lanes);
    }
  }
};

struct AnyOffset {
  int64_t index, dy, dx, distance;

  template <class T>
  Vec<T, kPixels> own(const PixelBlock& b, const T* values) const {
    return b.stored(values, b.y, b.block, index);
  }
  template <class T>
  Vec<T, kPixels> mirrored(const PixelBlock& b, const T* values) const {
    T around[3 * kPixels];
    for (int64_t i = -1; i <= 1; ++i)
      store(around + (i + 1) * kPixels, b.stored(values, b.y - dy, b.block + i, index));
    return load<kPixels>(around + kPixels - dx);
  }
};

template <class F, int... I>
inline void for_known_offsets(const FineLevel& level, const F& f, Numbers<I...>) {
  (f(KnownOffset<I>(level)), ...);
}

// Calls f(offset) for each of them. kRadius is 1, or 0: the level says it.
template <int kRadius, class F>
inline void for_offsets(const FineLevel& level, const F& f) {
  if constexpr (kRadius == 1) {
    for_known_offsets(level, f, FirstNumbers<12>{});
  } else {
    const int64_t reach = level.reach();
    int64_t index = 0;
    for (int64_t dy = 0; dy <= reach; ++dy)
      for (int64_t dx = dy == 0 ? 1 : -reach; dx <= reach; ++dx, ++index)
        f(AnyOffset{index, dy, dx, dy * level.stride() + dx});
  }
}

inline HalfDoubles widened(const Floats& v, int part) {
  return __builtin_convertvector(part == 0 ? half<0>(v) : half<1>(v), HalfDoubles);
}

// 1 / radius 1 as a type for a generic lambda, 0 for any other radius.
template <int kRadius>
struct Radius {
  static constexpr int value = kRadius;
};

template <class F>
inline auto with_radius(const FineLevel& level, const F& f) {
  return level.image.radius == 1 ? f(Radius<1>{}) : f(Radius<0>{});
}

}  // namespace PF_ISA
}  // namespace pyfast
