// The multigrid preconditioner of one image and its unknown pixels.
#pragma once

#include <memory>
#include <vector>

#include "core/workspace.h"
#include "ops/matting/matting_multigrid.h"

namespace pyfast {

// Scratch memory of a solve, given back all at once.
class SolverMemory {
 public:
  // `count` items of T, zeros.
  template <class T>
  T* take(int64_t count) {
    return take_blocks<T>(1, count);
  }
  // For `count` blocks of `size` items that will be written, but for the first: it is zeros.
  template <class T>
  T* take_blocks(int64_t count, int64_t size) {
    return static_cast<T*>(take_bytes(static_cast<size_t>(count * size) * sizeof(T),
                                      static_cast<size_t>(size) * sizeof(T)));
  }

 private:
  void* take_bytes(size_t bytes, size_t zeros);
  std::vector<std::unique_ptr<ScratchBytes>> blocks_;
};

// A symmetric positive system, factored; unknowns without weight are left at zero.
class DenseFactor {
 public:
  // `matrix` (size, size), row by row.
  void factor(std::vector<double> matrix, int64_t size);
  void solve(std::vector<double>& x) const;

 private:
  std::vector<double> factor_;
  int64_t size_ = 0;
};

class MattingHierarchy {
 public:
  // The system (L + diag(diagonal)) in the pixels that are not known; null: none, zeros.
  MattingHierarchy(const MattingImage<double>& image, const uint8_t* known, const double* diagonal);

  const FineLevel& fine() const { return fine_; }
  const FineVectors& vectors() const { return v_; }
  // q = A p; returns p . q
  double multiply() const;
  // x += step p, r -= step q; returns r . r and the largest |step p|. What `precondition` starts
  // with.
  double advance(double step, double* largest) const;
  // s = M r after `advance`; returns r . s. M is a cycle through the levels, or the diagonal.
  double precondition(bool by_levels) const;
  // z = M r for vectors of the image; pixels that are known are left alone.
  void apply(const double* r, double* z) const;
  // p = s + factor p
  void turn(double factor) const;
  // Whether nothing holds the solution: constants are then solutions of A x = 0.
  bool is_singular() const;
  // Takes the mean out of f or s: what constants there are is rounding, which M makes large.
  void remove_mean(float* v) const;

  // Calls f(pixel, place): an unknown pixel's number in the image and in vectors by block.
  template <class F>
  void for_unknown(const F& f) const {
    const int64_t width = fine_.image.width;
    for (int64_t i = 1; i <= fine_.table.count; ++i)
      for (int64_t l = 0; l < kPixels; ++l)
        if (fine_.inverse[i * kPixels + l] != 0)
          f(fine_.table.row[i] * width + fine_.table.block[i] * kPixels + l, i * kPixels + l);
  }

 private:
  void make_fine(const uint8_t* known, const double* diagonal);
  void make_nodes();
  void make_coarse(const NodeLevel& fine);
  NodeLevel sized_level(int64_t rows, int64_t columns) const;
  void allocate(NodeLevel& level);
  void finish(const NodeLevel& level) const;
  void factor_last();
  void solve_last() const;
  void cycle(size_t level) const;
  void repeat_cycle(size_t level) const;
  void v_cycle(size_t level) const;

  mutable SolverMemory memory_;
  FineLevel fine_;
  FineVectors v_;
  std::vector<NodeLevel> levels_;
  DenseFactor last_;
  float *repeated_f_ = nullptr, *repeated_t_ = nullptr;  // vectors of kRepeatedLevel
  std::vector<int64_t> last_unknowns_;                   // places in a vector of the last level
};

}  // namespace pyfast
