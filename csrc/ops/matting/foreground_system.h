// The normal equations of foreground and background behind a matte, one channel at a time, and the
// multigrid that preconditions them: layouts, and the kernels that each instruction set exports.
//
// At pixel i, with m_i = (alpha_i, 1 - alpha_i) and w_ij = base + slope |alpha_i - alpha_j|,
//   (A x)_i = m_i m_i^T x_i + sum over the four neighbours j of w_ij (x_i - x_j),  x_i = (F_i,
//   B_i).
// A cell of the next level is 2 x 2 cells and has one value for all: its weights and masses are
// sums. Such a step makes what is smooth too stiff, so each level's weights are `kSoftening` of the
// sums. A cycle does a Gauss-Seidel step on red cells, then black ones on its way down, and
// black, then red on its way up.
//
// Reference: Levin, Lischinski, Weiss 2008, equation 19; Braess, Towards Algebraic Multigrid for
// Elliptic Problems of Second Order, Computing 55, 1995.
#pragma once

#include <cstdint>

#include "core/device.h"

namespace pyfast {

constexpr float kSoftening = 0.6f;
constexpr int64_t kSystemPad = 16;  // zeros before and after a row

// A plane of cells with a border of zeros.
struct SystemGrid {
  int64_t height = 0, width = 0;

  int64_t stride() const { return (width + 2 * kSystemPad + 15) / 16 * 16; }
  int64_t size() const { return (height + 2) * stride(); }
  int64_t at(int64_t y) const { return (y + 1) * stride() + kSystemPad; }  // of row y
};

// What all channels share, each a plane.
struct SystemLevel {
  SystemGrid grid;
  float *right = nullptr, *down = nullptr;                                 // weights of those edges
  float *mass00 = nullptr, *mass01 = nullptr, *mass11 = nullptr;           // sums of m m^T
  float *inverse00 = nullptr, *inverse01 = nullptr, *inverse11 = nullptr;  // of A's diagonal
};

// Of one channel on one level, each for F and for B.
struct SystemVectors {
  float *x[2] = {}, *b[2] = {};
};

// Of one channel on the pixels, each for F and for B. Conjugate gradients look for a correction in
// float; its right-hand side is made in double, as often as it takes.
struct SystemIterate {
  float *p[2] = {}, *q[2] = {}, *correction[2] = {};
  double* solution[2] = {};
};

// The system of the pixels.
struct PixelSystem {
  SystemGrid grid;
  float* alpha = nullptr;  // a plane
  float base = 0, slope = 0;
};

struct SystemKernels {
  // Weights and masses of the pixels.
  void (*weigh)(const PixelSystem&, const SystemLevel&);
  void (*coarsen)(const SystemLevel& fine, const SystemLevel& coarse);
  // Inverses from weights and masses.
  void (*invert)(const SystemLevel&);
  // x from zero by red, then black cells; b of the coarse level is what that leaves. `coarse` null:
  // there is none. `rows`: memory of 4 strides.
  void (*descend)(const SystemLevel&, const SystemVectors&, const SystemLevel* coarse,
                  const SystemVectors* coarse_vectors, float* rows);
  // x += the coarse level's, then black, red cells; returns b . x.
  double (*ascend)(const SystemLevel&, const SystemVectors&, const SystemLevel& coarse,
                   const SystemVectors& coarse_vectors);
  // b = m * image - A solution in double, correction = p = 0; returns b . b and, as `scale`, the
  // same of a solution of zeros. `image` is a plane.
  // `rows`: memory of 2 strides.
  double (*begin)(const PixelSystem&, const float* image, const SystemIterate&,
                  const SystemVectors&, double* rows, double* scale);
  // p = x + factor p, q = A p; returns p . q
  double (*multiply)(const PixelSystem&, double factor, const SystemIterate&, const SystemVectors&);
  // correction += step p, b -= step q; returns b . b
  double (*advance)(const PixelSystem&, double step, const SystemIterate&, const SystemVectors&);
  // solution += correction
  void (*end)(const PixelSystem&, const SystemIterate&);
};

#define PF_DECLARE(isa)                  \
  namespace isa {                        \
  const SystemKernels& system_kernels(); \
  }
PF_DECLARE(baseline)
PF_DECLARE(avx2)
PF_DECLARE(avx512)
#undef PF_DECLARE

}  // namespace pyfast
