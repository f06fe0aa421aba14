// Between planes, one channel after another, and rows, all channels of a point together.
#pragma once

#include "ops/dense_crf/dense_crf_vector.h"

namespace pyfast {
namespace PF_ISA {

template <class T>
inline void transpose(Vec<T, 8>* v) {
  for (int round = 0; round < 3; ++round) {
    Vec<T, 8> next[8];
    for (int i = 0; i < 4; ++i) {
      next[2 * i] = __builtin_shufflevector(v[i], v[i + 4], 0, 8, 1, 9, 2, 10, 3, 11);
      next[2 * i + 1] = __builtin_shufflevector(v[i], v[i + 4], 4, 12, 5, 13, 6, 14, 7, 15);
    }
    for (int i = 0; i < 8; ++i) v[i] = next[i];
  }
}

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
  transpose<T>(tile);
}

// The reverse; overwrites the tile.
template <class T>
inline void write_planes(Vec<T, 8>* tile, T* planes, int64_t plane, int channels, int count) {
  transpose<T>(tile);
  for (int c = 0; c < channels && c < 8; ++c) {
    if (count == 8) {
      store(planes + c * plane, tile[c]);
    } else {
      for (int i = 0; i < count; ++i) planes[c * plane + i] = tile[c][i];
    }
  }
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
