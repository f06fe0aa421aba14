// Threads: torch's own pool, so that torch.set_num_threads holds and no second pool competes.
// Declared by hand, because drivers include no torch header.
#pragma once

#include <cstdint>

namespace pyfast {

// Calls body(begin, end) on disjoint ranges that cover [begin, end), each of at least `grain`
// items unless it is the last. Nested calls run on the calling thread.
template <class Body>
void parallel_for(int64_t begin, int64_t end, int64_t grain, const Body& body);

int num_threads();

// torch's pool hangs in a child process whose parent has used it: from then on everything runs on
// the calling thread. Called by Python after a fork.
void run_serially_from_now_on();

// While one is alive, parallel_for runs on the calling thread.
class SerialScope {
 public:
  SerialScope();
  ~SerialScope();
  SerialScope(const SerialScope&) = delete;
  SerialScope& operator=(const SerialScope&) = delete;
};

namespace detail {
using RangeFunction = void (*)(int64_t begin, int64_t end, void* context);
void parallel_for(int64_t begin, int64_t end, int64_t grain, RangeFunction, void* context);
}  // namespace detail

template <class Body>
void parallel_for(int64_t begin, int64_t end, int64_t grain, const Body& body) {
  detail::parallel_for(
      begin, end, grain,
      [](int64_t b, int64_t e, void* context) { (*static_cast<const Body*>(context))(b, e); },
      const_cast<Body*>(&body));
}

}  // namespace pyfast
