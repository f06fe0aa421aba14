// Exported entries of the CUDA kernels; matting.h tells what they do.
#include "ops/matting/matting.cuh"

namespace pyfast {

template <class T>
int matting_form_cuda(const MattingFormParams<T>& params, const DeviceMemory& memory,
                      void* stream) {
  return PF_ISA::launch_form(params, memory, static_cast<cudaStream_t>(stream));
}
template <class T>
int matting_totals_cuda(const double* energies, int64_t batch, int64_t vectors, T* totals,
                        void* stream) {
  return PF_ISA::launch_totals(energies, batch, vectors, totals, static_cast<cudaStream_t>(stream));
}

template <class T>
int matting_scale_cuda(const T* from, const T* factors, double by, int64_t batch, int64_t each,
                       T* to, void* stream) {
  return PF_ISA::launch_scale(from, factors, by, batch, each, to,
                              static_cast<cudaStream_t>(stream));
}

#define PF_INSTANTIATE(T)                                                                  \
  template int matting_form_cuda(const MattingFormParams<T>&, const DeviceMemory&, void*); \
  template int matting_totals_cuda(const double*, int64_t, int64_t, T*, void*);            \
  template int matting_scale_cuda(const T*, const T*, double, int64_t, int64_t, T*, void*);
PF_INSTANTIATE(float)
PF_INSTANTIATE(double)
#undef PF_INSTANTIATE

int matting_diagonal_cuda(const MattingDiagonalParams& params, const DeviceMemory& memory,
                          void* stream) {
  return PF_ISA::launch_diagonal(params, memory, static_cast<cudaStream_t>(stream));
}

int matting_matrix_cuda(const MattingMatrixParams& params, const DeviceMemory& memory,
                        void* stream) {
  return PF_ISA::launch_matrix(params, memory, static_cast<cudaStream_t>(stream));
}

int matting_solve_cuda(const MattingSolveParams& params, const DeviceMemory& memory, void* stream) {
  return PF_ISA::launch_solve(params, matting_progress(), memory,
                              static_cast<cudaStream_t>(stream));
}

}  // namespace pyfast
