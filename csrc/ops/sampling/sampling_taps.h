// Trilinear and bicubic sampling, channel by channel, a group of samples at a time. Samples whose
// taps all lie in the image are read where they are; a group with another one among it is copied
// first, with zeros or padding where taps lie outside.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "ops/sampling/sampling_pixels.h"
#include "ops/sampling/sampling_stencil.h"

namespace pyfast {
namespace PF_ISA {

// Rows below a sample's taps that later samples are likely to meet.
template <class S>
constexpr int64_t kRowsBelow = 2 * S::kTaps;

// A group's taps in memory: sample l begins at base + offset[l].
template <class T>
struct Patches {
  const T* base;
  const int64_t* offset;
  int64_t row, slice;
};

// What a stencil makes of a group's taps, from weights prepared for the run.
template <class Stencil, class Real>
struct Blender;

template <class Real>
struct Blender<Stencil<3, 2>, Real> {
  static constexpr int kGroup = kSamples<Real>, kMany = kGroup;
  using V = Vec<Real, kGroup>;
  const Run<Real>& run;

  Blender(const Run<Real>& run, bool) : run(run) {}

  template <int, class T>
  V blend(const Patches<T>& patches, int k) const {
    const V fx = load<kGroup>(run.fraction[0] + k), fy = load<kGroup>(run.fraction[1] + k);
    const V fz = load<kGroup>(run.fraction[2] + k);
    V plane[2];
    for (int z = 0; z < 2; ++z) {
      const T* base = patches.base + z * patches.slice;
      const auto top = load_neighbourhood<Real>(base, patches.offset);
      const auto bottom = load_neighbourhood<Real>(base + patches.row, patches.offset);
      const V left = top.left * (1 - fy) + bottom.left * fy;
      const V right = top.right * (1 - fy) + bottom.right * fy;
      plane[z] = left * (1 - fx) + right * fx;
    }
    return plane[0] * (1 - fz) + plane[1] * fz;
  }

  template <int, class T>
  void slopes(const Patches<T>& patches, int k, V by[3]) const {
    const V fx = load<kGroup>(run.fraction[0] + k), fy = load<kGroup>(run.fraction[1] + k);
    const V fz = load<kGroup>(run.fraction[2] + k);
    V by_x[2], by_y[2], value[2];
    for (int z = 0; z < 2; ++z) {
      const T* base = patches.base + z * patches.slice;
      const auto top = load_neighbourhood<Real>(base, patches.offset);
      const auto bottom = load_neighbourhood<Real>(base + patches.row, patches.offset);
      const V upper = top.left * (1 - fx) + top.right * fx;
      const V lower = bottom.left * (1 - fx) + bottom.right * fx;
      by_x[z] = (top.right - top.left) * (1 - fy) + (bottom.right - bottom.left) * fy;
      by_y[z] = lower - upper;
      value[z] = upper * (1 - fy) + lower * fy;
    }
    by[0] = by_x[0] * (1 - fz) + by_x[1] * fz;
    by[1] = by_y[0] * (1 - fz) + by_y[1] * fz;
    by[2] = value[1] - value[0];
  }
};

// Many samples' rows of four taps fill registers side by side: the i-th of four has those of the
// samples i, 4 + i, 8 + i and so on, which come out in order when the registers are transposed.
template <class Real>
struct Blender<Stencil<2, 4>, Real> {
  static constexpr int kGroup = 4, kMany = kNative<Real> > 4 ? kNative<Real> : 4;
  alignas(64) Real row[4][kRoom], row_slope[4][kRoom];
  alignas(64) Real column[4 * kRoom], column_slope[4 * kRoom];  // as they lie in those registers

  Blender(const Run<Real>& run, bool with_slopes) {
    for (int k = 0; k < run.count; k += kMany) {
      const auto x = load<kMany>(run.fraction[0] + k), y = load<kMany>(run.fraction[1] + k);
      Vec<Real, kMany> of_column[4], of_row[4];
      cubic_weights(x, of_column);
      cubic_weights(y, of_row);
      put(of_column, of_row, k, column, row);
      if (!with_slopes) continue;
      cubic_slopes(x, of_column);
      cubic_slopes(y, of_row);
      put(of_column, of_row, k, column_slope, row_slope);
    }
  }

  template <int kCount, class T>
  Vec<Real, kCount> blend(const Patches<T>& patches, int k) const {
    Vec<Real, kCount> sum[4] = {};
    for_each_row<kCount>(patches, [&](auto i, int r, const auto& taps) {
      sum[i.value] += taps * weight<kCount, i.value>(row[r] + k);
    });
    return add_columns<kCount>(sum, k, column);
  }

  template <int kCount, class T>
  void slopes(const Patches<T>& patches, int k, Vec<Real, kCount> by[2]) const {
    Vec<Real, kCount> sum[4] = {}, difference[4] = {};
    for_each_row<kCount>(patches, [&](auto i, int r, const auto& taps) {
      sum[i.value] += taps * weight<kCount, i.value>(row[r] + k);
      difference[i.value] += taps * weight<kCount, i.value>(row_slope[r] + k);
    });
    by[0] = add_columns<kCount>(sum, k, column_slope);
    by[1] = add_columns<kCount>(difference, k, column);
  }

 private:
  using V = Vec<Real, kMany>;

  static void put(V (&of_column)[4], const V (&of_row)[4], int k, Real* columns,
                  Real (&rows)[4][kRoom]) {
    transpose4<Real, kMany>(of_column[0], of_column[1], of_column[2], of_column[3]);
    for (int i = 0; i < 4; ++i) {
      store(columns + 4 * k + i * kMany, of_column[i]);
      store(rows[i] + k, of_row[i]);
    }
  }

  // Calls body(i, r, taps) with row r of the taps of the samples in register i.
  template <int kCount, class T, class Body>
  static void for_each_row(const Patches<T>& patches, const Body& body) {
    with_each(FirstNumbers<4>{}, [&](auto i) {
      const T* from = patches.base;
      for (int r = 0; r < 4; ++r, from += patches.row)
        body(i, r, beside<kCount / 4>(from, patches.offset + i.value));
    });
  }

  // Sums of the rows of kCount samples, weighed by columns and added up.
  template <int kCount>
  static Vec<Real, kCount> add_columns(Vec<Real, kCount> (&sum)[4], int k, const Real* columns) {
    // Samples [k, k + kCount) of registers that have kMany.
    const Real* from = columns + k / kMany * 4 * kMany + k % kMany;
    for (int i = 0; i < 4; ++i) sum[i] *= load<kCount>(from + i * kMany);
    transpose4<Real, kCount>(sum[0], sum[1], sum[2], sum[3]);
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
  }

  template <int... I, class Body>
  static void with_each(Numbers<I...>, const Body& body) {
    (body(std::integral_constant<int, I>{}), ...);
  }

  // Of kCount values those of the samples in register i, each for its four taps.
  template <int kCount, int i>
  static auto weight(const Real* values) {
    if constexpr (kCount == 4) {
      return values[i];
    } else {
      return repeat<i>(load<kCount>(values), FirstNumbers<kCount>{});
    }
  }
  template <int i, class W, int... I>
  static W repeat(const W& v, Numbers<I...>) {
    return __builtin_shufflevector(v, v, (I / 4 * 4 + i)...);
  }

  // One row of taps of each of kCount samples, every fourth of a group.
  template <int kCount, class T>
  static Vec<Real, 4 * kCount> beside(const T* row, const int64_t* offset) {
    if constexpr (kCount == 1) {
      return load<4>(row + offset[0]);
    } else if constexpr (kCount == 2) {
      return __builtin_shufflevector(load<4>(row + offset[0]), load<4>(row + offset[4]), 0, 1, 2, 3,
                                     4, 5, 6, 7);
    } else {
#if defined(__AVX512F__)  // read from memory, unlike what is shuffled
      __m512 v = _mm512_castps128_ps512(load<4>(row + offset[0]));
      v = _mm512_insertf32x4(v, load<4>(row + offset[4]), 1);
      v = _mm512_insertf32x4(v, load<4>(row + offset[8]), 2);
      return _mm512_insertf32x4(v, load<4>(row + offset[12]), 3);
#endif
    }
  }
};

// What groups of samples read in one channel after another. Where all taps of kMany samples lie in
// the image, these make a group; elsewhere kGroup do.
template <class S, class Blend, class T>
class GroupReader {
  static constexpr int kGroup = Blend::kGroup, kMany = Blend::kMany;

 public:
  template <class Real>
  GroupReader(const Places<T>& at, const Run<Real>& run, const TapPlaces<S>& places)
      : view_(at.p.input), places_(places), count_(run.count) {
    for (int k = 0; k < count_; k += kGroup) {
      int32_t sum = 0;
      for (int l = k; l < k + kGroup; ++l) sum += state(l);
      TapState& group = group_[k / kGroup];
      group = sum == 0 ? kInside : sum == kGroup * kOutside ? kOutside : kPartly;
      if (group != kPartly) continue;
      for (int l = k; l < k + kGroup; ++l) {
        if (state(l) != kPartly) continue;
        const auto taps = tap_indices<S>(at, run, l);
        for (int t = 0; t < S::kCount; ++t) {
          const int64_t offset = taps.offset(t, view_);
          present_[l][t] = offset != kNoTap;
          tap_[l][t] = offset != kNoTap ? offset : 0;
        }
      }
    }
    for (int l = 0; l < kGroup; ++l) in_copy_[l] = l * S::kCount;
  }

  // Calls body(Lanes<size>{}, k, patches) for every group that has taps in the image, and
  // outside(k) for others.
  template <class Body, class Outside>
  void read(const T* plane, const Body& body, const Outside& outside) const {
    constexpr int64_t slice = S::kTaps * S::kTaps;
    T copy[kGroup * S::kCount];
    for (int k = 0; k < count_; k += kGroup) {
      const Patches<T> here{plane, places_.offset + k, view_.h, view_.d};
      switch (group_[k / kGroup]) {
        case kInside:
          __builtin_prefetch(plane + places_.offset[k] + kRowsBelow<S> * view_.h);
          if (are_many_inside(k)) {
            body(Lanes<kMany>{}, k, here);
            k += kMany - kGroup;
          } else {
            body(Lanes<kGroup>{}, k, here);
          }
          break;
        case kPartly:
          for (int l = 0; l < kGroup; ++l) copy_taps(k + l, plane, copy + l * S::kCount);
          body(Lanes<kGroup>{}, k, Patches<T>{copy, in_copy_, S::kTaps, slice});
          break;
        case kOutside:
          outside(k);
      }
    }
  }

 private:
  // Pixels that do not lie side by side are read one by one.
  int32_t state(int k) const {
    return view_.w != 1 && places_.state[k] == kInside ? kPartly : places_.state[k];
  }

  bool are_many_inside(int k) const {
    if (kMany == kGroup || k % kMany != 0 || k + kMany > count_) return false;
    int32_t sum = 0;
    for (int g = k / kGroup; g < (k + kMany) / kGroup; ++g) sum += group_[g];
    return sum == 0;
  }

  void copy_taps(int k, const T* plane, T* out) const {
    if (state(k) == kOutside) {
      std::memset(out, 0, sizeof(T) * S::kCount);
    } else if (state(k) == kInside) {
      for (int r = 0; r < S::kRows; ++r)
        std::memcpy(out + r * S::kTaps, plane + places_.offset[k] + places_.row[r],
                    sizeof(T) * S::kTaps);
    } else {
      // Row by row as a whole: a load of several values that were stored one by one would stall.
      using Bits = std::conditional_t<sizeof(T) == 2, uint16_t, Accumulator<T>>;
      for (int r = 0; r < S::kCount; r += S::kTaps) {
        Vec<Bits, S::kTaps> row;
        for (int t = 0; t < S::kTaps; ++t) {
          Bits value;
          std::memcpy(&value, plane + tap_[k][r + t], sizeof(value));
          row[t] = present_[k][r + t] ? value : Bits(0);
        }
        std::memcpy(out + r, &row, sizeof(row));
      }
    }
  }

  const ImageView<const T>& view_;
  const TapPlaces<S>& places_;
  int count_;
  TapState group_[kRoom / kGroup];
  // Of samples that lie partly in the image: where each tap is, if it is.
  int64_t tap_[kRoom][S::kCount];
  bool present_[kRoom][S::kCount];
  int64_t in_copy_[kGroup];
};

template <class S, class T, class Real>
void forward_taps(const SamplingParams<T>& p, int64_t n, const Tile& tile) {
  using Blend = Blender<S, Real>;
  const Places<T> at(p, n);
  for_each_run<false>(at, tile, [&](int r, int rows, const Run<Real>& run) {
    const Blend blender(run, false);
    const TapPlaces<S> places(at, run, p.input);
    const GroupReader<S, Blend, T> reader(at, run, places);
    alignas(64) Real line[kRoom];
    for (int64_t c = 0; c < p.channels; ++c) {
      reader.read(
          p.input.at(input_of(p, n), c, 0, 0),
          [&](auto size, int k, const Patches<T>& patches) {
            store(line + k, blender.template blend<decltype(size)::value>(patches, k));
          },
          [&](int k) { store(line + k, Vec<Real, Blend::kGroup>{}); });
      for (int row = 0; row < rows; ++row)
        scatter_pixels<1, false>(line + row * tile.columns, 0, p.output.w, 1, tile.columns,
                                 p.output.at(n, c, tile.plane, tile.top + r + row, tile.left));
    }
  });
}

// A run of the incoming gradient of one channel.
template <class T, class Real>
void gradient_run(const SamplingParams<T>& p, int64_t n, int64_t c, const Tile& tile, int r,
                  int rows, Real* line) {
  for (int row = 0; row < rows; ++row)
    gather_pixels<1>(p.grad_output.at(n, c, tile.plane, tile.top + r + row, tile.left), 0,
                     p.grad_output.w, 1, tile.columns, line + row * tile.columns);
  const int count = rows * tile.columns;
  for (int k = count; k < round_up_to_slack(count); ++k) line[k] = 0;
}

// Adds each quarter of a register in a place of its own. All are read before any is written: rows
// a multiple of 4096 bytes apart would otherwise wait for each other.
template <class Real>
inline void add_pairs(Real* const (&to)[4], const Vec<Real, 4>& first, const Vec<Real, 4>& last) {
  using V = Vec<Real, 4>;
  const V a = first + __builtin_shufflevector(load<2>(to[0]), load<2>(to[1]), 0, 1, 2, 3);
  const V b = last + __builtin_shufflevector(load<2>(to[2]), load<2>(to[3]), 0, 1, 2, 3);
  store(to[0], Vec<Real, 2>(__builtin_shufflevector(a, a, 0, 1)));
  store(to[1], Vec<Real, 2>(__builtin_shufflevector(a, a, 2, 3)));
  store(to[2], Vec<Real, 2>(__builtin_shufflevector(b, b, 0, 1)));
  store(to[3], Vec<Real, 2>(__builtin_shufflevector(b, b, 2, 3)));
}

// Adds a run's gradients to channels [first, first + channels) of grad_input. Neighbouring samples
// overlap, and a row of taps that is loaded before the overlapping one has left the store buffer
// stalls: so samples are taken from four parts of the run in turns.
template <class S, class T, class Real>
void spread_run_taps(const Places<T>& at, const Tile& tile, int r, int rows, const Run<Real>& run,
                     const TapPlaces<S>& places, int64_t first, int64_t channels) {
  const auto& p = at.p;
  const auto& view = p.grad_input;
  const TapWeights<S, Real> weights(run);
  alignas(64) Real line[kRoom];
  const auto spread = [&](Real* plane, int k) {
    const auto x = load<S::kTaps>(weights.x[k]);
    if (S::kTaps == 2 && places.state[k] == kInside && view.w == 1) {
      const auto of_row = load<4>(weights.row[k]) * line[k];
      if (k % 8 == 0) __builtin_prefetch(plane + places.offset[k] + kRowsBelow<S> * view.h, 1);
      Real *to = plane + places.offset[k], *below = to + places.row[1];
      Real* const rows_of[4] = {to, below, to + places.row[2], below + places.row[2]};
      const Vec<Real, 4> both = __builtin_shufflevector(x, x, 0, 1, 0, 1);
      add_pairs<Real>(rows_of, both * __builtin_shufflevector(of_row, of_row, 0, 0, 1, 1),
                      both * __builtin_shufflevector(of_row, of_row, 2, 2, 3, 3));
    } else if (places.state[k] == kInside && view.w == 1) {
      for (int row = 0; row < S::kRows; ++row) {
        Real* to = plane + places.offset[k] + places.row[row];
        store(to, load<S::kTaps>(to) + x * (line[k] * weights.row[k][row]));
      }
    } else if (places.state[k] != kOutside) {
      const auto taps = tap_indices<S>(at, run, k);
      for (int t = 0; t < S::kCount; ++t) {
        const int64_t offset = taps.offset(t, view);
        if (offset != kNoTap)
          plane[offset] += x[t % S::kTaps] * (line[k] * weights.row[k][t / S::kTaps]);
      }
    }
  };
  const int part = (run.count + 3) / 4;
  for (int64_t c = first; c < first + channels; ++c) {
    gradient_run(p, at.n, c, tile, r, rows, line);
    Real* plane = view.at(input_of(p, at.n), c, 0, 0);
    for (int k = 0; k < part; ++k)
      for (int l = k; l < run.count; l += part) spread(plane, l);
  }
}

// by[axis][k]: derivatives of the loss by the positions of a run, in pixels.
template <class S, class T, class Real>
void slopes_run_taps(const Places<T>& at, const Tile& tile, int r, int rows, const Run<Real>& run,
                     const TapPlaces<S>& places, Positions<Real>* by) {
  using Blend = Blender<S, Real>;
  const auto& p = at.p;
  const Blend blender(run, true);
  const GroupReader<S, Blend, T> reader(at, run, places);
  for (int a = 0; a < S::kDims; ++a) std::memset(by->at[a], 0, sizeof(by->at[a]));
  alignas(64) Real line[kRoom];
  for (int64_t c = 0; c < p.channels; ++c) {
    gradient_run(p, at.n, c, tile, r, rows, line);
    reader.read(
        p.input.at(input_of(p, at.n), c, 0, 0),
        [&](auto size, int k, const Patches<T>& patches) {
          constexpr int n = decltype(size)::value;
          Vec<Real, n> slope[S::kDims];
          blender.template slopes<n>(patches, k, slope);
          const auto g = load<n>(line + k);
          for (int a = 0; a < S::kDims; ++a)
            store(by->at[a] + k, load<n>(by->at[a] + k) + g * slope[a]);
        },
        [](int) {});
  }
}

}  // namespace PF_ISA
}  // namespace pyfast
