// Sums over all pixels of an affine map, for the gradient of theta: in double precision and in an
// order that depends on sizes alone, so that the bits are the same in every run.
#pragma once

#include "ops/sampling/sampling_place.cuh"

namespace pyfast {
namespace PF_ISA {

constexpr int kThetaSize = 6;
constexpr int64_t kMostPartials = 1024;

// How many blocks, each leaving one partial sum, share an image.
inline int64_t partials_of_image(int64_t out_h, int64_t out_w) {
  const int64_t blocks = ceil_div(out_h * out_w, 32);
  return blocks < 1 ? 1 : blocks < kMostPartials ? blocks : kMostPartials;
}

struct ThetaSum {
  double value[kThetaSize];

  // Adds the gradient of the grid's point (j, i).
  PF_HD void add(double grad_x, double grad_y, const AffineFrame& frame, int32_t j, int32_t i) {
    const double base_x = std::fma(double(j), frame.bx.scale, frame.bx.shift);
    const double base_y = std::fma(double(i), frame.by.scale, frame.by.shift);
    value[0] += grad_x * base_x;
    value[1] += grad_x * base_y;
    value[2] += grad_x;
    value[3] += grad_y * base_x;
    value[4] += grad_y * base_y;
    value[5] += grad_y;
  }
};

// The sum over the threads of a block goes to out[0 .. 5]; every thread has to come here.
template <class Real>
__device__ __forceinline__ void write_block_sum(const ThetaSum& sum, Real* out) {
  __shared__ ThetaSum of_thread[kThreads];
  const int thread = threadIdx.x;
  of_thread[thread] = sum;
  for (int half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (thread < half) {
      for (int k = 0; k < kThetaSize; ++k)
        of_thread[thread].value[k] += of_thread[thread + half].value[k];
    }
  }
  __syncthreads();
  if (thread < kThetaSize) out[thread] = Real(of_thread[0].value[thread]);
}

// One block an image.
template <class Real>
__global__ void __launch_bounds__(kThreads)
    add_partial_sums(const double* partial_sums, int32_t partials, Real* grad_theta) {
  const double* of_image = partial_sums + int64_t{blockIdx.x} * partials * kThetaSize;
  ThetaSum sum{};
  for (int b = threadIdx.x; b < partials; b += kThreads)
    for (int k = 0; k < kThetaSize; ++k) sum.value[k] += of_image[b * kThetaSize + k];
  write_block_sum(sum, grad_theta + int64_t{blockIdx.x} * kThetaSize);
}

template <class Real>
int launch_partial_sums(int64_t batch, int64_t partials, const double* partial_sums,
                        Real* grad_theta, cudaStream_t stream) {
  PF_LAUNCH(add_partial_sums<Real>, unsigned(batch), kThreads, 0, stream, partial_sums,
            int32_t(partials), grad_theta);
  return cudaGetLastError();
}

}  // namespace PF_ISA
}  // namespace pyfast
