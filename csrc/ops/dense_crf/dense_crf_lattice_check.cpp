// Whether words that came from outside are a lattice. Kernels follow its indices without a look at
// them, so a caller who edited one would make them read and write anywhere.
#include <atomic>

#include "core/parallel.h"
#include "ops/dense_crf/dense_crf_filter.h"

namespace pyfast {
namespace {

constexpr int64_t kGrain = 1 << 16;  // words for one thread

// Whether no word is negative; without a branch, so that compilers vectorise it.
template <class WordOf>
bool none_negative(int64_t count, const WordOf& word_of) {
  std::atomic<bool> hold{true};
  parallel_for(0, count, kGrain, [&](int64_t begin, int64_t end) {
    uint32_t signs = 0;
    for (int64_t i = begin; i < end; ++i) signs |= word_of(i);
    if (signs >> 31 != 0) hold = false;
  });
  return hold;
}

// From 0 to `last`.
bool are_indices(const int32_t* words, int64_t count, int64_t last) {
  const auto most = static_cast<uint32_t>(last);
  return none_negative(count, [=](int64_t i) {
    const auto word = static_cast<uint32_t>(words[i]);
    return word | (most - word);
  });
}

// Places (count + 1,) that begin with 0, never fall, and end with `last`.
bool are_places(const int32_t* words, int64_t count, int64_t last) {
  return words[0] == 0 && words[count] == last && are_indices(words, count + 1, last) &&
         none_negative(count, [=](int64_t i) {
           return static_cast<uint32_t>(words[i + 1]) - static_cast<uint32_t>(words[i]);
         });
}

// Whether a walk along any chains stays among the vertices, and ends.
template <class Real>
bool are_chains(const LatticeView<Real>& view) {
  const int64_t words = view.vertices + view.slabs;
  const int32_t* const chains = view.chains;
  const auto last = static_cast<uint32_t>(view.vertices);
  if (!none_negative((view.dims - 1) * words, [=](int64_t i) {
        return last - static_cast<uint32_t>(chained_vertex(chains[i]));
      }))
    return false;
  for (int axis = 1; axis < view.dims; ++axis)
    for (int64_t slab = 0; slab < view.slabs; ++slab)
      if (chains[(axis - 1) * words + view.slab_starts[slab + 1] + slab] != ~view.vertices)
        return false;
  return true;
}

}  // namespace

template <class Real>
bool is_lattice(const int32_t* words, int64_t length) {
  if (length < kLatticeHeader) return false;
  const LatticeSizes sizes = lattice_sizes(words);
  const bool has_sizes = sizes.dims >= 1 && sizes.dims <= kMostFeatures && sizes.batch >= 0 &&
                         sizes.points >= 0 && sizes.vertices >= 0 && sizes.used >= 0 &&
                         sizes.used <= sizes.vertices && sizes.slabs >= 0 &&
                         sizes.real == sizeof(Real);
  if (!has_sizes || sizes.batch * sizes.points > kMostCorners / (sizes.dims + 1) ||
      lattice_words(sizes) != length)
    return false;
  const auto view = view_of<Real>(words);
  const int64_t corners = view.corner_count();
  return are_places(view.starts, view.used, corners) &&
         are_places(view.slab_starts, view.slabs, view.vertices) &&
         are_indices(view.corners, corners, view.used - 1) &&
         are_indices(view.list_points, corners, view.batch * view.points - 1) &&
         are_indices(view.neighbours, sizes.neighbour_words(), view.vertices) && are_chains(view) &&
         (!sizes.is_numbered_apart() ||
          (are_places(view.used_starts, view.slabs, view.used) &&
           are_indices(view.vertex_of, view.used, view.vertices - 1) &&
           are_indices(view.used_of, view.vertices + 1, view.used)));
}

template bool is_lattice<float>(const int32_t*, int64_t);
template bool is_lattice<double>(const int32_t*, int64_t);

}  // namespace pyfast
