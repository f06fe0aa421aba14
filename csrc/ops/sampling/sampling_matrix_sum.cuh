// Sums over all pixels of a map, for the gradient of its matrix: in double precision and in an
// order that depends on sizes alone, so that the bits are the same in every run.
#pragma once

#include "core/block_sum.cuh"
#include "ops/sampling/sampling_positions.cuh"

namespace pyfast {
namespace PF_ISA {

constexpr int64_t kMostPartials = 1024;

// How many blocks, each leaving one partial sum, share an image.
inline int64_t partials_of_image(int64_t pixels) {
  const int64_t blocks = ceil_div(pixels, 32);
  return blocks < 1 ? 1 : blocks < kMostPartials ? blocks : kMostPartials;
}

inline int64_t partial_count(int64_t batch, int64_t pixels) {
  return batch * partials_of_image(pixels) * kMostMatrixValues;
}

// The gradient of a matrix of R x (D + 1).
template <int R, int D>
struct MatrixSum {
  static constexpr int kSize = R * (D + 1);
  double value[kSize];

  // Adds what a pixel at base coordinates `base` gives, by the gradient of the R products.
  PF_HD void add(const double (&gradient)[R], const double (&base)[D]) {
    for (int r = 0; r < R; ++r) {
      for (int c = 0; c < D; ++c) value[r * (D + 1) + c] += gradient[r] * base[c];
      value[r * (D + 1) + D] += gradient[r];
    }
  }
};

// One block an image.
template <class Sum, class Real>
__global__ void __launch_bounds__(kThreads)
    add_partial_sums(const double* partial_sums, int32_t partials, Real* grad_matrix) {
  const double* of_image = partial_sums + int64_t{blockIdx.x} * partials * Sum::kSize;
  Sum sum{};
  for (int b = threadIdx.x; b < partials; b += kThreads)
    for (int k = 0; k < Sum::kSize; ++k) sum.value[k] += of_image[b * Sum::kSize + k];
  write_block_sum<kThreads>(sum, grad_matrix + int64_t{blockIdx.x} * Sum::kSize);
}

template <class Sum, class Real>
int launch_partial_sums(int64_t batch, int64_t partials, const double* partial_sums,
                        Real* grad_matrix, cudaStream_t stream) {
  const auto kernel = add_partial_sums<Sum, Real>;
  PF_LAUNCH(kernel, unsigned(batch), kThreads, 0, stream, partial_sums, int32_t(partials),
            grad_matrix);
  return cudaGetLastError();
}

// Base coordinates of an output pixel.
template <int D>
struct Base {
  double at[D];
  PF_HD Base(const MapFrame& frame, const Pixel<D>& pixel) {
    for (int a = 0; a < D; ++a)
      at[a] = std::fma(double(pixel.at[a]), frame.base[a].scale, frame.base[a].shift);
  }
};

}  // namespace PF_ISA
}  // namespace pyfast
