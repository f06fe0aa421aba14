// The permutohedral lattice in device memory, and its build: the corners of all points are sorted
// by key, and what the sort brings together is both a vertex and the list of points that it serves.
#pragma once

#include "ops/dense_crf/dense_crf_order.cuh"
#include "ops/dense_crf/dense_crf_points.cuh"

namespace pyfast {
namespace PF_ISA {

// A block of words as on the CPU, with other arrays behind the header.
template <class Real>
struct Lattice {
  int32_t dims;
  int64_t points;  // of all images
  int32_t vertices;
  int32_t* vertex;  // (points, d + 1): of every corner
  Real* weight;     // (points, d + 1): barycentric
  // Corners in the order of their vertices.
  int32_t* sorted_vertex;
  int32_t* sorted_point;
  Real* sorted_weight;
  Real* mass;  // (points): K 1
  // (d + 1, vertices): the neighbours along every axis; `vertices` where there is none.
  int32_t* next;
  int32_t* previous;

  PF_HD int64_t corners() const { return points * (dims + 1); }
};

inline int64_t padded_words(int64_t words) { return ceil_div(words, 16) * 16; }

template <class Real>
int64_t words_of(int64_t dims, int64_t points, int64_t vertices) {
  const int64_t corners = points * (dims + 1), width = sizeof(Real) / 4;
  return kLatticeHeader + 3 * padded_words(corners) + 2 * padded_words(corners * width) +
         padded_words(points * width) + 2 * padded_words(vertices * (dims + 1));
}

template <class Real>
Lattice<Real> lattice_in(const int32_t* words, int64_t dims, int64_t points, int64_t vertices) {
  Lattice<Real> lattice;
  lattice.dims = int32_t(dims);
  lattice.points = points;
  lattice.vertices = int32_t(vertices);
  int32_t* rest = const_cast<int32_t*>(words) + kLatticeHeader;
  const auto take = [&rest](int64_t count) {
    int32_t* here = rest;
    rest += padded_words(count);
    return here;
  };
  const int64_t corners = lattice.corners(), width = sizeof(Real) / 4;
  lattice.vertex = take(corners);
  lattice.sorted_vertex = take(corners);
  lattice.sorted_point = take(corners);
  lattice.weight = reinterpret_cast<Real*>(take(corners * width));
  lattice.sorted_weight = reinterpret_cast<Real*>(take(corners * width));
  lattice.mass = reinterpret_cast<Real*>(take(points * width));
  lattice.next = take(vertices * (dims + 1));
  lattice.previous = take(vertices * (dims + 1));
  return lattice;
}

template <class Real>
Lattice<Real> lattice_in(const int32_t* words, const LatticeSizes& sizes) {
  return lattice_in<Real>(words, sizes.dims, sizes.batch * sizes.points, sizes.vertices);
}

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

// Fills what is about corners. renamed: null, or what became of the vertices' numbers.
template <class Real>
__global__ void __launch_bounds__(kThreads)
    list_corners(Ordered sorted, const int32_t* renamed, const Real* weight,
                 Lattice<Real> lattice) {
  const int64_t i = thread_number();
  if (i >= lattice.corners()) return;
  const int32_t corner = sorted.order[i], number = sorted.number[i + 1] - 1;
  const int32_t vertex = renamed != nullptr ? renamed[number] : number;
  lattice.vertex[corner] = vertex;
  lattice.weight[corner] = weight[corner];
  lattice.sorted_vertex[i] = vertex;
  lattice.sorted_point[i] = corner / (lattice.dims + 1);
  lattice.sorted_weight[i] = weight[corner];
}

// next and previous: (d + 1, vertices), the latter full of `vertices` before.
__global__ void __launch_bounds__(kThreads)
    find_neighbours(const uint64_t* words, int32_t vertices, SortKeys layout, int32_t* next,
                    int32_t* previous) {
  const int64_t i = thread_number();
  if (i >= int64_t{vertices} * (layout.dims + 1)) return;
  const int axis = int(i / vertices);
  const int32_t vertex = int32_t(i % vertices);
  uint64_t wanted[kMostSortWords];
  for (int w = 0; w < layout.words; ++w)
    wanted[w] = layout.step(words[vertex], words[int64_t{w} * vertices + vertex], w, axis, true);
  const auto compare = [&](int32_t at) {  // the key at `at` with the one that is wanted
    for (int w = layout.words - 1; w >= 0; --w) {
      const uint64_t word = words[int64_t{w} * vertices + at];
      if (word != wanted[w]) return word < wanted[w] ? -1 : 1;
    }
    return 0;
  };
  int32_t low = 0, high = vertices;
  while (low < high) {
    const int32_t middle = low + (high - low) / 2;
    if (compare(middle) < 0) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  const bool found = low < vertices && compare(low) == 0;
  next[i] = found ? low : vertices;
  if (found) previous[int64_t{axis} * vertices + low] = vertex;
}

struct HeaderWords {
  int32_t at[kLatticeHeader];
};
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
Lattice<Real> build_lattice(Run& run, const LatticeParams<Real>& p, LatticeMemory& memory,
                            LatticeError* failure) {
  const Points<Real> points(p.features, p.dims, p.batch, p.points);
  const int64_t corners = points.count() * (p.dims + 1);
  if (corners > kMostCorners) *failure = LatticeError::kTooManyPoints;
  if (*failure != LatticeError::kNone) return {};
  Bounds bounds = read_bounds<Quotients>(run, points, failure);
  SortKeys layout;
  if (!plan_keys(bounds, p.dims, p.batch, &layout)) *failure = LatticeError::kTooFar;
  if (!run.good() || *failure != LatticeError::kNone) return {};
  uint64_t* words = run.take<uint64_t>(corners * layout.words);
  Real* weight = run.take<Real>(corners);
  run.launch(place_points<Real>, run.blocks_for(points.count()), points, layout, words, weight);
  const Ordered sorted = order_keys(run, words, layout, corners);
  Vertices vertices{take_different(run, words, layout, sorted, corners), sorted.different, nullptr};
  if (p.closed) vertices = close_by_ring(run, vertices, layout);
  const int64_t links = int64_t{vertices.count} * (p.dims + 1);
  if (!run.good()) return {};
  int32_t* block = memory.allocate(words_of<Real>(p.dims, points.count(), vertices.count));
  const auto lattice = lattice_in<Real>(block, p.dims, points.count(), vertices.count);
  run.launch(list_corners<Real>, run.blocks_for(corners), sorted, vertices.renamed, weight,
             lattice);
  run.launch(fill<int32_t>, run.blocks_for(links), lattice.previous, links, vertices.count);
  run.launch(find_neighbours, run.blocks_for(links), vertices.keys, vertices.count, layout,
             lattice.next, lattice.previous);
  HeaderWords header{};
  header.at[kWordDims] = p.dims;
  header.at[kWordBatch] = int32_t(p.batch);
  header.at[kWordPoints] = int32_t(p.points);
  header.at[kWordVertices] = vertices.count;
  header.at[kWordReal] = sizeof(Real);
  run.launch(write_header, 1, header, block);
  return lattice;
}

}  // namespace PF_ISA
}  // namespace pyfast
