// Whole images between planes and pixels, a range of rows at a time.
#pragma once

#include <cstdint>
#include <cstring>

#include "ops/sampling/sampling_cpu.h"
#include "ops/sampling/sampling_layout.h"

namespace pyfast {
namespace PF_ISA {

// Calls body(x, count, y, z, c, at) for pieces of rows [begin, end): `count` pixels from x on, and
// their channels from c on, which lie at `at` among the pixels.
template <class Body>
void for_each_piece(const ImageSize& size, int64_t lanes, int64_t begin, int64_t end,
                    const Body& body) {
  for (int64_t row = begin; row < end; ++row)
    for (int64_t x = 0; x < size.w; x += kRun) {
      const int count = static_cast<int>(size.w - x < kRun ? size.w - x : kRun);
      for (int64_t c = 0; c < lanes; c += kPixelLanes)
        body(x, count, row % size.h, row / size.h, c, (row * size.w + x) * lanes + c);
    }
}

inline int64_t used_lanes(const ImageSize& size, int64_t c) {
  return size.channels - c < kPixelLanes ? size.channels - c : kPixelLanes;
}

template <class T, class Real>
void pack_rows(const ImageView<const T>& from, const ImageSize& size, int64_t n, int64_t lanes,
               int64_t begin, int64_t end, Real* pixels) {
  alignas(64) Real piece[kRun * kPixelLanes];
  for_each_piece(size, lanes, begin, end, [&](auto x, int count, auto y, auto z, auto c, auto at) {
    const bool whole = lanes == kPixelLanes;
    Real* to = whole ? pixels + at : piece;
    gather_pixels<kPixelLanes>(from.at(n, c, z, y, x), from.c, from.w, used_lanes(size, c), count,
                               to);
    if (whole) return;
    for (int k = 0; k < count; ++k)
      store(pixels + at + k * lanes, load<kPixelLanes>(piece + k * kPixelLanes));
  });
}

template <class T, class Real>
void unpack_rows(const Real* pixels, const ImageSize& size, int64_t n, int64_t lanes, int64_t begin,
                 int64_t end, const ImageView<T>& to) {
  alignas(64) Real piece[kRun * kPixelLanes];
  for_each_piece(size, lanes, begin, end, [&](auto x, int count, auto y, auto z, auto c, auto at) {
    const bool whole = lanes == kPixelLanes;
    for (int k = 0; !whole && k < count; ++k)
      store(piece + k * kPixelLanes, load<kPixelLanes>(pixels + at + k * lanes));
    scatter_pixels<kPixelLanes, false>(whole ? pixels + at : piece, to.c, to.w, used_lanes(size, c),
                                       count, to.at(n, c, z, y, x));
  });
}

}  // namespace PF_ISA
}  // namespace pyfast
