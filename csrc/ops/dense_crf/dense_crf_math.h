// The maths of one point in the permutohedral lattice and of one pixel in the mean field, for every
// device. `Real` is a number or a vector of numbers, one a lane, and `Int` goes with it; `LaneOps`
// says what comparing and converting them means.
//
// Reference: Adams, Baek, Davis 2010, Fast High-Dimensional Filtering Using the Permutohedral
// Lattice, sections 3 and 4.
#pragma once

#include <cmath>

#include "ops/dense_crf/dense_crf.h"

namespace pyfast {

// --- packed keys ---

// A vertex is known by its slab, (k_d - k_0) / (d + 1), which is the most significant, and its
// first d - 1 coordinates k_i: those of a vertex sum up to 0 and leave one remainder modulo d + 1.
// Each has a field of bits that is wide enough for the neighbours' too, so that a neighbour's key
// is the key plus a constant. Above them is the number of the image.
constexpr int kMostKeyWords = 16;

struct KeyLayout {
  int dims = 0, words = 1;
  // By coordinate; that of the slab is field d.
  int field_word[kMostFeatures + 1] = {}, field_shift[kMostFeatures + 1] = {};
  int32_t low[kMostFeatures + 1] = {};  // what a field counts from
  int image_word = 0, image_shift = 0;  // word 0 is the most significant

  // Coordinate d - 1 follows from the others; with d = 1 that is coordinate 0.
  PF_HD bool is_stored(int field) const { return field != dims - 1; }
};

namespace PF_ISA {

template <class Real>
struct LaneOps {
  using Int = int32_t;
  static constexpr bool kIsDouble = sizeof(Real) == 8;
  PF_HD static Real number(double x) { return static_cast<Real>(x); }
  PF_HD static Int less(Real a, Real b) { return a < b ? 1 : 0; }
  PF_HD static Int equal(Int a, Int b) { return a == b ? 1 : 0; }
  PF_HD static Int to_int(Real x) { return static_cast<Int>(x); }
  PF_HD static Real to_real(Int x) { return static_cast<Real>(x); }
  // To the nearest, ties to even, for |x| < 2^22: the sum has no bits left for a fraction.
  PF_HD static Real round(Real x) {
    constexpr Real shift = sizeof(Real) == 4 ? Real(12582912) : Real(6755399441055744);
    return (x + shift) - shift;
  }
  // p * 2^n, but 0 where x < -87.
  PF_HD static Real scale_by_power(Real p, Real n, Real x) {
    return x < Real(-87)
               ? Real(0)
               : p * static_cast<Real>(float_of_bits(static_cast<uint32_t>(to_int(n) + 127) << 23));
  }
};

// Feature i is multiplied by this before it is elevated: a blur [1/2 1 1/2] along every axis then
// has standard deviation 1.
PF_HD double lattice_scale(int dims, int i) {
  return sqrt(2.0 / 3.0) * (dims + 1) / sqrt((i + 1.0) * (i + 2.0));
}

// What slicing multiplies by, so that the lattice of pydensecrf comes out.
PF_HD double raw_slice_scale(int dims) { return 1 / (1 + pow(2.0, -dims)); }

// From scaled features (d) to the hyperplane of d + 1 coordinates with sum 0.
template <class Real>
PF_HD void elevate(int dims, const Real* scaled, Real* y) {
  Real sum = scaled[0] - scaled[0];
  for (int j = dims; j > 0; --j) {
    y[j] = sum - static_cast<float>(j) * scaled[j - 1];
    sum += scaled[j - 1];
  }
  y[0] = sum;
}

// Its adjoint, scaled: the gradient in the features from the gradient in y.
template <class Real>
PF_HD void elevate_adjoint(int dims, const Real* grad_y, Real* grad_features) {
  Real sum = grad_y[0];
  for (int j = 1; j <= dims; ++j) {
    grad_features[j - 1] =
        static_cast<Real>(lattice_scale(dims, j - 1)) * (sum - static_cast<Real>(j) * grad_y[j]);
    sum += grad_y[j];
  }
}

// The simplex around y: `base`, its vertex of remainder 0, and `rank`, by which the coordinates of
// y - base descend. Of equal ones the later has the higher rank. Overwrites y with (y - base) / (d
// + 1).
template <class Real, class Int>
PF_HD void find_simplex(int dims, Real* y, Int* base, Int* rank) {
  using Ops = LaneOps<Real>;
  const float side = static_cast<float>(dims + 1);
  const Int zero = Ops::to_int(y[0] - y[0]);
  Int sum = zero;
  for (int i = 0; i <= dims; ++i) {
    const Real nearest = Ops::round(y[i] / side);
    base[i] = Ops::to_int(nearest);
    sum += base[i];
    y[i] = y[i] - nearest * side;
    rank[i] = zero;
  }
  for (int i = 0; i < dims; ++i)
    for (int j = i + 1; j <= dims; ++j) {
      const Int below = Ops::less(y[i], y[j]);
      rank[i] += below;
      rank[j] += 1 - below;
    }
  // The coordinates of `base` have to sum to 0: those that were rounded furthest give way.
  for (int i = 0; i <= dims; ++i) {
    rank[i] += sum;
    const Int high = Ops::less(Ops::to_real(zero + dims), Ops::to_real(rank[i]));
    const Int low = Ops::less(Ops::to_real(rank[i]), Ops::to_real(zero));
    const Int wrap = low - high;
    rank[i] += wrap * (dims + 1);
    base[i] = (base[i] + wrap) * (dims + 1);
    y[i] = (y[i] - Ops::to_real(wrap) * side) / side;
  }
}

// Barycentric weights (d + 1) of the point, by remainder of the vertex, from what find_simplex
// left: differences of the residuals in descending order.
template <class Real, class Int>
PF_HD void barycentric(int dims, const Real* y, const Int* rank, Real* weights) {
  using Ops = LaneOps<Real>;
  const Int zero = rank[0] - rank[0];
  const Real none = y[0] - y[0];
  Real largest = none, previous = none;
  for (int r = 0; r <= dims; ++r) {
    Real ranked = none;
    for (int i = 0; i <= dims; ++i) ranked += y[i] * Ops::to_real(Ops::equal(rank[i], zero + r));
    if (r == 0) {
      largest = ranked;
    } else {
      weights[dims + 1 - r] = previous - ranked;
    }
    previous = ranked;
  }
  weights[0] = 1 + previous - largest;
}

// The gradient in y, as it comes from `elevate`, from that in the weights.
template <class Real>
PF_HD void barycentric_adjoint(int dims, const int32_t* rank, const Real* grad_weights,
                               Real* grad_y) {
  for (int i = 0; i <= dims; ++i) {
    const int k = dims - rank[i];
    const Real above = k == dims ? grad_weights[0] : grad_weights[k + 1];
    grad_y[i] = (grad_weights[k] - above) / static_cast<Real>(dims + 1);
  }
}

// Lays out fields of bits[c] bits, by coordinate as above, and of image_bits; false if they do not
// fit.
PF_HD bool lay_out_keys(int dims, const int32_t* low, const int* bits, int image_bits,
                        KeyLayout& layout) {
  layout.dims = dims;
  int room = 63 - image_bits, word = 0;
  layout.image_word = 0, layout.image_shift = room;
  for (int k = 0; k < dims; ++k) {
    const int c = k == 0 ? dims : k - 1;
    if (bits[c] > room) {
      ++word;
      room = 63;
    }
    if (word >= kMostKeyWords || bits[c] > room) return false;
    room -= bits[c];
    layout.field_word[c] = word, layout.field_shift[c] = room;
  }
  for (int c = 0; c <= dims; ++c) layout.low[c] = low[c];
  layout.words = word + 1;
  // Fields of the last word start at bit 0: fewer bits to sort by.
  for (int c = 0; c <= dims; ++c)
    if (layout.is_stored(c) && layout.field_word[c] == word) layout.field_shift[c] -= room;
  if (word == 0) layout.image_shift -= room;
  return true;
}

// --- the mean field ---

// exp for x <= 88; below -87 it is 0. Relative error below 3e-7 in float, 1e-15 in double.
template <class Real>
PF_HD Real fast_exp(Real x) {
  using Ops = LaneOps<Real>;
  const Real n = Ops::round(x * Ops::number(1.4426950408889634));
  const Real r = (x - n * Ops::number(0.693359375)) + n * Ops::number(2.1219444005469058e-4);
  Real p = r - r;
  if (Ops::kIsDouble) {
    // 1 / k!
    constexpr double terms[] = {1.6059043836821613e-10, 2.08767569878681e-9,   2.505210838544172e-8,
                                2.755731922398589e-7,   2.7557319223985893e-6, 2.48015873015873e-5,
                                1.984126984126984e-4,   1.388888888888889e-3,  8.333333333333333e-3,
                                4.1666666666666664e-2,  1.6666666666666666e-1};
    for (double term : terms) p = p * r + Ops::number(term);
  } else {
    constexpr double terms[] = {1.3988162e-3, 8.3334519e-3, 4.1666646e-2, 1.6666667e-1};
    for (double term : terms) p = p * r + Ops::number(term);
  }
  p = ((p * r + Ops::number(0.5)) * r + Ops::number(1)) * r + Ops::number(1);
  return Ops::scale_by_power(p, n, x);
}

}  // namespace PF_ISA
}  // namespace pyfast
