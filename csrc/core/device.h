// What a kernel file needs to compile as host C++, as CUDA and in the CPU run of the CUDA kernels.
//
// PF_ISA names the namespace of everything inline: one per instruction set, so that the linker can
// never give the baseline a copy of a function that was compiled with AVX-512.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define PF_HD __host__ __device__ __forceinline__
#else
#define PF_HD inline
#endif

#ifndef PF_ISA
#define PF_ISA baseline
#endif

// A CUDA kernel starts with PF_LAUNCH and reaches its dynamic shared memory with PF_DYN_SMEM;
// tests/simt/simt.h defines both for the run without a GPU.
#if defined(__CUDACC__)
#include <cuda_runtime.h>
#define PF_LAUNCH(kernel, grid, block, shared_bytes, stream, ...) \
  kernel<<<grid, block, shared_bytes, stream>>>(__VA_ARGS__)
#define PF_DYN_SMEM(Type, name)                                 \
  extern __shared__ __align__(16) unsigned char name##_bytes[]; \
  Type* name = reinterpret_cast<Type*>(name##_bytes)
#endif

namespace pyfast {
namespace PF_ISA {

PF_HD int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace PF_ISA
}  // namespace pyfast
