// Brings threads and memory to the CPU kernels. How a call is divided depends on its sizes alone,
// and everything is added up in the order of the tiles, so that the bits do not depend on the
// number of threads.
#include <algorithm>
#include <vector>

#include "core/cpu_dispatch.h"
#include "core/parallel.h"
#include "core/workspace.h"
#include "ops/sampling/sampling_cpu.h"

namespace pyfast {
namespace {

// Work for one thread, in values of output: below this a second thread costs more than it brings.
constexpr int64_t kGrain = 16384;

// Values of one output from which on its caches decide.
constexpr int64_t kLargeImage = 65536;

template <class Real>
const SamplingKernels<Real>& kernels();
template <>
const SamplingKernels<float>& kernels<float>() {
  return PF_PICK_CPU(sampling_kernels_float);
}
template <>
const SamplingKernels<double>& kernels<double>() {
  return PF_PICK_CPU(sampling_kernels_double);
}

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Square tiles: the box of a rotated tile is the smaller the less elongated the tile is.
template <class Real>
SamplingPlan make_plan(const SamplingParams<Real>& p, bool channels_last) {
  SamplingPlan plan{};
  plan.route = p.interpolation == Interpolation::kNearest ? Route::kNearest
               : channels_last && p.channels > 4          ? Route::kWide
                                                          : Route::kPlanar;
  plan.groups = plan.route == Route::kPlanar ? count_groups(p.channels) : 1;
  int64_t rows = 8, columns = kRun;
  if (plan.route == Route::kPlanar) {
    const int lanes = group_of(p.channels, 0).lanes;
    rows = columns = lanes == 16 ? 128 : kRun;
  }
  plan.tiles_y = ceil_div(p.out_h, rows);
  plan.tiles_x = ceil_div(p.out_w, columns);
  plan.tile_rows = static_cast<int>(ceil_div(p.out_h, plan.tiles_y));
  plan.tile_columns = static_cast<int>(ceil_div(p.out_w, plan.tiles_x));
  plan.box_pixels = 4 * int64_t{plan.tile_rows} * plan.tile_columns + 2048;
  return plan;
}

template <class Real>
ScratchSize scratch_size(const SamplingParams<Real>& p, const SamplingPlan& plan, bool backward) {
  if (plan.route == Route::kNearest) return {1, 1};
  if (plan.route == Route::kWide) return {1, 5 * p.channels};
  const int lanes = std::max(group_of(p.channels, 0).lanes, backward ? 4 : 1);
  const int64_t tile = int64_t{plan.tile_rows} * plan.tile_columns;
  const auto round_up = [](int64_t size) { return ceil_div(size, 64) * 64; };  // keeps alignment
  return {
      round_up(std::max<int64_t>(plan.box_pixels, 4 * kRun) * lanes),
      // a line of pixels, then the samples fetched one by one or the derivatives of a tile
      round_up(std::max<int64_t>(
          int64_t{16} * 2 * kRun + std::max<int64_t>(2 * tile + kRun, int64_t{4} * kRun * lanes),
          5 * plan.box_pixels))};
}

// Boxes are filled in parallel, a wave at a time, and merged in the order of the tiles.
template <class Real>
void spread_group(const SamplingParams<Real>& p, const SamplingPlan& plan,
                  const SamplingKernels<Real>& kernel, const ScratchSize& size, int64_t b,
                  const Group& group, int wave) {
  Scratch<Real> memory(wave * (size.box + size.line));
  std::vector<Box> boxes(wave);
  const auto box = [&](int64_t k) { return memory.data() + k * (size.box + size.line); };
  const auto line = [&](int64_t k) { return box(k) + size.box; };
  const bool shared = p.input_batch == 1;
  const int64_t first_n = shared ? 0 : b, outputs = shared ? p.batch : 1;
  kernel.clear(p, b, group.first, group.channels);
  const int64_t tasks = outputs * plan.tiles();
  const auto n_of = [&](int64_t task) { return first_n + task / plan.tiles(); };
  const auto tile_of = [&](int64_t task) {
    return plan.tile(task % plan.tiles(), p.out_h, p.out_w);
  };
  for (int64_t start = 0; start < tasks; start += wave) {
    const int64_t count = std::min<int64_t>(wave, tasks - start);
    parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
      for (int64_t k = begin; k < end; ++k)
        boxes[k] =
            kernel.spread(p, plan, n_of(start + k), group, tile_of(start + k), box(k), line(k));
    });
    const int64_t part = std::max<int64_t>(ceil_div(p.in_h, wave), 1);
    parallel_for(0, ceil_div(p.in_h, part), 1, [&](int64_t begin, int64_t end) {
      for (int64_t part_index = begin; part_index < end; ++part_index)
        for (int64_t k = 0; k < count; ++k)
          kernel.merge(p, n_of(start + k), group, tile_of(start + k), boxes[k], box(k),
                       line(part_index), part_index * part,
                       std::min(p.in_h, (part_index + 1) * part));
    });
  }
}

template <class Real>
void backward_input(const SamplingParams<Real>& p, const SamplingPlan& plan,
                    const SamplingKernels<Real>& kernel) {
  const ScratchSize size = scratch_size(p, plan, true);
  const int64_t threads = num_threads();
  if (plan.route == Route::kPlanar) {
    const int64_t tasks = p.input_batch * plan.groups;
    const bool alone = tasks < threads;
    parallel_for(0, tasks, alone ? tasks : 1, [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task)
        spread_group(p, plan, kernel, size, task / plan.groups,
                     group_of(p.channels, task % plan.groups),
                     static_cast<int>(alone ? threads : 1));
    });
    return;
  }
  // Each value is added up by one thread; threads share out the channels where images are few.
  const int64_t parts = std::min(ceil_div(p.channels, 16), ceil_div(threads, p.input_batch));
  const int64_t width = ceil_div(ceil_div(p.channels, parts), 16) * 16;
  parallel_for(0, p.input_batch * parts, 1, [&](int64_t begin, int64_t end) {
    Scratch<Real> line(size.line);
    for (int64_t task = begin; task < end; ++task) {
      const int64_t first = task % parts * width;
      const int64_t channels = std::min(width, p.channels - first);
      if (channels > 0) kernel.spread_channels(p, plan, task / parts, first, channels, line.data());
    }
  });
}

template <class Real>
void clear_coordinates(const SamplingParams<Real>& p) {
  if (p.grad_grid != nullptr) std::fill_n(p.grad_grid, p.batch * p.out_h * p.out_w * 2, Real(0));
  if (p.grad_theta != nullptr) std::fill_n(p.grad_theta, p.batch * 6, Real(0));
}

template <class Real>
void backward_coordinates(const SamplingParams<Real>& p, const SamplingPlan& plan,
                          const SamplingKernels<Real>& kernel) {
  const int64_t tiles = plan.tiles(), tasks = p.batch * tiles;
  const ScratchSize size = scratch_size(p, plan, true);
  Scratch<double> sums(6 * tasks);
  const int64_t grain =
      std::max<int64_t>(1, kGrain / (int64_t{plan.tile_rows} * plan.tile_columns * p.channels));
  parallel_for(0, tasks, grain, [&](int64_t begin, int64_t end) {
    Scratch<Real> box(size.box), line(size.line);
    kernel.coordinates(p, plan, begin, end, box.data(), line.data(), sums.data());
  });
  if (p.grad_theta == nullptr) return;
  for (int64_t n = 0; n < p.batch; ++n)
    for (int c = 0; c < 6; ++c) {
      double sum = 0;
      for (int64_t t = 0; t < tiles; ++t) sum += sums.data()[6 * (n * tiles + t) + c];
      p.grad_theta[6 * n + c] = static_cast<Real>(sum);
    }
}

template <class Real>
void backward(const SamplingParams<Real>& p) {
  const bool has_output = p.batch * p.channels * p.out_h * p.out_w != 0;
  if (p.grad_input.data != nullptr && p.input_batch * p.channels != 0) {
    if (has_output) {
      backward_input(p, make_plan(p, p.grad_input.c == 1), kernels<Real>());
    } else {
      for (int64_t b = 0; b < p.input_batch; ++b) kernels<Real>().clear(p, b, 0, p.channels);
    }
  }
  if (p.grad_theta == nullptr && p.grad_grid == nullptr) return;
  if (has_output && p.interpolation != Interpolation::kNearest) {
    backward_coordinates(p, make_plan(p, p.input.c == 1), kernels<Real>());
  } else {
    clear_coordinates(p);
  }
}

template <class Real>
SamplingParams<Real> image_of(const SamplingParams<Real>& p, int64_t n) {
  SamplingParams<Real> image = p;
  image.batch = image.input_batch = 1;
  image.input.data += n * p.input.n;
  image.grad_output.data += n * p.grad_output.n;
  if (p.theta != nullptr) image.theta += 6 * n;
  if (p.grid != nullptr) image.grid += n * p.grid_stride[0];
  if (p.grad_input.data != nullptr) image.grad_input.data += n * p.grad_input.n;
  if (p.grad_theta != nullptr) image.grad_theta += 6 * n;
  if (p.grad_grid != nullptr) image.grad_grid += n * p.out_h * p.out_w * 2;
  return image;
}

}  // namespace

template <class Real>
void sampling_forward_cpu(const SamplingParams<Real>& p) {
  if (p.batch * p.channels * p.out_h * p.out_w == 0) return;
  const SamplingPlan plan = make_plan(p, p.input.c == 1 && p.output.c == 1);
  const ScratchSize size = scratch_size(p, plan, false);
  const SamplingKernels<Real>& kernel = kernels<Real>();
  const int64_t work = int64_t{plan.tile_rows} * plan.tile_columns * p.channels / plan.groups;
  parallel_for(0, p.batch * plan.groups * plan.tiles(), std::max<int64_t>(1, kGrain / work),
               [&](int64_t begin, int64_t end) {
                 Scratch<Real> box(size.box), line(size.line);
                 kernel.forward(p, plan, begin, end, box.data(), line.data());
               });
}

template <class Real>
void sampling_backward_cpu(const SamplingParams<Real>& p) {
  // With large images it pays to finish one before the next: its gradient is then still in the
  // cache when it is read for the second time.
  const int64_t values = p.channels * p.out_h * p.out_w;
  if (p.input_batch != p.batch || p.batch < 2 || p.batch < num_threads() || values < kLargeImage) {
    backward(p);
    return;
  }
  parallel_for(0, p.batch, 1, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) backward(image_of(p, n));
  });
}

template <class Real>
void affine_grid_cpu(const AffineGridParams<Real>& p) {
  if (p.out_w == 0) return;
  parallel_for(0, p.batch * p.out_h, std::max<int64_t>(1, kGrain / p.out_w),
               [&](int64_t begin, int64_t end) { kernels<Real>().affine_grid(p, begin, end); });
}

template <class Real>
void affine_grid_backward_cpu(const AffineGridParams<Real>& p) {
  parallel_for(
      0, p.batch, std::max<int64_t>(1, kGrain / std::max<int64_t>(1, p.out_h * p.out_w)),
      [&](int64_t begin, int64_t end) { kernels<Real>().affine_grid_backward(p, begin, end); });
}

#define PF_INSTANTIATE(Real)                                        \
  template void sampling_forward_cpu(const SamplingParams<Real>&);  \
  template void sampling_backward_cpu(const SamplingParams<Real>&); \
  template void affine_grid_cpu(const AffineGridParams<Real>&);     \
  template void affine_grid_backward_cpu(const AffineGridParams<Real>&);
PF_INSTANTIATE(float)
PF_INSTANTIATE(double)
#undef PF_INSTANTIATE

}  // namespace pyfast
