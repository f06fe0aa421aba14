// What the CUDA kernels of the dense CRF share: memory from the caller, launches over a range.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/device_memory.h"
#include "ops/dense_crf/dense_crf.h"

namespace pyfast {

namespace PF_ISA {

constexpr int kThreads = 256;
constexpr int kWarp = 32;
constexpr int kWarps = kThreads / kWarp;
constexpr int64_t kMostBlocks = 0x7fffffff;

// A sequence of launches: on `stream`, with `memory`, until the first error.
class Run {
 public:
  Run(DeviceMemory memory, cudaStream_t stream) : memory_(memory), stream_(stream) {}

  // The same on another stream.
  Run on(cudaStream_t stream) const { return Run(memory_, stream); }

  cudaStream_t stream() const { return stream_; }
  bool good() const { return error_ == cudaSuccess; }
  cudaError_t error() const { return error_; }
  void check(int error) {
    if (good()) error_ = static_cast<cudaError_t>(error);
  }

  // Memory for `count` items, at least one, not initialised.
  template <class T>
  T* take(int64_t count) {
    return memory_.take<T>(count);
  }

  template <class T>
  void zero(T* data, int64_t count) {
    if (good() && count > 0) error_ = cudaMemsetAsync(data, 0, size_t(count) * sizeof(T), stream_);
  }

  // Waits for what is on the stream: for the few numbers that decide what to launch next.
  template <class T>
  void read(T* host, const T* data, int64_t count) {
    if (good())
      error_ =
          cudaMemcpyAsync(host, data, size_t(count) * sizeof(T), cudaMemcpyDeviceToHost, stream_);
    if (good()) error_ = cudaStreamSynchronize(stream_);
  }

  // How many blocks of kThreads have a thread for every item; 0 after an error, or for no item.
  unsigned blocks_for(int64_t items) {
    const int64_t blocks = ceil_div(items, kThreads);
    if (blocks > kMostBlocks) check(cudaErrorInvalidValue);
    return good() ? unsigned(blocks) : 0;
  }

  // With blocks of kThreads; nothing for no block, or after an error.
  template <class... Parameters, class... Arguments>
  void launch(void (*kernel)(Parameters...), unsigned blocks, const Arguments&... arguments) {
    if (!good() || blocks == 0) return;
    PF_LAUNCH(kernel, blocks, kThreads, 0, stream_, arguments...);
    check(cudaGetLastError());
  }

 private:
  DeviceMemory memory_;
  cudaStream_t stream_;
  cudaError_t error_ = cudaSuccess;
};

// The number of this thread among all of the launch.
__device__ __forceinline__ int64_t thread_number() {
  return int64_t{blockIdx.x} * kThreads + threadIdx.x;
}

// Over neighbouring threads, a power of two up to a warp. All of the warp have to come.
template <class Real>
__device__ __forceinline__ Real most_of_group(Real value, int lanes) {
  for (int step = lanes / 2; step > 0; step /= 2) {
    const Real other = __shfl_xor_sync(~0u, value, step);
    value = value < other ? other : value;
  }
  return value;
}

}  // namespace PF_ISA
}  // namespace pyfast
