// A sequence of launches, over and over: recorded once as a CUDA graph and replayed.
#pragma once

#include "ops/dense_crf/dense_crf_device.cuh"

namespace pyfast {
namespace PF_ISA {

#if defined(__CUDACC__)
// What a stream of its own records, because torch's may be one that cannot. Null where it cannot be
// recorded.
class Recording {
 public:
  template <class Body>
  Recording(Run& run, const Body& body) {
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    cudaStream_t stream = nullptr;
    run.check(cudaStreamIsCapturing(run.stream(), &status));
    if (!run.good() || status != cudaStreamCaptureStatusNone) return;  // the caller records
    run.check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    if (!run.good()) return;
    run.check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    cudaGraph_t graph = nullptr;
    if (run.good()) {
      Run recorded = run.on(stream);
      body(recorded);
      run.check(cudaStreamEndCapture(stream, &graph));
      run.check(recorded.error());
    }
    if (run.good()) run.check(cudaGraphInstantiateWithFlags(&replay_, graph, 0));
    if (graph != nullptr) cudaGraphDestroy(graph);
    cudaStreamDestroy(stream);
  }
  // A graph that still runs is freed when it ends.
  ~Recording() {
    if (replay_ != nullptr) cudaGraphExecDestroy(replay_);
  }
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;

  bool exists() const { return replay_ != nullptr; }
  void replay(Run& run) const {
    if (run.good()) run.check(cudaGraphLaunch(replay_, run.stream()));
  }

 private:
  cudaGraphExec_t replay_ = nullptr;
};
#else
// The run on the host launches one by one.
class Recording {
 public:
  template <class Body>
  Recording(Run&, const Body&) {}
  bool exists() const { return false; }
  void replay(Run&) const {}
};
#endif

// A recording takes as long as some launches.
constexpr int64_t kWorthRecording = 4;

// before(i), body(run) for i = 0 .. times - 1; body launches the same every time and takes no
// memory.
template <class Before, class Body>
void repeat(Run& run, int64_t times, const Before& before, const Body& body) {
  const auto launch = [&](int64_t i) {
    before(i);
    body(run);
  };
  // The first time without a graph: it loads the kernels, which cannot be recorded.
  if (times > 0) launch(0);
  if (times < kWorthRecording) {
    for (int64_t i = 1; i < times; ++i) launch(i);
    return;
  }
  const Recording recording(run, body);
  for (int64_t i = 1; i < times; ++i) {
    if (!recording.exists()) {
      launch(i);
    } else {
      before(i);
      recording.replay(run);
    }
  }
}

}  // namespace PF_ISA
}  // namespace pyfast
