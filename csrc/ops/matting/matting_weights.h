// The weights between pixels, -L_ij, row by row: what the matrix and the solver are made of.
#pragma once

#include "ops/matting/matting_window.h"

namespace pyfast {
namespace PF_ISA {

// Weights of a pixel and the pixels after it, of the last rows: plane k is the k-th of the offsets
// (0, 1), ..., (0, 2r), (1, -2r), ..., (2r, 2r). Weights to pixels outside of the image are 0.
template <class Shape>
class WeightSweep {
 public:
  // `known` (height, width): windows of known pixels alone count as 0. Null: none is known.
  WeightSweep(const Shape& shape, const MattingImage<double>& image, const double* pixels,
              const uint8_t* known, Memory& memory)
      : shape_(shape),
        epsilon_(image.epsilon),
        height_(image.height),
        width_(image.width),
        pixels_(pixels),
        known_(known),
        half_(matting_half_offsets(shape.r())),
        image_(memory, shape.side(), shape.d(), width_),
        weights_(memory, 4 * shape.r() + 1, half_, width_),
        needs_(memory, 1, 1, width_),
        planes_(memory, shape.n() * (shape.n() - 1) / 2),
        z_(memory.take_vectors(shape.n() * shape.d())),
        statistics_(memory.take_vectors(kMattingChunk / kLanes * statistics_size(shape.d()))) {}

  // Calls emit(y) for rows [top, bottom) in order, when the rows from y - 2r to y are complete.
  template <class Emit>
  void run(int64_t top, int64_t bottom, const Emit& emit) {
    const int64_t r = shape_.r();
    const int64_t first = top > 4 * r ? top - 3 * r : r;  // of the windows needed
    const int64_t end = bottom + r < height_ - r ? bottom + r : height_ - r;
    for (int64_t y = first - r; y < first + r; ++y) read(y);
    for (int64_t y = first; y < end; ++y) {
      read(y + r);
      find_needs(y);
      for (int64_t x = 0; x < width_ - 2 * r; x += kMattingChunk) add_chunk(y - r, x);
      if (y - r >= top) emit(y - r);
    }
    for (int64_t y = end - r; y < bottom; ++y)
      if (y >= top) emit(y);
  }

  const double* row(int64_t y, int64_t offset) const { return weights_.row(y, offset); }

  // Calls f(own, mirrored): the weights of the pixels of row y with those at each offset, and with
  // those at the opposite one. The second is null above the image.
  template <class F>
  void for_offsets(int64_t y, const F& f) const {
    const int64_t reach = 2 * shape_.r();
    int64_t offset = 0;
    for (int64_t dy = 0; dy <= reach; ++dy)
      for (int64_t dx = dy == 0 ? 1 : -reach; dx <= reach; ++dx, ++offset)
        f(row(y, offset), dy <= y ? row(y - dy, offset) - dx : nullptr);
  }

 private:
  void read(int64_t y) {
    image_.read(y, pixels_, 0, shape_.d(), height_ * width_, width_, 0, width_);
    weights_.clear(y);
  }

  // 1 for the windows with their centre in row y that count, by their first column.
  void find_needs(int64_t y) {
    double* needs = needs_.row(0, 0);
    const int64_t windows = width_ - 2 * shape_.r();
    if (known_ == nullptr) {
      for (int64_t x = 0; x < windows; ++x) needs[x] = 1;
      return;
    }
    for (int64_t x = 0; x < windows; ++x) needs[x] = 0;
    for (int64_t i = y - shape_.r(); i <= y + shape_.r(); ++i)
      for (int ax = 0; ax < shape_.side(); ++ax) {
        const uint8_t* known = known_ + i * width_ + ax;
#pragma omp simd
        for (int64_t x = 0; x < windows; ++x) needs[x] = known[x] == 0 ? 1.0 : needs[x];
      }
  }

  void add_chunk(int64_t top, int64_t x) {
    const int64_t left = width_ - 2 * shape_.r() - x;
    const int64_t windows = left < kMattingChunk ? left : kMattingChunk;
    const double* needs = needs_.row(0, 0) + x;
    double needed = 0;
#pragma omp simd reduction(+ : needed)
    for (int64_t k = 0; k < windows; ++k) needed += needs[k];
    if (needed == 0) return;
    const int n = shape_.n(), side = shape_.side(), r = shape_.r();
    const int64_t groups = (windows + kLanes - 1) / kLanes, done = groups * kLanes;
    fit_windows(shape_, image_, top, x, groups, epsilon_, statistics_);
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t at = g * kLanes;
      whiten_windows(shape_, image_, top, x + at, statistics_ + g * statistics_size(shape_.d()),
                     z_);
      add_group(load<kLanes>(needs + at) * first_lanes(windows - at) * (1.0 / n), at);
    }
    if (windows < kMattingChunk)  // what the row before left behind
      for (int64_t i = 0; i < n * (n - 1) / 2; ++i)
        for (int64_t k = done; k < done + 2 * r; ++k) planes_.plane(i)[k] = 0;
    int64_t plane = 0, offset = 0;
    for (int dy = 0; dy < side; ++dy)
      for (int dx = dy == 0 ? 1 : 1 - side; dx < side; ++dx, ++offset) {
        const int count = side - (dx < 0 ? -dx : dx), shift = dx < 0 ? -dx : 0;
        for (int ay = 0; ay < side - dy; ++ay, plane += count)
          planes_.spread(plane, count, shift, windows, weights_.row(top + ay, offset) + x);
      }
  }

  // (1 + z_i . z_j) / n of every pair, in the order in which add_chunk reads it.
  void add_group(const Doubles& share, int64_t at) {
    const int d = shape_.d(), side = shape_.side();
    int64_t plane = 0;
    for (int dy = 0; dy < side; ++dy)
      for (int dx = dy == 0 ? 1 : 1 - side; dx < side; ++dx)
        for (int ay = 0; ay < side - dy; ++ay)
          for (int ax = dx < 0 ? -dx : 0; ax < side - (dx > 0 ? dx : 0); ++ax, ++plane) {
            const Doubles *a = z_ + (ay * side + ax) * d, *b = a + (dy * side + dx) * d;
            Doubles sum = share * 0.0 + 1.0;
            for (int c = 0; c < d; ++c) sum += a[c] * b[c];
            store(planes_.plane(plane) + at, sum * share);
          }
  }

  const Shape shape_;
  const double epsilon_;
  const int64_t height_, width_;
  const double* pixels_;
  const uint8_t* known_;
  const int64_t half_;
  const RowRing image_, weights_, needs_;
  const WindowPlanes planes_;
  Doubles *z_, *statistics_;
};

}  // namespace PF_ISA
}  // namespace pyfast
