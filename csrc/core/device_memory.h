// Memory of a GPU for launchers, which know neither torch nor whose allocator it comes from.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pyfast {

// What is taken stays until the work of the call is done. A failure to allocate is an exception.
struct DeviceMemory {
  void* context;
  void* (*allocate)(void* context, size_t bytes);

  template <class T>
  T* take(int64_t count) const {
    return static_cast<T*>(allocate(context, size_t(count > 0 ? count : 1) * sizeof(T)));
  }
};

}  // namespace pyfast
