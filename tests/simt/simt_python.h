// What every module of the SIMT tests offers Python besides its kernels.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "core/device_memory.h"
#include "simt_machine.h"

namespace simt {

// Memory for launchers: exact, so that ASan sees its end, and of bytes that are NaN in every type.
class TestMemory {
 public:
  // There is none beyond `most` blocks.
  explicit TestMemory(size_t most = SIZE_MAX) : most_(most) {}
  operator pyfast::DeviceMemory() {
    return {this, [](void* context, size_t bytes) -> void* {
              auto* self = static_cast<TestMemory*>(context);
              auto& blocks = self->blocks_;
              if (blocks.size() == self->most_) throw std::bad_alloc();
              blocks.emplace_back(new unsigned char[bytes]);
              std::memset(blocks.back().get(), 0xff, bytes);
              return blocks.back().get();
            }};
  }

 private:
  std::vector<std::unique_ptr<unsigned char[]>> blocks_;
  size_t most_;
};

inline void set_schedule(const std::string& name, uint32_t seed) {
  schedule = name == "reverse"  ? Schedule::kReverse
             : name == "random" ? Schedule::kRandom
                                : Schedule::kForward;
  simt::seed = seed;
}

// Counted since the last call.
inline pybind11::dict take_counters() {
  const auto counted = std::exchange(counters, {});
  pybind11::dict result;
  result["launches"] = counted.launches;
  result["block_barriers"] = counted.block_barriers;
  result["warp_barriers"] = counted.warp_barriers;
  result["atomics"] = counted.atomics;
  result["waits"] = counted.waits;
  return result;
}

inline void bind_machine(pybind11::module_& module) {
  module.def("set_schedule", &set_schedule, pybind11::arg("name"), pybind11::arg("seed") = 0);
  module.def("take_counters", &take_counters);
}

}  // namespace simt
