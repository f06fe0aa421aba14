// Which vertices of a lattice are neighbours: a part of its build on the CPU.
#pragma once

#include <algorithm>

#include "core/parallel.h"
#include "core/workspace.h"
#include "ops/dense_crf/dense_crf.h"
#include "ops/dense_crf/dense_crf_keys.h"

namespace pyfast {
namespace {

using baseline::operator+;
using baseline::operator<;
using baseline::operator==;

constexpr int64_t kGrain = 4096;  // points or vertices for one thread

// How many of `total` items each of a few tasks takes.
struct Division {
  int64_t total, tasks, each;
  Division(int64_t total, int64_t grain)
      : total(total),
        tasks(std::clamp<int64_t>(total / grain, 1, num_threads())),
        each((total + tasks - 1) / tasks) {}
  int64_t begin(int64_t task) const { return std::min(total, task * each); }
  int64_t end(int64_t task) const { return std::min(total, (task + 1) * each); }
  // body(task, begin, end)
  template <class Body>
  void run(const Body& body) const {
    parallel_for(0, tasks, 1, [&](int64_t first, int64_t last) {
      for (int64_t t = first; t < last; ++t) body(t, begin(t), end(t));
    });
  }
};

// Without a branch, which would be foreseen wrongly every other time.
inline int64_t chosen(bool first, int64_t a, int64_t b) {
  return b ^ ((a ^ b) & -static_cast<int64_t>(first));
}

// next: (axes, M), the neighbours of vertices along +axis. Along an axis keys differ by a
// constant, so a walk through the vertices meets their neighbours in order. The walks along a few
// axes go side by side, because each waits for its own memory.
template <int kAxes, int W>
void find_next(const KeyLayout& layout, const Key<W>* keys, int64_t count, const int* axes,
               int64_t begin, int64_t end, int32_t* next) {
  Key<W> step[kAxes];
  int64_t here[kAxes], there[kAxes];
  for (int a = 0; a < kAxes; ++a) {
    step[a] = baseline::key_step<W>(layout, axes[a], 1);
    here[a] = begin;
    const Key<W> first = keys[begin] + step[a];
    there[a] = std::lower_bound(keys, keys + count, first,
                                [](const Key<W>& x, const Key<W>& y) { return x < y; }) -
               keys;
  }
  const auto advance = [&](int a) {
    const Key<W> wanted = keys[here[a]] + step[a];
    const bool found = keys[there[a]] == wanted, below = keys[there[a]] < wanted;
    next[a * count + here[a]] = static_cast<int32_t>(chosen(found, there[a], count));
    there[a] += below;
    here[a] += !below;
  };
  bool all = begin < end;
  while (all)
    for (int a = 0; a < kAxes; ++a) {
      advance(a);
      all = all && here[a] < end;
    }
  for (int a = 0; a < kAxes; ++a)
    while (here[a] < end) advance(a);
}

template <int kAxes, int W>
void find_next(const KeyLayout& layout, const Key<W>* keys, int64_t count, const int* axes,
               int32_t* next) {
  Division(count, 4 * kGrain).run([&](int64_t, int64_t begin, int64_t end) {
    find_next<kAxes>(layout, keys, count, axes, begin, end, next);
  });
}

// pairs: (M, 2)
inline void list_pairs(const int32_t* next, int64_t count, int32_t* pairs) {
  parallel_for(0, count, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t v = begin; v < end; ++v) {
      pairs[2 * v] = static_cast<int32_t>(count);
      pairs[2 * v + 1] = next[v];
    }
  });
  parallel_for(0, count, kGrain, [&](int64_t begin, int64_t end) {
    int32_t unused;
    int32_t* const from[2] = {&unused, pairs};
    for (int64_t v = begin; v < end; ++v) {
      const bool found = next[v] != count;
      from[found][chosen(found, 2 * int64_t{next[v]}, 0)] = static_cast<int32_t>(v);
    }
  });
}

// Along an axis within a slab vertices have ever smaller numbers. So how far it is from each to
// the end of its chain is known once those before it are, and places are given from the last one
// on: to the first of each chain, and from one to the next. What stands alone takes no place.
// next: (axes, M); chains: (axes, M + S)
template <int kAxes, class Real>
void list_chains(const int32_t* next, const LatticeView<Real>& view, int32_t* chains) {
  const int64_t none = view.vertices;
  Scratch<int32_t> lengths(kAxes * (none + 1)), places(kAxes * none);
  for (int a = 0; a < kAxes; ++a) lengths.data()[a * (none + 1) + none] = 0;
  parallel_for(0, view.slabs, 8, [&](int64_t first, int64_t last) {
    for (int64_t slab = first; slab < last; ++slab) {
      const int64_t begin = view.slab_starts[slab], end = view.slab_starts[slab + 1];
      const int32_t* after[kAxes];
      int32_t *length[kAxes], *place[kAxes], *list[kAxes], taken[kAxes] = {};
      for (int a = 0; a < kAxes; ++a) {
        after[a] = next + a * none;
        length[a] = lengths.data() + a * (none + 1);
        place[a] = places.data() + a * none;
        list[a] = chains + a * (none + view.slabs) + begin + slab;
        std::fill(place[a] + begin, place[a] + end, -1);
      }
      for (int64_t v = begin; v < end; ++v)
        for (int a = 0; a < kAxes; ++a) length[a][v] = 1 + length[a][after[a][v]];
      for (int64_t v = end - 1; v >= begin; --v)
        for (int a = 0; a < kAxes; ++a) {
          const bool is_last = after[a][v] == none, is_first = place[a][v] < 0;
          const auto here = static_cast<int32_t>(chosen(is_first, taken[a], place[a][v]));
          list[a][here] = static_cast<int32_t>(v) ^ -static_cast<int32_t>(is_last);
          taken[a] += length[a][v] & -static_cast<int32_t>(is_first && !is_last);
          place[a][chosen(is_last, v, after[a][v])] = here + 1;
        }
      for (int a = 0; a < kAxes; ++a)
        std::fill(list[a] + taken[a], list[a] + (end - begin) + 1, static_cast<int32_t>(~none));
    }
  });
}

// Along kAxes axes, of which the first kAcross lead out of slabs.
template <int kAxes, int kAcross, class Real, int W>
void link_along(const KeyLayout& layout, const Key<W>* keys, const LatticeView<Real>& view,
                const int* axes, int32_t* next) {
  const int64_t count = view.vertices;
  find_next<kAxes>(layout, keys, count, axes, next);
  for (int a = 0; a < kAcross; ++a)
    list_pairs(next + a * count, count, view.neighbours + 2 * a * count);
  if constexpr (kAxes > kAcross)
    list_chains<kAxes - kAcross>(next + kAcross * count, view,
                                 view.chains + (axes[kAcross] - 1) * (count + view.slabs));
}

// In threes as far as they go.
template <class Real, int W>
void link_vertices(const KeyLayout& layout, const Key<W>* keys, const LatticeView<Real>& view) {
  Scratch<int32_t> next(3 * view.vertices);
  const int dims = view.dims, first[] = {0, dims, 1};
  if (dims == 1) return link_along<2, 2>(layout, keys, view, first, next.data());
  link_along<3, 2>(layout, keys, view, first, next.data());
  int axis = 2;
  for (; axis + 3 <= dims; axis += 3) {
    const int axes[] = {axis, axis + 1, axis + 2};
    link_along<3, 0>(layout, keys, view, axes, next.data());
  }
  for (; axis < dims; ++axis) link_along<1, 0>(layout, keys, view, &axis, next.data());
}

}  // namespace
}  // namespace pyfast
