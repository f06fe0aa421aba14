// Exported entries of the CUDA kernels; dense_crf.h tells what they do.
#include "ops/dense_crf/dense_crf.cuh"

namespace pyfast {

template <class Real>
int build_lattice_cuda(const LatticeParams<Real>& params, LatticeMemory& result,
                       DeviceMemory memory, void* stream, LatticeError* failure) {
  return PF_ISA::launch_build(params, result, memory, static_cast<cudaStream_t>(stream), failure);
}

template <class Real>
int filter_cuda(const FilterParams<Real>& params, const LatticeSizes& sizes, DeviceMemory memory,
                void* stream) {
  return PF_ISA::launch_filter(params, sizes, memory, static_cast<cudaStream_t>(stream));
}

template <class Real>
int filter_gradient_cuda(const FilterGradientParams<Real>& params, const LatticeSizes& sizes,
                         DeviceMemory memory, void* stream) {
  return PF_ISA::launch_filter_gradient(params, sizes, memory, static_cast<cudaStream_t>(stream));
}

template <class Real>
int exact_filter_cuda(const ExactParams<Real>& params, DeviceMemory memory, void* stream,
                      LatticeError* failure) {
  return PF_ISA::launch_exact(params, memory, static_cast<cudaStream_t>(stream), failure);
}

template <class Real>
int mean_field_cuda(const MeanFieldParams<Real>& params, const LatticeSizes* sizes,
                    DeviceMemory memory, void* stream) {
  return PF_ISA::launch_mean_field(params, sizes, memory, static_cast<cudaStream_t>(stream));
}

template <class Real>
int image_crf_cuda(const ImageCrfParams<Real>& params, DeviceMemory memory, void* stream,
                   LatticeError* failure) {
  return PF_ISA::launch_image_crf(params, memory, static_cast<cudaStream_t>(stream), failure);
}

#define PF_INSTANTIATE(Real)                                                                       \
  template int build_lattice_cuda(const LatticeParams<Real>&, LatticeMemory&, DeviceMemory, void*, \
                                  LatticeError*);                                                  \
  template int filter_cuda(const FilterParams<Real>&, const LatticeSizes&, DeviceMemory, void*);   \
  template int filter_gradient_cuda(const FilterGradientParams<Real>&, const LatticeSizes&,        \
                                    DeviceMemory, void*);                                          \
  template int exact_filter_cuda(const ExactParams<Real>&, DeviceMemory, void*, LatticeError*);    \
  template int mean_field_cuda(const MeanFieldParams<Real>&, const LatticeSizes*, DeviceMemory,    \
                               void*);                                                             \
  template int image_crf_cuda(const ImageCrfParams<Real>&, DeviceMemory, void*, LatticeError*);
PF_INSTANTIATE(float)
PF_INSTANTIATE(double)
#undef PF_INSTANTIATE

}  // namespace pyfast
