// The CPU kernels, compiled once for every instruction set. Each works on the tasks it is given
// (see sampling_cpu.h); what a task does is in the headers below.
#include "ops/sampling/sampling_cpu.h"

#include "ops/sampling/sampling_direct.h"
#include "ops/sampling/sampling_planar.h"
#include "ops/sampling/sampling_slopes.h"

namespace pyfast {
namespace PF_ISA {
namespace {

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
  const bool pixels = view.c == 1 && view.w == channels;  // a row of the image is one piece
  for (int64_t y = 0; y < p.in_h; ++y) {
    if (pixels) {
      std::memset(view.at(b, first, y, 0), 0, sizeof(Real) * channels * p.in_w);
      continue;
    }
    for (int64_t c = first; c < first + channels; ++c) {
      Real* line = view.at(b, c, y, 0);
      if (view.w == 1) {
        std::memset(line, 0, sizeof(Real) * p.in_w);
      } else {
        for (int64_t x = 0; x < p.in_w; ++x) line[x * view.w] = 0;
      }
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
          add_moments(line, 1, count, moments);
          add_theta(p, moments, i, j, sums + 3 * c);
        }
      }
    for (int c = 0; c < 6; ++c) p.grad_theta[6 * n + c] = static_cast<Real>(sums[c]);
  }
}

template <class Real>
const SamplingKernels<Real> kKernels = {
    forward<Real>,         spread_any<Real>,  merge_any<Real>,   clear<Real>,
    spread_channels<Real>, coordinates<Real>, affine_grid<Real>, affine_grid_backward<Real>};

}  // namespace

const SamplingKernels<float>& sampling_kernels_float() { return kKernels<float>; }
const SamplingKernels<double>& sampling_kernels_double() { return kKernels<double>; }

}  // namespace PF_ISA
}  // namespace pyfast
