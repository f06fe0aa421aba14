// What the exported entries of sampling.cu launch; the run of the kernels on the host starts here
// too.
#pragma once

#include "ops/sampling/affine_grid.cuh"
#include "ops/sampling/sampling_coordinates.cuh"
#include "ops/sampling/sampling_forward.cuh"
#include "ops/sampling/sampling_gather.cuh"
#include "ops/sampling/sampling_scatter.cuh"

namespace pyfast {
namespace PF_ISA {

inline int64_t partial_count(int64_t batch, int64_t out_h, int64_t out_w) {
  return batch * partials_of_image(out_h, out_w) * kThetaSize;
}

template <class Real>
int launch_backward(const SamplingParams<Real>& p, double* partial_sums, cudaStream_t stream) {
  if (!sides_fit(p)) return cudaErrorInvalidValue;
  int error = cudaSuccess;
  if (p.grad_input.data != nullptr)
    error = p.theta != nullptr ? launch_gather(p, stream) : launch_scatter(p, stream);
  if (error == cudaSuccess && p.grad_theta != nullptr)
    error = launch_theta_gradient(p, partial_sums, stream);
  if (error == cudaSuccess && p.grad_grid != nullptr) error = launch_grid_gradient(p, stream);
  return error;
}

}  // namespace PF_ISA
}  // namespace pyfast
