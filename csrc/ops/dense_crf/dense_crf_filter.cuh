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

template <class Real, int V>
PF_HD void add_scaled(Pack<Real, V>* sum, Real factor, const Pack<Real, V>& value) {
  for (int v = 0; v < V; ++v) sum->at[v] += factor * value.at[v];
}

// Whether a chunk goes on with the vertex that the chunk before ended with.
PF_HD bool is_carried(const int32_t* sorted_vertex, int64_t chunk) {
  return chunk > 0 && sorted_vertex[chunk * kChunk - 1] == sorted_vertex[chunk * kChunk];
}

// rows[v] = sum of weight * scale[point] * values[point] over the corners of v, or zero without
// any. What a chunk adds to a vertex that has begun before goes to carried[chunk].
template <class Real, int V>
__global__ void __launch_bounds__(kThreads)
    splat(Lattice<Real> lattice, RowShape shape, const Real* values, const Real* scale, Real* rows,
          Real* carried) {
  const auto [chunk, lane] = lane_of(shape);
  const int64_t begin = chunk * kChunk, corners = lattice.corners();
  if (begin >= corners) return;
  const int64_t end = begin + kChunk < corners ? begin + kChunk : corners;
  const int64_t stride = shape.stride();
  for (int32_t part = lane; part < shape.packs; part += shape.lanes()) {
    const auto row = [&](int64_t vertex) { return packs_of<V>(rows + vertex * stride) + part; };
    int32_t vertex = begin == 0 ? -1 : lattice.sorted_vertex[begin - 1];
    Pack<Real, V>* to = packs_of<V>(carried + chunk * stride) + part;
    Pack<Real, V> sum{};
    for (int64_t i = begin; i < end; ++i) {
      const int32_t next = lattice.sorted_vertex[i];
      if (next != vertex) {
        if (i != begin) *to = sum;
        while (++vertex < next) *row(vertex) = {};
        to = row(next);
        sum = {};
      }
      const int64_t point = lattice.sorted_point[i];
      const Real weight = lattice.sorted_weight[i] * (scale != nullptr ? scale[point] : Real(1));
      add_scaled(&sum, weight, packs_of<V>(values + point * stride)[part]);
    }
    *to = sum;
    for (++vertex; end == corners && vertex < lattice.vertices; ++vertex) *row(vertex) = {};
  }
}

// Adds what is carried, chunk after chunk, to the vertex that it belongs to.
template <class Real, int V>
__global__ void __launch_bounds__(kThreads)
    add_carried(Lattice<Real> lattice, RowShape shape, const Real* carried, Real* rows) {
  const auto [first, lane] = lane_of(shape);
  const int64_t chunks = ceil_div(lattice.corners(), kChunk), stride = shape.stride();
  if (first >= chunks || !is_carried(lattice.sorted_vertex, first)) return;
  const int32_t vertex = lattice.sorted_vertex[first * kChunk];
  const bool is_first = lattice.sorted_vertex[(first - 1) * kChunk] != vertex ||
                        !is_carried(lattice.sorted_vertex, first - 1);
  if (!is_first) return;
  for (int32_t part = lane; part < shape.packs; part += shape.lanes()) {
    Pack<Real, V> sum = packs_of<V>(rows + vertex * stride)[part];
    for (int64_t c = first; c < chunks && lattice.sorted_vertex[c * kChunk] == vertex; ++c)
      add_scaled(&sum, Real(1), packs_of<V>(carried + c * stride)[part]);
    packs_of<V>(rows + vertex * stride)[part] = sum;
  }
}

// One axis: out[v] = in[v] + (in[next of v] + in[previous of v]) / 2. The row after the last is
// zero.
template <class Real, int V>
__global__ void __launch_bounds__(kThreads)
    blur(const Real* in, int32_t vertices, int32_t packs, const int32_t* next,
         const int32_t* previous, Real* out) {
  const int64_t i = thread_number();
  const int64_t vertex = i / packs, part = i % packs;
  if (vertex >= vertices) return;
  const auto* from = packs_of<V>(in) + part;
  Pack<Real, V> sum = from[vertex * packs];
  add_scaled(&sum, Real(0.5), from[int64_t{next[vertex]} * packs]);
  add_scaled(&sum, Real(0.5), from[int64_t{previous[vertex]} * packs]);
  packs_of<V>(out)[i] = sum;
}

// The weighted sum of a point's vertices.
template <int V, class Real>
PF_HD Pack<Real, V> slice(const Lattice<Real>& lattice, const Real* rows, int64_t stride,
                          int64_t point, int32_t part) {
  Pack<Real, V> sum{};
  const int64_t first = point * (lattice.dims + 1);
  for (int k = 0; k <= lattice.dims; ++k) {
    const Real* row = rows + lattice.vertex[first + k] * stride;
    add_scaled(&sum, lattice.weight[first + k], packs_of<V>(row)[part]);
  }
  return sum;
}

// out = factor times the slice, for all points.
template <class Real, int V>
__global__ void __launch_bounds__(kThreads)
    slice_rows(Lattice<Real> lattice, const Real* vertices, int32_t packs, Real factor, Real* out) {
  const int64_t i = thread_number(), point = i / packs;
  if (point >= lattice.points) return;
  Pack<Real, V> sum = slice<V>(lattice, vertices, int64_t{packs} * V, point, int32_t(i % packs));
  for (int v = 0; v < V; ++v) sum.at[v] *= factor;
  packs_of<V>(out)[i] = sum;
}

template <class Real>
void slice_all(Run& run, const Lattice<Real>& lattice, const RowShape& shape, const Real* vertices,
               Real* out) {
  with_pack(shape, [&](auto pack) {
    constexpr int V = decltype(pack)::kPack;
    run.launch(slice_rows<Real, V>, run.blocks_for(lattice.points * shape.packs), lattice, vertices,
               shape.packs, Real(raw_slice_scale(lattice.dims)), out);
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
LatticeRows<Real> make_lattice_rows(Run& run, const Lattice<Real>& lattice, const RowShape& shape) {
  const int64_t size = lattice.vertices * shape.stride();
  LatticeRows<Real> buffers{};
  for (auto& rows : buffers.rows) {
    rows = run.take<Real>(size + shape.stride());
    if (run.good()) run.zero(rows + size, shape.stride());
  }
  buffers.carried = run.take<Real>(ceil_div(lattice.corners(), kChunk) * shape.stride());
  return buffers;
}

// Splats and blurs; returns the rows of the vertices. The transposed filter takes the axes in the
// reverse order: where vertices are missing, the order matters.
template <class Real>
const Real* splat_and_blur(Run& run, const Lattice<Real>& lattice, const RowShape& shape,
                           const Real* values, const Real* scale, bool transposed,
                           const LatticeRows<Real>& buffers) {
  Real *in = buffers.rows[0], *out = buffers.rows[1];
  with_pack(shape, [&](auto pack) {
    constexpr int V = decltype(pack)::kPack;
    const int64_t chunks = ceil_div(lattice.corners(), kChunk);
    const unsigned groups = run.blocks_for(shape.threads(chunks));
    run.launch(splat<Real, V>, groups, lattice, shape, values, scale, in, buffers.carried);
    run.launch(add_carried<Real, V>, groups, lattice, shape, buffers.carried, in);
    const unsigned blocks = run.blocks_for(int64_t{lattice.vertices} * shape.packs);
    for (int k = 0; k <= lattice.dims; ++k) {
      const int64_t axis = transposed ? lattice.dims - k : k;
      run.launch(blur<Real, V>, blocks, in, lattice.vertices, shape.packs,
                 lattice.next + axis * lattice.vertices, lattice.previous + axis * lattice.vertices,
                 out);
      Real* blurred = out;
      out = in;
      in = blurred;
    }
  });
  return in;
}

}  // namespace PF_ISA
}  // namespace pyfast
