// The levels of nodes, compiled once for every instruction set.
#include <cmath>
#include <cstring>

#include "core/vectors.h"
#include "ops/matting/matting_multigrid.h"

namespace pyfast {
namespace PF_ISA {
namespace {

using Lanes8 = Vec<float, kNodes>;

// Calls f(m) with the number of unknowns as a type where it is common.
template <int kM>
struct Unknowns {
  int64_t count;
  int64_t operator()() const { return kM > 0 ? kM : count; }
  static constexpr int kMost = kM > 0 ? kM : kMostUnknowns;
};

template <class F>
inline auto with_unknowns(const NodeLevel& level, const F& f) {
  return level.unknowns == 4   ? f(Unknowns<4>{4})
         : level.unknowns == 2 ? f(Unknowns<2>{2})
                               : f(Unknowns<0>{level.unknowns});
}

// One stored block of nodes.
struct NodeBlock {
  int64_t index, y, x;
  NodeBlock(const NodeLevel& level, int64_t i)
      : index(i), y(level.table.row[i]), x(int64_t{level.table.block[i]} * kNodes) {}
};

// --- products and steps ---

// A v of one block.
template <class M>
inline void product(const NodeLevel& level, const M& m, const NodeBlock& b, const float* v,
                    Lanes8* sum) {
  const float* matrix = level.matrix + b.index * kNeighbours * m() * m() * kNodes;
  const int64_t stride = level.stride();
  for (int64_t a = 0; a < m(); ++a) sum[a] = Lanes8{};
  for (int ey = -1; ey <= 1; ++ey)
    for (int ex = -1; ex <= 1; ++ex) {
      const float* from = v + level.at(m(), 0, b.y + ey, b.x + ex);
      Lanes8 value[M::kMost];
      for (int64_t c = 0; c < m(); ++c) value[c] = load<kNodes>(from + c * stride);
      for (int64_t a = 0; a < m(); ++a)
        for (int64_t c = 0; c < m(); ++c, matrix += kNodes)
          sum[a] += load<kNodes>(matrix) * value[c];
    }
}

// inverse v, added to `sum`.
template <class M>
inline void add_relaxed(const NodeLevel& level, const M& m, const NodeBlock& b, const Lanes8* v,
                        Lanes8* sum) {
  const float* inverse = level.inverse + b.index * m() * m() * kNodes;
  for (int64_t a = 0; a < m(); ++a)
    for (int64_t c = 0; c < m(); ++c, inverse += kNodes) sum[a] += load<kNodes>(inverse) * v[c];
}

template <class M>
inline void read(const NodeLevel& level, const M& m, const NodeBlock& b, const float* v,
                 Lanes8* to) {
  for (int64_t c = 0; c < m(); ++c) to[c] = load<kNodes>(v + level.at(m(), c, b.y, b.x));
}

template <class M>
inline void write(const NodeLevel& level, const M& m, const NodeBlock& b, const Lanes8* from,
                  float* v) {
  for (int64_t c = 0; c < m(); ++c) store(v + level.at(m(), c, b.y, b.x), from[c]);
}

void start(const NodeLevel& level, int64_t begin, int64_t end) {
  with_unknowns(level, [&](auto m) {
    for (int64_t i = begin; i < end; ++i) {
      const NodeBlock b(level, i);
      Lanes8 f[decltype(m)::kMost], x[decltype(m)::kMost] = {};
      read(level, m, b, level.f, f);
      add_relaxed(level, m, b, f, x);
      write(level, m, b, x, level.x);
    }
    return 0;
  });
}

// f - A x
template <class M>
inline void left_over(const NodeLevel& level, const M& m, const NodeBlock& b, Lanes8* left) {
  Lanes8 sum[M::kMost];
  product(level, m, b, level.x, sum);
  read(level, m, b, level.f, left);
  for (int64_t c = 0; c < m(); ++c) left[c] -= sum[c];
}

void residual(const NodeLevel& level, int64_t begin, int64_t end) {
  with_unknowns(level, [&](auto m) {
    for (int64_t i = begin; i < end; ++i) {
      const NodeBlock b(level, i);
      Lanes8 left[decltype(m)::kMost];
      left_over(level, m, b, left);
      write(level, m, b, left, level.t);
    }
    return 0;
  });
}

void smooth(const NodeLevel& level, int64_t begin, int64_t end) {
  with_unknowns(level, [&](auto m) {
    for (int64_t i = begin; i < end; ++i) {
      const NodeBlock b(level, i);
      Lanes8 left[decltype(m)::kMost], x[decltype(m)::kMost];
      left_over(level, m, b, left);
      read(level, m, b, level.x, x);
      add_relaxed(level, m, b, left, x);
      write(level, m, b, x, level.t);
    }
    return 0;
  });
}

double power(const NodeLevel& level, int64_t begin, int64_t end) {
  return with_unknowns(level, [&](auto m) {
    double sum = 0;
    for (int64_t i = begin; i < end; ++i) {
      const NodeBlock b(level, i);
      Lanes8 t[decltype(m)::kMost], x[decltype(m)::kMost] = {};
      read(level, m, b, level.t, t);
      for (int64_t c = 0; c < m(); ++c) t[c] = -t[c];
      add_relaxed(level, m, b, t, x);
      write(level, m, b, x, level.x);
      // x . D x = -x . t
      for (int64_t c = 0; c < m(); ++c)
        for (int l = 0; l < kNodes; ++l) sum += double{x[c][l]} * double{t[c][l]};
    }
    return sum;
  });
}

void damp(const NodeLevel& level, double factor, int64_t begin, int64_t end) {
  const int64_t each = level.unknowns * level.unknowns * kNodes;
  for (int64_t i = begin * each; i < end * each; ++i)
    level.inverse[i] *= static_cast<float>(factor);
}

void uncentre(const NodeLevel& level, int64_t begin, int64_t end) {
  const int64_t m = level.unknowns;
  for (int64_t i = begin; i < end; ++i) {
    const NodeBlock b(level, i);
    float* constant = level.t + level.at(m, 0, b.y, b.x);
    Lanes8 sum = load<kNodes>(constant);
    for (int64_t c = 1; c < m; ++c)
      sum -= load<kNodes>(level.mean + level.at(m - 1, c - 1, b.y, b.x)) *
             load<kNodes>(level.t + level.at(m, c, b.y, b.x));
    store(constant, sum);
  }
}

// --- between levels ---

// Coarse nodes beside a fine one in a row: the first, and how many share it.
inline int64_t parents(int64_t fine, int64_t* first) {
  *first = fine / 2;
  return 1 + fine % 2;
}

using Lanes16 = Vec<float, 2 * kNodes>;

// Every second of two blocks.
template <int... I>
inline Lanes8 even(const Lanes16& v, Numbers<I...>) {
  return __builtin_shufflevector(v, v, (2 * I)...);
}
template <int... I>
inline Lanes8 odd(const Lanes16& v, Numbers<I...>) {
  return __builtin_shufflevector(v, v, (2 * I + 1)...);
}
// Each of the first four twice, and the same one place on.
template <int... I>
inline Lanes8 doubled(const Lanes8& v, Numbers<I...>) {
  return __builtin_shufflevector(v, v, (I / 2)...);
}
template <int... I>
inline Lanes8 doubled_on(const Lanes8& v, Numbers<I...>) {
  return __builtin_shufflevector(v, v, ((I + 1) / 2)...);
}

// 1 for the nodes of a block that lie in the level.
inline Lanes8 lanes_inside(const NodeLevel& level, const NodeBlock& b) {
  Lanes8 inside;
  for (int k = 0; k < kNodes; ++k) inside[k] = b.x + k < level.columns ? 1.0f : 0.0f;
  return inside;
}

// Beyond its first and last column a level is zero.
void restrict_nodes(const NodeLevel& fine, const NodeLevel& coarse, int64_t begin, int64_t end) {
  constexpr FirstNumbers<kNodes> kLanes{};
  const int64_t m = fine.unknowns, d = m - 1, stride = fine.stride();
  for (int64_t i = coarse.table.first[begin]; i < coarse.table.first[end]; ++i) {
    const NodeBlock b(coarse, i);
    Lanes8 sums[kMostUnknowns] = {};
    for (int64_t y = 2 * b.y - 1; y <= 2 * b.y + 1; ++y) {
      if (y < 0 || y >= fine.rows) continue;
      const float* from = fine.t + fine.at(m, 0, y, 2 * b.x);
      const float* mean = fine.mean + fine.at(d, 0, y, 2 * b.x);
      const float weight = y == 2 * b.y ? 1.0f : 0.5f;
      const Lanes16 here = load<2 * kNodes>(from), before = load<2 * kNodes>(from - 1);
      const auto add = [&](Lanes8& sum, const Lanes16& own, const Lanes16& shifted) {
        sum += weight * (even(own, kLanes) + 0.5f * (odd(own, kLanes) + even(shifted, kLanes)));
      };
      add(sums[0], here, before);
      for (int64_t c = 0; c < d; ++c) {
        const float *slope = from + (c + 1) * stride, *colour = mean + c * stride;
        add(sums[c + 1], load<2 * kNodes>(slope) + here * load<2 * kNodes>(colour),
            load<2 * kNodes>(slope - 1) + before * load<2 * kNodes>(colour - 1));
      }
    }
    const Lanes8 inside = lanes_inside(coarse, b);
    for (int64_t c = 0; c < d; ++c)
      sums[c + 1] -= sums[0] * load<kNodes>(coarse.mean + coarse.at(d, c, b.y, b.x));
    for (int64_t c = 0; c < m; ++c)
      store(coarse.f + coarse.at(m, c, b.y, b.x), inside != 0.0f ? sums[c] : Lanes8{});
  }
}

void prolong_nodes(const NodeLevel& coarse, const NodeLevel& fine, int64_t begin, int64_t end) {
  constexpr FirstNumbers<kNodes> kLanes{};
  const int64_t m = fine.unknowns, d = m - 1;
  for (int64_t i = begin; i < end; ++i) {
    const NodeBlock b(fine, i);
    int64_t cy;
    const int64_t rows = parents(b.y, &cy);
    const float weight = 0.5f / static_cast<float>(rows);
    Lanes8 sums[kMostUnknowns] = {};
    for (int64_t y = cy; y < cy + rows; ++y)
      for (int64_t c = 0; c < m; ++c) {
        const Lanes8 t = load<kNodes>(coarse.t + coarse.at(m, c, y, b.x / 2));
        sums[c] += weight * (doubled(t, kLanes) + doubled_on(t, kLanes));
      }
    // coarse.t is uncentred; fine nodes are centred.
    for (int64_t c = 0; c < d; ++c)
      sums[0] += sums[c + 1] * load<kNodes>(fine.mean + fine.at(d, c, b.y, b.x));
    const Lanes8 inside = lanes_inside(fine, b);
    for (int64_t c = 0; c < m; ++c) {
      float* x = fine.x + fine.at(m, c, b.y, b.x);
      store(x, load<kNodes>(x) + (inside != 0.0f ? sums[c] : Lanes8{}));
    }
  }
}

void galerkin(const NodeLevel& fine, const NodeLevel& coarse, int64_t begin, int64_t end) {
  const int64_t m = fine.unknowns, blocks = kNeighbours * m * m;
  for (int64_t i = coarse.table.first[begin]; i < coarse.table.first[end]; ++i) {
    const NodeBlock b(coarse, i);
    for (int64_t k = 0; k < kNodes; ++k) {
      const int64_t x = b.x + k, slot = i * kNodes + k;
      double* to = coarse.product + slot * blocks;
      double* mass = coarse.mass + slot * m;
      std::memset(to, 0, sizeof(double) * blocks);
      std::memset(mass, 0, sizeof(double) * m);
      if (x >= coarse.columns) continue;
      for (int64_t fy = 2 * b.y - 1; fy <= 2 * b.y + 1; ++fy)
        for (int64_t fx = 2 * x - 1; fx <= 2 * x + 1; ++fx) {
          if (fy < 0 || fy >= fine.rows || fx < 0 || fx >= fine.columns) continue;
          const int64_t fine_block = *fine.table.at(fy, fx / kNodes);
          if (fine_block == 0) continue;
          const double weight = (fy == 2 * b.y ? 1.0 : 0.5) * (fx == 2 * x ? 1.0 : 0.5);
          const int64_t from_slot = fine_block * kNodes + fx % kNodes;
          for (int64_t c = 0; c < m; ++c) mass[c] += weight * fine.mass[from_slot * m + c];
          const double* from = fine.product + from_slot * blocks;
          for (int64_t ey = -1; ey <= 1; ++ey)
            for (int64_t ex = -1; ex <= 1; ++ex, from += m * m) {
              if (fy + ey < 0 || fx + ex < 0) continue;
              int64_t cy, cx;
              const int64_t rows = parents(fy + ey, &cy), columns = parents(fx + ex, &cx);
              const double share = weight / static_cast<double>(rows * columns);
              for (int64_t py = cy; py < cy + rows; ++py)
                for (int64_t px = cx; px < cx + columns; ++px) {
                  double* block = to + ((py - b.y + 1) * 3 + px - x + 1) * m * m;
                  for (int64_t j = 0; j < m * m; ++j) block[j] += share * from[j];
                }
            }
        }
    }
  }
}

// --- centring ---

void means(const NodeLevel& level, int64_t begin, int64_t end) {
  const int64_t m = level.unknowns;
  for (int64_t i = begin; i < end; ++i) {
    const NodeBlock b(level, i);
    for (int64_t k = 0; k < kNodes; ++k) {
      const double* mass = level.mass + (i * kNodes + k) * m;
      for (int64_t c = 1; c < m; ++c)
        level.mean[level.at(m - 1, c - 1, b.y, b.x + k)] =
            static_cast<float>(mass[0] > 0 ? mass[c] / mass[0] : 0);
    }
  }
}

// Replaces a symmetric matrix (m, m) by its inverse; false where it is not positive.
bool invert(double* a, int64_t m) {
  double factor[kMostUnknowns * kMostUnknowns];
  for (int64_t j = 0; j < m; ++j)
    for (int64_t i = j; i < m; ++i) {
      double sum = a[i * m + j];
      for (int64_t k = 0; k < j; ++k) sum -= factor[i * m + k] * factor[j * m + k];
      if (i == j) {
        if (!(sum > 0)) return false;
        factor[j * m + j] = std::sqrt(sum);
      } else {
        factor[i * m + j] = sum / factor[j * m + j];
      }
    }
  for (int64_t column = 0; column < m; ++column) {
    double x[kMostUnknowns];
    for (int64_t i = 0; i < m; ++i) {
      double sum = i == column ? 1 : 0;
      for (int64_t k = 0; k < i; ++k) sum -= factor[i * m + k] * x[k];
      x[i] = sum / factor[i * m + i];
    }
    for (int64_t i = m; i-- > 0;) {
      double sum = x[i];
      for (int64_t k = i + 1; k < m; ++k) sum -= factor[k * m + i] * x[k];
      x[i] = sum / factor[i * m + i];
    }
    for (int64_t i = 0; i < m; ++i) a[i * m + column] = x[i];
  }
  return true;
}

// T_n^T block T_k with T = [1, -mu; 0, 1].
void centre_block(const double* block, const double* mean_n, const double* mean_k, int64_t m,
                  double* to) {
  for (int64_t a = 0; a < m; ++a)
    for (int64_t c = 0; c < m; ++c) {
      double value = block[a * m + c];
      if (c > 0) value -= block[a * m] * mean_k[c - 1];
      if (a > 0) {
        double first = block[c];
        if (c > 0) first -= block[0] * mean_k[c - 1];
        value -= first * mean_n[a - 1];
      }
      to[a * m + c] = value;
    }
}

void centre(const NodeLevel& level, int64_t begin, int64_t end) {
  // Grey images leave directions of colour without weight: they get this share of the diagonal.
  constexpr double kRidge = 1e-6;
  const int64_t m = level.unknowns;
  const auto read_mean = [&](int64_t y, int64_t x, double* mean) {
    for (int64_t c = 0; c + 1 < m; ++c) mean[c] = level.mean[level.at(m - 1, c, y, x)];
  };
  for (int64_t i = begin; i < end; ++i) {
    const NodeBlock b(level, i);
    for (int64_t k = 0; k < kNodes; ++k) {
      const double* from = level.product + (i * kNodes + k) * kNeighbours * m * m;
      double here[kMostUnknowns], there[kMostUnknowns], block[kMostUnknowns * kMostUnknowns];
      read_mean(b.y, b.x + k, here);
      for (int e = 0; e < kNeighbours; ++e) {
        read_mean(b.y + e / 3 - 1, b.x + k + e % 3 - 1, there);
        centre_block(from + e * m * m, here, there, m, block);
        float* to = level.matrix + (i * kNeighbours + e) * m * m * kNodes + k;
        for (int64_t j = 0; j < m * m; ++j) to[j * kNodes] = static_cast<float>(block[j]);
        if (e != kNeighbours / 2) continue;
        double trace = 0;
        for (int64_t c = 0; c < m; ++c) trace += block[c * m + c];
        for (int64_t c = 0; c < m; ++c)
          block[c * m + c] += kRidge * block[c * m + c] + 1e-12 * trace;
        const bool is_used = trace > 0 && invert(block, m);
        float* inverse = level.inverse + i * m * m * kNodes + k;
        for (int64_t j = 0; j < m * m; ++j)
          inverse[j * kNodes] = is_used ? static_cast<float>(block[j]) : 0.0f;
      }
    }
  }
}

const MattingNodeKernels kKernels = {galerkin,      means,    centre,  damp,
                                     start,         residual, smooth,  restrict_nodes,
                                     prolong_nodes, power,    uncentre};

}  // namespace

const MattingNodeKernels& matting_node_kernels() { return kKernels; }

}  // namespace PF_ISA
}  // namespace pyfast
