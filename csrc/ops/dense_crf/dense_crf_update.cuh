// One step of the mean field for every pixel at once: slice the lattices, finish the Gaussians of
// the grid, weigh the messages by the costs, add them to the unary energies, softmax. Nothing in
// between leaves the registers.
#pragma once

#include "ops/dense_crf/dense_crf_filter.cuh"
#include "ops/dense_crf/dense_crf_grid.cuh"

namespace pyfast {
namespace PF_ISA {

// Costs (L, L) in rows that are padded with zeros, and their diagonal.
template <class Real>
struct Costs {
  Real* matrix;
  Real* diagonal;
  int32_t* is_full;  // 1 where something lies beside the diagonal
};

template <class Real>
__global__ void __launch_bounds__(kThreads)
    prepare_costs(const Real* cost, int32_t labels, int64_t stride, Costs<Real> costs) {
  const int64_t i = thread_number(), row = i / stride, column = i % stride;
  if (row >= labels) return;
  const Real value = column < labels ? cost[row * labels + column] : Real(0);
  costs.matrix[i] = value;
  if (row == column) costs.diagonal[row] = value;
  if (row == 0 && column >= labels) costs.diagonal[column] = Real(0);
  if (row != column && value != 0) *costs.is_full = 1;
}

// What one kernel K~ needs at a pixel: factor * after[pixel] * (a slice, or a sum along y).
template <class Real>
struct Message {
  LatticeView<Real> lattice;
  const Real* rows;  // of the lattice's vertices, blurred; or of pixels, blurred along x
  Taps<Real> along_y;
  bool on_grid;
  const Real* after;  // or null. On the grid of the points of one image, else of all.
  Real factor;
  Costs<Real> costs;
};

template <class Real>
struct MeanFieldStep {
  int64_t all_points, points, width;
  RowShape shape;
  const Real* logits;  // rows of minus the unary energies
  int32_t message_count;
  Message<Real> messages[kMostKernels];
  Real* marginals;  // rows
};

template <int V, class Real>
PF_HD Pack<Real, V> message_at(const MeanFieldStep<Real>& step, const Message<Real>& m,
                               int64_t point, int32_t part) {
  Pack<Real, V> sum = m.on_grid ? blur_along_y<V>(m.rows, point, step.points, step.width,
                                                  step.shape.packs, part, m.along_y)
                                : slice<V>(m.lattice, m.rows, step.shape.stride(), point, part);
  Real factor = m.factor;
  if (m.after != nullptr) factor *= m.after[m.on_grid ? point % step.points : point];
  for (int v = 0; v < V; ++v) sum.at[v] *= factor;
  return sum;
}

// A thread's packs of a row: in registers for up to T, otherwise in the row of the result.
template <class Real, int V, int T>
struct OwnPacks {
  Pack<Real, V> pack[T];
  PF_HD OwnPacks(Real*) {}
  PF_HD Pack<Real, V>& at(int t, int32_t) { return pack[t]; }
};
template <class Real, int V>
struct OwnPacks<Real, V, 0> {
  Pack<Real, V>* row;
  PF_HD OwnPacks(Real* row_) : row(packs_of<V>(row_)) {}
  PF_HD Pack<Real, V>& at(int, int32_t part) { return row[part]; }
};

// Over the threads that share a row.
template <class Real>
__device__ __forceinline__ Real sum_of_group(Real value, int lanes) {
  for (int step = lanes / 2; step > 0; step /= 2) value += __shfl_xor_sync(~0u, value, step);
  return value;
}

// T: packs of a thread, or 0 for any number.
template <class Real, int V, int T>
__global__ void __launch_bounds__(kThreads, 1) update(const MeanFieldStep<Real> step) {
  const auto [group, lane] = lane_of(step.shape);
  const bool has_work = group < step.all_points;
  const int32_t lanes = step.shape.lanes(), packs = step.shape.packs;
  // Threads without work keep the others of their warp company in shuffles.
  if (!has_work && lanes == kWarp) return;
  const int64_t point = has_work ? group : step.all_points - 1, stride = step.shape.stride();
  const int32_t labels = step.shape.channels;
  const int trips = T > 0 ? T : (packs + lanes - 1) / lanes;
  OwnPacks<Real, V, T> energy(step.marginals + point * stride);
  const auto* logits = packs_of<V>(step.logits + point * stride);
#pragma unroll
  for (int t = 0; t < trips; ++t) {
    const int32_t part = lane + t * lanes;
    if (part < packs) energy.at(t, part) = logits[part];
  }
  for (int k = 0; k < step.message_count; ++k) {
    const Message<Real>& m = step.messages[k];
    const bool is_full = *m.costs.is_full != 0;
#pragma unroll
    for (int t = 0; t < trips; ++t) {
      const int32_t part = lane + t * lanes;
      Pack<Real, V> message{};
      if (part < packs) message = message_at<V>(step, m, point, part);
      if (!is_full) {
        if (part >= packs) continue;
        const Pack<Real, V> cost = packs_of<V>(m.costs.diagonal)[part];
        for (int v = 0; v < V; ++v) energy.at(t, part).at[v] -= cost.at[v] * message.at[v];
        continue;
      }
      // Every label's message in turn, from the thread that has it to all of the row.
      for (int from = 0; from < lanes; ++from) {
        for (int v = 0; v < V; ++v) {
          const Real one = __shfl_sync(~0u, message.at[v], from, lanes);
          const int32_t label = (from + t * lanes) * V + v;
          if (label >= labels) continue;
#pragma unroll
          for (int u = 0; u < trips; ++u) {
            const int32_t to = lane + u * lanes;
            if (to < packs)
              add_scaled(&energy.at(u, to), -one, packs_of<V>(m.costs.matrix + label * stride)[to]);
          }
        }
      }
    }
  }
  Real most = -INFINITY, sum = 0;
#pragma unroll
  for (int t = 0; t < trips; ++t) {
    const int32_t part = lane + t * lanes;
    for (int v = 0; v < V && part < packs; ++v)
      if (part * V + v < labels && energy.at(t, part).at[v] > most) most = energy.at(t, part).at[v];
  }
  most = most_of_group(most, lanes);
#pragma unroll
  for (int t = 0; t < trips; ++t) {
    const int32_t part = lane + t * lanes;
    for (int v = 0; v < V && part < packs; ++v) {
      Real& value = energy.at(t, part).at[v];
      value = part * V + v < labels ? exp_of(value - most) : Real(0);
      sum += value;
    }
  }
  sum = sum_of_group(sum, lanes);
  if (!has_work) return;
  auto* marginals = packs_of<V>(step.marginals + point * stride);
#pragma unroll
  for (int t = 0; t < trips; ++t) {
    const int32_t part = lane + t * lanes;
    if (part >= packs) continue;
    Pack<Real, V> value = energy.at(t, part);
    for (int v = 0; v < V; ++v) value.at[v] /= sum;
    marginals[part] = value;
  }
}

template <class Real>
void launch_update(Run& run, const MeanFieldStep<Real>& step) {
  const unsigned blocks = run.blocks_for(step.shape.threads(step.all_points));
  const int64_t trips = ceil_div(step.shape.packs, step.shape.lanes());
  with_pack(step.shape, [&](auto pack) {
    constexpr int V = decltype(pack)::kPack;
    if (V < 4 || trips <= 1) {
      run.launch(update<Real, V, 1>, blocks, step);
    } else if (trips <= 2) {
      run.launch(update<Real, 4, 2>, blocks, step);
    } else if (trips <= 4) {
      run.launch(update<Real, 4, 4>, blocks, step);
    } else {
      run.launch(update<Real, 4, 0>, blocks, step);
    }
  });
}

}  // namespace PF_ISA
}  // namespace pyfast
