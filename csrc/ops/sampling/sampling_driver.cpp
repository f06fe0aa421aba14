// Brings threads and memory to the CPU kernels. How a call is divided depends on its sizes alone,
// and everything is added up in the order of the tiles, so that the bits do not depend on the
// number of threads.
#include <algorithm>
#include <cmath>
#include <type_traits>
#include <vector>

#include "core/cpu_dispatch.h"
#include "core/parallel.h"
#include "core/workspace.h"
#include "ops/sampling/sampling_cpu.h"
#include "ops/sampling/sampling_math.h"

namespace pyfast {
namespace {

// Work for one thread, in values of output: below this a second thread costs more than it brings.
constexpr int64_t kGrain = 16384;

// Values of one output from which on its caches decide.
constexpr int64_t kLargeImage = 65536;

template <class T>
const SamplingKernels<T>& kernels() {
  return PF_PICK_CPU(sampling_kernels<T>);
}

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Rows of the input that a run of outputs of image n climbs, in the middle.
template <class T>
double rows_climbed(const SamplingParams<T>& p, int64_t n) {
  const auto frame = baseline::map_frame(p);
  const int64_t i = p.out_h / 2;
  const auto y_at = [&](int64_t j) {
    if (!p.has_matrix()) {
      const double y = p.field.at(n, 0, i, j)[p.field.c];
      return p.source == Source::kGrid ? y * frame.step[1].scale : y;
    }
    const auto row = [&](const double (&of)[3]) {
      return of[0] * static_cast<double>(j) + of[1] * static_cast<double>(i) + of[2];
    };
    const auto* matrix = p.matrix + p.matrix_size() * n;
    if (p.source == Source::kAffine) return row(baseline::affine_map<2>(matrix, frame).at[1]);
    const auto map = baseline::projective_map(matrix, frame);
    return row(map.at[1]) / row(map.at[2]);
  };
  const int64_t first = std::max<int64_t>(0, (p.out_w - kRun) / 2);
  return std::abs(y_at(std::min(first + kRun, p.out_w) - 1) - y_at(first));
}

// Whether runs of samples go over many lines of the input, which are then not read ahead.
template <class T>
bool climbs(const SamplingParams<T>& p) {
  constexpr double kMostRows = 2;
  for (int64_t n = 0; n < p.batch; ++n)
    if (!(rows_climbed(p, n) <= kMostRows)) return true;
  return false;
}

// Whether no cache near to the core holds an image.
template <class T>
bool is_large(const SamplingParams<T>& p) {
  return p.in_h * p.in_w * p.channels >= 4 * kLargeImage;
}

// Whether the neighbours of a sample in the input are gathered: few channels that lie in planes or
// side by side, at offsets of 32 bits. With AVX2, half as many at once, that pays for level runs of
// images that no cache holds.
template <class T>
bool gains_from_gathers(const SamplingParams<T>& p) {
  const auto& view = p.input;
  const bool side_by_side = view.c == 1 && view.w == p.channels;
  return std::is_same_v<Accumulator<T>, float> && use_gathers() && p.channels <= 4 &&
         (view.w == 1 || side_by_side) && p.in_w > 1 && p.in_h > 1 &&
         view.h * p.in_h + view.w * p.in_w <= INT32_MAX &&
         (cpu_level() == CpuLevel::kAvx512 || (is_large(p) && !climbs(p)));
}

// What is computed: samples, their slopes, or the gradient of the input.
enum class Pass { kForward, kSlopes, kSpread };

// Square tiles: the box of a rotated tile is the smaller the less elongated the tile is.
template <class T>
SamplingPlan make_plan(const SamplingParams<T>& p, int64_t c_stride, int64_t w_stride, Pass pass) {
  SamplingPlan plan{};
  const bool bilinear = p.dims == 2 && p.interpolation == Interpolation::kBilinear;
  if (p.interpolation == Interpolation::kNearest) {
    plan.route = Route::kNearest;
  } else if (c_stride == 1 && p.channels > 4) {
    plan.route = Route::kWide;
  } else if (c_stride == 1 && w_stride == p.channels && p.channels > 1 && !bilinear) {
    plan.route = Route::kFew;
  } else {
    plan.route = bilinear ? Route::kPlanar : Route::kTaps;
  }
  if (pass != Pass::kSpread && plan.route == Route::kPlanar && gains_from_gathers(p))
    plan.route = Route::kGathers;
  const auto& kernel = kernels<T>();
  const bool is_forward = pass == Pass::kForward;
  plan.wide_lanes = is_forward ? kernel.forward_lanes : kernel.backward_lanes;
  if (is_forward && p.channels < 16) plan.wide_lanes = 8;
  plan.groups = plan.route == Route::kPlanar ? plan.count_groups(p.channels) : 1;
  int64_t rows = 8, columns = kRun;
  if (plan.route == Route::kPlanar) {
    const int lanes = plan.group(p.channels, 0).lanes;
    rows = columns = lanes > 4 ? 128 : kRun;
    if (is_forward && lanes == 16) rows = 64;  // its box in the cache, in long lines
  }
  if (plan.route == Route::kGathers) {
    // Rows of a large image lie in as many pages: what climbs over them waits for one by one.
    plan.brings_near = is_large(p) && climbs(p);
    // Otherwise few lines, as the memory is read ahead.
    rows = plan.brings_near ? kRun : p.out_w > kRun ? 4 : 32;
  }
  plan.tiles_z = p.out_d;
  plan.tiles_y = ceil_div(p.out_h, rows);
  plan.tiles_x = ceil_div(p.out_w, columns);
  plan.tile_rows = static_cast<int>(ceil_div(p.out_h, plan.tiles_y));
  plan.tile_columns = static_cast<int>(ceil_div(p.out_w, plan.tiles_x));
  plan.box_pixels = 4 * int64_t{plan.tile_rows} * plan.tile_columns + 2048;
  return plan;
}

// What one task needs of each part of TaskMemory, in values of Real.
struct TaskSize {
  int64_t box, line, aside;
  int64_t total() const { return box + line + aside; }
};

template <class T>
TaskSize task_size(const SamplingParams<T>& p, const SamplingPlan& plan) {
  const auto aligned = [](int64_t size) { return ceil_div(size, 64) * 64; };
  if (plan.route == Route::kWide) return {0, aligned(p.channels), aligned(p.channels)};
  if (plan.route == Route::kPacked) return {0, kRun * kPixelLanes, 0};
  if (plan.brings_near) return {aligned(plan.box_pixels * p.channels), 0, 0};
  if (plan.route != Route::kPlanar) return {0, 0, 0};
  const int64_t lanes = std::max(plan.group(p.channels, 0).lanes, 4);  // one is spread over four
  const int64_t tile = int64_t{plan.tile_rows} * plan.tile_columns;
  return {aligned(std::max(plan.box_pixels, kSparsePixels) * lanes),
          aligned(std::max(plan.box_pixels, (kRun + 16) * lanes)),
          aligned(std::max({kSparsePixels * lanes, 4 * plan.box_pixels, 2 * tile + 2 * kRun}))};
}

// Scratch memory for some tasks at once.
template <class T>
class TaskScratch {
 public:
  TaskScratch(const SamplingParams<T>& p, const SamplingPlan& plan, int tasks = 1)
      : size_(task_size(p, plan)), memory_(tasks * size_.total()) {}

  TaskMemory<Accumulator<T>> task(int64_t k = 0) const {
    Accumulator<T>* start = memory_.data() + k * size_.total();
    return {start, start + size_.box, start + size_.box + size_.line};
  }

 private:
  TaskSize size_;
  Scratch<Accumulator<T>> memory_;
};

// Boxes are filled in parallel, a wave at a time, and merged in the order of the tiles.
template <class T>
void spread_group(const SamplingParams<T>& p, const SamplingPlan& plan, int64_t b,
                  const Group& group, int wave) {
  const SamplingKernels<T>& kernel = kernels<T>();
  const TaskScratch<T> memory(p, plan, wave);
  std::vector<Box> boxes(wave);
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
            kernel.spread(p, plan, n_of(start + k), group, tile_of(start + k), memory.task(k));
    });
    const int64_t part = std::max<int64_t>(ceil_div(p.in_h, wave), 1);
    parallel_for(0, ceil_div(p.in_h, part), 1, [&](int64_t begin, int64_t end) {
      for (int64_t part_index = begin; part_index < end; ++part_index)
        for (int64_t k = 0; k < count; ++k)
          kernel.merge(p, n_of(start + k), group, tile_of(start + k), boxes[k], memory.task(k).box,
                       memory.task(part_index), part_index * part,
                       std::min(p.in_h, (part_index + 1) * part));
    });
  }
}

template <class T>
void backward_input(const SamplingParams<T>& p, const SamplingPlan& plan) {
  const int64_t threads = num_threads();
  if (plan.route == Route::kPlanar) {
    const int64_t tasks = p.input_batch * plan.groups;
    const bool alone = tasks < threads;
    parallel_for(0, tasks, alone ? tasks : 1, [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task)
        spread_group(p, plan, task / plan.groups, plan.group(p.channels, task % plan.groups),
                     static_cast<int>(alone ? threads : 1));
    });
    return;
  }
  // Each value is added up by one thread; threads share out the channels where images are few.
  const int64_t least = plan.route == Route::kTaps ? 1 : 16;
  const int64_t parts = std::min(ceil_div(p.channels, least), ceil_div(threads, p.input_batch));
  const int64_t width = ceil_div(ceil_div(p.channels, parts), least) * least;
  parallel_for(0, p.input_batch * parts, 1, [&](int64_t begin, int64_t end) {
    const TaskScratch<T> memory(p, plan);
    for (int64_t task = begin; task < end; ++task) {
      const int64_t first = task % parts * width;
      const int64_t channels = std::min(width, p.channels - first);
      if (channels > 0)
        kernels<T>().spread_channels(p, plan, task / parts, first, channels, memory.task());
    }
  });
}

template <class T>
void clear_coordinates(const SamplingParams<T>& p) {
  using Real = Accumulator<T>;
  if (p.grad_matrix != nullptr) std::fill_n(p.grad_matrix, p.batch * p.matrix_size(), Real(0));
  if (p.grad_field.data != nullptr)  // without gaps, in one order or another
    std::fill_n(p.grad_field.data, p.batch * p.out_size() * p.dims, Real(0));
}

// The gradient of matrix n, from the sums of its tiles.
template <class T>
void add_tiles(const SamplingParams<T>& p, int64_t n, int64_t tiles, const double* sums) {
  if (p.grad_matrix == nullptr) return;
  const int count = p.matrix_size();
  for (int c = 0; c < count; ++c) {
    double sum = 0;
    for (int64_t t = 0; t < tiles; ++t) sum += sums[count * t + c];
    p.grad_matrix[count * n + c] = static_cast<Accumulator<T>>(sum);
  }
}

template <class T>
void backward_coordinates(const SamplingParams<T>& p, const SamplingPlan& plan) {
  const int64_t tiles = plan.tiles(), tasks = p.batch * tiles;
  Scratch<double> sums(p.matrix_size() * tasks);
  const int64_t grain =
      std::max<int64_t>(1, kGrain / (int64_t{plan.tile_rows} * plan.tile_columns * p.channels));
  parallel_for(0, tasks, grain, [&](int64_t begin, int64_t end) {
    const TaskScratch<T> memory(p, plan);
    kernels<T>().coordinates(p, plan, begin, end, memory.task(), sums.data());
  });
  for (int64_t n = 0; n < p.batch; ++n)
    add_tiles(p, n, tiles, sums.data() + p.matrix_size() * tiles * n);
}

template <class T>
bool wants_coordinates(const SamplingParams<T>& p) {
  return p.grad_matrix != nullptr || p.grad_field.data != nullptr;
}

template <class T>
void backward(const SamplingParams<T>& p) {
  const bool has_output = p.batch * p.channels * p.out_size() != 0;
  if (p.grad_input.data != nullptr && p.input_batch * p.channels != 0) {
    if (has_output) {
      backward_input(p, make_plan(p, p.grad_input.c, p.grad_input.w, Pass::kSpread));
    } else {
      for (int64_t b = 0; b < p.input_batch; ++b) kernels<T>().clear(p, b, 0, p.channels);
    }
  }
  if (!wants_coordinates(p)) return;
  if (has_output && p.interpolation != Interpolation::kNearest) {
    backward_coordinates(p, make_plan(p, p.input.c, p.input.w, Pass::kSlopes));
  } else {
    clear_coordinates(p);
  }
}

// One image's share of a call in which every output has an input of its own.
template <class T>
SamplingParams<T> image_of(const SamplingParams<T>& p, int64_t n) {
  SamplingParams<T> image = p;
  image.batch = image.input_batch = 1;
  image.input.data += n * p.input.n;
  image.output.data += n * p.output.n;
  image.grad_output.data += n * p.grad_output.n;
  if (p.has_matrix()) image.matrix += p.matrix_size() * n;
  if (!p.has_matrix()) image.field.data += n * p.field.n;
  if (p.grad_input.data != nullptr) image.grad_input.data += n * p.grad_input.n;
  if (p.grad_matrix != nullptr) image.grad_matrix += p.matrix_size() * n;
  if (p.grad_field.data != nullptr) image.grad_field.data += n * p.grad_field.n;
  return image;
}

template <class T>
void backward_image(const SamplingParams<T>& p) {
  const SamplingPlan plan = make_plan(p, p.input.c, p.input.w, Pass::kSlopes);
  const bool apart =
      plan.route == Route::kPlanar || plan.route == Route::kNearest ||
      make_plan(p, p.grad_input.c, p.grad_input.w, Pass::kSpread).route != plan.route;
  if (apart || p.grad_input.data == nullptr || !wants_coordinates(p)) return backward(p);
  Scratch<double> sums(p.matrix_size() * plan.tiles());
  const TaskScratch<T> memory(p, plan);
  kernels<T>().sweep(p, plan, 0, memory.task(), sums.data());
  add_tiles(p, 0, plan.tiles(), sums.data());
}

template <class T>
void forward(const SamplingParams<T>& p, const SamplingPlan& plan) {
  const int64_t work = int64_t{plan.tile_rows} * plan.tile_columns * p.channels / plan.groups;
  parallel_for(0, p.batch * plan.groups * plan.tiles(), std::max<int64_t>(1, kGrain / work),
               [&](int64_t begin, int64_t end) {
                 const TaskScratch<T> memory(p, plan);
                 kernels<T>().forward(p, plan, begin, end, memory.task());
               });
}

template <class T>
void forward(const SamplingParams<T>& p) {
  forward(p, make_plan(p, p.output.c == 1 ? p.input.c : 0, p.input.w, Pass::kForward));
}

// --- many channels, plane after plane: brought into pixels, so that one load serves 16 of them ---

// Not for a few samples of a large image, which would be brought as a whole.
template <class T>
bool gains_from_pixels(const SamplingParams<T>& p) {
  return p.channels > kPixelLanes / 2 && p.batch == p.input_batch &&
         p.in_d * p.in_h * p.in_w <= 4 * p.out_size() &&
         make_plan(p, p.input.c, p.input.w, Pass::kForward).route == Route::kTaps;
}

// An image in pixels, in scratch memory.
template <class Real>
class PixelImage {
 public:
  explicit PixelImage(const ImageSize& size)
      : size_(size),
        lanes_(ceil_div(size.channels, kPixelLanes) * kPixelLanes),
        pixels_(size.d * size.h * size.w * lanes_) {}

  ImageView<Real> view() const {
    return {pixels_.data(), 0, 1, size_.h * size_.w * lanes_, size_.w * lanes_, lanes_};
  }
  template <class T>
  ImageView<const Real> from(const ImageView<const T>& image) const {
    for_each_row([&](int64_t begin, int64_t end) {
      kernels<T>().pack(image, size_, 0, lanes_, begin, end, pixels_.data());
    });
    return {pixels_.data(), 0, 1, size_.h * size_.w * lanes_, size_.w * lanes_, lanes_};
  }
  template <class T>
  void to(const ImageView<T>& image) const {
    for_each_row([&](int64_t begin, int64_t end) {
      kernels<T>().unpack(pixels_.data(), size_, 0, lanes_, begin, end, image);
    });
  }

 private:
  template <class Body>
  void for_each_row(const Body& body) const {
    parallel_for(0, size_.d * size_.h, std::max<int64_t>(1, kGrain / (size_.w * lanes_)), body);
  }

  ImageSize size_;
  int64_t lanes_;
  Scratch<Real> pixels_;
};

// A call on one image, without the image.
template <class T>
SamplingParams<Accumulator<T>> in_pixels(const SamplingParams<T>& p) {
  SamplingParams<Accumulator<T>> q;
  q.dims = p.dims;
  q.batch = q.input_batch = 1;
  q.channels = ceil_div(p.channels, kPixelLanes) * kPixelLanes;
  q.in_d = p.in_d, q.in_h = p.in_h, q.in_w = p.in_w;
  q.out_d = p.out_d, q.out_h = p.out_h, q.out_w = p.out_w;
  q.interpolation = p.interpolation;
  q.padding = p.padding;
  q.align_corners = p.align_corners;
  q.pixels = p.pixels;
  q.source = p.source;
  q.matrix = p.matrix;
  q.field = p.field;
  q.grad_matrix = p.grad_matrix;
  q.grad_field = p.grad_field;
  return q;
}

template <class T>
void forward_in_pixels(const SamplingParams<T>& p) {
  using Real = Accumulator<T>;
  const PixelImage<Real> input({p.channels, p.in_d, p.in_h, p.in_w});
  auto q = in_pixels(p);
  q.input = input.from(p.input);
  if constexpr (std::is_same_v<T, Real>) {
    q.output = p.output;
    q.channels = p.channels;
    SamplingPlan plan = make_plan(q, q.input.c, q.input.w, Pass::kForward);
    plan.route = Route::kPacked;
    forward(q, plan);
  } else {
    const PixelImage<Real> output({p.channels, p.out_d, p.out_h, p.out_w});
    q.output = output.view();
    forward(q);
    output.to(p.output);
  }
}

template <class T>
void backward_in_pixels(const SamplingParams<T>& p) {
  const ImageSize size{p.channels, p.in_d, p.in_h, p.in_w};
  const PixelImage<Accumulator<T>> input(size), grad_input(size);
  const PixelImage<Accumulator<T>> grad_output({p.channels, p.out_d, p.out_h, p.out_w});
  auto q = in_pixels(p);
  q.input = input.from(p.input);
  q.grad_output = grad_output.from(p.grad_output);
  if (p.grad_input.data != nullptr) q.grad_input = grad_input.view();
  backward_image(q);
  if (p.grad_input.data != nullptr) grad_input.to(p.grad_input);
}

// Calls body for every image; threads share out the images, or each image where those are few.
template <class T, class Body>
void for_each_image(const SamplingParams<T>& p, const Body& body) {
  const int64_t grain = p.batch < num_threads() ? p.batch : 1;
  parallel_for(0, p.batch, grain, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) body(image_of(p, n));
  });
}

}  // namespace

template <class T>
void sampling_forward_cpu(const SamplingParams<T>& p) {
  if (p.batch * p.channels * p.out_size() == 0) return;
  if (gains_from_pixels(p)) {
    for_each_image(p, forward_in_pixels<T>);
  } else {
    forward(p);
  }
}

template <class T>
void sampling_backward_cpu(const SamplingParams<T>& p) {
  if (p.batch * p.channels * p.out_size() != 0 && gains_from_pixels(p)) {
    for_each_image(p, backward_in_pixels<T>);
    return;
  }
  // With large images it pays to finish one before the next: its gradient is then still in the
  // cache when it is read for the second time.
  const int64_t values = p.channels * p.out_size();
  if (p.input_batch != p.batch || p.batch < num_threads() || values < kLargeImage) {
    backward(p);
  } else {
    for_each_image(p, backward_image<T>);
  }
}

template <class Real>
void affine_grid_cpu(const AffineGridParams<Real>& p) {
  if (p.out_w == 0) return;
  parallel_for(0, p.batch * p.out_d * p.out_h, std::max<int64_t>(1, kGrain / p.out_w),
               [&](int64_t begin, int64_t end) {
                 PF_PICK_CPU(affine_grid_kernels<Real>).forward(p, begin, end);
               });
}

template <class Real>
void affine_grid_backward_cpu(const AffineGridParams<Real>& p) {
  const int64_t points = std::max<int64_t>(1, p.out_d * p.out_h * p.out_w);
  parallel_for(0, p.batch, std::max<int64_t>(1, kGrain / points), [&](int64_t begin, int64_t end) {
    PF_PICK_CPU(affine_grid_kernels<Real>).backward(p, begin, end);
  });
}

#define PF_INSTANTIATE(T)                                       \
  template void sampling_forward_cpu(const SamplingParams<T>&); \
  template void sampling_backward_cpu(const SamplingParams<T>&);
PF_INSTANTIATE(float)
PF_INSTANTIATE(double)
PF_INSTANTIATE(Half)
PF_INSTANTIATE(BFloat16)
#undef PF_INSTANTIATE

#define PF_INSTANTIATE(Real)                                    \
  template void affine_grid_cpu(const AffineGridParams<Real>&); \
  template void affine_grid_backward_cpu(const AffineGridParams<Real>&);
PF_INSTANTIATE(float)
PF_INSTANTIATE(double)
#undef PF_INSTANTIATE

}  // namespace pyfast
