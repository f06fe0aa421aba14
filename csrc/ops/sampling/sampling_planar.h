// Groups of channels repacked into a box: the forward call and the gradient of the input, a tile at
// a time.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "ops/sampling/sampling_box.h"
#include "ops/sampling/sampling_pixels.h"

namespace pyfast {
namespace PF_ISA {

// Lanes of a group of channels. Of many channels: of the output as many as are transposed in
// registers, of gradients a register of float, and no fewer than 8.
template <class Real>
constexpr int kForwardLanes = kNative<Real> > 8 ? kNative<Real> : 8;
constexpr int kBackwardLanes = kForwardLanes<float>;
template <class Real>
using ForwardLanes =
    std::conditional_t<(kForwardLanes<Real> > 8), Numbers<1, 4, 8, 16>, Numbers<1, 4, 8>>;
using BackwardLanes = Numbers<1, 4, kBackwardLanes>;

// Calls body(Lanes<n>{}) with the group's number of lanes, one of those given.
template <int... kLanes, class Body>
void with_lanes(const Group& group, Numbers<kLanes...>, const Body& body) {
  ((group.lanes == kLanes ? body(Lanes<kLanes>{}) : void()), ...);
}

template <int kLanes, class T, class Real>
void forward_tile(const SamplingParams<T>& p, const SamplingPlan& plan, int64_t n,
                  const Group& group, const Tile& tile, const TaskMemory<Real>& memory) {
  Real *packed = memory.box, *line = memory.line;
  const Places<T> at(p, n);
  const Box box = box_of(at, plan, tile);
  const int64_t b = input_of(p, n);
  if (box.dense) pack_dense<kLanes>(p, b, group, box, packed);
  Run<Real> run;
  for (int r = 0, rows; r < tile.rows; r += rows) {
    rows = rows_of_run(tile, r);
    locate<false>(at, tile, r, rows, &run);
    const int64_t below = place<kLanes>(box, &run);
    if (!box.dense) pack_sparse<kLanes>(p, b, group, run, packed);
    T* out = p.output.at(n, group.first, tile.top + r, tile.left);
    const bool is_one_piece = p.output.w == 1 && (rows == 1 || p.output.h == tile.columns);
    if constexpr (std::is_same_v<T, Real> && kLanes == 1) {
      if (is_one_piece) {
        blend<1>(packed, below, run, out);
        continue;
      }
    }
    if constexpr (std::is_same_v<T, Real> && kTransposes<kLanes, Real>) {
      if (p.output.w == 1) {
        blend_to_planes<kLanes>(packed, below, run, is_one_piece ? run.count : tile.columns,
                                group.channels, out, p.output.c, p.output.h);
        continue;
      }
    }
    blend<kLanes>(packed, below, run, line);
    for (int k = 0; k < rows; ++k)
      scatter_pixels<kLanes, false>(line + k * tile.columns * kLanes, p.output.c, p.output.w,
                                    group.channels, tile.columns, out + k * p.output.h);
  }
}

// The incoming gradients of a run, kLanes values a pixel.
template <int kLanes, class T, class Real>
const Real* gradients(const SamplingParams<T>& p, int64_t n, const Group& group, const Tile& tile,
                      int r, int rows, Real* line) {
  const auto& view = p.grad_output;
  if constexpr (kLanes == 1 && std::is_same_v<T, Real>) {
    if (view.w == 1 && (rows == 1 || view.h == tile.columns))
      return view.at(n, group.first, tile.top + r, tile.left);
  }
  for (int k = 0; k < rows; ++k)
    gather_pixels<kLanes>(view.at(n, group.first, tile.top + r + k, tile.left), view.c, view.w,
                          group.channels, tile.columns, line + k * tile.columns * kLanes);
  return line;
}

template <int kLanes, class T, class Real>
Box spread_tile(const SamplingParams<T>& p, const SamplingPlan& plan, int64_t n, const Group& group,
                const Tile& tile, const TaskMemory<Real>& memory) {
  Real *packed = memory.box, *line = memory.line;
  const Places<T> at(p, n);
  const Box box = box_of(at, plan, tile);
  if (!box.dense) return box;
  constexpr int lanes = kSpreadLanes<kLanes>;
  std::memset(packed, 0, sizeof(Real) * lanes * box.columns * box.rows);
  Run<Real> run;
  for (int r = 0, rows; r < tile.rows; r += rows) {
    rows = rows_of_run(tile, r);
    locate<false>(at, tile, r, rows, &run);
    const int64_t below = place<lanes>(box, &run);
    spread<kLanes>(packed, below, run, gradients<kLanes>(p, n, group, tile, r, rows, line));
  }
  return box;
}

template <int kLanes, class T, class Real>
void merge_sparse(const SamplingParams<T>& p, int64_t n, const Group& group, const Tile& tile,
                  const Box& box, const TaskMemory<Real>& memory, int64_t begin, int64_t end) {
  constexpr int lanes = kSpreadLanes<kLanes>;
  Real *line = memory.line, *shares = memory.aside;
  const Places<T> at(p, n);
  Run<Real> run;
  for (int r = 0, rows; r < tile.rows; r += rows) {
    rows = rows_of_run(tile, r);
    locate<false>(at, tile, r, rows, &run);
    const int64_t below = place<lanes>(box, &run);
    std::memset(shares, 0, sizeof(Real) * lanes * kSparsePixels);
    spread<kLanes>(shares, below, run, gradients<kLanes>(p, n, group, tile, r, rows, line));
    add_sparse<kLanes>(p, input_of(p, n), group, run, shares, begin, end);
  }
}

template <int kLanes, class T, class Real>
void merge_tile(const SamplingParams<T>& p, int64_t n, const Group& group, const Tile& tile,
                const Box& box, const Real* packed, const TaskMemory<Real>& memory, int64_t begin,
                int64_t end) {
  if (!box.dense) return merge_sparse<kLanes>(p, n, group, tile, box, memory, begin, end);
  Real *line = memory.line, *zeros = memory.aside;  // zeros: what lies above the first line
  const int64_t first = begin > box.top ? begin : box.top;
  const int64_t last = end < box.top + box.rows ? end : box.top + box.rows;
  const int32_t from = clamp_index(box.left, 0, p.in_w);
  const int32_t to = clamp_index(box.left + box.columns, from, p.in_w);
  const int64_t width = static_cast<int64_t>(box.columns) * kSpreadLanes<kLanes>;
  if (kLanes == 1) std::memset(zeros, 0, sizeof(Real) * width);
  for (int64_t y = first; y < last; ++y) {
    const Real* pixels = packed + (y - box.top) * width;
    if constexpr (kLanes == 1) {
      fold(y > box.top ? pixels - width : zeros, pixels, box.columns, line);
      pixels = line;
    }
    scatter_pixels<kLanes, true>(pixels + static_cast<int64_t>(from - box.left) * kLanes,
                                 p.grad_input.c, p.grad_input.w, group.channels, to - from,
                                 p.grad_input.at(input_of(p, n), group.first, y, from));
  }
}

}  // namespace PF_ISA
}  // namespace pyfast
