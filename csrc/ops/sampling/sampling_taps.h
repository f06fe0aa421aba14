// Trilinear and bicubic sampling, channel by channel, a group of samples at a time. Samples whose
// taps all lie in the image are read where they are; a group with another one among it is copied
// first, with zeros or padding where taps lie outside.
#pragma once

#include <cstdint>
#include <cstring>

#include "ops/sampling/sampling_pixels.h"
#include "ops/sampling/sampling_stencil.h"

namespace pyfast {
namespace PF_ISA {

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
  static constexpr int kGroup = kSamples<Real>;
  using V = Vec<Real, kGroup>;
  const Run<Real>& run;

  Blender(const Run<Real>& run, bool) : run(run) {}

  template <class T>
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

  template <class T>
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

template <class Real>
struct Blender<Stencil<2, 4>, Real> {
  static constexpr int kGroup = 4;
  using V = Vec<Real, 4>;
  alignas(64) Real weight[2][4][kRoom], slope[2][4][kRoom];

  Blender(const Run<Real>& run, bool with_slopes) {
    constexpr int kStep = kNative<Real>;
    for (int a = 0; a < 2; ++a)
      for (int k = 0; k < run.count; k += kStep) {
        const Vec<Real, kStep> t = load<kStep>(run.fraction[a] + k);
        const Vec<Real, kStep> distance[4] = {t + 1, t, 1 - t, 2 - t};
        store(weight[a][0] + k, cubic_far(distance[0]));
        store(weight[a][1] + k, cubic_near(distance[1]));
        store(weight[a][2] + k, cubic_near(distance[2]));
        store(weight[a][3] + k, cubic_far(distance[3]));
        if (!with_slopes) continue;
        store(slope[a][0] + k, cubic_far_slope(distance[0]));
        store(slope[a][1] + k, cubic_near_slope(distance[1]));
        store(slope[a][2] + k, -cubic_near_slope(distance[2]));
        store(slope[a][3] + k, -cubic_far_slope(distance[3]));
      }
  }

  // Columns of the four samples' patches, summed with a weight for each row.
  template <class T>
  void columns(const Patches<T>& patches, const Real (&of_row)[4][kRoom], int k, V out[4]) const {
    for (int l = 0; l < 4; ++l) {
      const T* at = patches.base + patches.offset[l];
      out[l] = load<4>(at) * of_row[0][k + l];
      for (int r = 1; r < 4; ++r) out[l] += load<4>(at + r * patches.row) * of_row[r][k + l];
    }
    transpose4<Real>(out[0], out[1], out[2], out[3]);
  }

  static V sum(const V column[4], const Real (&of_column)[4][kRoom], int k) {
    V total = column[0] * load<4>(of_column[0] + k);
    for (int t = 1; t < 4; ++t) total += column[t] * load<4>(of_column[t] + k);
    return total;
  }

  template <class T>
  V blend(const Patches<T>& patches, int k) const {
    V column[4];
    columns(patches, weight[1], k, column);
    return sum(column, weight[0], k);
  }

  template <class T>
  void slopes(const Patches<T>& patches, int k, V by[2]) const {
    V column[4];
    columns(patches, weight[1], k, column);
    by[0] = sum(column, slope[0], k);
    columns(patches, slope[1], k, column);
    by[1] = sum(column, weight[0], k);
  }
};

// What groups of samples read in one channel after another.
template <class S, int kGroup, class T>
class GroupReader {
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

  // Calls body(k, patches) for every group that has taps in the image, and outside(k) for others.
  template <class Body, class Outside>
  void read(const T* plane, const Body& body, const Outside& outside) const {
    constexpr int64_t slice = S::kTaps * S::kTaps;
    T copy[kGroup * S::kCount];
    for (int k = 0; k < count_; k += kGroup) {
      switch (group_[k / kGroup]) {
        case kInside:
          __builtin_prefetch(plane + places_.offset[k] + kRowsAhead * view_.h);
          body(k, Patches<T>{plane, places_.offset + k, view_.h, view_.d});
          break;
        case kPartly:
          for (int l = 0; l < kGroup; ++l) copy_taps(k + l, plane, copy + l * S::kCount);
          body(k, Patches<T>{copy, in_copy_, S::kTaps, slice});
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

  static constexpr int64_t kRowsAhead = 2 * S::kTaps;  // that later samples are likely to read

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
    const GroupReader<S, Blend::kGroup, T> reader(at, run, places);
    alignas(64) Real line[kRoom];
    for (int64_t c = 0; c < p.channels; ++c) {
      reader.read(
          p.input.at(input_of(p, n), c, 0, 0),
          [&](int k, const Patches<T>& patches) { store(line + k, blender.blend(patches, k)); },
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
  constexpr int kGroup = Blend::kGroup;
  const auto& p = at.p;
  const Blend blender(run, true);
  const GroupReader<S, kGroup, T> reader(at, run, places);
  for (int a = 0; a < S::kDims; ++a) std::memset(by->at[a], 0, sizeof(by->at[a]));
  alignas(64) Real line[kRoom];
  for (int64_t c = 0; c < p.channels; ++c) {
    gradient_run(p, at.n, c, tile, r, rows, line);
    reader.read(
        p.input.at(input_of(p, at.n), c, 0, 0),
        [&](int k, const Patches<T>& patches) {
          Vec<Real, kGroup> slope[S::kDims];
          blender.slopes(patches, k, slope);
          const auto g = load<kGroup>(line + k);
          for (int a = 0; a < S::kDims; ++a)
            store(by->at[a] + k, load<kGroup>(by->at[a] + k) + g * slope[a]);
        },
        [](int) {});
  }
}

}  // namespace PF_ISA
}  // namespace pyfast
