// Exported entries of the CUDA kernels; matting.h tells what they do.
#include "ops/matting/matting.cuh"

namespace pyfast {

template <class T>
int matting_form_cuda(const MattingFormParams<T>& params, const DeviceMemory& memory,
                      void* stream) {
  return PF_ISA::launch_form(params, memory, static_cast<cudaStream_t>(stream));
}
template int matting_form_cuda(const MattingFormParams<float>&, const DeviceMemory&, void*);
template int matting_form_cuda(const MattingFormParams<double>&, const DeviceMemory&, void*);

int matting_diagonal_cuda(const MattingDiagonalParams& params, const DeviceMemory& memory,
                          void* stream) {
  return PF_ISA::launch_diagonal(params, memory, static_cast<cudaStream_t>(stream));
}

int matting_matrix_cuda(const MattingMatrixParams& params, const DeviceMemory& memory,
                        void* stream) {
  return PF_ISA::launch_matrix(params, memory, static_cast<cudaStream_t>(stream));
}

int matting_solve_cuda(const MattingSolveParams& params, const DeviceMemory& memory, void* stream) {
  return PF_ISA::launch_solve(params, memory, static_cast<cudaStream_t>(stream));
}

}  // namespace pyfast
