// Inverses of the maps that warps in pixels are given.
#pragma once

#include <cmath>
#include <cstdint>
#include <utility>

namespace pyfast {

// What is wrong with a map.
enum class MapFlaw { kNone, kSingular, kSingularButForRounding };

// Rows of a matrix and, from column 3 on, of its inverse, which the identity becomes.
using Elimination = double[3][6];

// By the largest pivot of each column; false where a column has none.
inline bool eliminate(Elimination& row, int size) {
  for (int k = 0; k < size; ++k) {
    int pivot = k;
    for (int r = k + 1; r < size; ++r)
      if (std::fabs(row[r][k]) > std::fabs(row[pivot][k])) pivot = r;
    const double of = row[pivot][k];
    if (of == 0) return false;
    std::swap(row[pivot], row[k]);
    for (double& value : row[k]) value /= of;
    for (int r = 0; r < size; ++r) {
      const double factor = r == k ? 0 : row[r][k];
      for (int c = 0; c < 6; ++c) row[r][c] -= factor * row[k][c];
    }
  }
  return true;
}

// Of a map of `size` rows and as many columns, or with one column more and without its last row,
// 0 .. 0 1. What is singular but for rounding, is_singular of pyfast/ops/_checks.py says; a shift
// may be as long as it likes.
template <class Real>
MapFlaw invert_map(const double* map, int size, int columns, Real* inverse) {
  Elimination row = {};
  double largest = 0, largest_of_inverse = 0;
  for (int r = 0; r < size; ++r) {
    row[r][3 + r] = 1;
    for (int c = 0; c < size; ++c) {
      row[r][c] = map[r * columns + c];
      largest = std::fmax(largest, std::fabs(row[r][c]));
    }
  }
  if (!eliminate(row, size)) return MapFlaw::kSingular;
  for (int r = 0; r < size; ++r) {
    double shift = 0;
    for (int c = 0; c < size; ++c) {
      const double value = row[r][3 + c];
      largest_of_inverse = std::fmax(largest_of_inverse, std::fabs(value));
      inverse[r * columns + c] = static_cast<Real>(value);
      shift -= value * map[c * columns + columns - 1];
    }
    if (size < columns) inverse[r * columns + size] = static_cast<Real>(shift);
  }
  return largest * largest_of_inverse > 1e14 ? MapFlaw::kSingularButForRounding : MapFlaw::kNone;
}

}  // namespace pyfast
