// What an array door of an operator works with besides its arrays: results and the place to run.
// A door is a function `void door(ArrayCall&, const ArrayView&..., options...)` in
// ops/<family>/<family>_arrays.cpp, one line in bindings.cpp, and runs without Python's lock.
#pragma once

#include <cstddef>
#include <list>
#include <vector>

#include "core/array_view.h"
#include "core/cuda_build.h"
#include "core/device_memory.h"

namespace pyfast {

class ArrayCall {
 public:
  explicit ArrayCall(void* stream) : stream_(stream) {}
  virtual ~ArrayCall() = default;

  // The next result: what the caller gave as `out`, checked, or else a new C-contiguous array.
  // It has the dtype and device of `like`.
  virtual ArrayView result(const ArrayView& like, const std::vector<int64_t>& shape) = 0;

  // Runs `cpu()`, or `cuda(stream)` on the caller's stream and the array's device. `cuda` is a
  // generic lambda that returns a cudaError_t: a build without CUDA never compiles its body.
  template <class Cpu, class Cuda>
  void run_on_device_of(const ArrayView& array, const Cpu& cpu, const Cuda& cuda);

 private:
  void* stream_;  // a cudaStream_t
};

// CUDA, in array_cuda.cpp. A build without CUDA never refers to these.

class CudaDeviceGuard {
 public:
  explicit CudaDeviceGuard(int device);
  ~CudaDeviceGuard();
  CudaDeviceGuard(const CudaDeviceGuard&) = delete;
  CudaDeviceGuard& operator=(const CudaDeviceGuard&) = delete;

 private:
  int previous_ = 0;
};

// Device memory from now until the work that is on the stream at the end of the scope is done.
class CudaScratch {
 public:
  CudaScratch(size_t bytes, void* stream);
  ~CudaScratch();
  CudaScratch(const CudaScratch&) = delete;
  CudaScratch& operator=(const CudaScratch&) = delete;
  void* data() const { return data_; }

 private:
  void* data_ = nullptr;
  void* stream_;
};

// The same as memory for launchers.
class CudaMemory {
 public:
  explicit CudaMemory(void* stream) : stream_(stream) {}
  CudaMemory(const CudaMemory&) = delete;
  CudaMemory& operator=(const CudaMemory&) = delete;

  operator DeviceMemory() {
    return {this, [](void* self, size_t bytes) {
              auto& memory = *static_cast<CudaMemory*>(self);
              return memory.taken_.emplace_back(bytes, memory.stream_).data();
            }};
  }

 private:
  void* stream_;
  std::list<CudaScratch> taken_;
};

int cuda_device_of(const void* memory);
// What is put on stream `second` from now on waits for what is on `first`.
void cuda_wait(void* first, void* second);
void expect_cuda_success(int error);

template <class Cpu, class Cuda>
void ArrayCall::run_on_device_of(const ArrayView& array, const Cpu& cpu, const Cuda& cuda) {
  if (array.device == kCpu) {
    cpu();
  } else if constexpr (kWithCuda) {
    const CudaDeviceGuard guard(array.device);
    expect_cuda_success(cuda(stream_));
  }
}

}  // namespace pyfast
