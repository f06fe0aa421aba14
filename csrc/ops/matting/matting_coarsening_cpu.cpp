// Between two levels of nodes, compiled once for every instruction set.
#include <cstring>

#include "ops/matting/matting_interpolation.h"
#include "ops/matting/matting_nodes.h"

namespace pyfast {
namespace PF_ISA {
namespace {

// --- building ---

// to += a b
template <class M>
inline void add_product(const M& m, const double* a, const double* b, double* to) {
  for (int64_t i = 0; i < m(); ++i)
    for (int64_t k = 0; k < m(); ++k) {
      const double factor = a[i * m() + k];
      for (int64_t j = 0; j < m(); ++j) to[i * m() + j] += factor * b[k * m() + j];
    }
}

// to += a^T b
template <class M>
inline void add_transposed_product(const M& m, const double* a, const double* b, double* to) {
  for (int64_t k = 0; k < m(); ++k)
    for (int64_t i = 0; i < m(); ++i) {
      const double factor = a[k * m() + i];
      for (int64_t j = 0; j < m(); ++j) to[i * m() + j] += factor * b[k * m() + j];
    }
}

// A node of the level, and what is stored of it.
struct Node {
  int64_t y, x, slot;  // slot: among stored nodes, 0 to 7 for none

  Node(const NodeLevel& level, int64_t row, int64_t column)
      : y(row),
        x(column),
        slot(*level.table.at(row, column >= 0 ? column / kNodes : -1) * int64_t{kNodes} +
             (column & (kNodes - 1))) {}
};

template <class M>
class Interpolation {
 public:
  Interpolation(const NodeLevel& level, const M& m) : level_(level), m_(m) {}

  // To nodes with one odd coordinate and those with none, or to those with two.
  void run(const Node& node, bool between_four) const {
    const double* own = product(node, kNeighbours / 2);
    if ((node.y % 2 == 1 && node.x % 2 == 1) != between_four) return;
    double* to = carry(node.slot, 0);
    if (!(own[0] > 0)) return;
    if (node.y % 2 == 0 && node.x % 2 == 0) {
      for (int64_t i = 0; i < m_(); ++i) to[i * (m_() + 1)] = 1;
    } else if (between_four) {
      carry_four(node, to);
    } else {
      carry_two(node, to);
    }
  }

 private:
  static constexpr int kMost = M::kMost * M::kMost;

  int64_t block() const { return m_() * m_(); }
  const double* product(const Node& node, int64_t neighbour) const {
    return level_.product + (node.slot * kNeighbours + neighbour) * block();
  }
  double* carry(int64_t slot, int64_t parent) const {
    return level_.carry + (slot * 4 + parent) * block();
  }

  void read_mean(int64_t y, int64_t x, double* mean) const {
    for (int64_t c = 0; c + 1 < m_(); ++c) mean[c] = level_.mean[level_.at(m_() - 1, c, y, x)];
  }
  // To the basis that is centred at `mean`.
  void centre(double* block, const double* mean) const {
    centre_columns(block, mean, static_cast<int>(m_()));
    centre_rows(block, mean, static_cast<int>(m_()));
  }

  void carry_two(const Node& node, double* to) const {
    const int m = static_cast<int>(m_());
    const bool is_in_row = node.x % 2 == 1;
    double mean[M::kMost], diagonal[kMost];
    double columns[3 * kMost] = {}, carries[2 * kMost];
    for (int64_t e = 0; e < kNeighbours; ++e) {
      const double* part = product(node, e);
      double* sum = columns + (is_in_row ? e % 3 : e / 3) * block();
      for (int64_t j = 0; j < block(); ++j) sum[j] += part[j];
    }
    std::memcpy(diagonal, product(node, kNeighbours / 2), sizeof(double) * block());
    read_mean(node.y, node.x, mean);
    for (int k = 0; k < 3; ++k) centre(columns + k * block(), mean);
    centre(diagonal, mean);
    carry_from_two<M::kKnown, M::kMost>(columns, diagonal, carries, m);
    for (int p = 0; p < 2; ++p) {
      uncentre_carry(carries + p * block(), mean, mean, m);
      std::memcpy(to + p * (is_in_row ? 1 : 2) * block(), carries + p * block(),
                  sizeof(double) * block());
    }
  }

  void carry_four(const Node& node, double* to) const {
    const int m = static_cast<int>(m_());
    double mean[M::kMost], diagonal[kMost], own[kMost];
    for (int64_t e = 0; e < kNeighbours; ++e) {
      const int64_t ey = e / 3, ex = e % 3;
      const double* part = product(node, e);
      if (ey != 1 && ex != 1) {
        double* sum = to + (ey + ex / 2) * block();
        for (int64_t j = 0; j < block(); ++j) sum[j] += part[j];
      } else if (e != kNeighbours / 2) {
        const Node beside(level_, node.y + ey - 1, node.x + ex - 1);
        for (int64_t k = 0; k < 2; ++k)  // its parents, left and right or above and below
          add_product(m_, part, carry(beside.slot, ey != 1 ? k : 2 * k),
                      to + (ey != 1 ? ey + k : ex / 2 + 2 * k) * block());
      }
    }
    read_mean(node.y, node.x, mean);
    std::memcpy(diagonal, product(node, kNeighbours / 2), sizeof(double) * block());
    centre(diagonal, mean);
    std::memcpy(own, diagonal, sizeof(double) * block());
    for (int p = 0; p < 4; ++p) centre(to + p * block(), mean);
    solve_for_parents<M::kKnown>(own, diagonal, to, 4, m);
    for (int p = 0; p < 4; ++p) uncentre_carry(to + p * block(), mean, mean, m);
  }

  const NodeLevel& level_;
  const M& m_;
};

void interpolate(const NodeLevel& level, bool between_four, int64_t begin, int64_t end) {
  with_unknowns(level, [&](auto m) {
    const Interpolation<decltype(m)> interpolation(level, m);
    for (int64_t i = begin; i < end; ++i) {
      const NodeBlock b(level, i);
      if (!between_four)
        std::memset(level.carry + i * kNodes * 4 * m() * m(), 0,
                    sizeof(double) * kNodes * 4 * m() * m());
      for (int64_t k = 0; k < kNodes && b.x + k < level.columns; ++k)
        interpolation.run(Node(level, b.y, b.x + k), between_four);
    }
    return 0;
  });
}

template <class M>
class Galerkin {
 public:
  Galerkin(const NodeLevel& fine, const NodeLevel& coarse, const M& m)
      : fine_(fine), coarse_(coarse), m_(m) {}

  void run(int64_t y) const {
    const int64_t first = coarse_.table.first[y] * int64_t{kNodes};
    const int64_t count = coarse_.table.first[y + 1] * int64_t{kNodes} - first;
    std::memset(coarse_.product + first * kNeighbours * block(), 0,
                sizeof(double) * count * kNeighbours * block());
    std::memset(coarse_.mass + first * m_(), 0, sizeof(double) * count * m_());
    for (int64_t fy = y > 0 ? 2 * y - 1 : 0; fy <= 2 * y + 1 && fy < fine_.rows; ++fy)
      for (int64_t i = fine_.table.first[fy]; i < fine_.table.first[fy + 1]; ++i) {
        const NodeBlock b(fine_, i);
        for (int64_t k = 0; k < kNodes && b.x + k < fine_.columns; ++k)
          add(Node(fine_, fy, b.x + k), y);
      }
  }

 private:
  int64_t block() const { return m_() * m_(); }

  // What a node of the fine level adds to its parents in row y.
  void add(const Node& node, int64_t y) const {
    const double* product = fine_.product + node.slot * kNeighbours * block();
    if (!(product[kNeighbours / 2 * block()] > 0)) return;
    const int64_t top = node.y / 2, left = node.x / 2;
    double carried[3][3][M::kMost * M::kMost] = {};  // A P at the nodes around (top, left)
    for (int64_t e = 0; e < kNeighbours; ++e, product += block()) {
      const int64_t gy = node.y + e / 3 - 1, gx = node.x + e % 3 - 1;
      if (gy < 0 || gx < 0 || gy >= fine_.rows || gx >= fine_.columns) continue;
      const Node other(fine_, gy, gx);
      for (int64_t py = 0; py <= gy % 2; ++py)
        for (int64_t px = 0; px <= gx % 2; ++px)
          add_product(m_, product, fine_.carry + (other.slot * 4 + 2 * py + px) * block(),
                      carried[gy / 2 + py - top + 1][gx / 2 + px - left + 1]);
    }
    const int64_t parents = 1 + node.x % 2;
    const double weight = (node.y % 2 == 1 ? 0.5 : 1.0) / static_cast<double>(parents);
    for (int64_t px = 0; px < parents; ++px) {
      const Node parent(coarse_, y, left + px);
      const double* mass = fine_.mass + node.slot * m_();
      for (int64_t c = 0; c < m_(); ++c) coarse_.mass[parent.slot * m_() + c] += weight * mass[c];
      const double* carry = fine_.carry + (node.slot * 4 + 2 * (y - top) + px) * block();
      double* to = coarse_.product + parent.slot * kNeighbours * block();
      for (int64_t ey = 0; ey < 3; ++ey)
        for (int64_t ex = 0; ex < 3; ++ex, to += block()) {
          const int64_t row = y - top + ey, column = px + ex;
          if (row < 3 && column < 3) add_transposed_product(m_, carry, carried[row][column], to);
        }
    }
  }

  const NodeLevel &fine_, &coarse_;
  const M& m_;
};

void galerkin(const NodeLevel& fine, const NodeLevel& coarse, int64_t begin, int64_t end) {
  with_unknowns(fine, [&](auto m) {
    const Galerkin<decltype(m)> product(fine, coarse, m);
    for (int64_t y = begin; y < end; ++y) product.run(y);
    return 0;
  });
}

void centre_carries(const NodeLevel& fine, const NodeLevel& coarse, int64_t begin, int64_t end) {
  with_unknowns(fine, [&](auto unknowns) {
    using M = decltype(unknowns);
    const int m = static_cast<int>(unknowns());
    const auto read_mean = [&](const NodeLevel& level, int64_t y, int64_t x, double* mean) {
      for (int c = 0; c + 1 < m; ++c) mean[c] = -level.mean[level.at(m - 1, c, y, x)];
    };
    double own[M::kMost], other[M::kMost], block[M::kMost * M::kMost];
    for (int64_t i = begin; i < end; ++i) {
      const NodeBlock b(fine, i);
      for (int64_t k = 0; k < kNodes; ++k) {
        read_mean(fine, b.y, b.x + k, own);
        for (int64_t p = 0; p < 4; ++p) {
          const double* carry = fine.carry + ((i * kNodes + k) * 4 + p) * m * m;
          for (int j = 0; j < m * m; ++j) block[j] = carry[j];
          // T_own^-1 carry T_parent
          read_mean(coarse, b.y / 2 + p / 2, (b.x + k) / 2 + p % 2, other);
          uncentre_carry(block, other, own, m);
          float* to = fine.centred_carry + (i * 4 + p) * m * m * kNodes + k;
          for (int j = 0; j < m * m; ++j) to[j * kNodes] = static_cast<float>(block[j]);
        }
      }
    }
    return 0;
  });
}

// --- the cycle ---

using Lanes16 = Vec<float, 2 * kNodes>;

template <int... I>
inline Lanes16 side_by_side(const Lanes8& a, const Lanes8& b, Numbers<I...>) {
  return __builtin_shufflevector(a, b, I...);
}
// Every second of two blocks.
template <int... I>
inline Lanes8 even(const Lanes16& v, Numbers<I...>) {
  return __builtin_shufflevector(v, v, (2 * I)...);
}
template <int... I>
inline Lanes8 odd(const Lanes16& v, Numbers<I...>) {
  return __builtin_shufflevector(v, v, (2 * I + 1)...);
}
// `first`, then all but the last of v.
template <int... I>
inline Lanes8 after(float first, const Lanes8& v, Numbers<I...>) {
  Lanes8 result = __builtin_shufflevector(v, v, (I + kNodes - 1) % kNodes...);
  result[0] = first;
  return result;
}
// Each of the first four twice, and those after them.
template <int kFrom, int... I>
inline Lanes8 doubled(const Lanes8& v, Numbers<I...>) {
  return __builtin_shufflevector(v, v, (I / 2 + kFrom)...);
}

void restrict_nodes(const NodeLevel& fine, const NodeLevel& coarse, int64_t begin, int64_t end) {
  constexpr FirstNumbers<kNodes> kLanes{};
  constexpr FirstNumbers<2 * kNodes> kBoth{};
  with_unknowns(fine, [&](auto m) {
    float carried[decltype(m)::kMost] = {};  // from the block before to the one after it
    int64_t before = -1;
    for (int64_t i = coarse.table.first[begin]; i < coarse.table.first[end]; ++i) {
      const NodeBlock b(coarse, i);
      const int64_t number = b.y * coarse.table.width() + b.x / kNodes;
      if (number != before + 1)
        for (int64_t c = 0; c < m(); ++c) carried[c] = 0;
      before = number;
      // What fine nodes have for their left and their right parents.
      Lanes8 sums[2][2][decltype(m)::kMost] = {};  // [parent][block]
      for (int64_t y = b.y > 0 ? 2 * b.y - 1 : 0; y <= 2 * b.y + 1 && y < fine.rows; ++y)
        for (int64_t h = 0; h < 2; ++h) {
          const int64_t block = b.x / kNodes * 2 + h;
          const int64_t index = block < fine.table.blocks ? *fine.table.at(y, block) : 0;
          if (index == 0) continue;
          Lanes8 t[decltype(m)::kMost];
          for (int64_t c = 0; c < m(); ++c)
            t[c] = load<kNodes>(fine.t + fine.at(m(), c, y, block * kNodes));
          const int64_t parent = y < 2 * b.y ? 2 : 0;
          const float* carry = fine.centred_carry + (index * 4 + parent) * m() * m() * kNodes;
          for (int64_t p = 0; p < 2; ++p)
            for (int64_t a = 0; a < m(); ++a)
              for (int64_t c = 0; c < m(); ++c, carry += kNodes)
                sums[p][h][c] += load<kNodes>(carry) * t[a];
        }
      for (int64_t c = 0; c < m(); ++c) {
        const Lanes16 to_left = side_by_side(sums[0][0][c], sums[0][1][c], kBoth);
        const Lanes16 to_right = side_by_side(sums[1][0][c], sums[1][1][c], kBoth);
        const Lanes8 from_odd = odd(to_right, kLanes);
        store(coarse.f + coarse.at(m(), c, b.y, b.x),
              even(to_left, kLanes) + odd(to_left, kLanes) + after(carried[c], from_odd, kLanes));
        carried[c] = from_odd[kNodes - 1];
      }
    }
    return 0;
  });
}

void prolong_nodes(const NodeLevel& coarse, const NodeLevel& fine, int64_t begin, int64_t end) {
  constexpr FirstNumbers<kNodes> kLanes{};
  with_unknowns(fine, [&](auto m) {
    for (int64_t i = begin; i < end; ++i) {
      const NodeBlock b(fine, i);
      Lanes8 sums[decltype(m)::kMost];
      for (int64_t c = 0; c < m(); ++c) sums[c] = load<kNodes>(fine.x + fine.at(m(), c, b.y, b.x));
      const float* carry = fine.centred_carry + i * 4 * m() * m() * kNodes;
      for (int64_t py = 0; py <= b.y % 2; ++py) {
        Lanes8 t[2][decltype(m)::kMost];
        for (int64_t c = 0; c < m(); ++c) {
          const Lanes8 parents = load<kNodes>(coarse.t + coarse.at(m(), c, b.y / 2 + py, b.x / 2));
          t[0][c] = doubled<0>(parents, kLanes);
          t[1][c] = doubled<1>(parents, kLanes);
        }
        for (int64_t px = 0; px < 2; ++px)
          for (int64_t a = 0; a < m(); ++a)
            for (int64_t c = 0; c < m(); ++c, carry += kNodes)
              sums[a] += load<kNodes>(carry) * t[px][c];
      }
      for (int64_t c = 0; c < m(); ++c) store(fine.x + fine.at(m(), c, b.y, b.x), sums[c]);
    }
    return 0;
  });
}

const MattingCoarseningKernels kKernels = {interpolate, galerkin, centre_carries, restrict_nodes,
                                           prolong_nodes};

}  // namespace

const MattingCoarseningKernels& matting_coarsening_kernels() { return kKernels; }

}  // namespace PF_ISA
}  // namespace pyfast
