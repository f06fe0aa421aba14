// The machine behind simt.h: blocks one after another, one fibre a waiting thread.
//
// The threads of a block take turns, each until it waits at a barrier. A thread that waits keeps
// its fibre and another fibre goes on with the threads not yet started, so that a kernel without
// barriers is a plain loop on one fibre.
#pragma once

#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <numeric>
#include <random>
#include <source_location>
#include <string>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

struct uint3 {
  unsigned x = 0, y = 0, z = 0;
};
struct dim3 : uint3 {
  dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : uint3{x_, y_, z_} {}
};
inline uint3 threadIdx, blockIdx;
inline dim3 blockDim, gridDim;
constexpr int warpSize = 32;

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInvalidConfiguration = 9
};
using cudaStream_t = struct CUstream_st*;

namespace simt {

enum class Schedule { kForward, kReverse, kRandom };
inline Schedule schedule = Schedule::kForward;
inline uint32_t seed = 0;  // of the random schedule

struct Counters {
  int64_t launches = 0, block_barriers = 0, warp_barriers = 0, atomics = 0;
  int64_t waits = 0;  // of the host for the stream
};
inline Counters counters;

using Location = std::source_location;
enum class State { kNew, kReady, kBlockBarrier, kWarpBarrier, kActiveMask, kDone };

struct Fibre;
struct Thread {
  State state = State::kNew;
  uint3 index;
  Fibre* fibre = nullptr;
  Location where;        // of the barrier it waits at
  unsigned mask = 0;     // whom it waits for in its warp; afterwards who took part
  uint64_t brought = 0;  // to a warp operation
  uint64_t shown = 0;    // to the others of that operation, until the next one
};

#if defined(__SANITIZE_ADDRESS__)
constexpr size_t kStackBytes = 256 << 10;
#else
constexpr size_t kStackBytes = 64 << 10;
#endif

// Where a fibre goes on. A jump does without swapcontext's two calls of the operating system, but
// AddressSanitizer follows only the latter.
struct Context {
  ucontext_t context;
  jmp_buf jump;
  bool entered = false;

  void leave_for(Context& other) {
#if defined(__SANITIZE_ADDRESS__)
    swapcontext(&context, &other.context);
#else
    if (_setjmp(jump) != 0) return;
    if (other.entered) _longjmp(other.jump, 1);
    other.entered = true;
    setcontext(&other.context);
#endif
  }
};

struct Fibre {
  Context context;
  std::unique_ptr<char[]> stack{new char[kStackBytes]};
  void* fake_stack = nullptr;
};

class Machine {
 public:
  cudaError_t last_error = cudaSuccess;
  std::unique_ptr<unsigned char[]> dynamic_shared;

  void launch(dim3 grid, dim3 block, size_t shared_bytes, std::function<void()> body) {
    const uint64_t blocks = uint64_t(grid.x) * grid.y * grid.z;
    const uint64_t size = uint64_t(block.x) * block.y * block.z;
    if (blocks == 0 || size == 0 || size > 1024 || block.z > 64 || grid.x > 0x7fffffffu ||
        grid.y > 65535 || grid.z > 65535 || shared_bytes > 48 << 10) {
      last_error = cudaErrorInvalidConfiguration;
      return;
    }
    ++counters.launches;
    body_ = std::move(body);
    gridDim = grid;
    blockDim = block;
    random_.seed(seed);
    std::vector<uint64_t> order(blocks);
    std::iota(order.begin(), order.end(), 0);
    arrange(order);
    dynamic_shared.reset(new unsigned char[shared_bytes]);  // exact, so that ASan sees its end
    for (uint64_t number : order) {
      blockIdx = {unsigned(number % grid.x), unsigned(number / grid.x % grid.y),
                  unsigned(number / grid.x / grid.y)};
      std::memset(dynamic_shared.get(), 0xff, shared_bytes);  // NaN in every type
      run_block(size);
    }
  }

  unsigned lane() const { return unsigned(current_ - threads_.data()) % warpSize; }
  Thread& current() { return *current_; }
  const Thread& lane_of_warp(unsigned lane) const {
    return threads_[(current_ - threads_.data()) / warpSize * warpSize + lane];
  }

  // Parks the running thread until the barrier opens.
  void wait(State state, unsigned mask, uint64_t brought, Location where) {
    Thread& self = *current_;
    self.state = state;
    self.mask = mask;
    self.brought = brought;
    self.where = where;
    if (state == State::kWarpBarrier && !(mask >> lane() & 1))
      stop("a mask without its own thread");
    leave(*self.fibre);
    current_ = &self;
    threadIdx = self.index;
  }

 private:
  void run_block(uint64_t size) {
    threads_.assign(size, Thread());
    order_.resize(size);
    std::iota(order_.begin(), order_.end(), 0);
    arrange(order_);
    for (uint64_t i = 0; i < size; ++i) {
      threads_[i].index = {unsigned(i % blockDim.x), unsigned(i / blockDim.x % blockDim.y),
                           unsigned(i / blockDim.x / blockDim.y)};
    }
    for (started_ = 0; started_ < size;) {
      if (idle_.empty()) idle_.push_back(new_fibre());
      Fibre* fibre = idle_.back();
      idle_.pop_back();
      enter(*fibre);
    }
    while (open_warp_barriers() || open_active_masks() || open_block_barrier()) {
      if (schedule == Schedule::kRandom) arrange(order_);
      for (uint64_t i : order_) {
        if (threads_[i].state == State::kReady) enter(*threads_[i].fibre);
      }
    }
  }

  template <class T>
  void arrange(std::vector<T>& order) {
    if (schedule == Schedule::kReverse) std::reverse(order.begin(), order.end());
    if (schedule == Schedule::kRandom) std::shuffle(order.begin(), order.end(), random_);
  }

  // What every fibre does, for ever: start the threads that no other fibre has started.
  void work() {
    Fibre& self = *running_;
    finish_switch(nullptr, &scheduler_stack_, &scheduler_stack_size_);
    for (;;) {
      while (started_ < order_.size()) {
        Thread& thread = threads_[order_[started_++]];
        thread.fibre = &self;
        current_ = &thread;
        threadIdx = thread.index;
        body_();
        thread.state = State::kDone;
      }
      idle_.push_back(&self);
      leave(self);
    }
  }

  // --- Barriers: tried when no thread can run any further; true when one opened ---------------

  unsigned lanes_of(uint64_t first, const std::function<bool(const Thread&)>& condition) const {
    unsigned lanes = 0;
    for (uint64_t i = first; i < std::min<uint64_t>(first + warpSize, threads_.size()); ++i)
      lanes |= unsigned(condition(threads_[i])) << (i - first);
    return lanes;
  }

  void open(uint64_t first, unsigned lanes) {
    for (unsigned lane = 0; lane < warpSize; ++lane) {
      if (!(lanes >> lane & 1)) continue;
      Thread& thread = threads_[first + lane];
      thread.state = State::kReady;
      thread.mask = lanes;
      thread.shown = thread.brought;
    }
  }

  static bool same_place(const Thread& a, const Thread& b) {
    return a.state == b.state && a.where.line() == b.where.line() &&
           a.where.column() == b.where.column() &&
           std::strcmp(a.where.file_name(), b.where.file_name()) == 0;
  }

  bool open_warp_barriers() {
    bool opened = false;
    for (uint64_t i = 0; i < threads_.size(); ++i) {
      const Thread& thread = threads_[i];
      if (thread.state != State::kWarpBarrier) continue;
      const uint64_t first = i / warpSize * warpSize;
      const unsigned gone = lanes_of(first, [](auto& t) { return t.state == State::kDone; });
      const unsigned here =
          lanes_of(first, [&](auto& t) { return same_place(t, thread) && t.mask == thread.mask; });
      const unsigned beyond =
          first + warpSize <= threads_.size() ? 0u : ~0u << (threads_.size() - first);
      if ((thread.mask & ~gone & ~beyond) != here) continue;
      open(first, here);
      ++counters.warp_barriers;
      opened = true;
    }
    return opened;
  }

  // The threads that ask who is active get the largest answer that is true.
  bool open_active_masks() {
    bool opened = false;
    for (uint64_t i = 0; i < threads_.size(); ++i) {
      const Thread thread = threads_[i];
      if (thread.state != State::kActiveMask) continue;
      const uint64_t first = i / warpSize * warpSize;
      open(first, lanes_of(first, [&](auto& t) { return same_place(t, thread); }));
      opened = true;
    }
    return opened;
  }

  bool open_block_barrier() {
    const Thread* first = nullptr;
    for (const Thread& thread : threads_) {
      if (thread.state == State::kDone) continue;
      if (first == nullptr) first = &thread;
      if (thread.state != State::kBlockBarrier || !same_place(thread, *first))
        stop("threads that wait for each other at different places");
    }
    if (first == nullptr) return false;
    for (uint64_t i = 0; i < threads_.size(); i += warpSize)
      open(i, lanes_of(i, [](auto& t) { return t.state == State::kBlockBarrier; }));
    ++counters.block_barriers;
    return true;
  }

  [[noreturn]] void stop(const char* reason) const {
    std::fprintf(stderr, "simt: block (%u, %u, %u) has %s\n", blockIdx.x, blockIdx.y, blockIdx.z,
                 reason);
    std::vector<bool> told(threads_.size(), false);
    for (size_t i = 0; i < threads_.size(); ++i) {
      const Thread& thread = threads_[i];
      if (told[i] || thread.state == State::kNew || thread.state == State::kReady ||
          thread.state == State::kDone)
        continue;
      std::string who;
      for (size_t j = i; j < threads_.size(); ++j) {
        if (!same_place(threads_[j], thread) || threads_[j].mask != thread.mask) continue;
        told[j] = true;
        who += " " + std::to_string(j);
      }
      std::fprintf(stderr, "simt: %s:%u: %s, mask %08x, wait threads%s\n", thread.where.file_name(),
                   unsigned(thread.where.line()),
                   thread.state == State::kBlockBarrier ? "block barrier" : "warp barrier",
                   thread.mask, who.c_str());
    }
    std::abort();
  }

  // --- Fibres ---------------------------------------------------------------------------------

  Fibre* new_fibre();

  void enter(Fibre& fibre) {
    running_ = &fibre;
    void* fake_stack = nullptr;
    start_switch(&fake_stack, fibre.stack.get(), kStackBytes);
    scheduler_.leave_for(fibre.context);
    finish_switch(fake_stack, nullptr, nullptr);
  }

  void leave(Fibre& fibre) {
    start_switch(&fibre.fake_stack, scheduler_stack_, scheduler_stack_size_);
    fibre.context.leave_for(scheduler_);
    finish_switch(fibre.fake_stack, &scheduler_stack_, &scheduler_stack_size_);
  }

  // ASan has to know which stack is in use.
#if defined(__SANITIZE_ADDRESS__)
  static void start_switch(void** fake, const void* bottom, size_t size) {
    __sanitizer_start_switch_fiber(fake, bottom, size);
  }
  static void finish_switch(void* fake, const void** bottom, size_t* size) {
    __sanitizer_finish_switch_fiber(fake, bottom, size);
  }
#else
  static void start_switch(void**, const void*, size_t) {}
  static void finish_switch(void*, const void**, size_t*) {}
#endif

  std::function<void()> body_;
  std::mt19937 random_;
  std::vector<Thread> threads_;
  std::vector<uint64_t> order_;
  size_t started_ = 0;  // how many of order_
  Thread* current_ = nullptr;
  std::vector<std::unique_ptr<Fibre>> fibres_;
  std::vector<Fibre*> idle_;
  Fibre* running_ = nullptr;  // the fibre entered last
  Context scheduler_{.context = {}, .jump = {}, .entered = true};
  const void* scheduler_stack_ = nullptr;
  size_t scheduler_stack_size_ = 0;
};
inline Machine machine;

inline Fibre* Machine::new_fibre() {
  Fibre* fibre = fibres_.emplace_back(new Fibre).get();
  ucontext_t& context = fibre->context.context;
  getcontext(&context);
  context.uc_stack.ss_sp = fibre->stack.get();
  context.uc_stack.ss_size = kStackBytes;
  context.uc_link = nullptr;
  makecontext(&context, [] { machine.work(); }, 0);
  return fibre;
}

}  // namespace simt
