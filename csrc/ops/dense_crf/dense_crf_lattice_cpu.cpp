// Which simplex each point lies in, and the hash table of the vertices that are met; compiled once
// for every instruction set.
#include "ops/dense_crf/dense_crf_cpu.h"
#include "ops/dense_crf/dense_crf_table.h"
#include "ops/dense_crf/dense_crf_vector.h"

namespace pyfast {
namespace PF_ISA {
namespace {

template <class Real>
bool extent(const Real* values, int64_t count, Real* least, Real* largest) {
  constexpr int kLanes = 16;
  using V = Vec<Real, kLanes>;
  if (count < kLanes) {
    Real low = values[0], high = values[0], wrong = 0;
    for (int64_t i = 0; i < count; ++i) {
      low = values[i] < low ? values[i] : low;
      high = values[i] > high ? values[i] : high;
      wrong += values[i] * 0;
    }
    *least = low, *largest = high;
    return wrong == 0;
  }
  V low = load<V>(values), high = low, wrong = {};
  for (int64_t i = 0; i < count; i += kLanes) {
    const V next = load<V>(values + (i + kLanes <= count ? i : count - kLanes));
    low = next < low ? next : low;
    high = next > high ? next : high;
    wrong += next * 0;  // NaN, unless finite
  }
  bool finite = true;
  *least = low[0], *largest = high[0];
  for (int l = 0; l < kLanes; ++l) {
    *least = low[l] < *least ? low[l] : *least;
    *largest = high[l] > *largest ? high[l] : *largest;
    finite = finite && wrong[l] == 0;
  }
  return finite;
}

// The corners of kLanes points: keys by remainder, and hashes.
template <int W, int kLanes>
struct Corners {
  uint64_t key[kMostFeatures + 1][W][kLanes], hashed[kMostFeatures + 1][kLanes];

  Key<W> key_of(int k, int lane) const {
    Key<W> found;
    for (int w = 0; w < W; ++w) found.word[w] = key[k][w][lane];
    return found;
  }
};

// kDims 0: any number.
template <class Real, class Compute, int W, int kDims>
struct Finder {
  static constexpr int kLanes = sizeof(Compute) == 4 ? 16 : 8;
  using V = Vec<Compute, kLanes>;
  using Ops = LaneOps<V>;
  using Int = typename Ops::Int;
  using Keys = Vec<uint64_t, kLanes>;

  const LatticeParams<Real>& p;
  const KeyLayout& layout;
  const int dims = kDims > 0 ? kDims : p.dims;

  // Points `at` and following of an image, at most kLanes of them.
  void corners(const Real* features, int64_t at, int count, const Compute* scale,
               Corners<W, kLanes>& found, Real* weights) const {
    V y[kMostFeatures + 1], scaled[kMostFeatures];
    Int base[kMostFeatures + 1], rank[kMostFeatures + 1];
    for (int i = 0; i < dims; ++i) {
      Real values[kLanes];
      for (int l = 0; l < kLanes; ++l)
        values[l] = features[i * p.points + at + (l < count ? l : 0)];
      scaled[i] = __builtin_convertvector(load<Vec<Real, kLanes>>(values), V) * scale[i];
    }
    elevate(dims, scaled, y);
    find_simplex(dims, y, base, rank);
    V b[kMostFeatures + 1];
    barycentric(dims, y, rank, b);
    for (int l = 0; l < count; ++l)
      for (int k = 0; k <= dims; ++k) weights[l * (dims + 1) + k] = static_cast<Real>(b[k][l]);
    for (int w = 0; w < W; ++w) pack(base, rank, w, found);
    for (int k = 0; k <= dims; ++k)
      for (int l = 0; l < kLanes; ++l) found.hashed[k][l] = hash(found.key_of(k, l));
  }

  // Word w of the keys: from one remainder to the next all coordinates grow by 1, but that of rank
  // d - k, which goes back by d.
  void pack(const Int* base, const Int* rank, int w, Corners<W, kLanes>& found) const {
    const auto in_field = [&](const Int& value, int field) {
      return __builtin_convertvector(value, Keys) << layout.field_shift[field];
    };
    const bool has_slab = layout.field_word[dims] == w;
    Keys key = {}, ones = {};
    if (has_slab) {
      const V slab = Ops::to_real(base[dims] - base[0]) / static_cast<Compute>(dims + 1);
      key = in_field(Ops::to_int(slab) - layout.low[dims], dims);
    }
    for (int c = 0; c < dims; ++c)
      if (layout.is_stored(c) && layout.field_word[c] == w) {
        key += in_field(base[c] - layout.low[c], c);
        ones += uint64_t{1} << layout.field_shift[c];
      }
    for (int k = 0; k <= dims; ++k) {
      store(found.key[k][w], key);
      const auto goes_back = [&](int c) { return Ops::equal(rank[c], Int{} + (dims - k)); };
      Keys back = {};
      for (int c = 0; c < dims; ++c)
        if (layout.is_stored(c) && layout.field_word[c] == w) back += in_field(goes_back(c), c);
      key += ones - back * static_cast<uint64_t>(dims + 1);
      if (has_slab) key += in_field(goes_back(0) - goes_back(dims), dims);
    }
  }
};

template <class Real, class Compute, int W, int kDims>
bool find_range(const LatticeParams<Real>& p, const KeyLayout& layout, const KeyTable<W>& table,
                int64_t image, int64_t begin, int64_t end, int32_t* slots, Real* weights) {
  using Find = Finder<Real, Compute, W, kDims>;
  constexpr int kLanes = Find::kLanes;
  const Find find{p, layout};
  const int dims = find.dims;
  Compute scale[kMostFeatures];
  for (int i = 0; i < dims; ++i) scale[i] = static_cast<Compute>(lattice_scale(dims, i));
  const Real* features = p.features + image * dims * p.points;
  const uint64_t image_bits = static_cast<uint64_t>(image) << layout.image_shift;

  // While a block of points is computed, the cache lines of the block before are on their way.
  Corners<W, kLanes> blocks[2];
  int64_t waiting = -1;
  const auto insert_block = [&](const Corners<W, kLanes>& block, int64_t at) {
    const int64_t count = end - at < kLanes ? end - at : kLanes;
    for (int l = 0; l < count; ++l)
      for (int k = 0; k <= dims; ++k) {
        const int64_t corner = (image * p.points + at + l) * (dims + 1) + k;
        Key<W> key = block.key_of(k, l);
        if constexpr (W > 1) table.keys[corner] = key;
        const int64_t slot = insert(table, key, block.hashed[k][l], corner);
        if (slot == kFull) return false;
        slots[corner] = static_cast<int32_t>(slot);
      }
    return true;
  };
  int turn = 0;
  for (int64_t at = begin; at < end; at += kLanes, turn ^= 1) {
    const int count = static_cast<int>(end - at < kLanes ? end - at : kLanes);
    Corners<W, kLanes>& block = blocks[turn];
    find.corners(features, at, count, scale, block, weights + (image * p.points + at) * (dims + 1));
    if (image_bits != 0)
      for (int k = 0; k <= dims; ++k)
        for (int l = 0; l < kLanes; ++l) {
          block.key[k][layout.image_word][l] += image_bits;
          block.hashed[k][l] = hash(block.key_of(k, l));
        }
    for (int k = 0; k <= dims; ++k)
      for (int l = 0; l < kLanes; ++l) __builtin_prefetch(bucket_of(table, block.hashed[k][l]), 1);
    if (waiting >= 0 && !insert_block(blocks[turn ^ 1], waiting)) return false;
    waiting = at;
  }
  return waiting < 0 || insert_block(blocks[turn ^ 1], waiting);
}

template <class Real, int W>
bool find_corners(const LatticeParams<Real>& p, const KeyLayout& layout, const KeyTable<W>& table,
                  bool exact, int64_t image, int64_t begin, int64_t end, int32_t* slots,
                  Real* weights) {
  if (sizeof(Real) == 8 || exact)
    return find_range<Real, double, W, 0>(p, layout, table, image, begin, end, slots, weights);
  if (W == 1 && p.dims == 5)
    return find_range<Real, float, W, 5>(p, layout, table, image, begin, end, slots, weights);
  return find_range<Real, float, W, 0>(p, layout, table, image, begin, end, slots, weights);
}

constexpr int64_t kAhead = 16;  // keys

template <int W>
bool insert_steps(const KeyTable<W>& table, const Key<W>* keys, int64_t begin, int64_t end,
                  const Key<W>& step, int64_t first) {
  for (int64_t i = begin; i < end; ++i) {
    if (i + kAhead < end) __builtin_prefetch(bucket_of(table, hash(keys[i + kAhead] + step)), 1);
    const Key<W> key = keys[i] + step;
    if constexpr (W > 1) table.keys[first + i] = key;
    if (insert(table, key, hash(key), first + i) == kFull) return false;
  }
  return true;
}

template <int W>
void number_keys(const KeyTable<W>& table, const Key<W>* keys, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    if (i + kAhead < end) __builtin_prefetch(bucket_of(table, hash(keys[i + kAhead])), 1);
    number(table, keys[i], hash(keys[i]), i);
  }
}

template <class Real>
void adjoint(int dims, const Real* features, int64_t points, const Real* grad_weights,
             int64_t begin, int64_t end, Real* grad_features) {
  for (int64_t n = begin; n < end; ++n) {
    double y[kMostFeatures + 1], scaled[kMostFeatures] = {};
    int32_t base[kMostFeatures + 1], rank[kMostFeatures + 1];
    for (int i = 0; i < dims; ++i) scaled[i] = features[i * points + n] * lattice_scale(dims, i);
    elevate(dims, scaled, y);
    find_simplex(dims, y, base, rank);
    Real grad_y[kMostFeatures + 1], grad[kMostFeatures];
    barycentric_adjoint(dims, rank, grad_weights + n * (dims + 1), grad_y);
    elevate_adjoint(dims, grad_y, grad);
    for (int i = 0; i < dims; ++i) grad_features[i * points + n] = grad[i];
  }
}

template <class Real>
const LatticeKernels<Real> kLatticeKernels = {extent<Real>, adjoint<Real>};
template <class Real, int W>
const CornerKernels<Real, W> kCornerKernels = {find_corners<Real, W>, insert_steps<W>,
                                               number_keys<W>};

}  // namespace

template <class Real>
const LatticeKernels<Real>& lattice_kernels() {
  return kLatticeKernels<Real>;
}
template const LatticeKernels<float>& lattice_kernels();
template const LatticeKernels<double>& lattice_kernels();
#define PF_INSTANTIATE(W)                                                      \
  template <>                                                                  \
  const CornerKernels<float, W>& corner_kernels<CornerKernels<float, W>>() {   \
    return kCornerKernels<float, W>;                                           \
  }                                                                            \
  template <>                                                                  \
  const CornerKernels<double, W>& corner_kernels<CornerKernels<double, W>>() { \
    return kCornerKernels<double, W>;                                          \
  }
PF_INSTANTIATE(1)
PF_INSTANTIATE(2)
PF_INSTANTIATE(4)
PF_INSTANTIATE(16)
#undef PF_INSTANTIATE

}  // namespace PF_ISA
}  // namespace pyfast
