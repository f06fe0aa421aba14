// Bilinear samples of a few channels, read where they lie: one gather fetches both horizontal
// neighbours of many samples. Only where the processor's gathers are fast.
#pragma once

#include <cstdint>
#include <type_traits>

#include "ops/sampling/sampling_box.h"
#include "ops/sampling/sampling_pixels.h"
#include "ops/sampling/sampling_stencil.h"
#include "ops/sampling/sampling_taps.h"

namespace pyfast {
namespace PF_ISA {

// Samples that are handled at once.
constexpr int kGathered = kNative<float>;
using Gathered = Vec<float, kGathered>;
using GatheredOffset = Vec<int32_t, kGathered>;

// Every other two of the offsets, from the first or the second on.
template <int kHalf, int... I>
inline Vec<int32_t, kGathered / 2> every_other_two(const GatheredOffset& offset, Numbers<I...>) {
  return __builtin_shufflevector(offset, offset, (I / 2 * 4 + 2 * kHalf + I % 2)...);
}
// Of pairs that were gathered so: the left or the right ones, in order. A shuffle within 128 bits.
template <int kRight, int... I>
inline Gathered in_order(const Gathered& a, const Gathered& b, Numbers<I...>) {
  return __builtin_shufflevector(a, b,
                                 (I / 4 * 4 + I % 2 * 2 + kRight + (I % 4 < 2 ? 0 : kGathered))...);
}

// image[offset] and image[offset + 1].
inline Neighbourhood<float, kGathered> gather_pairs(const float* image,
                                                    const GatheredOffset& offset) {
#if defined(__AVX2__)
  const auto pairs = [&](auto half) {
    const auto at = every_other_two<decltype(half)::value>(offset, FirstNumbers<kGathered / 2>{});
#if defined(__AVX512F__)
    return reinterpret_cast<Gathered>(_mm512_mask_i32gather_epi64(
        __m512i{}, __mmask8(-1), reinterpret_cast<__m256i>(at), image, sizeof(float)));
#else
    return reinterpret_cast<Gathered>(
        _mm256_mask_i32gather_epi64(__m256i{}, reinterpret_cast<const long long*>(image),
                                    reinterpret_cast<__m128i>(at), __m256i{} - 1, sizeof(float)));
#endif
  };
  constexpr FirstNumbers<kGathered> all{};
  const Gathered a = pairs(Lanes<0>{}), b = pairs(Lanes<1>{});
  return {in_order<0>(a, b, all), in_order<1>(a, b, all)};
#else
  Neighbourhood<float, kGathered> of;
  for (int l = 0; l < kGathered; ++l) {
    of.left[l] = image[offset[l]];
    of.right[l] = image[offset[l] + 1];
  }
  return of;
#endif
}

// A pair of 16-bit values is one of 32 bits.
template <class T>
inline Neighbourhood<float, kGathered> gather_pairs(const T* image, const GatheredOffset& offset) {
  Vec<uint32_t, kGathered> pairs;
#if defined(__AVX512F__)
  pairs = reinterpret_cast<Vec<uint32_t, kGathered>>(_mm512_mask_i32gather_epi32(
      __m512i{}, __mmask16(-1), reinterpret_cast<__m512i>(offset), image, sizeof(T)));
#elif defined(__AVX2__)
  pairs = reinterpret_cast<Vec<uint32_t, kGathered>>(
      _mm256_mask_i32gather_epi32(__m256i{}, reinterpret_cast<const int*>(image),
                                  reinterpret_cast<__m256i>(offset), __m256i{} - 1, sizeof(T)));
#else
  for (int l = 0; l < kGathered; ++l) {
    uint32_t pair;
    std::memcpy(&pair, image + offset[l], sizeof(pair));
    pairs[l] = pair;
  }
#endif
  if constexpr (std::is_same_v<T, BFloat16>) {  // the upper half of a float
    return {reinterpret_cast<Gathered>(pairs << 16), reinterpret_cast<Gathered>(pairs & ~0xffffu)};
  } else {
    const auto widened = [](const Vec<uint32_t, kGathered>& bits) {
      const auto low = __builtin_convertvector(bits, Vec<uint16_t, kGathered>);
      T values[kGathered];
      std::memcpy(values, &low, sizeof(values));
      return load<kGathered>(values);
    };
    return {widened(pairs & 0xffffu), widened(pairs >> 16)};
  }
}

// The neighbours of kGathered samples, one channel.
struct Square {
  Gathered top_left, top_right, bottom_left, bottom_right;
};

// The bounds of an axis.
struct GatheredBounds {
  Gathered first = Gathered{} - kFrame, zero{}, length, last, last_pair;
  float size;
  bool align_corners;

  GatheredBounds(int64_t size, bool align_corners)
      : length(zero + static_cast<float>(size)),
        last(length - 1),
        last_pair(length - 2),
        size(static_cast<float>(size)),
        align_corners(align_corners) {}
};

// Whether all samples have both their neighbours on both axes, before padding.
inline bool all_inside(const Gathered& x, const GatheredBounds& width, const Gathered& y,
                       const GatheredBounds& height) {
  // Numbers from 0 on are in the order of their bits; all others come behind them.
#if defined(__AVX512F__)
  const auto bits = [](const Gathered& v) { return reinterpret_cast<__m512i>(v); };
  return _mm512_mask_cmplt_epu32_mask(_mm512_cmplt_epu32_mask(bits(x), bits(width.last)), bits(y),
                                      bits(height.last)) == __mmask16(-1);
#else
  const auto bits = [](const Gathered& v) { return reinterpret_cast<Vec<uint32_t, kGathered>>(v); };
  const auto inside = (bits(x) < bits(width.last)) & (bits(y) < bits(height.last));
#if defined(__AVX__)
  return _mm256_testc_si256(reinterpret_cast<__m256i>(inside), _mm256_set1_epi32(-1)) != 0;
#else
  return add_lanes<int32_t, kGathered>(inside) == -kGathered;
#endif
#endif
}

// Samples that lie in the image on one axis. At the centre of the first pixel a border clips
// already.
template <Padding P>
struct InnerAxis {
  static constexpr bool kInside = true;
  Gathered from, fraction, slope;

  InnerAxis(const Gathered& position, const GatheredBounds& of)
      : from(floor_of<kGathered>(position)), fraction(position - from), slope(of.zero + 1) {
    if (P == Padding::kBorder) slope = position > 0 ? slope : of.zero;
  }
};

// Samples on one axis: where their pair is read, within the image; `beyond`, how far from where it
// lies; fraction and slope as in Run.
template <Padding P>
struct GatheredAxis {
  static constexpr bool kInside = false;
  Gathered from, beyond, fraction, slope;

  GatheredAxis(Gathered x, const GatheredBounds& of) {
    slope = of.zero + 1;
    if constexpr (P == Padding::kBorder) {
      slope = x > 0 && x < of.last ? slope : of.zero;
      x = smaller(larger(x, of.zero), of.last);
    } else if constexpr (P == Padding::kReflection) {
      for (int l = 0; l < kGathered; ++l) {
        const Padded<float> padded = pad<P>(x[l], of.size, of.align_corners);
        x[l] = padded.position;
        slope[l] = padded.slope;
      }
    }
    const Gathered inside = smaller(larger(x, of.first), of.length);
    const Gathered index = floor_of<kGathered>(inside);
    const Gathered part = inside - index;
    fraction = x == x ? part : x;
    from = smaller(larger(index, of.zero), of.last_pair);
    beyond = index - from;
  }
};

// Calls body(x, y) with the axes of kGathered samples.
template <Padding P, class Body>
inline void with_axes(const float* position_x, const float* position_y, const GatheredBounds& width,
                      const GatheredBounds& height, const Body& body) {
  const Gathered x = load<kGathered>(position_x), y = load<kGathered>(position_y);
  // Reflection rounds positions inside of the image too.
  if (P != Padding::kReflection && all_inside(x, width, y, height)) {
    body(InnerAxis<P>(x, width), InnerAxis<P>(y, height));
  } else {
    body(GatheredAxis<P>(x, width), GatheredAxis<P>(y, height));
  }
}

// What of a pair that is read belongs to a sample: pixels outside of the image become zero.
inline void pick(const Gathered& beyond, const Gathered& a, const Gathered& b, Gathered* first,
                 Gathered* second) {
  const Gathered none{};
  *first = beyond == 0 ? a : beyond == 1 ? b : none;
  *second = beyond == 0 ? b : beyond == -1 ? a : none;
}

template <class Axis>
inline Square at_edge(const Axis& x, const Axis& y, const Square& read) {
  if constexpr (Axis::kInside) {
    return read;
  } else {
    Gathered left[2], right[2], top[2], bottom[2];
    pick(x.beyond, read.top_left, read.top_right, &left[0], &right[0]);
    pick(x.beyond, read.bottom_left, read.bottom_right, &left[1], &right[1]);
    pick(y.beyond, left[0], left[1], &top[0], &bottom[0]);
    pick(y.beyond, right[0], right[1], &top[1], &bottom[1]);
    return {top[0], top[1], bottom[0], bottom[1]};
  }
}

// Calls body(c, square) with the squares of kPixel channels that lie side by side.
template <int kPixel, class T, class Body>
inline void read_squares(const T* image, int64_t row, const GatheredOffset& offset,
                         const Body& body) {
  Gathered value[2][2 * kPixel];
  for (int y = 0; y < 2; ++y)
    for (int i = 0; i < kPixel; ++i) {
      const auto pairs = gather_pairs(image + y * row + 2 * i, offset);
      value[y][2 * i] = pairs.left;
      value[y][2 * i + 1] = pairs.right;
    }
  for (int c = 0; c < kPixel; ++c)
    body(c, Square{value[0][c], value[0][kPixel + c], value[1][c], value[1][kPixel + c]});
}

// An input that is read in squares: where it lies, or from a copy of what a tile reads.
template <int kPixel, class T>
struct SquareReader {
  static constexpr int64_t kRowsAhead = 4;  // that later samples are likely to read

  const T* image;
  int64_t plane, row;
  int32_t channels;
  // Of a copy, the pairs that it has; `image` is the pixel at `left`, `top`. A position that
  // float32 rounds out of its tile's box is read at the edge of the box, as `place` has it.
  bool is_copy = false;
  Gathered left, right, top, bottom;

  SquareReader(const Places<T>& at, const SamplingPlan& plan, const Tile& tile,
               const TaskMemory<float>& memory)
      : image(at.p.input.at(input_of(at.p, at.n), 0, 0, 0)),
        plane(at.p.input.c),
        row(at.p.input.h),
        channels(static_cast<int32_t>(at.p.channels)) {
    if (plan.brings_near)
      bring_near(at.p, box_of(at, plan, tile), reinterpret_cast<T*>(memory.box));
  }

  // Calls body(c, square) for all channels.
  template <class Axis, class Body>
  void read(const Axis& x, const Axis& y, const Body& body) const {
    Gathered from_x = x.from, from_y = y.from;
    if (is_copy) {
      from_x = smaller(larger(from_x, left), right) - left;
      from_y = smaller(larger(from_y, top), bottom) - top;
    }
    const GatheredOffset offset =
        __builtin_convertvector(from_y, GatheredOffset) * static_cast<int32_t>(row) +
        __builtin_convertvector(from_x, GatheredOffset) * kPixel;
    for (int first = 0; first < channels; first += kPixel) {
      const T* here = image + first * plane;
      for (int l = 0; l < kGathered; l += kGathered / 2)
        __builtin_prefetch(here + offset[l] + kRowsAhead * row);
      read_squares<kPixel>(here, row, offset, [&](int c, const Square& square) {
        body(first + c, at_edge(x, y, square));
      });
    }
  }

 private:
  // Copies what the samples of a box read, wherever they lie, and reads it there.
  void bring_near(const SamplingParams<T>& p, const Box& box, T* near) {
    if (!box.dense) return;
    const int32_t first_x = clamp_index(box.left, 0, p.in_w - 2);
    const int32_t first_y = clamp_index(box.top, 0, p.in_h - 2);
    const int64_t columns = clamp_index(box.left + box.columns, first_x + 2, p.in_w) - first_x;
    const int64_t rows = clamp_index(box.top + box.rows, first_y + 2, p.in_h) - first_y;
    const int64_t length = columns * kPixel;
    T* to = near;
    for (int first = 0; first < channels; first += kPixel) {
      const T* from = image + first * plane + first_y * row + first_x * kPixel;
      for (int64_t y = 0; y < rows; ++y, from += row, to += length)
        std::memcpy(to, from, sizeof(T) * length);
    }
    row = length;
    plane = rows * length;
    image = near;
    is_copy = true;
    left = Gathered{} + static_cast<float>(first_x);
    right = left + static_cast<float>(columns - 2);
    top = Gathered{} + static_cast<float>(first_y);
    bottom = top + static_cast<float>(rows - 2);
  }
};

// The most channels that are read in this way.
constexpr int kMostGathered = 4;

template <int kPixel, class T>
void forward_gathers(const SquareReader<kPixel, T>& reader, const Places<T>& at, const Tile& tile) {
  const SamplingParams<T>& p = at.p;
  const GatheredBounds width(p.in_w, p.align_corners), height(p.in_h, p.align_corners);
  Positions<float> position;
  alignas(64) float line[kMostGathered][kRoom];
  for (int r = 0, rows; r < tile.rows; r += rows) {
    rows = rows_of_run(tile, r);
    const int count = tile_positions(at, tile, r, rows, &position);
    T* out = p.output.at(at.n, 0, tile.plane, tile.top + r, tile.left);
    const int64_t plane = p.output.c;
    const bool in_place =
        std::is_same_v<T, float> && p.output.w == 1 && (rows == 1 || p.output.h == tile.columns);
    float* to = line[0];
    int64_t to_plane = kRoom;
    int whole = round_up_to_slack(count);
    if constexpr (std::is_same_v<T, float>)
      if (in_place) to = out, to_plane = plane, whole = count / kGathered * kGathered;
    with_padding(p.padding, [&](auto padding) {
      const auto sample = [&](int k, const auto& put) {
        const auto blend = [&](const auto& x, const auto& y) {
          const Gathered fx = x.fraction, fy = y.fraction, left = 1 - fx, upper = 1 - fy;
          reader.read(x, y, [&](int c, const Square& of) {
            const auto first = of.top_left * upper + of.bottom_left * fy;
            const auto second = of.top_right * upper + of.bottom_right * fy;
            put(to + c * to_plane + k, Gathered(first * left + second * fx));
          });
        };
        with_axes<decltype(padding)::value>(position.at[0] + k, position.at[1] + k, width, height,
                                            blend);
      };
      for (int k = 0; k < whole; k += kGathered)
        sample(k, [](float* at, const Gathered& value) { store(at, value); });
      if (whole < count)
        sample(whole, [&](float* at, const Gathered& value) {
          store_part<kGathered>(at, value, count - whole);
        });
    });
    for (int row = 0; row < rows && !in_place; ++row)
      scatter_planes(line[0] + row * tile.columns, kRoom, plane, p.output.w, p.channels,
                     tile.columns, out + row * p.output.h);
  }
}

// by[axis][k]: derivatives of the loss by the positions of a run, before padding.
template <int kPixel, class T>
void slopes_run_gathers(const SquareReader<kPixel, T>& reader, const Places<T>& at,
                        const Tile& tile, int r, int rows, Positions<float>* by) {
  const SamplingParams<T>& p = at.p;
  const GatheredBounds width(p.in_w, p.align_corners), height(p.in_h, p.align_corners);
  Positions<float> position;
  const int count = tile_positions(at, tile, r, rows, &position);
  alignas(64) float grad[kMostGathered][kRoom];
  for (int row = 0; row < rows; ++row)
    gather_planes(p.grad_output.at(at.n, 0, tile.plane, tile.top + r + row, tile.left),
                  p.grad_output.c, p.grad_output.w, p.channels, tile.columns,
                  grad[0] + row * tile.columns, kRoom);
  with_padding(p.padding, [&](auto padding) {
    for (int k = 0; k < count; k += kGathered) {
      const auto slope = [&](const auto& x, const auto& y) {
        const Gathered fx = x.fraction, fy = y.fraction, left = 1 - fx, upper = 1 - fy;
        Gathered by_x{}, by_y{};
        reader.read(x, y, [&](int c, const Square& of) {
          const auto g = load<kGathered>(grad[c] + k);
          by_x +=
              g * ((of.top_right - of.top_left) * upper + (of.bottom_right - of.bottom_left) * fy);
          by_y +=
              g * ((of.bottom_left - of.top_left) * left + (of.bottom_right - of.top_right) * fx);
        });
        store(by->at[0] + k, by_x * x.slope);
        store(by->at[1] + k, by_y * y.slope);
      };
      with_axes<decltype(padding)::value>(position.at[0] + k, position.at[1] + k, width, height,
                                          slope);
    }
  });
}

// Calls body(reader) with the reader of a tile, for so many channels that lie side by side.
template <class T, class Body>
void with_reader(const Places<T>& at, const SamplingPlan& plan, const Tile& tile,
                 const TaskMemory<float>& memory, const Body& body) {
  const int64_t together = at.p.input.w == 1 ? 1 : at.p.channels;
  if (together == 1) body(SquareReader<1, T>(at, plan, tile, memory));
  if (together == 2) body(SquareReader<2, T>(at, plan, tile, memory));
  if (together == 3) body(SquareReader<3, T>(at, plan, tile, memory));
  if (together == 4) body(SquareReader<4, T>(at, plan, tile, memory));
}

}  // namespace PF_ISA
}  // namespace pyfast
