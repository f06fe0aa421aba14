// Brings the colours that the levels found to the solution of their system, by conjugate gradients.
#include <algorithm>
#include <cmath>
#include <vector>

#include "core/cpu_dispatch.h"
#include "core/parallel.h"
#include "core/workspace.h"
#include "ops/matting/foreground.h"
#include "ops/matting/foreground_system.h"

namespace pyfast {
namespace {

constexpr int64_t kMostIterations = 200;
constexpr double kReduction = 1e-4;  // of a residual, as far as float is exact

const SystemKernels& kernels() { return PF_PICK_CPU(system_kernels); }

// Planes of zeros from one piece of scratch memory.
template <class T>
class Planes {
 public:
  explicit Planes(int64_t count) : memory_(count), next_(memory_.data()) {
    std::fill_n(next_, count, T(0));
  }
  T* take(int64_t count) {
    T* taken = next_;
    next_ += count;
    return taken;
  }

 private:
  const Scratch<T> memory_;
  T* next_;
};

std::vector<SystemGrid> grids_of(int64_t height, int64_t width) {
  std::vector<SystemGrid> grids{{height, width}};
  while (grids.back().height * grids.back().width > 1)
    grids.push_back({(grids.back().height + 1) / 2, (grids.back().width + 1) / 2});
  return grids;
}

int64_t total_size(const std::vector<SystemGrid>& grids) {
  int64_t size = 0;
  for (const SystemGrid& grid : grids) size += grid.size();
  return size;
}

// A plane of numbers, into `grid`.
template <class T>
void read(const float* from, const SystemGrid& grid, T* to) {
  for (int64_t y = 0; y < grid.height; ++y)
    for (int64_t x = 0; x < grid.width; ++x)
      to[grid.at(y) + x] = static_cast<T>(from[y * grid.width + x]);
}

// The system of one picture.
class ForegroundSystem {
 public:
  explicit ForegroundSystem(const ForegroundParams<float>& p)
      : grids_(grids_of(p.height, p.width)), planes_(8 * total_size(grids_) + grids_[0].size()) {
    pixels_.grid = grids_[0];
    pixels_.alpha = planes_.take(grids_[0].size());
    pixels_.base = p.options.regularization;
    pixels_.slope = p.options.gradient_weight;
    read(p.alpha.data, grids_[0], pixels_.alpha);
    for (const SystemGrid& grid : grids_) {
      SystemLevel level;
      level.grid = grid;
      for (float** plane : {&level.right, &level.down, &level.mass00, &level.mass01, &level.mass11,
                            &level.inverse00, &level.inverse01, &level.inverse11})
        *plane = planes_.take(grid.size());
      if (levels_.empty())
        kernels().weigh(pixels_, level);
      else
        kernels().coarsen(levels_.back(), level);
      levels_.push_back(level);
    }
    for (const SystemLevel& level : levels_) kernels().invert(level);
  }

  // Vectors of a channel, for one after another.
  class Channel {
   public:
    explicit Channel(const ForegroundSystem& system)
        : doubles_(2 * system.grids_[0].size()),
          floats_(7 * system.grids_[0].size() + 4 * total_size(system.grids_)),
          levels_(system.grids_.size()) {
      const int64_t size = system.grids_[0].size();
      for (int side = 0; side < 2; ++side) {
        pixels_.solution[side] = doubles_.take(size);
        for (float** plane : {&pixels_.p[side], &pixels_.q[side], &pixels_.correction[side]})
          *plane = floats_.take(size);
        for (size_t i = 0; i < levels_.size(); ++i)
          for (float** plane : {&levels_[i].x[side], &levels_[i].b[side]})
            *plane = floats_.take(system.grids_[i].size());
      }
      colours_ = floats_.take(size);
    }

   private:
    friend class ForegroundSystem;
    Planes<double> doubles_;
    Planes<float> floats_;
    SystemIterate pixels_;
    std::vector<SystemVectors> levels_;
    float* colours_;
  };

  // `image` and the guesses are planes of one channel; write(side, y, x, value) takes the solution.
  template <class Write>
  void solve(const float* image, const float* const guesses[2], double tolerance, Channel& channel,
             const Write& write) const {
    const SystemGrid& grid = grids_[0];
    for (int side = 0; side < 2; ++side) read(guesses[side], grid, channel.pixels_.solution[side]);
    read(image, grid, channel.colours_);
    iterate(tolerance, channel.colours_, channel.pixels_, channel.levels_);
    for (int side = 0; side < 2; ++side)
      for (int64_t y = 0; y < grid.height; ++y) {
        const double* row = channel.pixels_.solution[side] + grid.at(y);
        for (int64_t x = 0; x < grid.width; ++x) write(side, y, x, row[x]);
      }
  }

 private:
  void iterate(double tolerance, const float* image, const SystemIterate& v,
               const std::vector<SystemVectors>& vectors) const {
    const Scratch<double> doubles(2 * grids_[0].stride());
    const Scratch<float> floats(4 * grids_[0].stride());
    for (int64_t i = 0; i < kMostIterations;) {
      double scale = 0;
      double squares = kernels().begin(pixels_, image, v, vectors[0], doubles.data(), &scale);
      const double goal = tolerance * tolerance * scale;
      if (!(squares > goal)) return;
      const double inner = std::max(goal, squares * kReduction * kReduction);
      for (double before = 0; i < kMostIterations && squares > inner; ++i) {
        const double now = precondition(vectors, floats.data());
        const double curvature =
            kernels().multiply(pixels_, before > 0 ? now / before : 0, v, vectors[0]);
        if (!(now > 0 && curvature > 0)) {
          i = kMostIterations;
          break;
        }
        squares = kernels().advance(pixels_, now / curvature, v, vectors[0]);
        before = now;
      }
      kernels().end(pixels_, v);
    }
  }

  // x = M b on the pixels; returns b . x
  double precondition(const std::vector<SystemVectors>& v, float* rows) const {
    const size_t last = levels_.size() - 1;
    for (size_t i = 0; i < last; ++i)
      kernels().descend(levels_[i], v[i], &levels_[i + 1], &v[i + 1], rows);
    kernels().descend(levels_[last], v[last], nullptr, nullptr, rows);
    if (last == 0) {  // one pixel
      const int64_t at = grids_[0].at(0);
      return static_cast<double>(v[0].x[0][at] * v[0].b[0][at] + v[0].x[1][at] * v[0].b[1][at]);
    }
    double dot = 0;
    for (size_t i = last; i-- > 0;)
      dot = kernels().ascend(levels_[i], v[i], levels_[i + 1], v[i + 1]);
    return dot;
  }

  const std::vector<SystemGrid> grids_;
  Planes<float> planes_;
  PixelSystem pixels_;
  std::vector<SystemLevel> levels_;
};

}  // namespace

template <class Real>
void solve_foreground_cpu(const ForegroundParams<Real>& p, int64_t n) {
  const int64_t pixels = p.height * p.width, channels = p.channels;
  const Scratch<float> planes((3 * channels + 1) * pixels);
  float *image = planes.data(), *alpha = image + channels * pixels;
  float *foreground = alpha + pixels, *background = foreground + channels * pixels;
  const auto copy = [&](const PlanesView<const Real>& from, int64_t c, float* to) {
    const Real* plane = from.data + n * from.n + c * from.c;
    for (int64_t y = 0; y < p.height; ++y)
      for (int64_t x = 0; x < p.width; ++x)
        to[y * p.width + x] = static_cast<float>(plane[y * from.h + x * from.w]);
  };
  for (int64_t c = 0; c < channels; ++c) copy(p.image, c, image + c * pixels);
  copy(p.alpha, 0, alpha);
  ForegroundParams<float> guess;
  guess.batch = 1;
  guess.channels = channels;
  guess.height = p.height;
  guess.width = p.width;
  guess.options = convert<float>(p.options);
  const int64_t strides[4] = {0, pixels, p.width, 1};
  guess.image = planes_view<const float>(image, strides);
  guess.alpha = planes_view<const float>(alpha, strides);
  guess.foreground = planes_view(foreground, strides);
  guess.background = planes_view(background, strides);
  multilevel_foreground_cpu(guess, 0);
  const ForegroundSystem system(guess);
  parallel_for(0, channels, 1, [&](int64_t begin, int64_t end) {
    ForegroundSystem::Channel channel(system);
    for (int64_t c = begin; c < end; ++c) {
      const float* guesses[2] = {foreground + c * pixels, background + c * pixels};
      system.solve(image + c * pixels, guesses, static_cast<double>(p.options.tolerance), channel,
                   [&](int side, int64_t y, int64_t x, double value) {
                     const PlanesView<Real>& to = side == 0 ? p.foreground : p.background;
                     to.data[n * to.n + c * to.c + y * to.h + x * to.w] = static_cast<Real>(value);
                   });
    }
  });
}

template void solve_foreground_cpu(const ForegroundParams<float>&, int64_t);
template void solve_foreground_cpu(const ForegroundParams<double>&, int64_t);

}  // namespace pyfast
