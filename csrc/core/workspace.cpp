#include "core/workspace.h"

#include <pthread.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <new>
#include <vector>

namespace pyfast {
namespace {

constexpr size_t kAlign = 64;
constexpr size_t kLargePage = size_t{1} << 21;

struct Block {
  char* data;
  size_t size;
};

// The blocks in use are a prefix of `blocks`; the others wait to be used again.
struct Arena {
  std::mutex mutex;
  std::vector<Block> blocks;
  size_t used = 0;

  Arena();
  ~Arena();

  void* push(size_t bytes) {
    std::lock_guard<std::mutex> lock(mutex);
    if (used == blocks.size() || blocks[used].size < bytes) {
      const size_t size = (std::max(bytes, size_t{1}) + kAlign - 1) / kAlign * kAlign;
      char* data = static_cast<char*>(std::aligned_alloc(kAlign, size));
      if (data == nullptr) throw std::bad_alloc();
      prefer_large_pages(data, size);
      if (used < blocks.size()) {
        std::free(blocks[used].data);
        blocks[used] = {data, size};
      } else {
        blocks.push_back({data, size});
      }
    }
    return blocks[used++].data;
  }

  void pop() {
    std::lock_guard<std::mutex> lock(mutex);
    --used;
  }

  size_t release_idle() {
    size_t freed = 0;
    while (blocks.size() > used) {
      freed += blocks.back().size;
      std::free(blocks.back().data);
      blocks.pop_back();
    }
    return freed;
  }
};

struct Registry {
  std::mutex mutex;
  std::vector<Arena*> arenas;
};

Registry& registry();
void lock_registry() { registry().mutex.lock(); }
void unlock_registry() { registry().mutex.unlock(); }

// Never destroyed: worker threads may outlive static destructors. Held during a fork, lest the
// child inherits it locked by a thread that it does not have.
Registry& registry() {
  static Registry* instance = [] {
    auto* created = new Registry;
    pthread_atfork(lock_registry, unlock_registry, unlock_registry);
    return created;
  }();
  return *instance;
}

Arena::Arena() {
  std::lock_guard<std::mutex> lock(registry().mutex);
  registry().arenas.push_back(this);
}

Arena::~Arena() {
  std::lock_guard<std::mutex> lock(registry().mutex);
  auto& arenas = registry().arenas;
  arenas.erase(std::remove(arenas.begin(), arenas.end(), this), arenas.end());
  release_idle();
}

Arena& arena() {
  thread_local Arena instance;
  return instance;
}

}  // namespace

ScratchBytes::ScratchBytes(size_t bytes) : data_(arena().push(bytes)) {}

ScratchBytes::~ScratchBytes() { arena().pop(); }

void prefer_large_pages(void* data, size_t bytes) {
#if defined(MADV_HUGEPAGE)
  const uintptr_t begin = reinterpret_cast<uintptr_t>(data), end = begin + bytes;
  const uintptr_t first = (begin + kLargePage - 1) / kLargePage * kLargePage;
  const uintptr_t last = end / kLargePage * kLargePage;
  // Advice: where the system does not take it, pages are small.
  if (last > first) madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
#else
  (void)data;
  (void)bytes;
#endif
}

size_t clear_scratch() {
  // try_lock: after a fork, the mutex of a thread that no longer exists may stay locked for ever.
  std::unique_lock<std::mutex> all(registry().mutex, std::try_to_lock);
  if (!all.owns_lock()) return 0;
  size_t freed = 0;
  for (Arena* arena : registry().arenas) {
    std::unique_lock<std::mutex> one(arena->mutex, std::try_to_lock);
    if (one.owns_lock()) freed += arena->release_idle();
  }
  return freed;
}

}  // namespace pyfast
