// Where a lattice on the CPU is put when nobody keeps it.
#pragma once

#include <cstdint>
#include <memory>

#include "core/workspace.h"
#include "ops/dense_crf/dense_crf.h"

namespace pyfast {

// Scratch memory of the most that it may need, of which only what it needs is touched. It is kept
// for the next call, which then has no pages to fault in.
struct ScratchLattice final : LatticeMemory {
  explicit ScratchLattice(int64_t most) : memory(most) {}
  int32_t* allocate(int64_t count) override {
    words = count;
    return memory.data();
  }
  Scratch<int32_t> memory;
  int64_t words = 0;
};

// Memory of its size, for a closed lattice, whose bound is many times what it needs.
struct HeapLattice final : LatticeMemory {
  int32_t* allocate(int64_t count) override {
    words = count;
    memory.reset(new int32_t[count]);
    return memory.get();
  }
  std::unique_ptr<int32_t[]> memory;
  int64_t words = 0;
};

}  // namespace pyfast
