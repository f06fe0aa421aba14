// The levels of nodes, compiled once for every instruction set.
#include <cmath>

#include "ops/matting/matting_interpolation.h"
#include "ops/matting/matting_nodes.h"

namespace pyfast {
namespace PF_ISA {
namespace {

// --- products and steps ---

// A v of one block.
template <class M>
inline void product(const NodeLevel& level, const M& m, const NodeBlock& b, const float* v,
                    Lanes8* sum) {
  const int64_t size = m() * m() * kNodes;
  const float* matrix = level.matrix + b.index * kNeighbours * size;
  const int64_t stride = level.stride();
  for (int64_t a = 0; a < m(); ++a) sum[a] = Lanes8{};
  for (int ey = -1; ey <= 1; ++ey)
    for (int ex = -1; ex <= 1; ++ex) {
      const float* from = v + level.at(m(), 0, b.y + ey, b.x + ex);
      fetch_lines(matrix + kNeighbours * size, size);  // of the next block
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

void exact_residual(const NodeLevel& level, const float* rhs, const float* x, int64_t begin,
                    int64_t end) {
  with_unknowns(level, [&](auto m) {
    constexpr int kMost = decltype(m)::kMost;
    for (int64_t slot = begin * kNodes; slot < end * kNodes; ++slot) {
      const NodeBlock b(level, slot / kNodes);
      const int64_t column = b.x + slot % kNodes;
      const double* block = level.product + slot * kNeighbours * m() * m();
      double terms[kMost * kMost] = {};  // of A x, by column of the blocks
      for (int e = 0; e < kNeighbours; ++e, block += m() * m()) {
        const int64_t ey = b.y + e / 3 - 1, ex = column + e % 3 - 1;
        double value[kMost];  // of b + a . (I - 1/2)
        value[0] = x[level.at(m(), 0, ey, ex)];
        for (int64_t c = 1; c < m(); ++c) {
          value[c] = x[level.at(m(), c, ey, ex)];
          value[0] -= value[c] * level.mean[level.at(m() - 1, c - 1, ey, ex)];
        }
        for (int64_t a = 0; a < m(); ++a)
#pragma omp simd
          for (int64_t c = 0; c < m(); ++c) terms[a * m() + c] += block[a * m() + c] * value[c];
      }
      double constant = 0;
      for (int64_t a = 0; a < m(); ++a) {
        double sum = 0;
        for (int64_t c = 0; c < m(); ++c) sum += terms[a * m() + c];
        if (a == 0) constant = sum;
        if (a > 0) sum -= constant * level.mean[level.at(m() - 1, a - 1, b.y, column)];
        const int64_t at = level.at(m(), a, b.y, column);
        level.f[at] = static_cast<float>(rhs[at] - sum);
      }
    }
    return 0;
  });
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
template <class M>
bool invert(const M& unknowns, double* a) {
  const int64_t m = unknowns();
  double factor[M::kMost * M::kMost];
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
    double x[M::kMost];
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

// Of one node, number k of its block.
template <class M>
void centre_node(const NodeLevel& level, const M& m, const NodeBlock& b, int64_t k) {
  // Grey images leave directions of colour without weight: they get this share of the diagonal.
  constexpr double kRidge = 1e-6;
  const int64_t size = m() * m();
  const auto read_mean = [&](int64_t y, int64_t x, double* mean) {
    for (int64_t c = 0; c + 1 < m(); ++c) mean[c] = level.mean[level.at(m() - 1, c, y, x)];
  };
  const double* from = level.product + (b.index * kNodes + k) * kNeighbours * size;
  double here[M::kMost], there[M::kMost], block[M::kMost * M::kMost];
  read_mean(b.y, b.x + k, here);
  for (int e = 0; e < kNeighbours; ++e) {
    read_mean(b.y + e / 3 - 1, b.x + k + e % 3 - 1, there);
    for (int64_t j = 0; j < size; ++j) block[j] = from[e * size + j];
    centre_columns(block, there, static_cast<int>(m()));
    centre_rows(block, here, static_cast<int>(m()));
    float* to = level.matrix + (b.index * kNeighbours + e) * size * kNodes + k;
    for (int64_t j = 0; j < size; ++j) to[j * kNodes] = static_cast<float>(block[j]);
    if (e != kNeighbours / 2) continue;
    double trace = 0;
    for (int64_t c = 0; c < m(); ++c) trace += block[c * m() + c];
    for (int64_t c = 0; c < m(); ++c)
      block[c * m() + c] += kRidge * block[c * m() + c] + kNodeFloor * trace;
    const bool is_used = trace > 0 && invert(m, block);
    float* inverse = level.inverse + b.index * size * kNodes + k;
    for (int64_t j = 0; j < size; ++j)
      inverse[j * kNodes] = is_used ? static_cast<float>(kNodeDamping * block[j]) : 0.0f;
  }
}

void centre(const NodeLevel& level, int64_t begin, int64_t end) {
  with_unknowns(level, [&](auto m) {
    for (int64_t i = begin; i < end; ++i)
      for (int64_t k = 0; k < kNodes; ++k) centre_node(level, m, NodeBlock(level, i), k);
    return 0;
  });
}

const MattingNodeKernels kKernels = {means,  centre,         start,   residual,
                                     smooth, exact_residual, uncentre};

}  // namespace

const MattingNodeKernels& matting_node_kernels() { return kKernels; }

}  // namespace PF_ISA
}  // namespace pyfast
