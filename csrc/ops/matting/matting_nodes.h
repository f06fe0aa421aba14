// What the kernels of the levels of nodes share.
#pragma once

#include "core/vectors.h"
#include "ops/matting/matting_multigrid.h"

namespace pyfast {
namespace PF_ISA {

using Lanes8 = Vec<float, kNodes>;

// Calls f(m) with the number of unknowns as a type where it is common.
template <int kM>
struct Unknowns {
  int64_t count;
  int64_t operator()() const { return kM > 0 ? kM : count; }
  static constexpr int kKnown = kM;  // or 0
  static constexpr int kMost = kM > 0 ? kM : kMostUnknowns;
};

template <class F>
inline auto with_unknowns(const NodeLevel& level, const F& f) {
  return level.unknowns == 4   ? f(Unknowns<4>{4})
         : level.unknowns == 2 ? f(Unknowns<2>{2})
                               : f(Unknowns<0>{level.unknowns});
}

// One stored block of nodes.
struct NodeBlock {
  int64_t index, y, x;
  NodeBlock(const NodeLevel& level, int64_t i)
      : index(i), y(level.table.row[i]), x(int64_t{level.table.block[i]} * kNodes) {}
};

}  // namespace PF_ISA
}  // namespace pyfast
