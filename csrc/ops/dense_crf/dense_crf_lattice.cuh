// The permutohedral lattice in device memory, and its build: the corners of all points are sorted
// by key, and what the sort brings together is both a vertex and the list of points that it serves.
#pragma once

#include "ops/dense_crf/dense_crf_order.cuh"
#include "ops/dense_crf/dense_crf_points.cuh"

namespace pyfast {
namespace PF_ISA {

// words: (words, corners)
template <class Real>
__global__ void __launch_bounds__(kThreads)
    place_points(Points<Real> points, SortKeys layout, uint64_t* words, Real* weight) {
  const int64_t point = thread_number(), all = points.count();
  if (point >= all) return;
  const int d = points.dims;
  Simplex<Real> simplex;
  points.locate(point, &simplex);
  barycentric(d, simplex.rest, simplex.rank, weight + point * (d + 1));
  const int64_t first = point * (d + 1), corners = all * (d + 1);
  const uint64_t image = uint64_t(point / points.points) << layout.image_shift;
  for (int k = 0; k <= d; ++k) {
    for (int w = 0; w < layout.words; ++w) {
      uint64_t word = (w == 0 ? uint64_t(k) : 0) + (w == layout.image_word ? image : 0);
      for (int i = 0; i < d; ++i) {
        const int32_t quotient = simplex.quotient(i, d) - (simplex.rank[i] > d - k ? 1 : 0);
        if (layout.word[i] == w)
          word += uint64_t(int64_t{quotient} - layout.least[i]) << layout.shift[i];
      }
      words[w * corners + first + k] = word;
    }
  }
}

// The used vertices and all their neighbours: (words, 2d + 3, vertices), the vertices first.
__global__ void __launch_bounds__(kThreads)
    find_ring(const uint64_t* words, int64_t vertices, SortKeys layout, uint64_t* ring) {
  const int64_t i = thread_number(), count = vertices * (2 * layout.dims + 3);
  if (i >= count) return;
  const int64_t vertex = i % vertices;
  const int place = int(i / vertices) - 1, axis = place / 2;
  for (int w = 0; w < layout.words; ++w) {
    const uint64_t from = words[w * vertices + vertex];
    ring[w * count + i] =
        place < 0 ? from : layout.step(words[vertex], from, w, axis, place % 2 == 0);
  }
}

// renamed[v]: the number which the vertex v has among those of the ring.
__global__ void __launch_bounds__(kThreads)
    rename_vertices(Ordered ring, int64_t count, int32_t vertices, int32_t* renamed) {
  const int64_t i = thread_number();
  if (i < count && ring.order[i] < vertices) renamed[ring.order[i]] = ring.number[i + 1] - 1;
}

// The vertex of the i-th corner in order.
struct VertexOfSorted {
  Ordered sorted;
  const int32_t* renamed;  // by number; null: the number itself
  PF_HD int32_t operator()(int64_t i) const {
    const int32_t number = sorted.number[i + 1] - 1;
    return renamed != nullptr ? renamed[number] : number;
  }
};

// What is about corners.
template <class Real>
__global__ void __launch_bounds__(kThreads)
    list_corners(VertexOfSorted vertex, const Real* weight, LatticeView<Real> lattice) {
  const int64_t i = thread_number();
  if (i >= lattice.corner_count()) return;
  const int32_t corner = vertex.sorted.order[i];
  lattice.corners[corner] = vertex(i);
  lattice.weights[corner] = weight[corner];
  lattice.list_points[i] = corner / (lattice.dims + 1);
  lattice.list_weights[i] = weight[corner];
}

// The first place in [0, count) where is_before no longer holds.
template <class IsBefore>
PF_HD int64_t first_place(int64_t count, const IsBefore& is_before) {
  int64_t low = 0, high = count;
  while (low < high) {
    const int64_t middle = low + (high - low) / 2;
    if (is_before(middle)) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

template <class Real>
__global__ void __launch_bounds__(kThreads)
    find_starts(VertexOfSorted vertex, LatticeView<Real> lattice) {
  const int64_t v = thread_number();
  if (v > lattice.vertices) return;
  lattice.starts[v] =
      int32_t(first_place(lattice.corner_count(), [&](int64_t i) { return vertex(i) < v; }));
}

// neighbours: (d + 1, vertices, 2), full of `vertices` before.
__global__ void __launch_bounds__(kThreads)
    find_neighbours(const uint64_t* words, int64_t vertices, SortKeys layout, int32_t* neighbours) {
  const int64_t i = thread_number();
  if (i >= vertices * (layout.dims + 1)) return;
  const int axis = int(i / vertices);
  const int64_t vertex = i % vertices;
  uint64_t wanted[kMostSortWords];
  for (int w = 0; w < layout.words; ++w)
    wanted[w] = layout.step(words[vertex], words[w * vertices + vertex], w, axis, true);
  const auto compare = [&](int64_t at) {  // the key at `at` with the one that is wanted
    for (int w = layout.words - 1; w >= 0; --w) {
      const uint64_t word = words[w * vertices + at];
      if (word != wanted[w]) return word < wanted[w] ? -1 : 1;
    }
    return 0;
  };
  const int64_t found = first_place(vertices, [&](int64_t at) { return compare(at) < 0; });
  if (found == vertices || compare(found) != 0) return;
  neighbours[2 * i + 1] = int32_t(found);
  neighbours[2 * (axis * vertices + found)] = int32_t(vertex);
}

struct HeaderWords {
  int32_t at[kLatticeHeader];
};

inline HeaderWords header_of(const LatticeSizes& sizes) {
  HeaderWords header{};
  header.at[kWordDims] = int32_t(sizes.dims);
  header.at[kWordBatch] = int32_t(sizes.batch);
  header.at[kWordPoints] = int32_t(sizes.points);
  header.at[kWordVertices] = int32_t(sizes.vertices);
  header.at[kWordUsed] = int32_t(sizes.used);
  header.at[kWordReal] = int32_t(sizes.real);
  return header;
}

template <class Real>
LatticeView<Real> lattice_in(const int32_t* words, const LatticeSizes& sizes) {
  return lattice_view<Real>(const_cast<int32_t*>(words), sizes);
}

__global__ void __launch_bounds__(kThreads) write_header(HeaderWords header, int32_t* words) {
  if (threadIdx.x < kLatticeHeader) words[threadIdx.x] = header.at[threadIdx.x];
}

// What is known of the vertices before the lattice has its memory.
struct Vertices {
  uint64_t* keys;  // (words, count)
  int32_t count;
  int32_t* renamed;  // by the number in the order of the corners; null: as there
};

inline Vertices close_by_ring(Run& run, const Vertices& used, const SortKeys& layout) {
  Vertices closed{};
  const int64_t count = int64_t{used.count} * (2 * layout.dims + 3);
  if (count > kMostCorners) run.check(cudaErrorMemoryAllocation);
  uint64_t* ring = run.take<uint64_t>(count * layout.words);
  run.launch(find_ring, run.blocks_for(count), used.keys, int64_t{used.count}, layout, ring);
  const Ordered sorted = order_keys(run, ring, layout, count);
  closed.count = sorted.different;
  closed.keys = take_different(run, ring, layout, sorted, count);
  closed.renamed = run.take<int32_t>(used.count);
  run.launch(rename_vertices, run.blocks_for(count), sorted, count, used.count, closed.renamed);
  return closed;
}

// All but the mass.
template <class Real>
LatticeView<Real> build_lattice(Run& run, const LatticeParams<Real>& p, LatticeMemory& memory,
                                LatticeError* failure) {
  const Points<Real> points(p.features, p.dims, p.batch, p.points);
  const int64_t corners = points.count() * (p.dims + 1);
  if (corners > kMostCorners) *failure = LatticeError::kTooManyPoints;
  if (*failure != LatticeError::kNone) return {};
  const Bounds bounds = read_bounds<Quotients>(run, points, failure);
  SortKeys layout;
  if (!plan_keys(bounds, p.dims, p.batch, &layout)) *failure = LatticeError::kTooFar;
  if (!run.good() || *failure != LatticeError::kNone) return {};
  uint64_t* words = run.take<uint64_t>(corners * layout.words);
  Real* weight = run.take<Real>(corners);
  run.launch(place_points<Real>, run.blocks_for(points.count()), points, layout, words, weight);
  const Ordered sorted = order_keys(run, words, layout, corners);
  Vertices vertices{take_different(run, words, layout, sorted, corners), sorted.different, nullptr};
  if (p.closed) vertices = close_by_ring(run, vertices, layout);
  if (!run.good()) return {};
  const LatticeSizes sizes{p.dims,         p.batch, p.points,    vertices.count,
                           vertices.count, 0,       sizeof(Real)};
  const int64_t length = lattice_words(sizes), links = sizes.vertices * (sizes.dims + 1);
  int32_t* block = memory.allocate(length);
  run.zero(block, length);
  run.launch(write_header, 1, header_of(sizes), block);
  const auto lattice = lattice_view<Real>(block, sizes);
  const VertexOfSorted vertex{sorted, vertices.renamed};
  run.launch(list_corners<Real>, run.blocks_for(corners), vertex, weight, lattice);
  run.launch(find_starts<Real>, run.blocks_for(sizes.vertices + 1), vertex, lattice);
  run.launch(fill<int32_t>, run.blocks_for(2 * links), lattice.neighbours, 2 * links,
             vertices.count);
  run.launch(find_neighbours, run.blocks_for(links), vertices.keys, sizes.vertices, layout,
             lattice.neighbours);
  return lattice;
}

}  // namespace PF_ISA
}  // namespace pyfast
