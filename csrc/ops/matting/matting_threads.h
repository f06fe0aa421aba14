// How many threads work on what is repeated.
#pragma once

#include <chrono>
#include <cstdint>

#include "core/parallel.h"

namespace pyfast {

// Decides for each iteration whether it runs on several threads. They meet up to twenty times in an
// iteration; where other programs want the processors, one that is not running keeps all waiting,
// and then a single thread is faster by far. The bits are the same either way.
class ThreadChoice {
 public:
  // Runs `iteration()` and takes its time.
  template <class Iteration>
  void run(const Iteration& iteration) {
    const bool is_alone = count_ % kPeriod == 0   ? false
                          : count_ % kPeriod == 1 ? true
                                                  : alone_ < together_;
    ++count_;
    if (num_threads() == 1) return iteration();
    const auto began = std::chrono::steady_clock::now();
    if (is_alone) {
      const SerialScope serial;
      iteration();
    } else {
      iteration();
    }
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - began;
    (is_alone ? alone_ : together_) = taken.count();
  }

 private:
  static constexpr int64_t kPeriod = 32;  // iterations between two trials of both
  int64_t count_ = 0;
  double alone_ = 0, together_ = 0;
};

}  // namespace pyfast
