// Goes through the resolutions of the multi-level foreground; brings threads and memory.
#include <algorithm>
#include <cmath>
#include <utility>

#include "core/cpu_dispatch.h"
#include "core/parallel.h"
#include "core/workspace.h"
#include "ops/matting/foreground.h"

namespace pyfast {
namespace {

constexpr int64_t kGrain = 16384;         // values that are worth waking a thread for
constexpr int64_t kBandValues = 1 << 17;  // of image, alpha and colours, for the cache of a core

int64_t rows_of(int64_t values) {
  return std::max<int64_t>(1, kGrain / std::max<int64_t>(1, values));
}

template <class Real>
const ForegroundKernels<Real>& kernels() {
  return PF_PICK_CPU(foreground_kernels<Real>);
}

// One picture as planes of its own: of `view`'s n-th.
template <class T>
PlanesView<T> picture(const PlanesView<T>& view, int64_t n) {
  return {view.data + n * view.n, 0, view.c, view.h, view.w};
}

template <class T>
PlanesView<T> contiguous(T* data, int64_t height, int64_t width) {
  return {data, 0, height * width, width, 1};
}

template <class T>
bool is_contiguous(const PlanesView<T>& view, int64_t height, int64_t width) {
  return view.c == height * width && view.h == width && view.w == 1;
}

template <class Real>
void resize(const PlanesView<const Real>& from, int64_t from_height, int64_t from_width,
            const PlanesView<Real>& to, int64_t planes, int64_t height, int64_t width) {
  parallel_for(0, planes * height, rows_of(width), [&](int64_t begin, int64_t end) {
    kernels<Real>().resize(from, from_height, from_width, to, height, width, begin, end);
  });
}

template <class Real>
PlanesView<const Real> read_only(const PlanesView<Real>& view) {
  return {view.data, view.n, view.c, view.h, view.w};
}

// Updates the rows in [from, to) of one half-step's parity.
template <class Real>
void half_step(const ForegroundLevel<Real>& level, const ForegroundOptions<Real>& options,
               int64_t step, int64_t from, int64_t to, Real* scratch) {
  from = std::max<int64_t>(from, 0);
  to = std::min(to, level.height);
  kernels<Real>().sweep(level, options, scratch, from + (from + step) % 2, to);
}

// All steps of a level: even rows, odd rows, even rows and so on. A row needs its neighbours one
// half-step behind. So a band of rows, which fits into the cache, can take all half-steps at once
// if each of them leaves out one more row at its ends; what is left out around the borders between
// bands follows. The result is that of whole half-steps one after another.
template <class Real>
void iterate(const ForegroundLevel<Real>& level, const ForegroundOptions<Real>& options) {
  const bool small = std::max(level.height, level.width) <= options.small_size;
  const int64_t steps = 2 * (small ? options.small_iterations : options.big_iterations);
  if (steps == 0) return;
  const int64_t rows = std::max(kBandValues / (level.width * (3 * level.channels + 1)), 4 * steps);
  const int64_t bands = (level.height + rows - 1) / rows;
  const auto in_parallel = [&](int64_t count, auto&& range_of) {
    parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
      const Scratch<Real> scratch(foreground_scratch_count(level.width));
      for (int64_t i = begin; i < end; ++i)
        for (int64_t step = 0; step < steps; ++step) {
          const auto [from, to] = range_of(i, step);
          half_step(level, options, step, from, to, scratch.data());
        }
    });
  };
  in_parallel(bands, [&](int64_t i, int64_t step) {
    const int64_t from = i == 0 ? 0 : i * rows + step;
    const int64_t to = i + 1 == bands ? level.height : (i + 1) * rows - step;
    return std::pair(from, to);
  });
  in_parallel(bands - 1, [&](int64_t i, int64_t step) {
    const int64_t border = (i + 1) * rows;
    return std::pair(border - step, border + step);
  });
}

// The mean colours of foreground and background: (2, C), planes of one pixel.
template <class Real>
void mean_colours(const ForegroundParams<Real>& p, int64_t n, Real* means) {
  const int64_t stride = p.channels + 1;
  const Scratch<double> rows(2 * stride * p.height);
  parallel_for(0, p.height, rows_of(p.width), [&](int64_t begin, int64_t end) {
    kernels<Real>().sums(p, n, rows.data(), begin, end);
  });
  double* total = rows.data();
  for (int64_t y = 1; y < p.height; ++y)
    for (int64_t i = 0; i < 2 * stride; ++i) total[i] += rows.data()[2 * stride * y + i];
  for (int64_t side = 0; side < 2; ++side)
    for (int64_t c = 0; c < p.channels; ++c)
      means[side * p.channels + c] =
          static_cast<Real>(total[side * stride + c] / (total[side * stride + p.channels] + 1e-5));
}

int64_t count_levels(int64_t height, int64_t width) {
  return std::max<int64_t>(
      1, static_cast<int64_t>(std::ceil(std::log2(static_cast<double>(std::max(height, width))))));
}

int64_t length_at(int64_t length, int64_t level, int64_t levels) {
  const double exponent = static_cast<double>(level) / static_cast<double>(levels);
  return static_cast<int64_t>(std::nearbyint(std::pow(static_cast<double>(length), exponent)));
}

}  // namespace

template <class Real>
void multilevel_foreground_cpu(const ForegroundParams<Real>& p, int64_t n) {
  const int64_t channels = p.channels, pixels = p.height * p.width;
  const auto image = picture(p.image, n), alpha = picture(p.alpha, n);
  const auto foreground = picture(p.foreground, n), background = picture(p.background, n);
  // Where all is contiguous, the largest level works in the caller's memory.
  const bool reads = is_contiguous(image, p.height, p.width) && alpha.w == 1 && alpha.h == p.width;
  const bool writes =
      is_contiguous(foreground, p.height, p.width) && is_contiguous(background, p.height, p.width);
  const int64_t levels = count_levels(p.height, p.width);
  const int64_t before =
      length_at(p.height, levels - 1, levels) * length_at(p.width, levels - 1, levels);
  const Scratch<Real> input((channels + 1) * (reads ? before : pixels));
  const Scratch<Real> colours(2 * channels * (before + (writes ? before : pixels)));
  // Two halves by turns, such that the largest level's is the second.
  Real* halves[2] = {colours.data(), colours.data() + 2 * channels * before};

  int64_t old_height = 1, old_width = 1;
  Real* old = halves[levels % 2];
  mean_colours(p, n, old);
  for (int64_t i = 0; i <= levels; ++i) {
    const bool is_last = i == levels;
    ForegroundLevel<Real> level;
    level.channels = channels;
    const int64_t height = level.height = length_at(p.height, i, levels);
    const int64_t width = level.width = length_at(p.width, i, levels);
    const int64_t size = channels * height * width;
    level.image = input.data();
    level.alpha = input.data() + size;
    if (is_last && reads) {
      level.image = image.data;
      level.alpha = alpha.data;
    } else {
      resize(image, p.height, p.width, contiguous(input.data(), height, width), channels, height,
             width);
      resize(alpha, p.height, p.width, contiguous(input.data() + size, height, width), 1, height,
             width);
    }
    Real* half = halves[(levels - i + 1) % 2];
    const bool in_place = is_last && writes;
    level.foreground = in_place ? foreground.data : half;
    level.background = in_place ? background.data : half + size;
    const int64_t old_size = channels * old_height * old_width;
    for (int64_t side = 0; side < 2; ++side)
      resize(contiguous<const Real>(old + side * old_size, old_height, old_width), old_height,
             old_width, contiguous(side == 0 ? level.foreground : level.background, height, width),
             channels, height, width);
    iterate(level, p.options);
    old = half;
    old_height = height;
    old_width = width;
  }
  if (writes) return;
  resize(contiguous<const Real>(old, p.height, p.width), p.height, p.width, foreground, channels,
         p.height, p.width);
  resize(contiguous<const Real>(old + channels * pixels, p.height, p.width), p.height, p.width,
         background, channels, p.height, p.width);
}

template <class Real>
void foreground_cpu(const ForegroundParams<Real>& p) {
  if (p.channels * p.height * p.width == 0) return;
  for (int64_t n = 0; n < p.batch; ++n)
    p.options.tolerance > 0 ? solve_foreground_cpu(p, n) : multilevel_foreground_cpu(p, n);
}

template void multilevel_foreground_cpu(const ForegroundParams<float>&, int64_t);
template void multilevel_foreground_cpu(const ForegroundParams<double>&, int64_t);
template void foreground_cpu(const ForegroundParams<float>&);
template void foreground_cpu(const ForegroundParams<double>&);

}  // namespace pyfast
