// What the exported entries of sampling.cu launch; the run of the kernels on the host starts here
// too.
#pragma once

#include "ops/sampling/affine_grid.cuh"
#include "ops/sampling/sampling_coordinates.cuh"
#include "ops/sampling/sampling_fixed_point.cuh"
#include "ops/sampling/sampling_forward.cuh"
#include "ops/sampling/sampling_gather.cuh"
#include "ops/sampling/sampling_scatter.cuh"

namespace pyfast {
namespace PF_ISA {

template <class T>
bool needs_fixed_point(const SamplingParams<T>& p) {
  return p.deterministic && p.grad_input.data != nullptr && !gathers(p);
}

template <class T>
int64_t fixed_point_count(const SamplingParams<T>& p) {
  return needs_fixed_point(p) ? FixedPoint<T>(p, nullptr).count() : 0;
}

template <class T>
int launch_input_gradient(const SamplingParams<T>& p, int64_t* fixed_point, cudaStream_t stream) {
  if (input_extent(p).count() == 0) return cudaSuccess;
  if (gathers(p)) return launch_gather(p, stream);
  return needs_fixed_point(p) ? launch_deterministic_scatter(p, fixed_point, stream)
                              : launch_scatter(p, stream);
}

template <class T>
int launch_backward(const SamplingParams<T>& p, double* partial_sums, int64_t* fixed_point,
                    cudaStream_t stream) {
  if (!sides_fit(p)) return cudaErrorInvalidValue;
  int error = cudaSuccess;
  if (p.grad_input.data != nullptr) error = launch_input_gradient(p, fixed_point, stream);
  if (error == cudaSuccess && p.grad_matrix != nullptr)
    error = launch_matrix_gradient(p, partial_sums, stream);
  if (error == cudaSuccess && p.grad_field.data != nullptr)
    error = launch_field_gradient(p, stream);
  return error;
}

}  // namespace PF_ISA
}  // namespace pyfast
