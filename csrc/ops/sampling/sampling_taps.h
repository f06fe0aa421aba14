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

  explicit Blender(const Run<Real>& run) : run(run) {}

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

  explicit Blender(const Run<Real>& run) {
    const int count = round_up_to_slack(run.count);
    for (int a = 0; a < 2; ++a) {
      const Real* fraction = run.fraction[a];
      auto &w = weight[a], &s = slope[a];
#pragma omp simd
      for (int k = 0; k < count; ++k) {
        Real of[4], slope_of[4];
        cubic_weights(fraction[k], of);
        cubic_slopes(fraction[k], slope_of);
        for (int t = 0; t < 4; ++t) {
          w[t][k] = of[t];
          s[t][k] = slope_of[t];
        }
      }
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

// Where a run's first taps lie in a plane of `view`, and which samples have all of theirs inside.
template <class Stencil, class Real>
struct TapOffsets {
  int64_t offset[kRoom];
  bool inside[kRoom];

  template <class T, class View>
  TapOffsets(const Places<T>& at, const Run<Real>& run, const View& view) {
    constexpr int before = Stencil::kTaps / 2 - 1;
    const int64_t stride[3] = {view.w, view.h, view.d};
    for (int k = 0; k < round_up_to_slack(run.count); ++k) {
      offset[k] = 0;
      inside[k] = view.w == 1;
    }
    for (int a = 0; a < Stencil::kDims; ++a) {
      const int32_t last = static_cast<int32_t>(at.in_size(a)) - Stencil::kTaps;
      const int64_t step = stride[a];
      const int32_t* index = run.index[a];
      for (int k = 0; k < round_up_to_slack(run.count); ++k) {
        const int32_t first = index[k] - before;
        offset[k] += first * step;
        inside[k] = inside[k] && first >= 0 && first <= last;
      }
    }
  }
};

// Copies the taps of samples k .. k + kGroup - 1 of a plane.
template <class Stencil, int kGroup, class T, class Real>
void copy_taps(const Places<T>& at, const Run<Real>& run, int k, const ImageView<const T>& view,
               const T* plane, T* out) {
  constexpr int kCount = power(Stencil::kTaps, Stencil::kDims);
  for (int l = 0; l < kGroup; ++l, out += kCount)
    taps_of<Stencil::kDims, Stencil::kTaps>(at, run, k + l)
        .for_each([&](int t, int64_t z, int64_t y, int64_t x) {
          const bool inside = z >= 0 && y >= 0 && x >= 0;
          out[t] = inside ? plane[z * view.d + y * view.h + x * view.w] : T{};
        });
}

// Calls body(k, patches) for every group of a run, in one plane of the input.
template <class Stencil, int kGroup, class T, class Real, class Body>
void for_each_group(const Places<T>& at, const Run<Real>& run,
                    const TapOffsets<Stencil, Real>& offsets, const T* plane, const Body& body) {
  constexpr int kTaps = Stencil::kTaps, kCount = power(kTaps, Stencil::kDims);
  const auto& view = at.p.input;
  T copy[kGroup * kCount];
  int64_t in_copy[kGroup];
  for (int l = 0; l < kGroup; ++l) in_copy[l] = l * kCount;
  for (int k = 0; k < run.count; k += kGroup) {
    bool inside = true;
    for (int l = 0; l < kGroup; ++l) inside = inside && offsets.inside[k + l];
    if (inside) {
      body(k, Patches<T>{plane, offsets.offset + k, view.h, view.d});
    } else {
      copy_taps<Stencil, kGroup>(at, run, k, view, plane, copy);
      body(k, Patches<T>{copy, in_copy, kTaps, kTaps * kTaps});
    }
  }
}

template <class Stencil, class T, class Real>
void forward_taps(const SamplingParams<T>& p, int64_t n, const Tile& tile) {
  using Blend = Blender<Stencil, Real>;
  const Places<T> at(p, n);
  for_each_run<false>(at, tile, [&](int r, int rows, const Run<Real>& run) {
    const Blend blender(run);
    const TapOffsets<Stencil, Real> offsets(at, run, p.input);
    alignas(64) Real line[kRoom];
    for (int64_t c = 0; c < p.channels; ++c) {
      const T* plane = p.input.at(input_of(p, n), c, 0, 0);
      for_each_group<Stencil, Blend::kGroup>(
          at, run, offsets, plane,
          [&](int k, const Patches<T>& patches) { store(line + k, blender.blend(patches, k)); });
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

// Adds a run's gradients to channels [first, first + channels) of grad_input.
template <class Stencil, class T, class Real>
void spread_run_taps(const Places<T>& at, const Tile& tile, int r, int rows, const Run<Real>& run,
                     int64_t first, int64_t channels) {
  constexpr int kDims = Stencil::kDims, kTaps = Stencil::kTaps, kCount = power(kTaps, kDims);
  const auto& p = at.p;
  const auto& view = p.grad_input;
  const TapOffsets<Stencil, Real> offsets(at, run, view);
  alignas(64) Real line[kRoom];
  for (int64_t c = first; c < first + channels; ++c) {
    gradient_run(p, at.n, c, tile, r, rows, line);
    Real* plane = view.at(input_of(p, at.n), c, 0, 0);
    for (int k = 0; k < run.count; ++k) {
      const auto taps = taps_of<kDims, kTaps>(at, run, k);
      Real weight[kCount];
      taps.products(-1, weight);
      if (offsets.inside[k]) {
        Real* to = plane + offsets.offset[k];
        for (int t = 0; t < kCount; ++t) {
          const int x = t % kTaps, y = t / kTaps % kTaps, z = t / (kTaps * kTaps);
          to[z * view.d + y * view.h + x] += line[k] * weight[t];
        }
      } else {
        taps.for_each([&](int t, int64_t z, int64_t y, int64_t x) {
          if (z >= 0 && y >= 0 && x >= 0)
            plane[z * view.d + y * view.h + x * view.w] += line[k] * weight[t];
        });
      }
    }
  }
}

// by[axis][k]: derivatives of the loss by the positions of a run, in pixels.
template <class Stencil, class T, class Real>
void slopes_run_taps(const Places<T>& at, const Tile& tile, int r, int rows, const Run<Real>& run,
                     Positions<Real>* by) {
  using Blend = Blender<Stencil, Real>;
  constexpr int kGroup = Blend::kGroup;
  const auto& p = at.p;
  const Blend blender(run);
  const TapOffsets<Stencil, Real> offsets(at, run, p.input);
  for (int a = 0; a < Stencil::kDims; ++a) std::memset(by->at[a], 0, sizeof(by->at[a]));
  alignas(64) Real line[kRoom];
  for (int64_t c = 0; c < p.channels; ++c) {
    gradient_run(p, at.n, c, tile, r, rows, line);
    const T* plane = p.input.at(input_of(p, at.n), c, 0, 0);
    for_each_group<Stencil, kGroup>(at, run, offsets, plane, [&](int k, const Patches<T>& patches) {
      Vec<Real, kGroup> slope[Stencil::kDims];
      blender.slopes(patches, k, slope);
      const auto g = load<kGroup>(line + k);
      for (int a = 0; a < Stencil::kDims; ++a)
        store(by->at[a] + k, load<kGroup>(by->at[a] + k) + g * slope[a]);
    });
  }
}

}  // namespace PF_ISA
}  // namespace pyfast
