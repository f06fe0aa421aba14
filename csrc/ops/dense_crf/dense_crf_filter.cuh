// The filter through the lattice: splat, blur along every axis, slice.
#pragma once

#include "ops/dense_crf/dense_crf_lattice.cuh"
#include "ops/dense_crf/dense_crf_rows.cuh"

namespace pyfast {
namespace PF_ISA {

// Entries of a chunk, which one group of threads adds up.
#ifndef PF_CHUNK
#define PF_CHUNK 64
#endif
constexpr int64_t kChunk = PF_CHUNK;

// The group of threads that this one belongs to, and its place there.
struct Lane {
  int64_t group;
  int32_t lane;
};
__device__ __forceinline__ Lane lane_of(const RowShape& shape) {
  const int64_t thread = thread_number();
  return {thread >> shape.lanes_log2, int32_t(thread & (shape.lanes() - 1))};
}

// The first vertex whose list starts at `at` or later; the one before goes on there, if it starts
// before and ends after.
template <class Real>
PF_HD int64_t first_from(const LatticeView<Real>& lattice, int64_t at) {
  return first_place(lattice.vertices, [&](int64_t v) { return lattice.starts[v] < at; });
}

// rows[v] = sum of weight * scale[point] * values[point] over the list of v. A chunk owns the
// vertices whose lists start there; what it adds to one that started before goes to carried[chunk].
template <class Real, int V>
__global__ void __launch_bounds__(kThreads)
    splat(LatticeView<Real> lattice, RowShape shape, const Real* values, const Real* scale,
          Real* rows, Real* carried) {
  const auto [chunk, lane] = lane_of(shape);
  const int64_t begin = chunk * kChunk, corners = lattice.corner_count();
  if (begin >= corners) return;
  const int64_t end = begin + kChunk < corners ? begin + kChunk : corners;
  const int64_t stride = shape.stride(), first = first_from(lattice, begin);
  for (int32_t part = lane; part < shape.packs; part += shape.lanes()) {
    const auto sum_up = [&](int64_t from, int64_t to) {
      Pack<Real, V> sum{};
      for (int64_t i = from; i < (to < end ? to : end); ++i) {
        const int64_t point = lattice.list_points[i];
        const Real weight = lattice.list_weights[i] * (scale != nullptr ? scale[point] : Real(1));
        add_scaled(&sum, weight, packs_of<V>(values + point * stride)[part]);
      }
      return sum;
    };
    int64_t from = lattice.starts[first];
    if (from > begin) packs_of<V>(carried + chunk * stride)[part] = sum_up(begin, from);
    for (int64_t v = first; v < lattice.vertices && (from < end || end == corners); ++v) {
      const int64_t to = lattice.starts[v + 1];
      packs_of<V>(rows + v * stride)[part] = sum_up(from, to);
      from = to;
    }
  }
}

// Adds what is carried, chunk after chunk, to the vertex that it belongs to.
template <class Real, int V>
__global__ void __launch_bounds__(kThreads)
    add_carried(LatticeView<Real> lattice, RowShape shape, const Real* carried, Real* rows) {
  const auto [chunk, lane] = lane_of(shape);
  const int64_t begin = chunk * kChunk, stride = shape.stride();
  if (begin >= lattice.corner_count()) return;
  const int64_t vertex = first_from(lattice, begin) - 1;
  if (vertex < 0) return;
  const int64_t start = lattice.starts[vertex], end = lattice.starts[vertex + 1];
  if (end <= begin || start < begin - kChunk) return;  // nothing carried, or not the first chunk
  for (int32_t part = lane; part < shape.packs; part += shape.lanes()) {
    Pack<Real, V> sum = packs_of<V>(rows + vertex * stride)[part];
    for (int64_t c = chunk; c * kChunk < end; ++c)
      add_scaled(&sum, Real(1), packs_of<V>(carried + c * stride)[part]);
    packs_of<V>(rows + vertex * stride)[part] = sum;
  }
}

// One axis: out[v] = in[v] + (in[one neighbour] + in[the other]) / 2. The row after the last is
// zero.
template <class Real, int V>
__global__ void __launch_bounds__(kThreads)
    blur(const Real* in, int64_t vertices, int32_t packs, const int32_t* neighbours, Real* out) {
  const int64_t i = thread_number(), vertex = i / packs;
  if (vertex >= vertices) return;
  const auto* from = packs_of<V>(in) + i % packs;
  const Pack<int32_t, 2> beside = packs_of<2>(neighbours)[vertex];
  Pack<Real, V> sum = from[vertex * packs];
  add_scaled(&sum, Real(0.5), from[int64_t{beside.at[0]} * packs]);
  add_scaled(&sum, Real(0.5), from[int64_t{beside.at[1]} * packs]);
  packs_of<V>(out)[i] = sum;
}

// The weighted sum of a point's vertices.
template <int V, class Real>
PF_HD Pack<Real, V> slice(const LatticeView<Real>& lattice, const Real* rows, int64_t stride,
                          int64_t point, int32_t part) {
  Pack<Real, V> sum{};
  const int64_t first = point * (lattice.dims + 1);
  for (int k = 0; k <= lattice.dims; ++k) {
    const Real* row = rows + lattice.corners[first + k] * stride;
    add_scaled(&sum, lattice.weights[first + k], packs_of<V>(row)[part]);
  }
  return sum;
}

// out = factor times the slice, for all points.
template <class Real, int V>
__global__ void __launch_bounds__(kThreads)
    slice_rows(LatticeView<Real> lattice, const Real* vertices, int32_t packs, Real factor,
               Real* out) {
  const int64_t i = thread_number(), point = i / packs;
  if (point >= lattice.batch * lattice.points) return;
  Pack<Real, V> sum = slice<V>(lattice, vertices, int64_t{packs} * V, point, int32_t(i % packs));
  for (int v = 0; v < V; ++v) sum.at[v] *= factor;
  packs_of<V>(out)[i] = sum;
}

template <class Real>
void slice_all(Run& run, const LatticeView<Real>& lattice, const RowShape& shape,
               const Real* vertices, Real* out) {
  with_pack(shape, [&](auto pack) {
    constexpr int V = decltype(pack)::kPack;
    run.launch(slice_rows<Real, V>, run.blocks_for(lattice.batch * lattice.points * shape.packs),
               lattice, vertices, shape.packs, Real(raw_slice_scale(lattice.dims)), out);
  });
}

// Two sets of rows for the vertices of a lattice, each with a row of zeros behind the last, and
// what is carried between chunks.
template <class Real>
struct LatticeRows {
  Real* rows[2];
  Real* carried;
};

template <class Real>
LatticeRows<Real> make_lattice_rows(Run& run, const LatticeView<Real>& lattice,
                                    const RowShape& shape) {
  const int64_t size = lattice.vertices * shape.stride();
  LatticeRows<Real> buffers{};
  for (auto& rows : buffers.rows) {
    rows = run.take<Real>(size + shape.stride());
    if (run.good()) run.zero(rows + size, shape.stride());
  }
  buffers.carried = run.take<Real>(ceil_div(lattice.corner_count(), kChunk) * shape.stride());
  return buffers;
}

// Splats and blurs; returns the rows of the vertices. The transposed filter takes the axes in the
// reverse order: where vertices are missing, the order matters.
template <class Real>
const Real* splat_and_blur(Run& run, const LatticeView<Real>& lattice, const RowShape& shape,
                           const Real* values, const Real* scale, bool transposed,
                           const LatticeRows<Real>& buffers) {
  Real *in = buffers.rows[0], *out = buffers.rows[1];
  with_pack(shape, [&](auto pack) {
    constexpr int V = decltype(pack)::kPack;
    const int64_t chunks = ceil_div(lattice.corner_count(), kChunk);
    const unsigned groups = run.blocks_for(shape.threads(chunks));
    run.launch(splat<Real, V>, groups, lattice, shape, values, scale, in, buffers.carried);
    run.launch(add_carried<Real, V>, groups, lattice, shape, buffers.carried, in);
    const unsigned blocks = run.blocks_for(lattice.vertices * shape.packs);
    for (int k = 0; k <= lattice.dims; ++k) {
      const int64_t axis = transposed ? lattice.dims - k : k;
      run.launch(blur<Real, V>, blocks, in, lattice.vertices, shape.packs,
                 lattice.neighbours + 2 * axis * lattice.vertices, out);
      Real* blurred = out;
      out = in;
      in = blurred;
    }
  });
  return in;
}

// Rows of values through the lattice.
template <class Real>
void filter_rows(Run& run, const LatticeView<Real>& lattice, const RowShape& shape,
                 const Real* values, bool transposed, Real* out) {
  const auto buffers = make_lattice_rows(run, lattice, shape);
  const Real* vertices =
      splat_and_blur<Real>(run, lattice, shape, values, nullptr, transposed, buffers);
  slice_all(run, lattice, shape, vertices, out);
}

// A lattice with the mass of its points.
template <class Real>
LatticeView<Real> build_whole_lattice(Run& run, const LatticeParams<Real>& p, LatticeMemory& memory,
                                      LatticeError* failure) {
  const auto lattice = build_lattice(run, p, memory, failure);
  if (!run.good() || *failure != LatticeError::kNone) return lattice;
  const int64_t points = p.batch * p.points;
  Real* ones = run.take<Real>(points);
  run.launch(fill<Real>, run.blocks_for(points), ones, points, Real(1));
  filter_rows(run, lattice, row_shape(1), ones, false, lattice.mass);
  return lattice;
}

}  // namespace PF_ISA
}  // namespace pyfast
