// How the CPU kernels of the matting Laplacian divide a call, and the table of kernels that each
// instruction set exports. Kernels are serial; the driver brings threads and memory.
#pragma once

#include "ops/matting/matting.h"

namespace pyfast {

// A part of the pixels: what belongs to one task.
struct MattingTile {
  int64_t n;  // image
  int64_t top, bottom, left, right;
};

// Rows of memory that kernels read beyond their last column.
constexpr int64_t kMattingPad = 16;

// A row of `columns` numbers with room on both sides, in whole cache lines.
inline int64_t matting_stride(int64_t columns) { return (columns + 2 * kMattingPad + 7) / 8 * 8; }

// Windows whose parts are added up together.
constexpr int64_t kMattingChunk = 64;

// Offsets from a pixel to those after it with which it has a window in common, row by row.
inline int64_t matting_half_offsets(int64_t radius) { return 2 * radius * (4 * radius + 2); }

// Means and factors of a chunk of windows, in doubles.
inline int64_t matting_statistics(int64_t channels) {
  return kMattingChunk * (channels + channels * (channels + 1) / 2);
}

// Memory of a kernel, in doubles, for a tile of `columns`.
template <class T>
int64_t form_memory(const MattingFormParams<T>& p, int64_t columns) {
  const int64_t n = p.image.side() * p.image.side(), d = p.image.channels;
  const int64_t vectors = p.vectors * (p.u == nullptr ? 1 : 2), products = p.vectors + d;
  const int64_t rows = p.image.side() * (d + vectors + products);
  const int64_t window = 8 * (2 * n * d + 5 * n + d * (d + 1) + 4 * d + p.vectors);
  return rows * matting_stride(columns + 4 * p.image.radius) + window + matting_statistics(d) +
         products * n * matting_stride(kMattingChunk);
}

inline int64_t matrix_memory(const MattingImage<double>& image) {
  const int64_t n = image.side() * image.side(), d = image.channels;
  const int64_t half = matting_half_offsets(image.radius);
  const int64_t rows = image.side() * d + (4 * image.radius + 1) * half + 3;
  return rows * matting_stride(image.width) + 8 * n * d + matting_statistics(d) +
         n * (n - 1) / 2 * matting_stride(kMattingChunk);
}

template <class T>
struct MattingFormKernels {
  // Overwrites what is asked for in the tile; energy[k] gets the windows with their centre there.
  void (*form)(const MattingFormParams<T>&, const MattingTile&, double* memory, double* energy);
};

struct MattingMatrixKernels {
  // Rows of the matrix, of image rows [top, bottom).
  void (*matrix)(const MattingMatrixParams&, int64_t top, int64_t bottom, double* memory);
  void (*diagonal)(const MattingDiagonalParams&, int64_t n, int64_t top, int64_t bottom,
                   double* memory);
};

#define PF_DECLARE(level)                               \
  namespace level {                                     \
  template <class T>                                    \
  const MattingFormKernels<T>& matting_form_kernels();  \
  const MattingMatrixKernels& matting_matrix_kernels(); \
  }
PF_DECLARE(baseline)
PF_DECLARE(avx2)
PF_DECLARE(avx512)
#undef PF_DECLARE

}  // namespace pyfast
