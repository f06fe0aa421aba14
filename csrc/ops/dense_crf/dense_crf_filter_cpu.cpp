// Splat, blur and slice, compiled once for every instruction set.
#include <type_traits>

#include "ops/dense_crf/dense_crf_filter.h"
#include "ops/dense_crf/dense_crf_rows.h"

namespace pyfast {
namespace PF_ISA {
namespace {

template <class S>
void pack(const Accumulator<S>* planes, int64_t plane, int channels, int blocks, int64_t begin,
          int64_t end, const Accumulator<S>* factor, S* rows) {
  using Real = Accumulator<S>;
  if (blocks == 0) {
    for (int64_t n = begin; n < end; ++n)
      rows[n] = narrow<S>(factor == nullptr ? planes[n] : planes[n] * factor[n]);
    return;
  }
  const int64_t row = row_size(blocks);
  for (int64_t n = begin; n < end; n += 8) {
    const int count = static_cast<int>(end - n < 8 ? end - n : 8);
    for (int b = 0; b < blocks; ++b) {
      Vec<Real, 8> tile[8];
      read_planes(planes + b * 8 * plane + n, plane, channels - b * 8, count, tile);
      for (int i = 0; i < count; ++i)
        Lanes<S, 8>::store(rows + (n + i) * row + b * 8,
                           factor == nullptr ? tile[i] : tile[i] * factor[n + i]);
    }
  }
}

// --- rows of blocks ---

template <class S, int kBlocks>
void splat(const Sweep<S>& w, int64_t begin, int64_t end) {
  using R = Row<Accumulator<S>, kBlocks>;
  constexpr int64_t kRow = R::kChannels, kAhead = 16, kFarAhead = 64;
  const int32_t *starts = w.starts, *list = w.list_points;
  const auto* weights = w.list_weights;
  const S* points = w.points;
  S* out = w.buffer[0];
  for (int64_t v = begin; v < end; ++v) {
    __builtin_prefetch(out + (v + kAhead) * kRow, 1);
    R sum = R::zeros();
    for (int64_t e = starts[v]; e < starts[v + 1]; ++e) {
      __builtin_prefetch(list + e + kFarAhead);
      __builtin_prefetch(weights + e + kFarAhead);
      const S* ahead = points + list[e + kAhead] * kRow;  // may lie across two cache lines
      __builtin_prefetch(ahead);
      __builtin_prefetch(ahead + kRow - 1);
      sum.add(weights[e], R::load(points + list[e] * kRow));
    }
    sum.store(out + v * kRow);
  }
}

template <class S, int kBlocks>
void blur(const Sweep<S>& w, int stage, int64_t begin, int64_t end) {
  using Real = Accumulator<S>;
  using R = Row<Real, kBlocks>;
  constexpr int64_t kRow = R::kChannels;
  const int32_t* pairs = w.neighbours + 2 * w.vertices * w.plan.axis[stage];
  const S* in = w.buffer[(stage + 1) % 2];
  S* out = w.buffer[stage % 2];
  // A slab's pairs are too few for the processor to foresee, and the next slab's follow them.
  constexpr int64_t kAhead = 64;
  for (int64_t v = begin; v < end; ++v) {
    __builtin_prefetch(pairs + 2 * (v + kAhead));
    R sum = R::load(in + v * kRow);
    sum.add(Real(0.5), R::load(in + pairs[2 * v] * kRow));
    sum.add(Real(0.5), R::load(in + pairs[2 * v + 1] * kRow));
    sum.store(out + v * kRow);
  }
}

// --- one channel ---

// Most vertices have few points, and how many is hard to foretell: eight are taken at once, and
// those that belong to the vertices after count 0 times.
template <class S>
void splat_alone(const Sweep<S>& w, int64_t begin, int64_t end) {
  using Real = Accumulator<S>;
  using V = Vec<Real, 8>;
  using Int = typename LaneOps<V>::Int;
  using Count = std::remove_reference_t<decltype(Int{}[0])>;
  const int32_t *starts = w.starts, *list = w.list_points;
  const int64_t entries = starts[w.vertices];
  const Int lane = {0, 1, 2, 3, 4, 5, 6, 7};
  for (int64_t v = begin; v < end; ++v) {
    V sums = {};
    int64_t e = starts[v];
    for (; e < starts[v + 1] && e + 8 <= entries; e += 8) {
      V values;
      for (int i = 0; i < 8; ++i) values[i] = widen(w.points[list[e + i]]);
      values *= load<V>(w.list_weights + e);
      const auto left = static_cast<Count>(starts[v + 1] - e);
      sums += Int{} + left > lane ? values : V{};
    }
    Real sum = add_lanes<Real>(sums);
    for (; e < starts[v + 1]; ++e) sum += w.list_weights[e] * widen(w.points[list[e]]);
    w.buffer[0][v] = narrow<S>(sum);
  }
}

// One by one, as there is no quicker way to gather.
template <class S>
void blur_alone(const Sweep<S>& w, int stage, int64_t begin, int64_t end) {
  using Real = Accumulator<S>;
  const int32_t* pairs = w.neighbours + 2 * w.vertices * w.plan.axis[stage];
  const S* in = w.buffer[(stage + 1) % 2];
  S* out = w.buffer[stage % 2];
  for (int64_t v = begin; v < end; ++v)
    out[v] = narrow<S>(widen(in[v]) +
                       Real(0.5) * (widen(in[pairs[2 * v]]) + widen(in[pairs[2 * v + 1]])));
}

template <class S>
void run_stage(const Sweep<S>& w, int stage, int64_t begin, int64_t end) {
  if (w.blocks == 0) {
    stage == 0 ? splat_alone(w, begin, end) : blur_alone(w, stage, begin, end);
    return;
  }
  with_blocks(w.blocks, [&](auto blocks) {
    constexpr int kBlocks = decltype(blocks)::value;
    stage == 0 ? splat<S, kBlocks>(w, begin, end) : blur<S, kBlocks>(w, stage, begin, end);
  });
}

template <class S>
void sweep(const Sweep<S>& w, const SweepRange& range) {
  const int stages = w.plan.stages;
  const int64_t* lag = w.plan.lag;
  int64_t from = range.first[0] + lag[0], to = range.last[0] + lag[0];
  for (int j = 1; j < stages; ++j) {
    from = range.first[j] + lag[j] < from ? range.first[j] + lag[j] : from;
    to = range.last[j] + lag[j] > to ? range.last[j] + lag[j] : to;
  }
  for (int64_t time = from; time < to; ++time)
    for (int j = 0; j < stages; ++j) {
      const int64_t slab = time - lag[j];
      if (slab < range.first[j] || slab >= range.last[j]) continue;
      if (w.slab_starts[slab] < w.slab_starts[slab + 1])
        run_stage(w, j, w.slab_starts[slab], w.slab_starts[slab + 1]);
    }
}

template <class S, int kBlocks>
void slice_rows(const S* lattice, const int32_t* corners, const Accumulator<S>* weights,
                int corner_count, int channels, int64_t begin, int64_t end, Accumulator<S> factor,
                Accumulator<S>* planes, int64_t plane) {
  using Real = Accumulator<S>;
  using R = Row<Real, kBlocks>;
  for (int64_t n = begin; n < end; n += 8) {
    const int count = static_cast<int>(end - n < 8 ? end - n : 8);
    Real rows[8][R::kChannels];
    for (int i = 0; i < count; ++i) {
      R sum = R::zeros();
      for (int64_t e = (n + i) * corner_count; e < (n + i + 1) * corner_count; ++e)
        sum.add(weights[e], R::load(lattice + corners[e] * int64_t{R::kChannels}));
      sum.multiply(factor);
      sum.store(rows[i]);
    }
    for (int b = 0; b < kBlocks; ++b) {
      Vec<Real, 8> tile[8] = {};
      for (int i = 0; i < count; ++i) tile[i] = load<Vec<Real, 8>>(rows[i] + b * 8);
      write_planes<Real>(tile, planes + b * 8 * plane + n, plane, channels - b * 8, count);
    }
  }
}

template <class S>
void slice(const S* lattice, const int32_t* corners, const Accumulator<S>* weights,
           int corner_count, int channels, int blocks, int64_t begin, int64_t end,
           Accumulator<S> factor, Accumulator<S>* planes, int64_t plane) {
  if (blocks == 0) {
    for (int64_t n = begin; n < end; ++n) {
      Accumulator<S> sum = 0;
      for (int64_t e = n * corner_count; e < (n + 1) * corner_count; ++e)
        sum += weights[e] * widen(lattice[corners[e]]);
      planes[n] = factor * sum;
    }
    return;
  }
  with_blocks(blocks, [&](auto count) {
    slice_rows<S, decltype(count)::value>(lattice, corners, weights, corner_count, channels, begin,
                                          end, factor, planes, plane);
  });
}

template <class S>
void dot(const S* lattice, const int32_t* corners, int corner_count, const S* rows, int blocks,
         int64_t begin, int64_t end, Accumulator<S> factor, Accumulator<S>* sums) {
  if (blocks == 0) {
    for (int64_t n = begin; n < end; ++n)
      for (int64_t e = n * corner_count; e < (n + 1) * corner_count; ++e)
        sums[e] += factor * widen(rows[n]) * widen(lattice[corners[e]]);
    return;
  }
  with_blocks(blocks, [&](auto count) {
    using R = Row<Accumulator<S>, decltype(count)::value>;
    for (int64_t n = begin; n < end; ++n) {
      const R row = R::load(rows + n * R::kChannels);
      for (int64_t e = n * corner_count; e < (n + 1) * corner_count; ++e)
        sums[e] += factor * row.dot(R::load(lattice + corners[e] * int64_t{R::kChannels}));
    }
  });
}

template <class S>
const FilterKernels<S> kFilterKernels = {pack<S>, sweep<S>, slice<S>, dot<S>};

}  // namespace

template <class S>
const FilterKernels<S>& filter_kernels() {
  return kFilterKernels<S>;
}
template const FilterKernels<Half>& filter_kernels();
template const FilterKernels<float>& filter_kernels();
template const FilterKernels<double>& filter_kernels();

}  // namespace PF_ISA
}  // namespace pyfast
