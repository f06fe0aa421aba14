// Exported entries of the CUDA kernels; the headers of the operators tell what they do.
#include "ops/dilated_conv/dilated_conv.cuh"

namespace pyfast {

template <class T>
int depthwise_conv_cuda(const DepthwiseConvParams<T>& params, void* stream) {
  return PF_ISA::launch_depthwise(params, static_cast<cudaStream_t>(stream));
}

template <class T>
int depthwise_conv_weight_cuda(const DepthwiseConvParams<T>& params, const DeviceMemory& memory,
                               void* stream) {
  return PF_ISA::launch_depthwise_weight(params, memory, static_cast<cudaStream_t>(stream));
}

template <class T>
int aspp_add_cuda(const AsppShiftParams<T>& params, const AsppShifts& taps, void* stream) {
  return PF_ISA::launch_aspp_shifts(params, taps, false, static_cast<cudaStream_t>(stream));
}

template <class T>
int aspp_spread_cuda(const AsppShiftParams<T>& params, const AsppShifts& taps, void* stream) {
  return PF_ISA::launch_aspp_shifts(params, taps, true, static_cast<cudaStream_t>(stream));
}

#define PF_INSTANTIATE(T)                                                                     \
  template int aspp_add_cuda(const AsppShiftParams<T>&, const AsppShifts&, void*);            \
  template int aspp_spread_cuda(const AsppShiftParams<T>&, const AsppShifts&, void*);         \
  template int depthwise_conv_cuda(const DepthwiseConvParams<T>&, void*);                     \
  template int depthwise_conv_weight_cuda(const DepthwiseConvParams<T>&, const DeviceMemory&, \
                                          void*);
PF_INSTANTIATE(float)
PF_INSTANTIATE(double)
PF_INSTANTIATE(Half)
PF_INSTANTIATE(BFloat16)
#undef PF_INSTANTIATE

template <class T>
int direct_conv_cuda(const DirectConvCudaParams<T>& params, void* stream) {
  return PF_ISA::launch_direct_conv(params, static_cast<cudaStream_t>(stream));
}
template int direct_conv_cuda(const DirectConvCudaParams<float>&, void*);
template int direct_conv_cuda(const DirectConvCudaParams<double>&, void*);

int implicit_conv_cuda(const ImplicitConvParams& params, const DeviceMemory& memory, void* stream) {
  return PF_ISA::launch_implicit_conv(params, false, memory, static_cast<cudaStream_t>(stream));
}

int implicit_conv_input_cuda(const ImplicitConvParams& params, const DeviceMemory& memory,
                             void* stream) {
  return PF_ISA::launch_implicit_conv(params, true, memory, static_cast<cudaStream_t>(stream));
}

int implicit_conv_weight_cuda(const ImplicitConvParams& params, const DeviceMemory& memory,
                              void* stream) {
  return PF_ISA::launch_implicit_conv_weight(params, memory, static_cast<cudaStream_t>(stream));
}

}  // namespace pyfast
