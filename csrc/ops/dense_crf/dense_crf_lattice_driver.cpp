// Builds a lattice: finds the vertices with a hash table, sorts them, finds neighbours by merging
// and lists the points of every vertex. Which vertices there are and their order do not depend on
// threads, and neither does anything else in a lattice.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>

#include "core/cpu_dispatch.h"
#include "core/parallel.h"
#include "core/workspace.h"
#include "ops/dense_crf/dense_crf_cpu.h"
#include "ops/dense_crf/dense_crf_filter.h"
#include "ops/dense_crf/dense_crf_lattice_links.h"

namespace pyfast {
namespace {

using baseline::hash;
using baseline::key_step;
using baseline::lattice_scale;

int bits_for(int64_t count) {
  int bits = 0;
  while (bits < 62 && int64_t{1} << bits < count) ++bits;
  return bits;
}

int64_t power_of_two_from(int64_t count) { return int64_t{1} << bits_for(count); }

// Between the arrays of a lattice lie a few words that nobody writes; in equal lattices they are
// equal. Comes before the arrays are written.
template <class Real>
void clear_gaps(int32_t* words, const LatticeSizes& sizes, const LatticeView<Real>& view) {
  const void* ends[] = {view.weights,      view.starts,     view.list_points,
                        view.list_weights, view.neighbours, view.chains,
                        view.slab_starts,  view.mass,       view.used_starts,
                        view.vertex_of,    view.used_of,    words + lattice_words(sizes)};
  for (const void* end : ends) {
    if (end == nullptr) continue;
    const int64_t at = static_cast<const int32_t*>(end) - words;
    std::fill(words + at - kLatticeGrain, words + at, 0);
  }
}

// Where features lie: bounds of the coordinates in the hyperplane.
struct Bounds {
  double low[kMostFeatures + 1], high[kMostFeatures + 1];
};

template <class Real>
bool find_bounds(const LatticeParams<Real>& p, Bounds& bounds) {
  const int64_t rows = p.batch * p.dims;
  Scratch<Real> least(rows), largest(rows);
  std::atomic<bool> finite{true};
  parallel_for(0, rows, 1, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      if (!PF_PICK_CPU(lattice_kernels<Real>)
               .extent(p.features + r * p.points, p.points, least.data() + r, largest.data() + r))
        finite = false;
  });
  if (!finite) return false;
  double low[kMostFeatures], high[kMostFeatures];
  for (int i = 0; i < p.dims; ++i) {
    low[i] = least.data()[i], high[i] = largest.data()[i];
    for (int64_t b = 1; b < p.batch; ++b) {
      low[i] = std::min<double>(low[i], least.data()[b * p.dims + i]);
      high[i] = std::max<double>(high[i], largest.data()[b * p.dims + i]);
    }
    low[i] *= lattice_scale(p.dims, i), high[i] *= lattice_scale(p.dims, i);
  }
  double sum_low = 0, sum_high = 0;  // of the features from j on
  for (int j = p.dims; j > 0; --j) {
    bounds.low[j] = sum_low - j * high[j - 1], bounds.high[j] = sum_high - j * low[j - 1];
    sum_low += low[j - 1], sum_high += high[j - 1];
  }
  bounds.low[0] = sum_low, bounds.high[0] = sum_high;
  return true;
}

constexpr double kFarthest = 1 << 28;         // of a coordinate
constexpr double kFarthestInFloat = 1 << 17;  // where float still tells a 64th of a cell apart

// The bits of each key word that are in use.
struct WordBits {
  int first[kMostKeyWords], last[kMostKeyWords];
};

template <class Real, int W>
class Builder {
 public:
  Builder(const LatticeParams<Real>& p, const KeyLayout& layout, const WordBits& bits,
          int64_t slab_values, bool exact, LatticeMemory& memory)
      : p_(p),
        layout_(layout),
        bits_(bits),
        slab_values_(slab_values),
        exact_(exact),
        memory_(memory),
        corners_(p.batch * p.points * (p.dims + 1)) {}

  void build() {
    Scratch<int32_t> slots(corners_);
    Scratch<Real> weights(corners_);
    slots_ = slots.data(), weights_ = weights.data();
    int64_t capacity = power_of_two_from(std::min(2 * corners_, 2 * p_.batch * p_.points + 65536));
    while (!find_vertices(capacity)) capacity *= 4;
  }

 private:
  using Corners = CornerKernels<Real, W>;
  const Corners& kernels() { return PF_PICK_CPU(corner_kernels<Corners>); }

  static void clear(uint64_t* words, int64_t count) {
    parallel_for(0, count, 1 << 16, [&](int64_t begin, int64_t end) {
      std::memset(words + begin, 0xff, (end - begin) * sizeof(uint64_t));
    });
  }

  // False if the table is too small.
  bool find_vertices(int64_t capacity) {
    Scratch<uint64_t> words(capacity);
    Scratch<Key<W>> keys(W > 1 ? corners_ : 0);
    clear(words.data(), capacity);
    const KeyTable<W> table{words.data(), static_cast<uint64_t>(capacity - 1), keys.data(),
                            num_threads() > 1};
    constexpr int64_t kPoints = 1024;
    const int64_t blocks = (p_.points + kPoints - 1) / kPoints;
    std::atomic<bool> full{false};
    parallel_for(0, p_.batch * blocks, 2, [&](int64_t begin, int64_t end) {
      for (int64_t block = begin; block < end && !full; ++block) {
        const int64_t first = block % blocks * kPoints;
        if (!kernels().find_corners(p_, layout_, table, exact_, block / blocks, first,
                                    std::min(first + kPoints, p_.points), slots_, weights_))
          full = true;
      }
    });
    if (full) return false;
    const int64_t count = count_entries(table);
    Scratch<Key<W>> found(count + 1), aside(count + 1);
    collect(table, found.data());
    Key<W>* sorted = sort(found.data(), aside.data(), count);
    parallel_for(0, count, kGrain, [&](int64_t begin, int64_t end) {
      kernels().number_keys(table, sorted, begin, end);
    });
    parallel_for(0, corners_, kGrain, [&](int64_t begin, int64_t end) {
      for (int64_t e = begin; e < end; ++e)
        slots_[e] = static_cast<int32_t>(words.data()[slots_[e]]);
    });
    if (p_.closed) {
      int64_t room = power_of_two_from(8 * count);
      while (!close(sorted, count, room)) room *= 4;
    } else {
      finish(sorted, count, sorted, count);
    }
    return true;
  }

  // Adds all neighbours of the vertices in use.
  bool close(const Key<W>* used, int64_t count, int64_t capacity) {
    const int64_t steps = 2 * (p_.dims + 1) + 1;
    Scratch<uint64_t> words(capacity);
    Scratch<Key<W>> keys(W > 1 ? count * steps : 0);
    clear(words.data(), capacity);
    const KeyTable<W> table{words.data(), static_cast<uint64_t>(capacity - 1), keys.data(),
                            num_threads() > 1};
    std::atomic<bool> full{false};
    parallel_for(0, count, kGrain, [&](int64_t begin, int64_t end) {
      for (int64_t s = 0; s < steps && !full; ++s) {
        const int axis = static_cast<int>(s / 2);
        const Key<W> step =
            s + 1 == steps ? Key<W>{} : key_step<W>(layout_, axis, s % 2 == 0 ? 1 : -1);
        if (!kernels().insert_steps(table, used, begin, end, step, s * count)) full = true;
      }
    });
    if (full) return false;
    const int64_t total = count_entries(table);
    Scratch<Key<W>> found(total + 1), aside(total + 1);
    collect(table, found.data());
    Key<W>* sorted = sort(found.data(), aside.data(), total);
    finish(sorted, total, used, count);
    return true;
  }

  static int64_t count_entries(const KeyTable<W>& table) {
    std::atomic<int64_t> count{0};
    parallel_for(0, static_cast<int64_t>(table.mask) + 1, 1 << 16, [&](int64_t begin, int64_t end) {
      int64_t found = 0;
      for (int64_t s = begin; s < end; ++s) found += table.words[s] != KeyTable<W>::kEmpty;
      count += found;
    });
    return count;
  }

  static void collect(const KeyTable<W>& table, Key<W>* keys) {
    for (uint64_t s = 0; s <= table.mask; ++s) {
      const uint64_t word = table.words[s];
      if (word == KeyTable<W>::kEmpty) continue;
      if constexpr (W == 1) {
        keys++->word[0] = word;
      } else {
        *keys++ = table.keys[word & 0xffffffffu];
      }
    }
  }

  // Digit by digit from the last one on; returns one of the two.
  Key<W>* sort(Key<W>* from, Key<W>* to, int64_t count) const {
    constexpr int kDigit = 11, kValues = 1 << kDigit;
    const Division parts(count, 16 * kGrain);
    Scratch<int64_t> places(parts.tasks * kValues);
    for (int w = W - 1; w >= 0; --w) {
      if (w >= layout_.words) continue;
      for (int shift = bits_.first[w]; shift < bits_.last[w]; shift += kDigit) {
        std::fill_n(places.data(), parts.tasks * kValues, 0);
        parts.run([&](int64_t task, int64_t begin, int64_t end) {
          int64_t* mine = places.data() + task * kValues;
          for (int64_t i = begin; i < end; ++i) ++mine[from[i].word[w] >> shift & (kValues - 1)];
        });
        int64_t next = 0;
        for (int value = 0; value < kValues; ++value)
          for (int64_t task = 0; task < parts.tasks; ++task) {
            int64_t& place = places.data()[task * kValues + value];
            const int64_t found = place;
            place = next;
            next += found;
          }
        parts.run([&](int64_t task, int64_t begin, int64_t end) {
          int64_t* mine = places.data() + task * kValues;
          for (int64_t i = begin; i < end; ++i)
            to[mine[from[i].word[w] >> shift & (kValues - 1)]++] = from[i];
        });
        std::swap(from, to);
      }
    }
    return from;
  }

  // `slots_` are used vertices by now. `sorted` has room for one more.
  void finish(Key<W>* sorted, int64_t count, const Key<W>* used, int64_t used_count) {
    // Slabs of one value of the field, or more if there are very many values.
    int coarse = 0;
    while (p_.batch * ((slab_values_ >> coarse) + 1) > std::max<int64_t>(count, 1024)) ++coarse;
    const int64_t image_slabs = (slab_values_ >> coarse) + 1;
    const LatticeSizes sizes{p_.dims,
                             p_.batch,
                             p_.points,
                             count,
                             used_count,
                             p_.batch * image_slabs,
                             int64_t{sizeof(Real)}};
    int32_t* words = memory_.allocate(lattice_words(sizes));
    const auto view = lattice_view<Real>(words, sizes);
    clear_gaps(words, sizes, view);
    write_lattice_header(words, sizes);
    find_slabs(sorted, count, coarse, image_slabs, view);
    std::memset(sorted + count, 0xff, sizeof(Key<W>));
    link_vertices(layout_, sorted, view);
    if (sizes.is_numbered_apart()) number_apart(sorted, used, view);
    list_points(view);
    filter_ones(view);
  }

  // Both lists are sorted.
  static void number_apart(const Key<W>* sorted, const Key<W>* used,
                           const LatticeView<Real>& view) {
    int64_t u = 0;
    for (int64_t v = 0; v < view.vertices; ++v) {
      const bool is_used = u < view.used && sorted[v] == used[u];
      view.used_of[v] = static_cast<int32_t>(is_used ? u : view.used);
      if (is_used) view.vertex_of[u++] = static_cast<int32_t>(v);
    }
    view.used_of[view.vertices] = static_cast<int32_t>(view.used);
    for (int64_t slab = 0; slab <= view.slabs; ++slab)
      view.used_starts[slab] = static_cast<int32_t>(
          std::lower_bound(view.vertex_of, view.vertex_of + view.used, view.slab_starts[slab]) -
          view.vertex_of);
  }

  void find_slabs(const Key<W>* sorted, int64_t count, int coarse, int64_t image_slabs,
                  const LatticeView<Real>& view) const {
    const int word = layout_.field_word[p_.dims], shift = layout_.field_shift[p_.dims];
    const uint64_t values = (uint64_t{1} << bits_for(slab_values_)) - 1;
    int64_t slab = 0;
    for (int64_t i = 0; i < count; ++i) {
      const Key<W>& key = sorted[i];
      const int64_t image =
          static_cast<int64_t>(key.word[layout_.image_word] >> layout_.image_shift);
      const int64_t top = static_cast<int64_t>(key.word[word] >> shift & values) >> coarse;
      while (slab <= image * image_slabs + top) view.slab_starts[slab++] = static_cast<int32_t>(i);
    }
    while (slab <= view.slabs) view.slab_starts[slab++] = static_cast<int32_t>(count);
  }

  void list_points(const LatticeView<Real>& view) const {
    const int64_t count = view.used, points = p_.batch * p_.points;
    const int corners = p_.dims + 1;
    const Division parts(points, 4 * kGrain);
    Scratch<int32_t> places(parts.tasks * count);
    parts.run([&](int64_t task, int64_t begin, int64_t end) {
      int32_t* mine = places.data() + task * count;
      std::fill_n(mine, count, 0);
      for (int64_t e = begin * corners; e < end * corners; ++e) {
        ++mine[slots_[e]];
        view.corners[e] = slots_[e];
        view.weights[e] = weights_[e];
      }
    });
    int32_t next = 0;
    for (int64_t v = 0; v < count; ++v) {
      view.starts[v] = next;
      for (int64_t task = 0; task < parts.tasks; ++task) {
        int32_t& place = places.data()[task * count + v];
        const int32_t found = place;
        place = next;
        next += found;
      }
    }
    view.starts[count] = next;
    constexpr int64_t kAhead = 24;
    parts.run([&](int64_t task, int64_t begin, int64_t end) {
      int32_t* mine = places.data() + task * count;
      for (int64_t n = begin; n < end; ++n)
        for (int64_t e = n * corners; e < (n + 1) * corners; ++e) {
          const int32_t soon = mine[slots_[std::min(e + kAhead, corners_ - 1)]];
          __builtin_prefetch(view.list_points + soon, 1);
          __builtin_prefetch(view.list_weights + soon, 1);
          const int32_t place = mine[slots_[e]]++;
          view.list_points[place] = static_cast<int32_t>(n);
          view.list_weights[place] = weights_[e];
        }
    });
  }

  const LatticeParams<Real>& p_;
  const KeyLayout& layout_;
  const WordBits& bits_;
  const int64_t slab_values_;
  const bool exact_;
  LatticeMemory& memory_;
  const int64_t corners_;
  int32_t* slots_ = nullptr;  // of every corner, later its vertex
  Real* weights_ = nullptr;
};

template <class Real>
LatticeError build_empty(const LatticeParams<Real>& p, LatticeMemory& memory) {
  const LatticeSizes sizes{p.dims, p.batch, p.points, 0, 0, 0, int64_t{sizeof(Real)}};
  int32_t* words = memory.allocate(lattice_words(sizes));
  const auto view = lattice_view<Real>(words, sizes);
  clear_gaps(words, sizes, view);
  write_lattice_header(words, sizes);
  view.starts[0] = view.slab_starts[0] = 0;
  return LatticeError::kNone;
}

}  // namespace

void write_lattice_header(int32_t* words, const LatticeSizes& sizes) {
  std::fill_n(words, kLatticeHeader, 0);
  words[kWordDims] = static_cast<int32_t>(sizes.dims);
  words[kWordBatch] = static_cast<int32_t>(sizes.batch);
  words[kWordPoints] = static_cast<int32_t>(sizes.points);
  words[kWordVertices] = static_cast<int32_t>(sizes.vertices);
  words[kWordUsed] = static_cast<int32_t>(sizes.used);
  words[kWordSlabs] = static_cast<int32_t>(sizes.slabs);
  words[kWordReal] = static_cast<int32_t>(sizes.real);
}

template <class Real>
LatticeError build_lattice_cpu(const LatticeParams<Real>& p, LatticeMemory& memory) {
  int64_t corners;
  if (__builtin_mul_overflow(p.batch, p.points, &corners) ||
      __builtin_mul_overflow(corners, int64_t{p.dims} + 1, &corners) || corners > kMostCorners)
    return LatticeError::kTooManyPoints;
  if (corners == 0) return build_empty(p, memory);
  Bounds bounds;
  if (!find_bounds(p, bounds)) return LatticeError::kNotFinite;
  int32_t low[kMostFeatures + 1];
  int bits[kMostFeatures + 1];
  bool exact = false;
  // Vertices are less than d + 1 from their points in each coordinate, neighbours that much
  // further.
  const double margin = (p.dims + 1.0) * (p.closed ? 3 : 2) + 2;
  for (int c = 0; c <= p.dims; ++c) {
    const double from = std::floor(bounds.low[c] - margin), to = std::ceil(bounds.high[c] + margin);
    if (!(from > -kFarthest && to < kFarthest)) return LatticeError::kTooFar;
    exact = exact || from < -kFarthestInFloat || to > kFarthestInFloat;
    low[c] = static_cast<int32_t>(from);
    bits[c] = bits_for(static_cast<int64_t>(to - from) + 1);
  }
  const auto slab_of = [&](double last, double first) {
    return static_cast<int64_t>(std::floor((last - first) / (p.dims + 1)));
  };
  const int64_t low_slab = slab_of(bounds.low[p.dims] - margin, bounds.high[0] + margin);
  const int64_t slab_values =
      slab_of(bounds.high[p.dims] + margin, bounds.low[0] - margin) - low_slab + 1;
  low[p.dims] = static_cast<int32_t>(low_slab), bits[p.dims] = bits_for(slab_values);
  KeyLayout layout;
  const int image_bits = bits_for(p.batch);
  if (!baseline::lay_out_keys(p.dims, low, bits, image_bits, layout)) return LatticeError::kTooFar;
  WordBits used;
  std::fill_n(used.first, kMostKeyWords, 63);
  std::fill_n(used.last, kMostKeyWords, 0);
  for (int c = 0; c <= p.dims; ++c)
    if (layout.is_stored(c)) {
      const int w = layout.field_word[c], shift = layout.field_shift[c];
      used.first[w] = std::min(used.first[w], shift);
      used.last[w] = std::max(used.last[w], shift + bits[c]);
    }
  used.last[0] += image_bits;
  const auto build = [&](auto width) {
    Builder<Real, decltype(width)::value>(p, layout, used, slab_values, exact, memory).build();
  };
  if (layout.words == 1) {
    build(std::integral_constant<int, 1>{});
  } else if (layout.words == 2) {
    build(std::integral_constant<int, 2>{});
  } else if (layout.words <= 4) {
    build(std::integral_constant<int, 4>{});
  } else {
    build(std::integral_constant<int, 16>{});
  }
  return LatticeError::kNone;
}

template <class Real>
int64_t most_lattice_words(const LatticeParams<Real>& p) {
  const int64_t corners = p.batch * p.points * (p.dims + 1);
  const int64_t vertices = p.closed ? corners * (2 * p.dims + 3) : corners;
  return lattice_words({p.dims, p.batch, p.points, vertices, corners, vertices + 1024 + p.batch,
                        int64_t{sizeof(Real)}});
}

template LatticeError build_lattice_cpu(const LatticeParams<float>&, LatticeMemory&);
template LatticeError build_lattice_cpu(const LatticeParams<double>&, LatticeMemory&);
template int64_t most_lattice_words(const LatticeParams<float>&);
template int64_t most_lattice_words(const LatticeParams<double>&);

}  // namespace pyfast
