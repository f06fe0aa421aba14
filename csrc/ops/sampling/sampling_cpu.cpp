// The CPU kernels, compiled once for every instruction set. Each works on the tasks it is given
// (see sampling_cpu.h); the loops over pixels are in sampling_pixels.h.
#include "ops/sampling/sampling_cpu.h"

#include "ops/sampling/sampling_box.h"
#include "ops/sampling/sampling_pixels.h"

namespace pyfast {
namespace PF_ISA {
namespace {

template <class Real>
int64_t input_of(const SamplingParams<Real>& p, int64_t n) {
  return p.input_batch == 1 ? 0 : n;
}

template <class Body>
void with_lanes(const Group& group, const Body& body) {
  if (group.lanes == 1) body(Lanes<1>{});
  if (group.lanes == 4) body(Lanes<4>{});
  if (group.lanes == 16) body(Lanes<16>{});
}

// --- kPlanar ------------------------------------------------------------------------------------

template <int kLanes, class Real>
void forward_tile(const SamplingParams<Real>& p, const SamplingPlan& plan, int64_t n,
                  const Group& group, const Tile& tile, Real* packed, Real* line) {
  const Places<Real> at(p, n);
  const Box box = box_of(at, plan, tile);
  const int64_t b = input_of(p, n);
  if (box.dense) pack_dense<kLanes>(p, b, group, box, packed);
  const bool straight = kLanes == 1 && p.output.w == 1 && p.output.h == tile.columns;
  Run<Real> run;
  for (int r = 0, rows; r < tile.rows; r += rows) {
    rows = rows_of_run(tile, r);
    locate<false>(at, tile, r, rows, &run);
    const int64_t below = place<kLanes>(box, &run);
    if (!box.dense) pack_sparse<kLanes>(p, b, group, run, packed);
    Real* out = p.output.at(n, group.first, tile.top + r, tile.left);
    blend<kLanes>(packed, below, run, straight ? out : line);
    for (int k = 0; k < rows && !straight; ++k)
      scatter_pixels<kLanes, false>(line + k * tile.columns * kLanes, p.output.c, p.output.w,
                                    group.channels, tile.columns, out + k * p.output.h);
  }
}

// The incoming gradients of a run, kLanes values a pixel.
template <int kLanes, class Real>
const Real* gradients(const SamplingParams<Real>& p, int64_t n, const Group& group,
                      const Tile& tile, int r, int rows, Real* line) {
  const auto& view = p.grad_output;
  if (kLanes == 1 && view.w == 1 && (rows == 1 || view.h == tile.columns))
    return view.at(n, group.first, tile.top + r, tile.left);
  for (int k = 0; k < rows; ++k)
    gather_pixels<kLanes>(view.at(n, group.first, tile.top + r + k, tile.left), view.c, view.w,
                          group.channels, tile.columns, line + k * tile.columns * kLanes);
  return line;
}

template <int kLanes, class Real>
Box spread_tile(const SamplingParams<Real>& p, const SamplingPlan& plan, int64_t n,
                const Group& group, const Tile& tile, Real* packed, Real* line) {
  const Places<Real> at(p, n);
  const Box box = box_of(at, plan, tile);
  if (!box.dense) return box;
  constexpr int lanes = kSpreadLanes<kLanes>;
  std::memset(packed, 0, sizeof(Real) * lanes * box.columns * box.rows);
  Run<Real> run;
  for (int r = 0, rows; r < tile.rows; r += rows) {
    rows = rows_of_run(tile, r);
    locate<false>(at, tile, r, rows, &run);
    const int64_t below = place<lanes>(box, &run);
    spread<kLanes>(packed, below, run, gradients<kLanes>(p, n, group, tile, r, rows, line));
  }
  return box;
}

template <int kLanes, class Real>
void merge_sparse(const SamplingParams<Real>& p, int64_t n, const Group& group, const Tile& tile,
                  const Box& box, Real* line, int64_t begin, int64_t end) {
  constexpr int lanes = kSpreadLanes<kLanes>;
  const Places<Real> at(p, n);
  Real* shares = line + lanes * kRun;
  Run<Real> run;
  for (int r = 0, rows; r < tile.rows; r += rows) {
    rows = rows_of_run(tile, r);
    locate<false>(at, tile, r, rows, &run);
    const int64_t below = place<lanes>(box, &run);
    std::memset(shares, 0, sizeof(Real) * lanes * kSparsePixels);
    spread<kLanes>(shares, below, run, gradients<kLanes>(p, n, group, tile, r, rows, line));
    add_sparse<kLanes>(p, input_of(p, n), group, run, shares, begin, end);
  }
}

template <int kLanes, class Real>
void merge_tile(const SamplingParams<Real>& p, int64_t n, const Group& group, const Tile& tile,
                const Box& box, const Real* packed, Real* line, int64_t begin, int64_t end) {
  if (!box.dense) return merge_sparse<kLanes>(p, n, group, tile, box, line, begin, end);
  const int64_t first = begin > box.top ? begin : box.top;
  const int64_t last = end < box.top + box.rows ? end : box.top + box.rows;
  const int32_t from = clamp_index(box.left, 0, p.in_w);
  const int32_t to = clamp_index(box.left + box.columns, from, p.in_w);
  const int64_t width = static_cast<int64_t>(box.columns) * kSpreadLanes<kLanes>;
  Real* zeros = line + box.columns;  // above the first line
  if (kLanes == 1) std::memset(zeros, 0, sizeof(Real) * width);
  for (int64_t y = first; y < last; ++y) {
    const Real* pixels = packed + (y - box.top) * width;
    if constexpr (kLanes == 1) {
      fold(y > box.top ? pixels - width : zeros, pixels, box.columns, line);
      pixels = line;
    }
    scatter_pixels<kLanes, true>(pixels + static_cast<int64_t>(from - box.left) * kLanes,
                                 p.grad_input.c, p.grad_input.w, group.channels, to - from,
                                 p.grad_input.at(input_of(p, n), group.first, y, from));
  }
}

// --- kWide --------------------------------------------------------------------------------------

// Calls body(i, j, run, k) for every pixel of a tile.
template <bool kSlopes, class Real, class Body>
void for_each_pixel(const Places<Real>& at, const Tile& tile, const Body& body) {
  Run<Real> run;
  for (int r = 0, rows; r < tile.rows; r += rows) {
    rows = rows_of_run(tile, r);
    locate<kSlopes>(at, tile, r, rows, &run);
    for (int row = 0, k = 0; row < rows; ++row)
      for (int column = 0; column < tile.columns; ++column, ++k)
        body(tile.top + r + row, tile.left + column, run, k);
  }
}

// The four neighbours of a sample; those outside the image are `zeros`.
template <class Real>
struct Taps {
  const Real* at[4];
};

template <class Real>
Taps<Real> taps_of(const SamplingParams<Real>& p, const Real* image, int32_t x, int32_t y,
                   const Real* zeros) {
  Taps<Real> taps;
  for (int t = 0; t < 4; ++t) {
    const int64_t u = x + (t & 1), v = y + (t >> 1);
    const bool inside = u >= 0 && u < p.in_w && v >= 0 && v < p.in_h;
    taps.at[t] = inside ? image + v * p.input.h + u * p.input.w : zeros;
  }
  return taps;
}

template <class Real>
void forward_wide(const SamplingParams<Real>& p, int64_t n, const Tile& tile, Real* zeros) {
  std::memset(zeros, 0, sizeof(Real) * p.channels);
  const Real* image = p.input.at(input_of(p, n), 0, 0, 0);
  for_each_pixel<false>(
      Places<Real>(p, n), tile, [&](int64_t i, int64_t j, const Run<Real>& run, int k) {
        const auto taps = taps_of(p, image, run.x[k], run.y[k], zeros);
        blend_wide(taps.at, run.fx[k], run.fy[k], p.channels, p.output.at(n, 0, i, j));
      });
}

// Channels of a pixel of the incoming gradient, contiguous.
template <class Real>
const Real* gradient_pixel(const SamplingParams<Real>& p, const Real* grad, int64_t channels,
                           Real* line) {
  if (p.grad_output.c == 1) return grad;
  for (int64_t l = 0; l < channels; ++l) line[l] = grad[l * p.grad_output.c];
  return line;
}

template <class Real>
void spread_wide(const SamplingParams<Real>& p, const SamplingPlan& plan, int64_t n, int64_t first,
                 int64_t channels, Real* line) {
  const auto body = [&](int64_t i, int64_t j, const Run<Real>& run, int k) {
    const Real* from = p.grad_output.at(n, first, i, j);
    const Real* grad = gradient_pixel(p, from, channels, line);
    const Real fx = run.fx[k], fy = run.fy[k];
    const Real weight[4] = {(1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy};
    for (int tap = 0; tap < 4; ++tap) {
      const int64_t x = run.x[k] + (tap & 1), y = run.y[k] + (tap >> 1);
      if (x >= 0 && x < p.in_w && y >= 0 && y < p.in_h)
        add_wide(grad, weight[tap], channels, p.grad_input.at(input_of(p, n), first, y, x));
    }
  };
  for (int64_t t = 0; t < plan.tiles(); ++t)
    for_each_pixel<false>(Places<Real>(p, n), plan.tile(t, p.out_h, p.out_w), body);
}

// --- kNearest -----------------------------------------------------------------------------------

// Calls body(i, j, y, x) for every pixel of a tile whose nearest neighbour lies in the image, and
// outside(i, j) for the others.
template <class Real, class Body, class Outside>
void for_each_nearest(const Places<Real>& at, const Tile& tile, const Body& body,
                      const Outside& outside) {
  alignas(64) int32_t x[kRun + kSlack], y[kRun + kSlack];
  for (int r = 0, rows; r < tile.rows; r += rows) {
    rows = rows_of_run(tile, r);
    locate_nearest(at, tile, r, rows, x, y);
    for (int row = 0, k = 0; row < rows; ++row)
      for (int column = 0; column < tile.columns; ++column, ++k) {
        if (x[k] >= 0 && x[k] < at.p.in_w && y[k] >= 0 && y[k] < at.p.in_h) {
          body(tile.top + r + row, tile.left + column, y[k], x[k]);
        } else {
          outside(tile.top + r + row, tile.left + column);
        }
      }
  }
}

template <class Real>
void forward_nearest(const SamplingParams<Real>& p, int64_t n, const Tile& tile) {
  const int64_t b = input_of(p, n);
  for_each_nearest(
      Places<Real>(p, n), tile,
      [&](int64_t i, int64_t j, int32_t y, int32_t x) {
        const Real* from = p.input.at(b, 0, y, x);
        Real* out = p.output.at(n, 0, i, j);
        for (int64_t c = 0; c < p.channels; ++c) out[c * p.output.c] = from[c * p.input.c];
      },
      [&](int64_t i, int64_t j) {
        Real* out = p.output.at(n, 0, i, j);
        for (int64_t c = 0; c < p.channels; ++c) out[c * p.output.c] = 0;
      });
}

template <class Real>
void spread_nearest(const SamplingParams<Real>& p, const SamplingPlan& plan, int64_t n,
                    int64_t first, int64_t channels) {
  const int64_t b = input_of(p, n);
  for (int64_t t = 0; t < plan.tiles(); ++t)
    for_each_nearest(
        Places<Real>(p, n), plan.tile(t, p.out_h, p.out_w),
        [&](int64_t i, int64_t j, int32_t y, int32_t x) {
          Real* to = p.grad_input.at(b, first, y, x);
          const Real* grad = p.grad_output.at(n, first, i, j);
          for (int64_t c = 0; c < channels; ++c)
            to[c * p.grad_input.c] += grad[c * p.grad_output.c];
        },
        [](int64_t, int64_t) {});
}

// --- gradients of the coordinates ---------------------------------------------------------------

// Moments of a block of derivatives, `stride` values from row to row: sum g, sum column * g,
// sum row * g, in the order of the runs and added up in double.
template <class Real>
void add_moments(const Real* g, int rows, int columns, int64_t stride, double moments[3]) {
  constexpr int kStep = kNative<Real>;
  Vec<Real, kStep> sum{}, by_column{}, by_row{}, first;
  for (int l = 0; l < kStep; ++l) first[l] = static_cast<Real>(l);
  for (int r = 0; r < rows; ++r) {
    auto column = first;
    Vec<Real, kStep> of_row{};
    for (int k = 0; k < columns; k += kStep) {
      const auto v = load_part<kStep>(g + r * stride + k, columns - k);
      of_row += v;
      by_column += v * column;
      column += static_cast<Real>(kStep);
    }
    sum += of_row;
    by_row += of_row * static_cast<Real>(r);
  }
  moments[0] += add_lanes<Real, kStep>(sum);
  moments[1] += add_lanes<Real, kStep>(by_column);
  moments[2] += add_lanes<Real, kStep>(by_row);
}

// Adds the gradient of theta's three entries for one component: sum xb * g, sum yb * g, sum g,
// where (xb, yb) are the base coordinates and `moments` count from pixel (top, left).
template <class Params>
void add_theta(const Params& p, const double moments[3], int64_t top, int64_t left, double* sums) {
  const auto bx = base_scale<double>(p.out_w, p.align_corners);
  const auto by = base_scale<double>(p.out_h, p.align_corners);
  const double xb = static_cast<double>(left) * bx.scale + bx.shift;
  const double yb = static_cast<double>(top) * by.scale + by.shift;
  sums[0] += bx.scale * moments[1] + xb * moments[0];
  sums[1] += by.scale * moments[2] + yb * moments[0];
  sums[2] += moments[0];
}

// Turns a run's derivatives by position into rows of grad_grid, or adds them to a tile's sums for
// theta.
template <class Real>
void finish_run(const Places<Real>& at, int64_t n, const Tile& tile, int r, int rows,
                const Run<Real>& run, Real* by_x, Real* by_y, double* sums) {
  const SamplingParams<Real>& p = at.p;
  const Real scale_x = at.scale_x.scale, scale_y = at.scale_y.scale;
#pragma omp simd
  for (int k = 0; k < run.count; ++k) {
    by_x[k] *= run.slope_x[k] * scale_x;
    by_y[k] *= run.slope_y[k] * scale_y;
  }
  if (p.grad_grid == nullptr) {
    double of_x[3] = {0, 0, 0}, of_y[3] = {0, 0, 0};
    add_moments(by_x, rows, tile.columns, tile.columns, of_x);
    add_moments(by_y, rows, tile.columns, tile.columns, of_y);
    add_theta(p, of_x, tile.top + r, tile.left, sums);
    add_theta(p, of_y, tile.top + r, tile.left, sums + 3);
    return;
  }
  for (int row = 0; row < rows; ++row) {
    const Real *x = by_x + row * tile.columns, *y = by_y + row * tile.columns;
    Real* out = p.grad_grid + 2 * ((n * p.out_h + tile.top + r + row) * p.out_w + tile.left);
#pragma omp simd
    for (int j = 0; j < tile.columns; ++j) {
      out[2 * j] = x[j];
      out[2 * j + 1] = y[j];
    }
  }
}

template <class Real>
void coordinates_wide(const SamplingParams<Real>& p, int64_t n, const Tile& tile, Real* line,
                      double* sums) {
  const Places<Real> at(p, n);
  const Real* image = p.input.at(input_of(p, n), 0, 0, 0);
  Real* zeros = line + p.channels;
  std::memset(zeros, 0, sizeof(Real) * p.channels);
  Run<Real> run;
  alignas(64) Real by_x[kRun], by_y[kRun];
  for (int r = 0, rows; r < tile.rows; r += rows) {
    rows = rows_of_run(tile, r);
    locate<true>(at, tile, r, rows, &run);
    for (int k = 0; k < run.count; ++k) {
      const Real* from = p.grad_output.at(n, 0, tile.top + r + k / tile.columns,
                                          tile.left + k % tile.columns);
      const Real* grad = gradient_pixel(p, from, p.channels, line);
      const auto taps = taps_of(p, image, run.x[k], run.y[k], zeros);
      slopes_wide(taps.at, grad, run.fx[k], run.fy[k], p.channels, by_x + k, by_y + k);
    }
    finish_run(at, n, tile, r, rows, run, by_x, by_y, sums);
  }
}

template <class Real>
void coordinates_planar(const SamplingParams<Real>& p, const SamplingPlan& plan, int64_t n,
                        const Tile& tile, Real* packed, Real* line, double* sums) {
  const Places<Real> at(p, n);
  const Box box = box_of(at, plan, tile);
  const int64_t b = input_of(p, n);
  // Derivatives of the whole tile, summed over the groups.
  const int64_t pixels = static_cast<int64_t>(tile.rows) * tile.columns;
  Real *by_x = line + 16 * (kRun + kSlack), *by_y = by_x + pixels + kSlack;
  std::memset(by_x, 0, sizeof(Real) * 2 * (pixels + kSlack));
  Run<Real> run;
  for (int64_t g = 0; g < plan.groups; ++g) {
    const Group group = group_of(p.channels, g);
    const bool last = g + 1 == plan.groups;
    with_lanes(group, [&](auto lanes) {
      constexpr int kLanes = decltype(lanes)::value;
      if (box.dense) pack_dense<kLanes>(p, b, group, box, packed);
      for (int r = 0, rows; r < tile.rows; r += rows) {
        rows = rows_of_run(tile, r);
        locate<true>(at, tile, r, rows, &run);
        const int64_t below = place<kLanes>(box, &run);
        if (!box.dense) pack_sparse<kLanes>(p, b, group, run, packed);
        const Real* grad = gradients<kLanes>(p, n, group, tile, r, rows, line);
        const int64_t first = static_cast<int64_t>(r) * tile.columns;
        slopes<kLanes>(packed, below, run, grad, by_x + first, by_y + first);
        if (last) finish_run(at, n, tile, r, rows, run, by_x + first, by_y + first, sums);
      }
    });
  }
}

// --- the table ----------------------------------------------------------------------------------

template <class Real>
void forward(const SamplingParams<Real>& p, const SamplingPlan& plan, int64_t begin, int64_t end,
             Real* box, Real* line) {
  for (int64_t task = begin; task < end; ++task) {
    const Tile tile = plan.tile(task % plan.tiles(), p.out_h, p.out_w);
    const int64_t rest = task / plan.tiles();
    const int64_t n = rest / plan.groups;
    if (plan.route == Route::kNearest) {
      forward_nearest(p, n, tile);
    } else if (plan.route == Route::kWide) {
      forward_wide(p, n, tile, line);
    } else {
      const Group group = group_of(p.channels, rest % plan.groups);
      with_lanes(group, [&](auto lanes) {
        forward_tile<decltype(lanes)::value>(p, plan, n, group, tile, box, line);
      });
    }
  }
}

template <class Real>
Box spread_any(const SamplingParams<Real>& p, const SamplingPlan& plan, int64_t n,
               const Group& group, const Tile& tile, Real* packed, Real* line) {
  Box box;
  with_lanes(group, [&](auto lanes) {
    box = spread_tile<decltype(lanes)::value>(p, plan, n, group, tile, packed, line);
  });
  return box;
}

template <class Real>
void merge_any(const SamplingParams<Real>& p, int64_t n, const Group& group, const Tile& tile,
               const Box& box, const Real* packed, Real* line, int64_t begin, int64_t end) {
  with_lanes(group, [&](auto lanes) {
    merge_tile<decltype(lanes)::value>(p, n, group, tile, box, packed, line, begin, end);
  });
}

template <class Real>
void clear(const SamplingParams<Real>& p, int64_t b, int64_t first, int64_t channels) {
  const auto& view = p.grad_input;
  if (view.c == 1 && view.w != 1) {
    for (int64_t y = 0; y < p.in_h; ++y)
      for (int64_t x = 0; x < p.in_w; ++x)
        std::memset(view.at(b, first, y, x), 0, sizeof(Real) * channels);
    return;
  }
  for (int64_t c = first; c < first + channels; ++c)
    for (int64_t y = 0; y < p.in_h; ++y) {
      Real* line = view.at(b, c, y, 0);
      if (view.w == 1) {
        std::memset(line, 0, sizeof(Real) * p.in_w);
      } else {
        for (int64_t x = 0; x < p.in_w; ++x) line[x * view.w] = 0;
      }
    }
}

template <class Real>
void spread_channels(const SamplingParams<Real>& p, const SamplingPlan& plan, int64_t b,
                     int64_t first, int64_t channels, Real* line) {
  clear(p, b, first, channels);
  const int64_t begin = p.input_batch == 1 ? 0 : b, end = p.input_batch == 1 ? p.batch : b + 1;
  for (int64_t n = begin; n < end; ++n) {
    if (plan.route == Route::kNearest) {
      spread_nearest(p, plan, n, first, channels);
    } else {
      spread_wide(p, plan, n, first, channels, line);
    }
  }
}

template <class Real>
void coordinates(const SamplingParams<Real>& p, const SamplingPlan& plan, int64_t begin,
                 int64_t end, Real* box, Real* line, double* theta_sums) {
  for (int64_t task = begin; task < end; ++task) {
    const Tile tile = plan.tile(task % plan.tiles(), p.out_h, p.out_w);
    const int64_t n = task / plan.tiles();
    double* sums = theta_sums + 6 * task;
    for (int c = 0; c < 6; ++c) sums[c] = 0;
    if (plan.route == Route::kWide) {
      coordinates_wide(p, n, tile, line, sums);
    } else {
      coordinates_planar(p, plan, n, tile, box, line, sums);
    }
  }
}

// --- the base grid ------------------------------------------------------------------------------

template <class Real>
void affine_grid(const AffineGridParams<Real>& p, int64_t begin, int64_t end) {
  const auto bx = base_scale<Real>(p.out_w, p.align_corners);
  const auto by = base_scale<Real>(p.out_h, p.align_corners);
  for (int64_t task = begin; task < end; ++task) {
    const Real* t = p.theta + 6 * (task / p.out_h);
    const Real yb = static_cast<Real>(task % p.out_h) * by.scale + by.shift;
    const Real a = t[0], d = t[3], row_x = t[1] * yb + t[2], row_y = t[4] * yb + t[5];
    Real* out = p.grid + 2 * task * p.out_w;
    const int width = static_cast<int>(p.out_w);
#pragma omp simd
    for (int j = 0; j < width; ++j) {
      const Real xb = static_cast<Real>(j) * bx.scale + bx.shift;
      out[2 * j] = a * xb + row_x;
      out[2 * j + 1] = d * xb + row_y;
    }
  }
}

template <class Real>
void affine_grid_backward(const AffineGridParams<Real>& p, int64_t begin, int64_t end) {
  const int64_t* stride = p.grad_grid_stride;
  for (int64_t n = begin; n < end; ++n) {
    double sums[6] = {0, 0, 0, 0, 0, 0};
    for (int64_t i = 0; i < p.out_h; ++i)
      for (int64_t j = 0; j < p.out_w; j += kRun) {
        const int count = static_cast<int>(p.out_w - j < kRun ? p.out_w - j : kRun);
        const Real* from = p.grad_grid + n * stride[0] + i * stride[1] + j * stride[2];
        for (int c = 0; c < 2; ++c) {
          Real line[kRun];
          for (int k = 0; k < count; ++k) line[k] = from[k * stride[2] + c * stride[3]];
          double moments[3] = {0, 0, 0};
          add_moments(line, 1, count, count, moments);
          add_theta(p, moments, i, j, sums + 3 * c);
        }
      }
    for (int c = 0; c < 6; ++c) p.grad_theta[6 * n + c] = static_cast<Real>(sums[c]);
  }
}

template <class Real>
const SamplingKernels<Real> kKernels = {
    forward<Real>,     spread_any<Real>,  merge_any<Real>,           clear<Real>,
    spread_channels<Real>, coordinates<Real>, affine_grid<Real>, affine_grid_backward<Real>};

}  // namespace

const SamplingKernels<float>& sampling_kernels_float() { return kKernels<float>; }
const SamplingKernels<double>& sampling_kernels_double() { return kKernels<double>; }

}  // namespace PF_ISA
}  // namespace pyfast
