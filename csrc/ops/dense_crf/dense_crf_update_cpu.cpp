// Messages, energies and softmax of one iteration, compiled once for every instruction set.
#include "ops/dense_crf/dense_crf_rows.h"
#include "ops/dense_crf/dense_crf_update.h"

namespace pyfast {
namespace PF_ISA {
namespace {

constexpr float kHuge = 1e30f;  // energies beyond are as good as infinite

template <class Real>
void find_unknown(const Real* unary, int64_t labels, int64_t points, int64_t begin, int64_t end,
                  uint8_t* unknown) {
  for (int64_t start = begin; start < end; start += kTile) {
    const int64_t count = end - start < kTile ? end - start : kTile;
    Real least[kTile], wrong[kTile];
    for (int64_t i = 0; i < count; ++i) least[i] = unary[start + i], wrong[i] = 0;
    for (int64_t l = 0; l < labels; ++l) {
      const Real* plane = unary + l * points + start;
#pragma omp simd
      for (int64_t i = 0; i < count; ++i) {
        least[i] = plane[i] < least[i] ? plane[i] : least[i];
        wrong[i] += plane[i] != plane[i] ? Real(1) : Real(0);
      }
    }
    for (int64_t i = 0; i < count; ++i)
      unknown[start + i] = wrong[i] > 0 || least[i] > static_cast<Real>(3e38) ? 1 : 0;
  }
}

// A run of points in a row of pixels.
struct Run {
  int64_t image, y, x, count;
  int64_t first;  // number of its first point among all
};

// tile (count, channels) = -unary; what fills up a row is as unlikely as can be.
template <class S>
void read_unary(const Update<S>& u, const Run& run, int64_t channels, Accumulator<S>* tile) {
  using Real = Accumulator<S>;
  using V = Vec<Real, 8>;
  const int64_t points = u.height * u.width, at = run.first - run.image * points;
  const Real* planes = u.unary + run.image * u.labels * points + at;
  for (int64_t i = 0; i < run.count; i += 8) {
    const int count = static_cast<int>(run.count - i < 8 ? run.count - i : 8);
    for (int64_t c = 0; c < channels; c += 8) {
      V rows[8];
      const int left = static_cast<int>(u.labels - c);
      read_planes(planes + c * points + i, points, left, count, rows);
      V fill = {};
      for (int l = left < 0 ? 0 : left; l < 8; ++l) fill[l] = -4 * kHuge;
      for (int k = 0; k < count; ++k) {
        V value = -rows[k];
        value = value < -kHuge ? V{} - kHuge : value;
        value = value > kHuge ? V{} + kHuge : value;
        store(tile + (i + k) * channels + c, value + fill);
      }
    }
  }
  for (int64_t i = 0; i < run.count; ++i)
    if (u.unknown[run.first + i] != 0)
      for (int64_t c = 0; c < u.labels; ++c) tile[i * channels + c] = 0;
}

// Adds what the corners of each point hold. kCorners 0: any number.
template <class S, int kBlocks, int kCorners>
void add_lattice(const UpdateTerm<Accumulator<S>, S>& t, const S* lattice, const Run& run,
                 int64_t stride, Accumulator<S>* tile) {
  using Real = Accumulator<S>;
  using R = Row<Real, kBlocks>;
  const int corner_count = kCorners > 0 ? kCorners : t.corner_count;
  const int32_t* corners = t.corners + run.first * corner_count;
  const Real* weights = t.weights + run.first * corner_count;
  for (int64_t i = 0; i < run.count; ++i, corners += corner_count, weights += corner_count) {
    R sum = R::zeros();
    for (int k = 0; k < corner_count; ++k)
      sum.add(weights[k], R::load(lattice + corners[k] * int64_t{R::kChannels}));
    R row = R::load(tile + i * stride);
    row.add(t.post[run.first + i], sum);
    row.store(tile + i * stride);
  }
}

template <class S, int kBlocks>
void shrink_rows(const UpdateTerm<Accumulator<S>, S>& t, const S* rows, int64_t begin, int64_t end,
                 Accumulator<S>* line, Accumulator<S>* shrunk) {
  using Real = Accumulator<S>;
  using R = Row<Real, kBlocks>;
  constexpr int64_t kRow = R::kChannels;
  const auto clipped = [](const GridAxis<Real>& axis, int64_t place, int64_t* from, int64_t* to) {
    const int64_t here = axis.pixel(place), radius = axis.radius_before;
    *from = here - radius > 0 ? here - radius : 0;
    *to = here + radius < axis.length ? here + radius + 1 : axis.length;
    return axis.taps_before + radius - here;
  };
  int64_t from, to;
  for (int64_t place_y = begin; place_y < end; ++place_y) {
    const Real* taps = clipped(t.y, place_y, &from, &to);
    for (int64_t x = 0; x < t.x.length; ++x) {
      R sum = R::zeros();
      for (int64_t y = from; y < to; ++y)
        sum.add(taps[y] * t.y.pre[y], R::load(rows + (y * t.x.length + x) * kRow));
      sum.multiply(t.x.pre[x]);
      sum.store(line + x * kRow);
    }
    for (int64_t place = 0; place < t.x.places; ++place) {
      taps = clipped(t.x, place, &from, &to);
      R sum = R::zeros();
      for (int64_t x = from; x < to; ++x) sum.add(taps[x], R::load(line + x * kRow));
      sum.store(shrunk + (place_y * t.x.places + place) * kRow);
    }
  }
}

template <class S>
void shrink(const UpdateTerm<Accumulator<S>, S>& t, int blocks, const S* rows, int64_t begin,
            int64_t end, Accumulator<S>* scratch, Accumulator<S>* shrunk) {
  with_blocks(blocks, [&](auto count) {
    shrink_rows<S, decltype(count)::value>(t, rows, begin, end, scratch, shrunk);
  });
}

// Adds a Gaussian sum over the places around, `from` (places, row) of an image: down the columns
// into `line`, then along it.
template <bool kShrunk, int kBlocks, class From, class Real, class S>
void add_grid(const UpdateTerm<Real, S>& t, const From* from, const Run& run, int64_t stride,
              Real* tile, Real* line) {
  using R = Row<Real, kBlocks>;
  constexpr int64_t kRow = R::kChannels;
  const int64_t left = t.x.first(run.x), right = t.x.last(run.x + run.count - 1);
  const int64_t top = t.y.first(run.y), bottom = t.y.last(run.y);
  for (int64_t x = left; x <= right; ++x) {
    R sum = R::zeros();
    for (int64_t y = top; y <= bottom; ++y) {
      const Real tap = t.y.taps[t.y.pixel(y) - run.y + t.y.radius];
      sum.add(kShrunk ? tap : tap * t.y.pre[y], R::load(from + (y * t.x.places + x) * kRow));
    }
    if constexpr (!kShrunk) sum.multiply(t.x.pre[x]);
    sum.store(line + (x - left) * kRow);
  }
  for (int64_t i = 0; i < run.count; ++i) {
    const int64_t x = run.x + i, last = t.x.last(x);
    R sum = R::zeros();
    for (int64_t k = t.x.first(x); k <= last; ++k)
      sum.add(t.x.taps[t.x.pixel(k) - x + t.x.radius], R::load(line + (k - left) * kRow));
    R row = R::load(tile + i * stride);
    row.add(t.x.post[x] * t.y.post[run.y], sum);
    row.store(tile + i * stride);
  }
}

template <class S>
void add_sums(const Update<S>& u, const UpdateTerm<Accumulator<S>, S>& t, const Run& run,
              int64_t channels, Accumulator<S>* tile, Accumulator<S>* line) {
  const LabelGroups groups(u.labels);
  for (int g = 0; g < groups.count; ++g) {
    const int64_t first = int64_t{g} * kGroupChannels;
    with_blocks(groups.blocks(g), [&](auto blocks) {
      constexpr int kBlocks = decltype(blocks)::value;
      if (t.lattice == nullptr) {
        constexpr int64_t kRow = kBlocks * kBlock;
        const int64_t points = u.height * u.width, places = t.y.places * t.x.places;
        if (t.shrunk == nullptr) {
          const S* from = u.from + first * u.batch * points + run.image * points * kRow;
          add_grid<false, kBlocks>(t, from, run, channels, tile + first, line);
        } else {
          const auto* from = t.shrunk + first * u.batch * places + run.image * places * kRow;
          add_grid<true, kBlocks>(t, from, run, channels, tile + first, line);
        }
      } else {
        const S* lattice = t.lattice + first * (t.vertices + 1);
        if (t.corner_count == 6) {
          add_lattice<S, kBlocks, 6>(t, lattice, run, channels, tile + first);
        } else {
          add_lattice<S, kBlocks, 0>(t, lattice, run, channels, tile + first);
        }
      }
    });
  }
}

// tile -= sums * cost
template <class Real>
void add_costs(const Real* cost, int64_t labels, int64_t channels, const Run& run, const Real* sums,
               Real* tile) {
  for (int64_t i = 0; i < run.count; ++i) {
    Real* to = tile + i * channels;
    for (int64_t l = 0; l < labels; ++l) {
      const Real sum = sums[i * channels + l];
      const Real* row = cost + l * channels;
#pragma omp simd
      for (int64_t c = 0; c < channels; ++c) to[c] -= sum * row[c];
    }
  }
}

template <class V>
inline V larger(const V& a, const V& b) {
  return a > b ? a : b;
}

// Rows become probabilities.
template <class Real>
void softmax(Real* tile, int64_t count, int64_t channels) {
  using V = Vec<Real, 8>;
  for (int64_t i = 0; i < count; ++i) {
    Real* row = tile + i * channels;
    V most = load<V>(row);
    for (int64_t c = 8; c < channels; c += 8) most = larger(most, load<V>(row + c));
    const V top = join_lanes(most, larger<V>);
    V sum = {};
    for (int64_t c = 0; c < channels; c += 8) {
      const V e = fast_exp(load<V>(row + c) - top);
      store(row + c, e);
      sum += e;
    }
    const V scale = 1 / join_lanes(sum, [](const V& a, const V& b) { return a + b; });
    for (int64_t c = 0; c < channels; c += 8) store(row + c, load<V>(row + c) * scale);
  }
}

template <class S>
void write_rows(const Update<S>& u, const Run& run, int64_t channels, const Accumulator<S>* tile) {
  using Real = Accumulator<S>;
  const LabelGroups groups(u.labels);
  const int64_t points = u.height * u.width;
  for (int g = 0; u.to != nullptr && g < groups.count; ++g) {
    const int64_t first = int64_t{g} * kGroupChannels, row = row_size(groups.blocks(g));
    S* to = u.to + first * u.batch * points + run.first * row;
    for (int64_t i = 0; i < run.count; ++i)
      for (int64_t c = 0; c < row; c += 8)
        Lanes<S, 8>::store(to + i * row + c, load<Vec<Real, 8>>(tile + i * channels + first + c));
  }
  if (u.planes == nullptr) return;
  Real* planes = u.planes + run.image * u.labels * points + run.first - run.image * points;
  for (int64_t i = 0; i < run.count; i += 8) {
    const int count = static_cast<int>(run.count - i < 8 ? run.count - i : 8);
    for (int64_t c = 0; c < u.labels; c += 8) {
      Vec<Real, 8> rows[8] = {};
      for (int k = 0; k < count; ++k) rows[k] = load<Vec<Real, 8>>(tile + (i + k) * channels + c);
      write_planes<Real>(rows, planes + c * points + i, points, static_cast<int>(u.labels - c),
                         count);
    }
  }
}

template <class S>
void update(const Update<S>& u, int64_t begin, int64_t end, Accumulator<S>* scratch) {
  using Real = Accumulator<S>;
  const int64_t channels = LabelGroups(u.labels).channels();
  Real *tile = scratch, *sums = tile + kTile * channels, *line = sums + kTile * channels;
  for (int64_t row = begin; row < end; ++row)
    for (int64_t x = 0; x < u.width; x += kTile) {
      const int64_t count = u.width - x < kTile ? u.width - x : kTile;
      const Run run{row / u.height, row % u.height, x, count, row * u.width + x};
      if (u.known_logits) {
        std::memcpy(tile, u.logits + run.first * channels, count * channels * sizeof(Real));
      } else {
        read_unary(u, run, channels, tile);
        if (u.logits != nullptr)
          std::memcpy(u.logits + run.first * channels, tile, count * channels * sizeof(Real));
      }
      for (int t = 0; t < u.terms; ++t) {
        if (u.term[t].cost == nullptr) {
          add_sums(u, u.term[t], run, channels, tile, line);
        } else {
          for (int64_t i = 0; i < count * channels; ++i) sums[i] = 0;
          add_sums(u, u.term[t], run, channels, sums, line);
          add_costs(u.term[t].cost, u.labels, channels, run, sums, tile);
        }
      }
      softmax(tile, count, channels);
      write_rows(u, run, channels, tile);
    }
}

// --- one channel ---

// line (radius, width, radius) = what the columns of a plane sum up to at row y, between zeros.
template <class S>
void sum_columns(const UpdateTerm<Accumulator<S>, S>& t, int64_t height, int64_t width,
                 const S* plane, int64_t y, Accumulator<S>* line) {
  using Real = Accumulator<S>;
  const int64_t radius = t.x.radius;
  for (int64_t i = 0; i < width + 2 * radius; ++i) line[i] = 0;
  Real* sums = line + radius;
  const int64_t top = y - t.y.radius > 0 ? y - t.y.radius : 0;
  const int64_t bottom = y + t.y.radius < height ? y + t.y.radius + 1 : height;
  for (int64_t r = top; r < bottom; ++r) {
    const Real tap = t.y.taps[r - y + t.y.radius] * t.y.pre[r];
    const S* row = plane + r * width;
#pragma omp simd
    for (int64_t x = 0; x < width; ++x) sums[x] += tap * widen(row[x]);
  }
#pragma omp simd
  for (int64_t x = 0; x < width; ++x) sums[x] *= t.x.pre[x];
}

// Adds to `out` the sum along the line.
template <class Real, class S>
void sum_line(const UpdateTerm<Real, S>& t, int64_t width, int64_t y, const Real* line, Real* out) {
  constexpr int64_t kStep = 64;
  for (int64_t start = 0; start < width; start += kStep) {
    const int64_t count = width - start < kStep ? width - start : kStep;
    Real sums[kStep] = {};
    for (int64_t k = 0; k <= 2 * t.x.radius; ++k) {
      const Real tap = t.x.taps[k];
      const Real* from = line + start + k;
#pragma omp simd
      for (int64_t i = 0; i < count; ++i) sums[i] += tap * from[i];
    }
#pragma omp simd
    for (int64_t i = 0; i < count; ++i)
      out[start + i] += t.y.post[y] * t.x.post[start + i] * sums[i];
  }
}

template <class S>
void grid(const UpdateTerm<Accumulator<S>, S>& t, int64_t height, int64_t width,
          const Accumulator<S>* values, int64_t begin, int64_t end, Accumulator<S>* scratch,
          Accumulator<S>* output) {
  using Real = Accumulator<S>;
  if constexpr (sizeof(S) == sizeof(Real)) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t plane = row / height;
      sum_columns<S>(t, height, width, values + plane * height * width, row % height, scratch);
      Real* out = output + row * width;
      for (int64_t x = 0; x < width; ++x) out[x] = 0;
      sum_line(t, width, row % height, scratch, out);
    }
  }
}

// The logit of label 0 against label 1 of a row.
template <class S>
void read_difference(const Update<S>& u, int64_t row, Accumulator<S>* logits) {
  using Real = Accumulator<S>;
  const int64_t points = u.height * u.width, image = row / u.height;
  const Real* first = u.unary + image * 2 * points + row % u.height * u.width;
  const Real* second = first + points;
  const auto clamped = [](Real x) {
    x = x < -kHuge ? Real(-kHuge) : x;
    return x > kHuge ? Real(kHuge) : x;
  };
  for (int64_t x = 0; x < u.width; ++x)
    logits[x] =
        u.unknown[row * u.width + x] != 0 ? Real(0) : clamped(second[x]) - clamped(first[x]);
}

template <class S>
void update_pair(const Update<S>& u, int64_t begin, int64_t end, Accumulator<S>* scratch) {
  using Real = Accumulator<S>;
  using V = Vec<Real, 8>;
  const int64_t points = u.height * u.width;
  for (int64_t row = begin; row < end; ++row) {
    const int64_t image = row / u.height, y = row % u.height, first = row * u.width;
    Real *logits = scratch, *line = scratch + u.width;
    if (u.known_logits) {
      std::memcpy(logits, u.logits + first, u.width * sizeof(Real));
    } else {
      read_difference(u, row, logits);
      if (u.logits != nullptr) std::memcpy(u.logits + first, logits, u.width * sizeof(Real));
    }
    for (int k = 0; k < u.terms; ++k) {
      const auto& t = u.term[k];
      if (t.lattice == nullptr) {
        sum_columns<S>(t, u.height, u.width, u.from + image * points, y, line);
        sum_line(t, u.width, y, line, logits);
        continue;
      }
      for (int64_t x = 0; x < u.width; ++x) {
        Real sum = 0;
        for (int64_t e = (first + x) * t.corner_count; e < (first + x + 1) * t.corner_count; ++e)
          sum += t.weights[e] * widen(t.lattice[t.corners[e]]);
        logits[x] += t.post[first + x] * sum;
      }
    }
    Real* planes = u.planes == nullptr ? nullptr : u.planes + image * 2 * points + y * u.width;
    for (int64_t x = 0; x < u.width; x += 8) {
      const int count = static_cast<int>(u.width - x < 8 ? u.width - x : 8);
      V d = {};
      for (int i = 0; i < count; ++i) d[i] = logits[x + i];
      d = d < -86 ? V{} - 86 : d;
      d = d > 86 ? V{} + 86 : d;
      const V second = 1 / (1 + fast_exp(d)), other = 1 / (1 + fast_exp(-d));
      for (int i = 0; i < count; ++i) {
        if (u.to != nullptr) u.to[first + x + i] = narrow<S>(other[i] - second[i]);
        if (planes == nullptr) continue;
        planes[x + i] = other[i];
        planes[points + x + i] = second[i];
      }
    }
  }
}

template <class S>
const UpdateKernels<S> kUpdateKernels = {find_unknown<Accumulator<S>>, update<S>, update_pair<S>,
                                         shrink<S>, grid<S>};

}  // namespace

template <>
const UpdateKernels<Half>& update_kernels<Half>() {
  return kUpdateKernels<Half>;
}
template <>
const UpdateKernels<float>& update_kernels<float>() {
  return kUpdateKernels<float>;
}
template <>
const UpdateKernels<double>& update_kernels<double>() {
  return kUpdateKernels<double>;
}

}  // namespace PF_ISA
}  // namespace pyfast
