// Exported entries of the CUDA kernels; sampling.h tells what they do.
#include "ops/sampling/sampling.cuh"

namespace pyfast {

int64_t sampling_partial_count(int64_t batch, int64_t out_d, int64_t out_h, int64_t out_w) {
  return PF_ISA::partial_count(batch, out_d * out_h * out_w);
}

template <class T>
int64_t sampling_fixed_point_count(const SamplingParams<T>& params) {
  return PF_ISA::fixed_point_count(params);
}

template <class T>
int sampling_forward_cuda(const SamplingParams<T>& params, void* stream) {
  return PF_ISA::launch_forward(params, static_cast<cudaStream_t>(stream));
}

template <class T>
int sampling_backward_cuda(const SamplingParams<T>& params, double* partial_sums,
                           int64_t* fixed_point, void* stream) {
  return PF_ISA::launch_backward(params, partial_sums, fixed_point,
                                 static_cast<cudaStream_t>(stream));
}

template <class Real>
int affine_grid_cuda(const AffineGridParams<Real>& params, void* stream) {
  return PF_ISA::launch_affine_grid(params, static_cast<cudaStream_t>(stream));
}

template <class Real>
int affine_grid_backward_cuda(const AffineGridParams<Real>& params, double* partial_sums,
                              void* stream) {
  return PF_ISA::launch_affine_grid_gradient(params, partial_sums,
                                             static_cast<cudaStream_t>(stream));
}

#define PF_INSTANTIATE(T)                                                \
  template int64_t sampling_fixed_point_count(const SamplingParams<T>&); \
  template int sampling_forward_cuda(const SamplingParams<T>&, void*);   \
  template int sampling_backward_cuda(const SamplingParams<T>&, double*, int64_t*, void*);
PF_INSTANTIATE(float)
PF_INSTANTIATE(double)
PF_INSTANTIATE(Half)
PF_INSTANTIATE(BFloat16)
#undef PF_INSTANTIATE

#define PF_INSTANTIATE(Real)                                           \
  template int affine_grid_cuda(const AffineGridParams<Real>&, void*); \
  template int affine_grid_backward_cuda(const AffineGridParams<Real>&, double*, void*);
PF_INSTANTIATE(float)
PF_INSTANTIATE(double)
#undef PF_INSTANTIATE

}  // namespace pyfast
