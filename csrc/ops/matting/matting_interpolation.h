// How nodes of one level of the solver follow from the next: by the level's own matrix.
//
// Nodes with even row and column are those of the next level. A node between two of them, in a row
// say, takes the value that balances its row of the matrix where nothing changes from image row to
// image row: the blocks of each of the three columns of its stencil are added up. These sums need
// not be positive, so a part of the node's own block draws towards the mean of the two. A node
// between four takes the value that balances its row of the matrix, the nodes beside it being
// carried over already. So values follow the picture: what is hardly coupled to one parent has more
// of the other, and slopes in a colour come from where that colour varies. What the matrix does not
// see, the affine functions of colour, is carried over but for what the ridge below takes.
//
// Reference: Dendy 1982, Black Box Multigrid, Journal of Computational Physics 48 (3); Dendy 1986,
// Black Box Multigrid for Systems, Applied Mathematics and Computation 19.
#pragma once

#include "ops/matting/matting_math.h"

namespace pyfast {
namespace PF_ISA {

// Of a node's diagonal, and of its trace: what is added where directions of colour have no weight.
// A slope s there is free, but products of the next level are rounded at 1e-16 s^2.
constexpr double kCarryRidge = 1e-6, kCarryFloor = 1e-7;
constexpr double kCarryMean = 0.1;  // of a node's own block: what draws towards the mean

// A block (m, m) times T = [1, -mean; 0, 1] from the right: its columns are then of
// b + a . (I - mean).
PF_HD void centre_columns(double* block, const double* mean, int m) {
  for (int i = 0; i < m; ++i)
    for (int j = 1; j < m; ++j) block[i * m + j] -= block[i * m] * mean[j - 1];
}
// The same for rows: T^T from the left.
PF_HD void centre_rows(double* block, const double* mean, int m) {
  for (int i = 1; i < m; ++i)
    for (int j = 0; j < m; ++j) block[i * m + j] -= mean[i - 1] * block[j];
}
// T^-1 from the right and T from the left: back to b + a . I of both sides of a carry.
PF_HD void uncentre_carry(double* block, const double* of_parent, const double* own, int m) {
  for (int i = 0; i < m; ++i)
    for (int j = 1; j < m; ++j) block[i * m + j] += block[i * m] * of_parent[j - 1];
  for (int i = 1; i < m; ++i)
    for (int j = 0; j < m; ++j) block[j] -= own[i - 1] * block[i * m + j];
}

// Replaces `count` blocks B by -(own + ridge)^-1 B, by elimination with pivots from the column. All
// blocks are of the basis that is centred at the node; `diagonal` is the node's block of the
// matrix. Replaces `own`.
template <int kM>
PF_HD void solve_for_parents(double* own, const double* diagonal, double* blocks, int count,
                             int unknowns) {
  const int m = kM > 0 ? kM : unknowns;
  double trace = 0;
  for (int i = 0; i < m; ++i) trace += diagonal[i * m + i];
  for (int i = 0; i < m; ++i)
    own[i * m + i] += kCarryRidge * diagonal[i * m + i] + kCarryFloor * trace;
  const auto exchange = [](double& a, double& b) {
    const double kept = a;
    a = b;
    b = kept;
  };
  for (int k = 0; k < m; ++k) {
    int best = k;
    for (int i = k + 1; i < m; ++i)
      if (fabs(own[i * m + k]) > fabs(own[best * m + k])) best = i;
    if (best != k) {
      for (int j = k; j < m; ++j) exchange(own[k * m + j], own[best * m + j]);
      for (int b = 0; b < count; ++b)
        for (int j = 0; j < m; ++j)
          exchange(blocks[(b * m + k) * m + j], blocks[(b * m + best) * m + j]);
    }
    const double pivot = own[k * m + k], inverse = pivot != 0 ? 1 / pivot : 0;
    for (int i = k + 1; i < m; ++i) {
      const double factor = own[i * m + k] * inverse;
      for (int j = k + 1; j < m; ++j) own[i * m + j] -= factor * own[k * m + j];
      for (int b = 0; b < count; ++b)
        for (int j = 0; j < m; ++j)
          blocks[(b * m + i) * m + j] -= factor * blocks[(b * m + k) * m + j];
    }
    own[k * m + k] = inverse;
  }
  for (int b = 0; b < count; ++b)
    for (int i = m - 1; i >= 0; --i)
      for (int j = 0; j < m; ++j) {
        double sum = blocks[(b * m + i) * m + j];
        for (int k = i + 1; k < m; ++k) sum += own[i * m + k] * blocks[(b * m + k) * m + j];
        blocks[(b * m + i) * m + j] = -sum * own[i * m + i];
      }
}

// What a node between two has from each, `carries` (2, m, m). `columns` (3, m, m) are the sums of
// the columns of its stencil. All blocks are of the basis that is centred at the node.
template <int kM, int kMost>
PF_HD void carry_from_two(const double* columns, const double* diagonal, double* carries,
                          int unknowns) {
  const int m = kM > 0 ? kM : unknowns, size = m * m;
  const double* middle = columns + size;
  double own[kMost * kMost];
  for (int j = 0; j < size; ++j) {
    own[j] = middle[j] + kCarryMean * diagonal[j];
    for (int p = 0; p < 2; ++p)
      carries[p * size + j] = columns[2 * p * size + j] - 0.5 * kCarryMean * diagonal[j];
  }
  solve_for_parents<kM>(own, diagonal, carries, 2, m);
}

}  // namespace PF_ISA
}  // namespace pyfast
