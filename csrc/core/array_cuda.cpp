// The few calls of the CUDA runtime that the array doors need where torch is not there to make
// them. Part of builds with CUDA only.
#include <cuda_runtime_api.h>

#include <stdexcept>
#include <string>

#include "core/array_call.h"

namespace pyfast {

void expect_cuda_success(int error) {
  if (error != cudaSuccess)
    throw std::runtime_error(std::string("pyfast: CUDA: ") +
                             cudaGetErrorString(static_cast<cudaError_t>(error)));
}

CudaDeviceGuard::CudaDeviceGuard(int device) {
  expect_cuda_success(cudaGetDevice(&previous_));
  expect_cuda_success(cudaSetDevice(device));
}

CudaDeviceGuard::~CudaDeviceGuard() { cudaSetDevice(previous_); }

CudaScratch::CudaScratch(size_t bytes, void* stream) : stream_(stream) {
  expect_cuda_success(cudaMallocAsync(&data_, bytes, static_cast<cudaStream_t>(stream)));
}

CudaScratch::~CudaScratch() { cudaFreeAsync(data_, static_cast<cudaStream_t>(stream_)); }

int cuda_device_of(const void* memory) {
  cudaPointerAttributes attributes{};
  expect_cuda_success(cudaPointerGetAttributes(&attributes, memory));
  return attributes.device;
}

void cuda_wait(void* first, void* second) {
  cudaEvent_t reached = nullptr;
  expect_cuda_success(cudaEventCreateWithFlags(&reached, cudaEventDisableTiming));
  int error = cudaEventRecord(reached, static_cast<cudaStream_t>(first));
  if (error == cudaSuccess)
    error = cudaStreamWaitEvent(static_cast<cudaStream_t>(second), reached, 0);
  cudaEventDestroy(reached);
  expect_cuda_success(error);
}

}  // namespace pyfast
