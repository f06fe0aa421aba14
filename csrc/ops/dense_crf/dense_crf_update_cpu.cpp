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

constexpr int kPointsAhead = 4;   // whose corners are fetched
constexpr int kStreamAhead = 32;  // points whose own values are, read or written in order

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
  const int64_t points = u.points, at = run.first - run.image * points;
  const Real* planes = u.unary + run.image * u.labels * points + at;
  for (int64_t i = 0; i < run.count; i += 8) {
    const int count = static_cast<int>(run.count - i < 8 ? run.count - i : 8);
    for (int64_t c = 0; c < channels; c += 8) {
      V rows[8];
      const int left = static_cast<int>(u.labels - c);
      if (i % 16 == 0)  // a cache line of floats; the planes lie far apart
        for (int l = 0; l < 8 && l < left; ++l)
          __builtin_prefetch(planes + (c + l) * points + i + kTile);
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

// tile = logits + what the corners of each point hold. kCorners 0: any number.
template <class S, int kBlocks, int kCorners>
void add_lattice(const UpdateTerm<Accumulator<S>, S>& t, const S* lattice, const Run& run,
                 int64_t stride, const Accumulator<S>* logits, Accumulator<S>* tile) {
  using Real = Accumulator<S>;
  using R = Row<Real, kBlocks>;
  const int corner_count = kCorners > 0 ? kCorners : t.corner_count;
  const int ahead = kPointsAhead * corner_count;
  const int32_t* corners = t.corners + run.first * corner_count;
  const Real* weights = t.weights + run.first * corner_count;
  for (int64_t i = 0; i < run.count; ++i, corners += corner_count, weights += corner_count) {
    __builtin_prefetch(logits + (i + kStreamAhead) * stride);
    __builtin_prefetch(logits + (i + kStreamAhead) * stride + 16);
    __builtin_prefetch(corners + 2 * kStreamAhead * corner_count);
    __builtin_prefetch(weights + 2 * kStreamAhead * corner_count);
    R sum = R::zeros();
    for (int k = 0; k < corner_count; ++k) {
      // Behind the last corners of a lattice lie its weights: no place, but memory all the same.
      const S* soon = lattice + corners[k + ahead] * int64_t{R::kChannels};
      __builtin_prefetch(soon);  // may lie across two cache lines
      __builtin_prefetch(soon + R::kChannels - 1);
      sum.add(weights[k], R::load(lattice + corners[k] * int64_t{R::kChannels}));
    }
    R row = R::load(logits + i * stride);
    row.add(t.post[run.first + i], sum);
    row.store(tile + i * stride);
  }
}

// body(integral_constant<int, points>, i) for all i of [0, count), by pairs while there are any:
// the channels of two points fill registers that those of one leave half empty.
template <class Body>
inline void by_pairs(int64_t count, const Body& body) {
  int64_t i = 0;
  for (; i + 2 <= count; i += 2) body(std::integral_constant<int, 2>{}, i);
  if (i < count) body(std::integral_constant<int, 1>{}, i);
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
    by_pairs(t.x.length, [&](auto points, int64_t x) {
      using Points = RowOfPoints<Real, kBlocks, decltype(points)::value>;
      Points sum = Points::zeros();
      for (int64_t y = from; y < to; ++y)
        sum.Base::add(taps[y] * t.y.pre[y], Points::load(rows + (y * t.x.length + x) * kRow));
      sum.multiply(t.x.pre + x);
      sum.store(line + x * kRow);
    });
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

// tile = logits + a Gaussian sum over the places around, `from` (places, row) of an image: down the
// columns into `line`, then along it.
template <int kBlocks, class Real, class S>
void add_shrunk_grid(const UpdateTerm<Real, S>& t, const Real* from, const Run& run, int64_t stride,
                     const Real* logits, Real* tile, Real* line) {
  using R = Row<Real, kBlocks>;
  constexpr int64_t kRow = R::kChannels;
  const int64_t left = t.x.first(run.x), right = t.x.last(run.x + run.count - 1);
  const int64_t top = t.y.first(run.y), bottom = t.y.last(run.y);
  by_pairs(right + 1 - left, [&](auto points, int64_t i) {
    using Points = Row<Real, kBlocks* decltype(points)::value>;
    Points sum = Points::zeros();
    for (int64_t y = top; y <= bottom; ++y)
      sum.add(t.y.taps[t.y.pixel(y) - run.y + t.y.radius],
              Points::load(from + (y * t.x.places + left + i) * kRow));
    sum.store(line + i * kRow);
  });
  for (int64_t i = 0; i < run.count; ++i) {
    const int64_t x = run.x + i, last = t.x.last(x);
    R sum = R::zeros();
    for (int64_t k = t.x.first(x); k <= last; ++k)
      sum.add(t.x.taps[t.x.pixel(k) - x + t.x.radius], R::load(line + (k - left) * kRow));
    R row = R::load(logits + i * stride);
    row.add(t.x.post[x] * t.y.post[run.y], sum);
    row.store(tile + i * stride);
  }
}

// The same for a narrow Gaussian over pixels, `from` (H, W, row).
template <int kBlocks, class Real, class S>
void add_grid(const UpdateTerm<Real, S>& t, const S* from, const Run& run, int64_t stride,
              const Real* logits, Real* tile, Real* line) {
  constexpr int64_t kRow = kBlocks * kBlock;
  const int64_t radius = t.x.radius, radius_y = t.y.radius, width = t.x.length;
  const int64_t top = t.y.first(run.y), bottom = t.y.last(run.y);
  // The line goes from `radius` before the run to `radius` after it, outside of the image too: 0.
  const int64_t start = run.x - radius, length = run.count + 2 * radius;
  const int64_t left = start < 0 ? -start : 0;
  const int64_t right = start + length > width ? width - start : length;
  std::memset(line, 0, left * kRow * sizeof(Real));
  std::memset(line + right * kRow, 0, (length - right) * kRow * sizeof(Real));
  by_pairs(right - left, [&](auto points, int64_t i) {
    using R = RowOfPoints<Real, kBlocks, decltype(points)::value>;
    const int64_t x = start + left + i;
    __builtin_prefetch(from + ((bottom + 1) * width + x) * kRow, 0, 2);  // for the next row
    R sum = R::zeros();
    for (int64_t y = top; y <= bottom; ++y)
      sum.Base::add(t.y.taps[y - run.y + radius_y] * t.y.pre[y],
                    R::load(from + (y * width + x) * kRow));
    sum.multiply(t.x.pre + x);
    sum.store(line + (left + i) * kRow);
  });
  by_pairs(run.count, [&](auto points, int64_t i) {
    constexpr int kPoints = decltype(points)::value;
    using R = RowOfPoints<Real, kBlocks, kPoints>;
    R sum = R::zeros();
    for (int64_t k = 0; k <= 2 * radius; ++k)
      sum.Base::add(t.x.taps[k], R::load(line + (i + k) * kRow));
    Real factors[kPoints];
    for (int n = 0; n < kPoints; ++n) factors[n] = t.x.post[run.x + i + n] * t.y.post[run.y];
    R row = R::load_apart(logits + i * stride, stride);
    row.add(factors, sum);
    row.store_apart(tile + i * stride, stride);
  });
}

// tile = logits + the messages of a term, by groups.
template <class S>
void add_sums(const Update<S>& u, const UpdateTerm<Accumulator<S>, S>& t, const Run& run,
              int64_t channels, const Accumulator<S>* logits, Accumulator<S>* tile,
              Accumulator<S>* line) {
  const LabelGroups groups(u.labels);
  for (int g = 0; g < groups.count; ++g) {
    const int64_t first = int64_t{g} * kGroupChannels;
    with_blocks(groups.blocks(g), [&](auto blocks) {
      constexpr int kBlocks = decltype(blocks)::value;
      if (t.lattice == nullptr) {
        constexpr int64_t kRow = kBlocks * kBlock;
        const int64_t points = u.points, places = t.y.places * t.x.places;
        if (t.shrunk == nullptr) {
          const S* from = u.from + first * u.batch * points + run.image * points * kRow;
          add_grid<kBlocks>(t, from, run, channels, logits + first, tile + first, line);
        } else {
          const auto* from = t.shrunk + first * u.batch * places + run.image * places * kRow;
          add_shrunk_grid<kBlocks>(t, from, run, channels, logits + first, tile + first, line);
        }
      } else {
        const S* lattice = t.lattice + first * (t.vertices + 1);
        if (t.corner_count == 6) {
          add_lattice<S, kBlocks, 6>(t, lattice, run, channels, logits + first, tile + first);
        } else {
          add_lattice<S, kBlocks, 0>(t, lattice, run, channels, logits + first, tile + first);
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

// Of each of eight points, what is joined over its lanes.
template <class V, class Join>
inline V joined_each(V* v, const Join& join) {
  transpose<kBlock>(v);
  return join(join(join(v[0], v[4]), join(v[2], v[6])), join(join(v[1], v[5]), join(v[3], v[7])));
}

// Probabilities from logits: to the rows of the next Q, and to tile where planes are wanted. Rows
// have `full` whole groups, and one of kBlocks. Eight points at a time, as all of one have to wait
// for their largest and for their sum.
template <class S, int kBlocks>
void softmax(const Update<S>& u, const Run& run, int64_t full, const Accumulator<S>* logits,
             Accumulator<S>* tile) {
  using Real = Accumulator<S>;
  using Group = Row<Real, kMostBlocks>;
  using Last = Row<Real, kBlocks>;
  using V = Vec<Real, kBlock>;
  const int64_t channels = full * kGroupChannels + Last::kChannels;
  const int64_t points = u.batch * u.points;
  for (int64_t start = 0; start < run.count; start += kBlock) {
    const int count = static_cast<int>(run.count - start < kBlock ? run.count - start : kBlock);
    const auto at = [&](auto* rows, int i, int64_t g) {
      return rows + (start + i) * channels + g * kGroupChannels;
    };
    V lanes[kBlock] = {};
    for (int i = 0; i < count; ++i) {
      if (u.to != nullptr)
        __builtin_prefetch(u.to + full * kGroupChannels * points +
                               (run.first + start + i + kStreamAhead) * Last::kChannels,
                           1);
      lanes[i] = Last::load(at(logits, i, full)).largest();
      for (int64_t g = 0; g < full; ++g)
        lanes[i] = larger(lanes[i], Group::load(at(logits, i, g)).largest());
    }
    const V top = joined_each(lanes, larger<V>);
    for (int i = 0; i < count; ++i) {
      V sum = {};
      for (int64_t g = 0; g < full; ++g) {
        Group row = Group::load(at(logits, i, g));
        row.exponentiate(top[i]);
        sum = row.added_to(sum);
        row.store(at(tile, i, g));
      }
      Last row = Last::load(at(logits, i, full));
      row.exponentiate(top[i]);
      lanes[i] = row.added_to(sum);
      row.store(at(tile, i, full));
    }
    const V scale = 1 / joined_each(lanes, [](const V& a, const V& b) { return a + b; });
    const auto finish = [&](auto row, int i, int64_t g) {
      row.multiply(scale[i]);
      if (u.planes != nullptr) row.store(at(tile, i, g));
      if (u.to == nullptr) return;
      row.store(u.to + g * kGroupChannels * points + (run.first + start + i) * row.kChannels);
    };
    for (int i = 0; i < count; ++i) {
      for (int64_t g = 0; g < full; ++g) finish(Group::load(at(tile, i, g)), i, g);
      finish(Last::load(at(tile, i, full)), i, full);
    }
  }
}

template <class S>
void write_planes_of(const Update<S>& u, const Run& run, int64_t channels,
                     const Accumulator<S>* tile) {
  using Real = Accumulator<S>;
  const int64_t points = u.points;
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
  const LabelGroups groups(u.labels);
  const int64_t channels = groups.channels();
  Real *tile = scratch, *sums = tile + kTile * channels, *line = sums + kTile * channels;
  for (int64_t row = begin; row < end; ++row) {
    const int64_t image = row / u.height, y = row % u.height, width = u.row_length(y);
    for (int64_t x = 0; x < width; x += kTile) {
      const int64_t count = width - x < kTile ? width - x : kTile;
      const Run run{image, y, x, count, image * u.points + y * u.width + x};
      const Real* logits = tile;
      if (u.known_logits) {
        logits = u.logits + run.first * channels;
      } else {
        read_unary(u, run, channels, tile);
        if (u.logits != nullptr)
          std::memcpy(u.logits + run.first * channels, tile, count * channels * sizeof(Real));
      }
      for (int t = 0; t < u.terms; ++t) {
        if (u.term[t].cost == nullptr) {
          add_sums(u, u.term[t], run, channels, logits, tile, line);
        } else {
          if (logits != tile) std::memcpy(tile, logits, count * channels * sizeof(Real));
          for (int64_t i = 0; i < count * channels; ++i) sums[i] = 0;
          add_sums(u, u.term[t], run, channels, sums, sums, line);
          add_costs(u.term[t].cost, u.labels, channels, run, sums, tile);
        }
        logits = tile;
      }
      with_blocks(groups.last_blocks, [&](auto blocks) {
        softmax<S, decltype(blocks)::value>(u, run, groups.count - 1, logits, tile);
      });
      if (u.planes != nullptr) write_planes_of(u, run, channels, tile);
    }
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

// The logit of label 0 against label 1 of a run.
template <class S>
void read_difference(const Update<S>& u, const Run& run, Accumulator<S>* logits) {
  using Real = Accumulator<S>;
  const Real* first = u.unary + run.image * u.points + run.first;  // of two planes an image
  const Real* second = first + u.points;
  const auto clamped = [](Real x) {
    x = x < -kHuge ? Real(-kHuge) : x;
    return x > kHuge ? Real(kHuge) : x;
  };
  for (int64_t i = 0; i < run.count; ++i)
    logits[i] = u.unknown[run.first + i] != 0 ? Real(0) : clamped(second[i]) - clamped(first[i]);
}

template <class S>
void update_pair(const Update<S>& u, int64_t begin, int64_t end, Accumulator<S>* scratch) {
  using Real = Accumulator<S>;
  using V = Vec<Real, 8>;
  const int64_t points = u.points;
  for (int64_t row = begin; row < end; ++row) {
    const int64_t image = row / u.height, y = row % u.height, width = u.row_length(y);
    const int64_t first = image * points + y * u.width;
    Real *logits = scratch, *line = scratch + width;
    if (u.known_logits) {
      std::memcpy(logits, u.logits + first, width * sizeof(Real));
    } else {
      read_difference(u, {image, y, 0, width, first}, logits);
      if (u.logits != nullptr) std::memcpy(u.logits + first, logits, width * sizeof(Real));
    }
    for (int k = 0; k < u.terms; ++k) {
      const auto& t = u.term[k];
      if (t.lattice == nullptr) {
        sum_columns<S>(t, u.height, width, u.from + image * points, y, line);
        sum_line(t, width, y, line, logits);
        continue;
      }
      for (int64_t x = 0; x < width; ++x)
        logits[x] += t.post[first + x] *
                     sum_of_corners<S>(t.lattice, t.corners, t.weights, t.corner_count, first + x);
    }
    Real* planes = u.planes == nullptr ? nullptr : u.planes + image * points + first;
    for (int64_t x = 0; x < width; x += 8) {
      const int count = static_cast<int>(width - x < 8 ? width - x : 8);
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
