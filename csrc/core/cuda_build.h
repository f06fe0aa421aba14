// Whether this build has CUDA kernels.
#pragma once

namespace pyfast {

#if defined(PF_WITH_CUDA)
constexpr bool kWithCuda = true;
#else
constexpr bool kWithCuda = false;
#endif

constexpr char kNoCudaKernels[] =
    "pyfast was built without its CUDA kernels: build it again with nvcc on PATH";

}  // namespace pyfast
