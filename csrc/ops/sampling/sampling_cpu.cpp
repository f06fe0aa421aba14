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

// --- kPlanar ------------------------------------------------------------------------------------

template <int kLanes, class Real>
void forward_tile(const SamplingParams<Real>& p, const SamplingPlan& plan, int64_t n,
                  const Group& group, const Tile& tile, Real* packed, Real* line) {
  const Box box = box_of(p, plan, n, tile);
  const int64_t b = input_of(p, n);
  if (box.dense) pack_dense<kLanes>(p.input, b, group, p.in_h, p.in_w, box, packed);
  Row<Real> row;
  for (int r = 0; r < tile.rows; ++r) {
    const int64_t i = tile.top + r;
    locate<false>(p, n, i, tile.left, tile.columns, &row);
    const int64_t below = place<kLanes>(box, tile.columns, &row);
    if (!box.dense)
      pack_sparse<kLanes>(p.input, b, group, p.in_h, p.in_w, row, tile.columns, packed);
    Real* out = p.output.at(n, group.first, i, tile.left);
    if (kLanes == 1 && p.output.w == 1) {
      blend<kLanes>(packed, below, row, tile.columns, out);
    } else {
      blend<kLanes>(packed, below, row, tile.columns, line);
      scatter_pixels<kLanes, false>(line, p.output.c, p.output.w, group.channels, tile.columns,
                                    out);
    }
  }
}

// The gradients of a tile's row, kLanes values a pixel.
template <int kLanes, class Real>
const Real* gradient_row(const SamplingParams<Real>& p, int64_t n, const Group& group,
                         const Tile& tile, int64_t i, Real* line) {
  const Real* from = p.grad_output.at(n, group.first, i, tile.left);
  if (kLanes == 1 && p.grad_output.w == 1) return from;
  gather_pixels<kLanes>(from, p.grad_output.c, p.grad_output.w, group.channels, tile.columns,
                        line);
  return line;
}

template <int kLanes, class Real>
Box spread_tile(const SamplingParams<Real>& p, const SamplingPlan& plan, int64_t n,
                const Group& group, const Tile& tile, Real* packed, Real* line) {
  const Box box = box_of(p, plan, n, tile);
  if (!box.dense) return box;
  constexpr int lanes = kSpreadLanes<kLanes>;
  std::memset(packed, 0, sizeof(Real) * lanes * box.columns * box.rows);
  Row<Real> row;
  for (int r = 0; r < tile.rows; ++r) {
    locate<false>(p, n, tile.top + r, tile.left, tile.columns, &row);
    const int64_t below = place<lanes>(box, tile.columns, &row);
    const Real* grad = gradient_row<kLanes>(p, n, group, tile, tile.top + r, line);
    spread<kLanes>(packed, below, row, grad, tile.columns);
  }
  return box;
}

template <int kLanes, class Real>
void merge_tile(const SamplingParams<Real>& p, int64_t n, const Group& group, const Tile& tile,
                const Box& box, const Real* packed, Real* line, int64_t begin, int64_t end) {
  constexpr int lanes = kSpreadLanes<kLanes>;
  const int64_t b = input_of(p, n);
  if (!box.dense) {
    Real* shares = line + lanes * kRow;
    Row<Real> row;
    for (int r = 0; r < tile.rows; ++r) {
      locate<false>(p, n, tile.top + r, tile.left, tile.columns, &row);
      const int64_t below = place<lanes>(box, tile.columns, &row);
      std::memset(shares, 0, sizeof(Real) * lanes * kSparsePixels);
      const Real* grad = gradient_row<kLanes>(p, n, group, tile, tile.top + r, line);
      spread<kLanes>(shares, below, row, grad, tile.columns);
      add_sparse<kLanes>(p, b, group, row, tile.columns, shares, begin, end);
    }
    return;
  }
  const int64_t first = begin > box.top ? begin : box.top;
  const int64_t last = end < box.top + box.rows ? end : box.top + box.rows;
  const int32_t from = clamp_index(box.left, 0, p.in_w);
  const int32_t to = clamp_index(box.left + box.columns, from, p.in_w);
  const int64_t width = static_cast<int64_t>(box.columns) * lanes;
  for (int64_t y = first; y < last; ++y) {
    const Real* pixels = packed + (y - box.top) * width;
    if constexpr (kLanes == 1) {
      const Real* upper = y > box.top ? pixels - width : nullptr;
      // A box may be wider than a run of output pixels; the line is as wide as a box can be.
      fold(upper, pixels, box.columns, line);
      pixels = line;
    }
    scatter_pixels<kLanes, true>(pixels + static_cast<int64_t>(from - box.left) * kLanes,
                                 p.grad_input.c, p.grad_input.w, group.channels, to - from,
                                 p.grad_input.at(b, group.first, y, from));
  }
}

// --- kWide --------------------------------------------------------------------------------------

// The four neighbours of a sample, channel `first` onwards; those outside the image are `zeros`.
template <class Real>
struct Taps {
  const Real* tap[4];
  bool inside[4];
};

template <class Real>
Taps<Real> taps_of(const SamplingParams<Real>& p, const Real* image, int64_t stride_h,
                   int64_t stride_w, int32_t x, int32_t y, const Real* zeros) {
  Taps<Real> taps;
  for (int t = 0; t < 4; ++t) {
    const int64_t u = x + (t & 1), v = y + (t >> 1);
    taps.inside[t] = u >= 0 && u < p.in_w && v >= 0 && v < p.in_h;
    taps.tap[t] = taps.inside[t] ? image + v * stride_h + u * stride_w : zeros;
  }
  return taps;
}

template <class Real>
void forward_wide(const SamplingParams<Real>& p, int64_t n, const Tile& tile, Real* zeros) {
  std::memset(zeros, 0, sizeof(Real) * p.channels);
  Row<Real> row;
  for (int r = 0; r < tile.rows; ++r) {
    const int64_t i = tile.top + r;
    locate<false>(p, n, i, tile.left, tile.columns, &row);
    const Real* image = p.input.at(input_of(p, n), 0, 0, 0);
    Real* out = p.output.at(n, 0, i, tile.left);
    for (int k = 0; k < tile.columns; ++k) {
      const auto taps = taps_of(p, image, p.input.h, p.input.w, row.x[k], row.y[k], zeros);
      blend_wide(taps.tap, row.fx[k], row.fy[k], p.channels, out + k * p.output.w);
    }
  }
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
  const int64_t b = input_of(p, n);
  Row<Real> row;
  for (int64_t t = 0; t < plan.tiles(); ++t) {
    const Tile tile = plan.tile(t, p.out_h, p.out_w);
    for (int r = 0; r < tile.rows; ++r) {
      const int64_t i = tile.top + r;
      locate<false>(p, n, i, tile.left, tile.columns, &row);
      const Real* grad_row = p.grad_output.at(n, first, i, tile.left);
      for (int k = 0; k < tile.columns; ++k) {
        const Real* grad =
            gradient_pixel(p, grad_row + k * p.grad_output.w, channels, line);
        const Real fx = row.fx[k], fy = row.fy[k];
        const Real weight[4] = {(1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy};
        for (int tap = 0; tap < 4; ++tap) {
          const int64_t x = row.x[k] + (tap & 1), y = row.y[k] + (tap >> 1);
          if (x >= 0 && x < p.in_w && y >= 0 && y < p.in_h)
            add_wide(grad, weight[tap], channels, p.grad_input.at(b, first, y, x));
        }
      }
    }
  }
}

// --- kNearest -----------------------------------------------------------------------------------

template <class Real>
void forward_nearest(const SamplingParams<Real>& p, int64_t n, const Tile& tile) {
  int32_t x[kRow], y[kRow];
  int64_t offset[kRow];
  for (int r = 0; r < tile.rows; ++r) {
    const int64_t i = tile.top + r;
    locate_nearest(p, n, i, tile.left, tile.columns, x, y);
    for (int k = 0; k < tile.columns; ++k) {
      const bool inside = x[k] >= 0 && x[k] < p.in_w && y[k] >= 0 && y[k] < p.in_h;
      offset[k] = inside ? y[k] * p.input.h + x[k] * p.input.w : INT64_MIN;
    }
    const Real* image = p.input.at(input_of(p, n), 0, 0, 0);
    Real* out = p.output.at(n, 0, i, tile.left);
    if (p.input.c == 1 && p.output.c == 1) {
      for (int k = 0; k < tile.columns; ++k)
        for (int64_t c = 0; c < p.channels; ++c)
          out[k * p.output.w + c] = offset[k] == INT64_MIN ? Real(0) : image[offset[k] + c];
    } else {
      for (int64_t c = 0; c < p.channels; ++c)
        for (int k = 0; k < tile.columns; ++k)
          out[c * p.output.c + k * p.output.w] =
              offset[k] == INT64_MIN ? Real(0) : image[offset[k] + c * p.input.c];
    }
  }
}

template <class Real>
void spread_nearest(const SamplingParams<Real>& p, const SamplingPlan& plan, int64_t n,
                    int64_t first, int64_t channels) {
  int32_t x[kRow], y[kRow];
  for (int64_t t = 0; t < plan.tiles(); ++t) {
    const Tile tile = plan.tile(t, p.out_h, p.out_w);
    for (int r = 0; r < tile.rows; ++r) {
      const int64_t i = tile.top + r;
      locate_nearest(p, n, i, tile.left, tile.columns, x, y);
      for (int k = 0; k < tile.columns; ++k) {
        if (x[k] < 0 || x[k] >= p.in_w || y[k] < 0 || y[k] >= p.in_h) continue;
        Real* to = p.grad_input.at(input_of(p, n), first, y[k], x[k]);
        const Real* grad = p.grad_output.at(n, first, i, tile.left + k);
        for (int64_t c = 0; c < channels; ++c)
          to[c * p.grad_input.c] += grad[c * p.grad_output.c];
      }
    }
  }
}

// --- gradients of the coordinates ---------------------------------------------------------------

template <int kLanes, class Real>
void slopes_group(const SamplingParams<Real>& p, int64_t n, const Group& group, const Tile& tile,
                  const Box& box, int64_t i, Row<Real>* row, Real* packed, Real* line, Real* by_x,
                  Real* by_y) {
  const int64_t below = place<kLanes>(box, tile.columns, row);
  if (!box.dense)
    pack_sparse<kLanes>(p.input, input_of(p, n), group, p.in_h, p.in_w, *row, tile.columns,
                        packed);
  const Real* grad = gradient_row<kLanes>(p, n, group, tile, i, line);
  slopes<kLanes>(packed, below, *row, grad, tile.columns, by_x, by_y);
}

template <class Real>
void slopes_wide_row(const SamplingParams<Real>& p, int64_t n, const Tile& tile, int64_t i,
                     const Row<Real>& row, Real* line, Real* by_x, Real* by_y) {
  Real* zeros = line + p.channels;
  std::memset(zeros, 0, sizeof(Real) * p.channels);
  const Real* image = p.input.at(input_of(p, n), 0, 0, 0);
  for (int k = 0; k < tile.columns; ++k) {
    const Real* grad = gradient_pixel(
        p, static_cast<const Real*>(p.grad_output.at(n, 0, i, tile.left + k)), p.channels, line);
    const auto taps = taps_of(p, image, p.input.h, p.input.w, row.x[k], row.y[k], zeros);
    slopes_wide(taps.tap, grad, row.fx[k], row.fy[k], p.channels, by_x + k, by_y + k);
  }
}

// sums += (sum g, sum k * g) of a run, the runs of a tile being added in double.
template <class Real>
void add_moments(const Real* g, int count, double* sum, double* first_moment) {
  constexpr int kStep = 16;
  Vec<Real, kStep> s{}, m{}, index;
  for (int l = 0; l < kStep; ++l) index[l] = static_cast<Real>(l);
  int k = 0;
  for (; k + kStep <= count; k += kStep) {
    const auto v = load<kStep>(g + k);
    s += v;
    m += v * index;
    index += Real(kStep);
  }
  double total = add_lanes<kStep, Real>(s), moment = add_lanes<kStep, Real>(m);
  for (; k < count; ++k) {
    total += g[k];
    moment += static_cast<double>(g[k]) * k;
  }
  *sum += total;
  *first_moment += moment;
}

// Turns derivatives by position into a row of grad_grid, or adds them to a tile's sums for theta:
// sum g, sum xb * g, sum yb * g of both components, with (xb, yb) the base coordinates.
template <class Real>
void finish_row(const SamplingParams<Real>& p, int64_t n, const Tile& tile, int64_t i,
                const Row<Real>& row, Real* by_x, Real* by_y, double* sums) {
  const auto sx = pixel_scale<Real>(p.in_w, p.align_corners);
  const auto sy = pixel_scale<Real>(p.in_h, p.align_corners);
#pragma omp simd
  for (int k = 0; k < tile.columns; ++k) {
    by_x[k] *= row.slope_x[k] * sx.scale;
    by_y[k] *= row.slope_y[k] * sy.scale;
  }
  if (p.grad_grid != nullptr) {
    Real* out = p.grad_grid + 2 * ((n * p.out_h + i) * p.out_w + tile.left);
#pragma omp simd
    for (int k = 0; k < tile.columns; ++k) {
      out[2 * k] = by_x[k];
      out[2 * k + 1] = by_y[k];
    }
    return;
  }
  const auto bx = base_scale<double>(p.out_w, p.align_corners);
  const auto by = base_scale<double>(p.out_h, p.align_corners);
  const double yb = static_cast<double>(i) * by.scale + by.shift;
  const double xb = static_cast<double>(tile.left) * bx.scale + bx.shift;
  const Real* components[2] = {by_x, by_y};
  for (int c = 0; c < 2; ++c) {
    double sum = 0, moment = 0;
    add_moments(components[c], tile.columns, &sum, &moment);
    sums[3 * c] += bx.scale * moment + xb * sum;
    sums[3 * c + 1] += yb * sum;
    sums[3 * c + 2] += sum;
  }
}

template <class Real>
void coordinates_tile(const SamplingParams<Real>& p, const SamplingPlan& plan, int64_t n,
                      const Tile& tile, Real* packed, Real* line, double* sums) {
  Row<Real> row;
  if (plan.route == Route::kWide) {
    Real by_x[kRow], by_y[kRow];
    for (int r = 0; r < tile.rows; ++r) {
      locate<true>(p, n, tile.top + r, tile.left, tile.columns, &row);
      slopes_wide_row(p, n, tile, tile.top + r, row, line, by_x, by_y);
      finish_row(p, n, tile, tile.top + r, row, by_x, by_y, sums);
    }
    return;
  }
  // Derivatives of the whole tile, summed over the groups.
  const Box box = box_of(p, plan, n, tile);
  const int64_t pixels = static_cast<int64_t>(tile.rows) * tile.columns;
  Real *by_x = line + 16 * kRow, *by_y = by_x + pixels;
  std::memset(by_x, 0, sizeof(Real) * 2 * pixels);
  for (int64_t g = 0; g < plan.groups; ++g) {
    const Group group = group_of(p.channels, g);
    const auto run = [&](auto lanes) {
      constexpr int kLanes = decltype(lanes)::value;
      if (box.dense)
        pack_dense<kLanes>(p.input, input_of(p, n), group, p.in_h, p.in_w, box, packed);
      for (int r = 0; r < tile.rows; ++r) {
        locate<true>(p, n, tile.top + r, tile.left, tile.columns, &row);
        slopes_group<kLanes>(p, n, group, tile, box, tile.top + r, &row, packed, line,
                             by_x + r * tile.columns, by_y + r * tile.columns);
      }
    };
    if (group.lanes == 1) run(Lanes<1>{});
    if (group.lanes == 4) run(Lanes<4>{});
    if (group.lanes == 16) run(Lanes<16>{});
  }
  for (int r = 0; r < tile.rows; ++r) {
    locate<true>(p, n, tile.top + r, tile.left, tile.columns, &row);
    finish_row(p, n, tile, tile.top + r, row, by_x + r * tile.columns, by_y + r * tile.columns,
               sums);
  }
}

// --- the table ----------------------------------------------------------------------------------

template <class Real>
void forward(const SamplingParams<Real>& p, const SamplingPlan& plan, int64_t begin, int64_t end,
             Real* box, Real* rows) {
  for (int64_t task = begin; task < end; ++task) {
    const Tile tile = plan.tile(task % plan.tiles(), p.out_h, p.out_w);
    const int64_t rest = task / plan.tiles();
    const int64_t n = rest / plan.groups;
    if (plan.route == Route::kNearest) {
      forward_nearest(p, n, tile);
    } else if (plan.route == Route::kWide) {
      forward_wide(p, n, tile, rows);
    } else {
      const Group group = group_of(p.channels, rest % plan.groups);
      if (group.lanes == 1) forward_tile<1>(p, plan, n, group, tile, box, rows);
      if (group.lanes == 4) forward_tile<4>(p, plan, n, group, tile, box, rows);
      if (group.lanes == 16) forward_tile<16>(p, plan, n, group, tile, box, rows);
    }
  }
}

template <class Real>
Box spread_any(const SamplingParams<Real>& p, const SamplingPlan& plan, int64_t n,
               const Group& group, const Tile& tile, Real* box, Real* rows) {
  if (group.lanes == 1) return spread_tile<1>(p, plan, n, group, tile, box, rows);
  if (group.lanes == 4) return spread_tile<4>(p, plan, n, group, tile, box, rows);
  return spread_tile<16>(p, plan, n, group, tile, box, rows);
}

template <class Real>
void merge_any(const SamplingParams<Real>& p, const SamplingPlan&, int64_t n, const Group& group,
               const Tile& tile, const Box& box, const Real* packed, Real* rows, int64_t begin,
               int64_t end) {
  if (group.lanes == 1) merge_tile<1>(p, n, group, tile, box, packed, rows, begin, end);
  if (group.lanes == 4) merge_tile<4>(p, n, group, tile, box, packed, rows, begin, end);
  if (group.lanes == 16) merge_tile<16>(p, n, group, tile, box, packed, rows, begin, end);
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
                     int64_t first, int64_t channels, Real* rows) {
  clear(p, b, first, channels);
  const int64_t begin = p.input_batch == 1 ? 0 : b, end = p.input_batch == 1 ? p.batch : b + 1;
  for (int64_t n = begin; n < end; ++n) {
    if (plan.route == Route::kNearest) {
      spread_nearest(p, plan, n, first, channels);
    } else {
      spread_wide(p, plan, n, first, channels, rows);
    }
  }
}

template <class Real>
void coordinates(const SamplingParams<Real>& p, const SamplingPlan& plan, int64_t begin,
                 int64_t end, Real* box, Real* rows, double* theta_sums) {
  for (int64_t task = begin; task < end; ++task) {
    const Tile tile = plan.tile(task % plan.tiles(), p.out_h, p.out_w);
    double* sums = theta_sums + 6 * task;
    for (int c = 0; c < 6; ++c) sums[c] = 0;
    coordinates_tile(p, plan, task / plan.tiles(), tile, box, rows, sums);
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
  const auto bx = base_scale<double>(p.out_w, p.align_corners);
  const auto by = base_scale<double>(p.out_h, p.align_corners);
  for (int64_t n = begin; n < end; ++n) {
    double sums[6] = {0, 0, 0, 0, 0, 0};
    for (int64_t i = 0; i < p.out_h; ++i) {
      const double yb = static_cast<double>(i) * by.scale + by.shift;
      for (int c = 0; c < 2; ++c) {
        double sum = 0, moment = 0;
        for (int64_t j = 0; j < p.out_w; j += kRow) {
          const int count = static_cast<int>(p.out_w - j < kRow ? p.out_w - j : kRow);
          const int64_t* s = p.grad_grid_stride;
          const Real* from = p.grad_grid + n * s[0] + i * s[1] + j * s[2] + c * s[3];
          Real line[kRow];
          for (int k = 0; k < count; ++k) line[k] = from[k * s[2]];
          double part = 0, part_moment = 0;
          add_moments(line, count, &part, &part_moment);
          sum += part;
          moment += part_moment + static_cast<double>(j) * part;
        }
        sums[3 * c] += bx.scale * moment + bx.shift * sum;
        sums[3 * c + 1] += yb * sum;
        sums[3 * c + 2] += sum;
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
