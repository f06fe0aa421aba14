#include "core/parallel.h"

#include <atomic>
#include <stdexcept>

// torch's C shim (torch/csrc/stable/c/shim.h), part of its stable ABI since 2.10.
extern "C" int32_t torch_parallel_for(int64_t begin, int64_t end, int64_t grain_size,
                                      void (*function)(int64_t, int64_t, void*), void* context);
extern "C" int32_t torch_get_num_threads(uint32_t* count);

namespace pyfast {
namespace {
std::atomic<bool> serial{false};
thread_local int serial_scopes = 0;
}  // namespace

int num_threads() {
  if (serial.load(std::memory_order_relaxed)) return 1;
  uint32_t count = 1;
  return torch_get_num_threads(&count) == 0 ? static_cast<int>(count) : 1;
}

void run_serially_from_now_on() { serial.store(true, std::memory_order_relaxed); }

SerialScope::SerialScope() { ++serial_scopes; }
SerialScope::~SerialScope() { --serial_scopes; }

void detail::parallel_for(int64_t begin, int64_t end, int64_t grain, RangeFunction function,
                          void* context) {
  if (begin >= end) return;
  if (end - begin <= grain || serial_scopes > 0 || serial.load(std::memory_order_relaxed)) {
    function(begin, end, context);
  } else if (torch_parallel_for(begin, end, grain, function, context) != 0) {
    throw std::runtime_error("pyfast: a worker thread failed, most likely for want of memory");
  }
}

}  // namespace pyfast
