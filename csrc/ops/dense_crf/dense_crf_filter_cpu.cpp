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

// A blur from one numbering of vertices to another.
struct Crossing {
  const int32_t* pairs;      // neighbours
  const int32_t* vertex_of;  // of a row that is written; null: its own number
  const int32_t* row_of;     // where a vertex is read; null: its own number
};

// body(vertex_of, row_of)
template <class Body>
inline void by_numbering(const Crossing& c, const Body& body) {
  const auto itself = [](int64_t i) { return i; };
  const auto in = [](const int32_t* table) { return [=](int64_t i) { return int64_t{table[i]}; }; };
  if (c.vertex_of != nullptr) {
    body(in(c.vertex_of), itself);
  } else if (c.row_of != nullptr) {
    body(itself, in(c.row_of));
  } else {
    body(itself, itself);
  }
}

// --- rows of blocks ---

template <class S, int kBlocks>
void splat(const Sweep<S>& w, int64_t begin, int64_t end) {
  using R = Row<Accumulator<S>, kBlocks>;
  constexpr int64_t kRow = R::kChannels, kAhead = 48, kFarAhead = 128;
  const int32_t *starts = w.lattice.starts, *list = w.lattice.list_points;
  const auto* weights = w.list_weights;
  const S* points = w.points;
  S* out = w.used;
  for (int64_t v = begin; v < end; ++v) {
    __builtin_prefetch(out + (v + kAhead) * kRow, 1);
    R sum = R::zeros();
    for (int64_t e = starts[v]; e < starts[v + 1]; ++e) {
      __builtin_prefetch(list + e + kFarAhead);
      __builtin_prefetch(weights + e + kFarAhead);
      const S* ahead = points + list[e + kAhead] * kRow;  // may lie across two cache lines
      __builtin_prefetch(ahead, 0, 2);
      __builtin_prefetch(ahead + kRow - 1, 0, 2);
      sum.add(weights[e], R::load(points + list[e] * kRow));
    }
    sum.store(out + v * kRow);
  }
}

// Along an axis that leads out of a slab.
template <class S, int kBlocks>
void blur_across(const Crossing& c, const S* in, int64_t begin, int64_t end, S* out) {
  using Real = Accumulator<S>;
  using R = Row<Real, kBlocks>;
  // A slab's pairs are too few for the processor to foresee, and the next slab's follow them.
  constexpr int64_t kAhead = 64, kRowsAhead = 16;
  by_numbering(c, [&](auto vertex_of, auto row_of) {
    const auto row = [&](int64_t v) { return R::load(in + row_of(v) * R::kChannels); };
    for (int64_t i = begin; i < end; ++i) {
      const int64_t v = vertex_of(i);
      __builtin_prefetch(c.pairs + 2 * (v + kAhead));
      if (c.row_of == nullptr)  // behind the last pairs lie other words: no place, but memory
        for (int side = 0; side < 2; ++side)
          __builtin_prefetch(in + int64_t{c.pairs[2 * (v + kRowsAhead) + side]} * R::kChannels);
      __builtin_prefetch(out + (i + 2 * kRowsAhead) * R::kChannels, 1);
      R sum = row(v);
      sum.add(Real(0.5), row(c.pairs[2 * v]));
      sum.add(Real(0.5), row(c.pairs[2 * v + 1]));
      sum.store(out + i * R::kChannels);
    }
  });
}

// Along the chains of a slab: what a vertex had before is still in registers when the next needs
// it.
template <class S, int kBlocks>
void blur_chains(const int32_t* chain, int32_t end, S* rows) {
  using Real = Accumulator<S>;
  using R = Row<Real, kBlocks>;
  const auto row_of = [&](int32_t word) {
    return rows + chained_vertex(word) * int64_t{R::kChannels};
  };
  R before = R::zeros(), here = R::load(row_of(*chain));
  for (; *chain != end; ++chain) {
    const R after = R::load(row_of(chain[1]));
    const bool goes_on = *chain >= 0;
    R sum = here;
    sum.add(Real(0.5), before);
    sum.add(Real(0.5), after.where(goes_on));
    sum.store(row_of(*chain));
    before = here.where(goes_on);
    here = after;
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
  const int32_t *starts = w.lattice.starts, *list = w.lattice.list_points;
  const int64_t entries = starts[w.lattice.used];
  const Int lane = {0, 1, 2, 3, 4, 5, 6, 7};
  for (int64_t v = begin; v < end; ++v) {
    V sums = {};
    int64_t e = starts[v];
    __builtin_prefetch(list + e + kEntriesAhead);
    __builtin_prefetch(w.list_weights + e + kEntriesAhead);
    for (; e < starts[v + 1] && e + 8 <= entries; e += 8) {
      V values = V{} + 1;
      if (w.points != nullptr)
        for (int i = 0; i < 8; ++i) values[i] = widen(w.points[list[e + i]]);
      values *= load<V>(w.list_weights + e);
      const auto left = static_cast<Count>(starts[v + 1] - e);
      sums += Int{} + left > lane ? values : V{};
    }
    Real sum = add_lanes<Real>(sums);
    for (; e < starts[v + 1]; ++e)
      sum += w.list_weights[e] * (w.points != nullptr ? widen(w.points[list[e]]) : Real(1));
    w.used[v] = narrow<S>(sum);
  }
}

// One by one, as there is no quicker way to gather.
template <class S>
void blur_across_alone(const Crossing& c, const S* in, int64_t begin, int64_t end, S* out) {
  using Real = Accumulator<S>;
  by_numbering(c, [&](auto vertex_of, auto row_of) {
    const auto value = [&](int64_t v) { return widen(in[row_of(v)]); };
    for (int64_t i = begin; i < end; ++i) {
      const int64_t v = vertex_of(i);
      out[i] =
          narrow<S>(value(v) + Real(0.5) * (value(c.pairs[2 * v]) + value(c.pairs[2 * v + 1])));
    }
  });
}

template <class S>
void blur_chains_alone(const int32_t* chain, int32_t end, S* values) {
  using Real = Accumulator<S>;
  Real before = 0, here = widen(values[chained_vertex(*chain)]);
  for (; *chain != end; ++chain) {
    const Real after = widen(values[chained_vertex(chain[1])]);
    const bool goes_on = *chain >= 0;
    values[chained_vertex(*chain)] = narrow<S>(here + Real(0.5) * (before + where(goes_on, after)));
    before = where(goes_on, here);
    here = after;
  }
}

template <class S>
struct SlabKernels {
  void (*splat)(const Sweep<S>&, int64_t, int64_t);
  void (*across)(const Crossing&, const S*, int64_t, int64_t, S*);
  void (*chains)(const int32_t*, int32_t, S*);
};

template <class S>
SlabKernels<S> slab_kernels(int blocks) {
  SlabKernels<S> kernels{splat_alone<S>, blur_across_alone<S>, blur_chains_alone<S>};
  if (blocks > 0)
    with_blocks(blocks, [&](auto count) {
      constexpr int kBlocks = decltype(count)::value;
      kernels = {splat<S, kBlocks>, blur_across<S, kBlocks>, blur_chains<S, kBlocks>};
    });
  return kernels;
}

template <class S>
void sweep(const Sweep<S>& w, const SweepRange& range) {
  const auto& lattice = w.lattice;
  const auto kernels = slab_kernels<S>(w.blocks);
  const int d = lattice.dims;
  const int32_t *of_first = lattice.neighbours, *of_last = of_first + 2 * lattice.vertices;
  const Crossing enter{w.transposed ? of_last : of_first, nullptr, lattice.used_of};
  const Crossing leave{w.transposed ? of_first : of_last, lattice.vertex_of, nullptr};
  int64_t from = range.first[0], to = range.last[0];
  for (int j = 1; j < kSweepStages; ++j) {
    from = range.first[j] + j < from ? range.first[j] + j : from;
    to = range.last[j] + j > to ? range.last[j] + j : to;
  }
  for (int64_t time = from; time < to; ++time)
    for (int stage = 0; stage < kSweepStages; ++stage) {
      const int64_t slab = time - stage;
      if (slab < range.first[stage] || slab >= range.last[stage]) continue;
      const int32_t* const starts = stage == 1 ? lattice.slab_starts : lattice.used_starts;
      const int64_t begin = starts[slab], end = starts[slab + 1];
      if (begin == end) continue;
      if (stage == 0) {
        kernels.splat(w, begin, end);
      } else if (stage == 2) {
        kernels.across(leave, w.all, begin, end, w.used);
      } else {
        kernels.across(enter, w.used, begin, end, w.all);
        for (int i = 0; i < d - 1; ++i) {
          const int64_t axis = w.transposed ? d - 2 - i : i;
          kernels.chains(lattice.chains + axis * (lattice.vertices + lattice.slabs) + begin + slab,
                         ~static_cast<int32_t>(lattice.vertices), w.all);
        }
      }
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
    for (int64_t n = begin; n < end; ++n)
      planes[n] = factor * sum_of_corners<S>(lattice, corners, weights, corner_count, n);
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
