// Between planes, one channel after another, and rows, all channels of a point together.
#pragma once

#include "ops/dense_crf/dense_crf_vector.h"

namespace pyfast {
namespace PF_ISA {

// Eight channels of eight points: tile[i] is point i.
template <class T>
inline void read_planes(const T* planes, int64_t plane, int channels, int count, Vec<T, 8>* tile) {
  for (int c = 0; c < 8; ++c) {
    tile[c] = Vec<T, 8>{};
    if (c >= channels) continue;
    if (count == 8) {
      tile[c] = load<Vec<T, 8>>(planes + c * plane);
    } else {
      for (int i = 0; i < count; ++i) tile[c][i] = planes[c * plane + i];
    }
  }
  transpose<8>(tile);
}

// The reverse; overwrites the tile.
template <class T>
inline void write_planes(Vec<T, 8>* tile, T* planes, int64_t plane, int channels, int count) {
  transpose<8>(tile);
  for (int c = 0; c < channels && c < 8; ++c) {
    if (count == 8) {
      store(planes + c * plane, tile[c]);
    } else {
      for (int i = 0; i < count; ++i) planes[c * plane + i] = tile[c][i];
    }
  }
}

constexpr int kEntriesAhead = 256;  // of lists that are read in order

// Of one channel: what the vertices at the corners of point n hold, weighted.
template <class S>
inline Accumulator<S> sum_of_corners(const S* lattice, const int32_t* corners,
                                     const Accumulator<S>* weights, int corner_count, int64_t n) {
  const int64_t begin = n * corner_count, end = begin + corner_count;
  __builtin_prefetch(corners + begin + kEntriesAhead);
  __builtin_prefetch(weights + begin + kEntriesAhead);
  Accumulator<S> sum = 0;
  for (int64_t e = begin; e < end; ++e) sum += weights[e] * widen(lattice[corners[e]]);
  return sum;
}

// body(integral_constant<int, blocks>), 1 to 4.
template <class Body>
inline void with_blocks(int blocks, const Body& body) {
  switch (blocks) {
    case 1:
      return body(std::integral_constant<int, 1>{});
    case 2:
      return body(std::integral_constant<int, 2>{});
    case 3:
      return body(std::integral_constant<int, 3>{});
    default:
      return body(std::integral_constant<int, 4>{});
  }
}

}  // namespace PF_ISA
}  // namespace pyfast
