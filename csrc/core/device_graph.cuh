// Launches that are repeated: captured once as a CUDA graph and replayed, which costs one launch
// where there were many. The first time they are made one by one: that loads the kernels, which a
// capture might refuse. So they are where the caller captures. The run on the host makes them each
// time.
#pragma once

#include "core/device.h"

namespace pyfast {
namespace PF_ISA {

// Launches(stream) returns a cudaError_t, and what it launches must not change from call to call.
template <class Launches>
class RepeatedLaunches {
 public:
  explicit RepeatedLaunches(const Launches& launches) : launches_(launches) {}
  RepeatedLaunches(const RepeatedLaunches&) = delete;
  RepeatedLaunches& operator=(const RepeatedLaunches&) = delete;

#if defined(__CUDACC__)
  // A graph that still runs is freed when it ends.
  ~RepeatedLaunches() {
    if (executable_ != nullptr) cudaGraphExecDestroy(executable_);
  }

  int run(cudaStream_t stream) {
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    int error = cudaStreamIsCapturing(stream, &status);
    if (error != cudaSuccess) return error;
    if (!loaded_ || status != cudaStreamCaptureStatusNone) {
      loaded_ = true;
      return launches_(stream);
    }
    if (executable_ == nullptr) error = capture();
    return error == cudaSuccess ? int(cudaGraphLaunch(executable_, stream)) : error;
  }

 private:
  // On a stream of its own: the caller's may be the default stream, which captures nothing.
  int capture() {
    cudaStream_t stream = nullptr;
    int error = cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
    if (error != cudaSuccess) return error;
    cudaGraph_t graph = nullptr;
    error = cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal);
    if (error == cudaSuccess) {
      const int of_launches = launches_(stream);
      error = cudaStreamEndCapture(stream, &graph);
      if (of_launches != cudaSuccess) error = of_launches;
    }
    if (error == cudaSuccess) error = cudaGraphInstantiate(&executable_, graph, 0);
    if (graph != nullptr) cudaGraphDestroy(graph);
    cudaStreamDestroy(stream);
    return error;
  }

  bool loaded_ = false;
  cudaGraphExec_t executable_ = nullptr;
#else
  int run(cudaStream_t stream) { return launches_(stream); }

 private:
#endif
  const Launches& launches_;
};

}  // namespace PF_ISA
}  // namespace pyfast
