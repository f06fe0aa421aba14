// Where output pixels are sampled, a run of them at a time.
#pragma once

#include <cstdint>
#include <type_traits>

#include "ops/sampling/sampling_cpu.h"
#include "ops/sampling/sampling_layout.h"
#include "ops/sampling/sampling_math.h"

namespace pyfast {
namespace PF_ISA {

// Vector loops may run past the end of a run by less than this.
constexpr int kSlack = 16;
constexpr int kRoom = kRun + kSlack;

inline int round_up_to_slack(int count) { return (count + kSlack - 1) / kSlack * kSlack; }

// The neighbours of a run of output pixels, by axis (0 is x): index of the lower one, fraction on
// the way to the next, and the derivative of the padded position by the position before padding.
template <class Real>
struct Run {
  int count;
  alignas(64) Real fraction[3][kRoom];
  alignas(64) Real slope[3][kRoom];
  alignas(64) int32_t index[3][kRoom];
  alignas(64) int32_t base[kRoom];  // offset of the upper left neighbour in the box
};

// Positions in pixels, before padding.
template <class Real>
struct Positions {
  alignas(64) Real at[3][kRoom];
};

// Where one output image is sampled.
template <class T>
struct Places {
  using Real = Accumulator<T>;

  Places(const SamplingParams<T>& p, int64_t n) : p(p), n(n), frame(map_frame(p)) {
    if (!p.has_matrix()) return;
    matrix = p.matrix + n * p.matrix_size();
    if (p.source == Source::kHomography) {
      projective = projective_map(matrix, frame);
      moderate = is_moderate(projective);
    } else if (p.dims == 2) {
      affine = affine_map<2>(matrix, frame);
      moderate = is_moderate(affine);
    } else {
      affine_3d = affine_map<3>(matrix, frame);
      moderate = is_moderate(affine_3d);
    }
  }

  PixelScale<Real> scale(int axis) const {
    return {static_cast<Real>(frame.step[axis].scale), static_cast<Real>(frame.step[axis].shift)};
  }
  int64_t in_size(int axis) const { return axis == 0 ? p.in_w : axis == 1 ? p.in_h : p.in_d; }

  const SamplingParams<T>& p;
  int64_t n;
  MapFrame frame;
  const Real* matrix = nullptr;
  AffineMap<2> affine{};
  AffineMap<3> affine_3d{};
  ProjectiveMap projective{};
  bool moderate = false;
};

// The input image of output n.
template <class T>
int64_t input_of(const SamplingParams<T>& p, int64_t n) {
  return p.input_batch == 1 ? 0 : n;
}

// --- positions of output pixels (d, i, j .. j + count), written from x[axis][at] on
// ---------------

template <class T, class Real>
void grid_positions(const Places<T>& at, int64_t d, int64_t i, int64_t j, int count, int to,
                    Positions<Real>* out) {
  const FieldView<const Real>& field = at.p.field;
  const Real* g = field.at(at.n, d, i, j);
  if (field.w == at.p.dims) fetch_lines(g + kRun * field.w, count * field.w);  // of a later run
  if (at.p.dims == 2 && field.w == 2 && field.c == 1) {
    Real *x = out->at[0] + to, *y = out->at[1] + to;
    const auto sx = at.scale(0), sy = at.scale(1);
#pragma omp simd
    for (int k = 0; k < count; ++k) {
      x[k] = g[2 * k] * sx.scale + sx.shift;
      y[k] = g[2 * k + 1] * sy.scale + sy.shift;
    }
    return;
  }
  constexpr int kStep = kNative<Real>;
  int done = 0;
  if (at.p.dims == 3 && field.w == 3 && field.c == 1)
    for (; done + kStep <= count; done += kStep) {
      Vec<Real, kStep> point[3];
      load_points(g + 3 * done, point);
      for (int a = 0; a < 3; ++a)
        store(out->at[a] + to + done, point[a] * at.scale(a).scale + at.scale(a).shift);
    }
  for (int a = 0; a < at.p.dims; ++a) {
    Real* x = out->at[a] + to;
    const auto s = at.scale(a);
    const Real* from = g + a * field.c;
    for (int k = done; k < count; ++k) x[k] = from[k * field.w] * s.scale + s.shift;
  }
}

template <class T, class Real>
void flow_positions(const Places<T>& at, int64_t d, int64_t i, int64_t j, int count, int to,
                    Positions<Real>* out) {
  const FieldView<const Real>& field = at.p.field;
  const int64_t start[3] = {j, i, d};
  for (int a = 0; a < at.p.dims; ++a) {
    Real* x = out->at[a] + to;
    const Real* from = field.at(at.n, d, i, j) + a * field.c;
    const Real first = static_cast<Real>(start[a]), step = a == 0 ? Real(1) : Real(0);
    if (field.w == 1) {
#pragma omp simd
      for (int k = 0; k < count; ++k) x[k] = (first + step * static_cast<Real>(k)) + from[k];
    } else {
      for (int k = 0; k < count; ++k)
        x[k] = (first + step * static_cast<Real>(k)) + from[k * field.w];
    }
  }
}

// A row of a map at pixel (j, i, d), without the part that changes along the row.
template <int kRows, int kColumns>
inline double row_start(const LinearMap<kRows, kColumns>& map, int r, int64_t d, int64_t i,
                        int64_t j) {
  const double third = kColumns == 4 ? map.at[r][2] * static_cast<double>(d) : 0;
  return map.at[r][0] * static_cast<double>(j) + map.at[r][1] * static_cast<double>(i) + third +
         map.at[r][kColumns - 1];
}

// Rounded once for the row and once for the pixel: closer than a grid of normalised coordinates
// can be.
template <class Real, int kRows, int kColumns>
void map_positions(const LinearMap<kRows, kColumns>& map, const Tile& tile, int r, int rows,
                   Positions<Real>* out) {
  constexpr int kStep = kNative<Real>;
  Vec<Real, kStep> first;
  for (int l = 0; l < kStep; ++l) first[l] = static_cast<Real>(l);
  for (int axis = 0; axis < kRows; ++axis) {
    const Real step = static_cast<Real>(map.at[axis][0]);
    Real* x = out->at[axis];
    for (int row = 0; row < rows; ++row, x += tile.columns) {
      const Real start =
          static_cast<Real>(row_start(map, axis, tile.plane, tile.top + r + row, tile.left));
      // What goes past the end of a row is overwritten by the next one.
      auto index = first;
      for (int k = 0; k < tile.columns; k += kStep, index += static_cast<Real>(kStep))
        store(x + k, step * index + start);
    }
  }
}

// Coordinate by coordinate, as torch does it.
template <class T, class Real>
void matrix_positions(const Places<T>& at, int64_t d, int64_t i, int64_t j, int count, int to,
                      Positions<Real>* out) {
  const int dims = at.p.dims, columns = dims + 1;
  const bool projective = at.p.source == Source::kHomography;
  const int64_t start[3] = {j, i, d};
  for (int k = 0; k < count; ++k) {
    Real base[4];
    for (int a = 0; a < dims; ++a) {
      const auto& scale = at.frame.base[a];
      base[a] = static_cast<Real>(start[a] + (a == 0 ? k : 0)) * static_cast<Real>(scale.scale) +
                static_cast<Real>(scale.shift);
    }
    base[dims] = 1;
    const auto row = [&](int r) {
      Real sum = 0;
      for (int c = 0; c < columns; ++c) sum += at.matrix[r * columns + c] * base[c];
      return sum;
    };
    const Real denominator = projective ? row(2) : Real(1);
    for (int a = 0; a < dims; ++a) {
      const auto s = at.scale(a);
      out->at[a][to + k] = row(a) / denominator * s.scale + s.shift;
    }
  }
}

// Rows of a tile that make one run.
inline int rows_of_run(const Tile& tile, int r) {
  const int fit = kRun / tile.columns, left = tile.rows - r;
  return fit < left ? fit : left;
}

// For `rows` rows of a tile from its row `r` on, one behind the other; what follows them repeats
// the last one, so that it lies where samples lie.
template <class T, class Real>
int tile_positions(const Places<T>& at, const Tile& tile, int r, int rows, Positions<Real>* out) {
  const int count = rows * tile.columns;
  const auto row_by_row = [&](const auto& positions) {
    for (int k = 0; k < rows; ++k)
      positions(at, tile.plane, tile.top + r + k, tile.left, tile.columns, k * tile.columns, out);
  };
  if (at.p.source == Source::kGrid && at.p.field.h == tile.columns * at.p.field.w) {
    grid_positions(at, tile.plane, tile.top + r, tile.left, count, 0, out);
  } else if (at.p.source == Source::kGrid) {
    row_by_row(grid_positions<T, Real>);
  } else if (at.p.source == Source::kFlow) {
    row_by_row(flow_positions<T, Real>);
  } else if (!at.moderate) {
    row_by_row(matrix_positions<T, Real>);
  } else if (at.p.source == Source::kHomography) {
    map_positions(at.projective, tile, r, rows, out);
    Real *x = out->at[0], *y = out->at[1];
    const Real* w = out->at[2];
#pragma omp simd
    for (int k = 0; k < count; ++k) {
      x[k] /= w[k];
      y[k] /= w[k];
    }
  } else if (at.p.dims == 2) {
    map_positions(at.affine, tile, r, rows, out);
  } else {
    map_positions(at.affine_3d, tile, r, rows, out);
  }
  for (int a = 0; a < at.p.dims; ++a)
    for (int k = count; k < round_up_to_slack(count); ++k) out->at[a][k] = out->at[a][count - 1];
  return count;
}

// --- neighbours
// -----------------------------------------------------------------------------------

template <Padding P, bool kSlopes, class Real>
void locate_axis(const Real* position, int count, int64_t size, bool align_corners, int32_t* index,
                 Real* fraction, Real* slope) {
  const Real length = static_cast<Real>(size);
#pragma omp simd
  for (int k = 0; k < count; ++k) {
    const Padded<Real> padded = pad<P>(position[k], length, align_corners);
    const Neighbours<Real> at = neighbours(padded.position, length);
    index[k] = at.index;
    fraction[k] = at.fraction;
    if (kSlopes) slope[k] = padded.slope;
  }
}

template <bool kSlopes, class Real>
void locate_cubic_axis(const Real* position, int count, int64_t size, Padding padding,
                       bool align_corners, int32_t* index, Real* fraction, Real* slope) {
  for (int k = 0; k < count; ++k) {
    const Neighbours<Real> at = cubic_neighbours(position[k], size, padding, align_corners);
    index[k] = at.index;
    fraction[k] = at.fraction;
    if (kSlopes) slope[k] = 1;
  }
}

// Calls body with the padding as a constant.
template <class Body>
void with_padding(Padding padding, const Body& body) {
  switch (padding) {
    case Padding::kZeros:
      return body(std::integral_constant<Padding, Padding::kZeros>());
    case Padding::kBorder:
      return body(std::integral_constant<Padding, Padding::kBorder>());
    case Padding::kReflection:
      return body(std::integral_constant<Padding, Padding::kReflection>());
  }
}

// Fills all of `run` but `base`, for `rows` rows of a tile; slopes only if kSlopes.
template <bool kSlopes, class T, class Real>
void locate(const Places<T>& at, const Tile& tile, int r, int rows, Run<Real>* run) {
  Positions<Real> position;
  run->count = tile_positions(at, tile, r, rows, &position);
  const int count = round_up_to_slack(run->count);
  const bool align = at.p.align_corners;
  for (int a = 0; a < at.p.dims; ++a) {
    const int64_t size = at.in_size(a);
    if (at.p.interpolation == Interpolation::kBicubic) {
      locate_cubic_axis<kSlopes>(position.at[a], count, size, at.p.padding, align, run->index[a],
                                 run->fraction[a], run->slope[a]);
      continue;
    }
    with_padding(at.p.padding, [&](auto padding) {
      locate_axis<decltype(padding)::value, kSlopes>(
          position.at[a], count, size, align, run->index[a], run->fraction[a], run->slope[a]);
    });
  }
}

// The nearest pixels: indices only, in the frame where the sample reads zero.
template <class Real>
struct NearestRun {
  int count;
  alignas(64) int32_t index[3][kRoom];
};

template <class T, class Real>
void locate_nearest(const Places<T>& at, const Tile& tile, int r, int rows, NearestRun<Real>* run) {
  Positions<Real> position;
  run->count = tile_positions(at, tile, r, rows, &position);
  const int count = round_up_to_slack(run->count);
  const bool align = at.p.align_corners;
  for (int a = 0; a < at.p.dims; ++a) {
    const Real size = static_cast<Real>(at.in_size(a));
    const Real* x = position.at[a];
    int32_t* index = run->index[a];
    with_padding(at.p.padding, [&](auto padding) {
#pragma omp simd
      for (int k = 0; k < count; ++k)
        index[k] = nearest_index(pad<decltype(padding)::value>(x[k], size, align).position, size);
    });
  }
}

}  // namespace PF_ISA
}  // namespace pyfast
