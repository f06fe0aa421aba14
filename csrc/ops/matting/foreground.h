// Foreground and background colours behind a matte, by the multi-level method: what one call works
// on, the kernels that each instruction set exports, and the entry point. Nothing here knows torch.
//
// Reference: Germer, Uelwer, Conrad, Harmeling, Fast Multi-Level Foreground Estimation, ICPR 2020.
#pragma once

#include <cstdint>

#include "core/device.h"
#include "ops/matting/planes.h"

namespace pyfast {

// Weights and number of sweeps of one estimate.
template <class Real>
struct ForegroundOptions {
  Real regularization, gradient_weight;
  int64_t small_iterations, big_iterations, small_size;
  // 0: colours are kept in [0, 1] at every step. Else they are not, and the steps begin what
  // conjugate gradients bring to the solution: to a residual of that part of the right-hand side.
  Real tolerance;
};

template <class Real, class From>
ForegroundOptions<Real> convert(const ForegroundOptions<From>& o) {
  return {static_cast<Real>(o.regularization),
          static_cast<Real>(o.gradient_weight),
          o.small_iterations,
          o.big_iterations,
          o.small_size,
          static_cast<Real>(o.tolerance)};
}

template <class Real>
struct ForegroundParams {
  int64_t batch = 0, channels = 0, height = 0, width = 0;
  ForegroundOptions<Real> options;
  PlanesView<const Real> image;             // (N, C, H, W)
  PlanesView<const Real> alpha;             // (N, 1, H, W)
  PlanesView<Real> foreground, background;  // (N, C, H, W), overwritten
};

// One resolution of one picture. All planes are contiguous.
template <class Real>
struct ForegroundLevel {
  int64_t channels = 0, height = 0, width = 0;
  const Real* image = nullptr;  // (C, H, W)
  const Real* alpha = nullptr;  // (H, W)
  Real* foreground = nullptr;   // (C, H, W)
  Real* background = nullptr;   // (C, H, W)
};

// Numbers that `sweep` needs to itself, for rows of `width` pixels.
inline int64_t foreground_scratch_count(int64_t width) { return 9 * width + 4; }

// Serial, on rows or planes that the driver gives.
template <class Real>
struct ForegroundKernels {
  // Sums over row y where alpha > 0.9 (foreground) and < 0.1 (background), of each channel and of
  // pixels: sums[y] is (2, C + 1).
  void (*sums)(const ForegroundParams<Real>&, int64_t n, double* sums, int64_t begin, int64_t end);
  // Rows of planes (count, height, width) from planes of another size, the nearest pixel each.
  void (*resize)(const PlanesView<const Real>& from, int64_t from_height, int64_t from_width,
                 const PlanesView<Real>& to, int64_t height, int64_t width, int64_t begin,
                 int64_t end);
  // Solves every second row from row `from` on and before row `to`, the rows between fixed.
  void (*sweep)(const ForegroundLevel<Real>&, const ForegroundOptions<Real>&, Real* scratch,
                int64_t from, int64_t to);
};

// foreground_driver.cpp, for float and double. Same bits for any number of threads.
template <class Real>
void foreground_cpu(const ForegroundParams<Real>& params);
// The n-th picture by levels alone, and (foreground_system_driver.cpp) to the solution from there.
template <class Real>
void multilevel_foreground_cpu(const ForegroundParams<Real>& params, int64_t n);
template <class Real>
void solve_foreground_cpu(const ForegroundParams<Real>& params, int64_t n);

#define PF_DECLARE(isa)                                \
  namespace isa {                                      \
  template <class Real>                                \
  const ForegroundKernels<Real>& foreground_kernels(); \
  }
PF_DECLARE(baseline)
PF_DECLARE(avx2)
PF_DECLARE(avx512)
#undef PF_DECLARE

}  // namespace pyfast
