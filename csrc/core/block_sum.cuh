// Sums over the threads of a block, in an order that depends on their number alone.
#pragma once

#include "core/device.h"

namespace pyfast {
namespace PF_ISA {

// N sums at once.
template <int N>
struct Sums {
  static constexpr int kSize = N;
  double value[N];
};

// The sum over the threads of a block goes to out[0 .. kSize - 1]; every thread has to come here.
template <int kThreads, class Sum, class Real>
__device__ __forceinline__ void write_block_sum(const Sum& sum, Real* out) {
  __shared__ Sum of_thread[kThreads];
  const int thread = threadIdx.x;
  of_thread[thread] = sum;
  for (int half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (thread < half) {
      for (int k = 0; k < Sum::kSize; ++k)
        of_thread[thread].value[k] += of_thread[thread + half].value[k];
    }
  }
  __syncthreads();
  if (thread < Sum::kSize) out[thread] = Real(of_thread[0].value[thread]);
  __syncthreads();  // before the next call
}

// How much the threads before this one bring together, and all of them in `total`.
template <int kThreads>
__device__ __forceinline__ int block_prefix_sum(int brought, int* total) {
  __shared__ int sums[kThreads];
  const int thread = threadIdx.x;
  sums[thread] = brought;
  for (int step = 1; step < kThreads; step *= 2) {
    __syncthreads();
    const int before = thread >= step ? sums[thread - step] : 0;
    __syncthreads();
    sums[thread] += before;
  }
  __syncthreads();
  *total = sums[kThreads - 1];
  const int through = sums[thread];
  __syncthreads();  // before the next call
  return through - brought;
}

}  // namespace PF_ISA
}  // namespace pyfast
