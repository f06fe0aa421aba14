// The maths of one window of the matting Laplacian. V is double, or a vector of doubles that holds
// as many windows.
//
// A window of n pixels has the mean colour mu and the covariance S = 1/n sum c_i c_i^T +
// epsilon/n Id with c_i = I_i - mu. With the Cholesky factor S = R R^T and z_i = R^-1 c_i its part
// of L is delta_ij - (1 + z_i . z_j)/n. So is its part of the products: for a vector v with
// d_i = v_i - mean(v) and t = sum z_i d_i,
//   rho_i = d_i - z_i . t / n,   v^T L v = sum rho_i d_i = sum d_i^2 - |t|^2 / n,
//   a = R^-T t / n,              the slope of the best affine function of colour.
//
// The inverse of S by cofactors loses everything where the window has one colour direction: its
// determinant cancels. The factor does not.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/device.h"

namespace pyfast {
namespace PF_ISA {

// What operators do not say; specialised for vectors where there are some.
template <class V>
struct Maths {
  static PF_HD V inverse_root(V x) { return 1.0 / sqrt(x); }
  static PF_HD V larger(V a, V b) { return a > b ? a : b; }
};

// Places in a lower triangle that is packed row by row.
PF_HD int packed(int row, int column) { return row * (row + 1) / 2 + column; }
PF_HD int packed_size(int channels) { return packed(channels, 0); }

// A number of channels that is known to the compiler, or 0: `channels` then says it.
template <int kChannels>
PF_HD int channel_count(int channels) {
  return kChannels > 0 ? kChannels : channels;
}

// Replaces S, packed, by R^-1, packed. No pivot of S is below `ridge` = epsilon/n, whatever
// rounding says.
template <int kChannels, class V>
PF_HD void invert_factor(V* s, double ridge, int channels) {
  const int d = channel_count<kChannels>(channels);
  for (int j = 0; j < d; ++j) {
    V pivot = s[packed(j, j)];
    for (int k = 0; k < j; ++k) pivot -= s[packed(j, k)] * s[packed(j, k)];
    const V inverse = Maths<V>::inverse_root(Maths<V>::larger(pivot, V{} + ridge));
    for (int i = j + 1; i < d; ++i) {
      V sum = s[packed(i, j)];
      for (int k = 0; k < j; ++k) sum -= s[packed(i, k)] * s[packed(j, k)];
      s[packed(i, j)] = sum * inverse;
    }
    s[packed(j, j)] = inverse;  // of R's diagonal
  }
  for (int i = 1; i < d; ++i)
    for (int j = 0; j < i; ++j) {
      V sum = s[packed(i, j)] * s[packed(j, j)];
      for (int k = j + 1; k < i; ++k) sum += s[packed(i, k)] * s[packed(k, j)];
      s[packed(i, j)] = -sum * s[packed(i, i)];
    }
}

// z = R^-1 c, in place.
template <int kChannels, class V>
PF_HD void whiten(const V* inverse, V* c, int channels) {
  const int d = channel_count<kChannels>(channels);
  for (int i = d - 1; i >= 0; --i) {
    V sum = inverse[packed(i, i)] * c[i];
    for (int k = 0; k < i; ++k) sum += inverse[packed(i, k)] * c[k];
    c[i] = sum;
  }
}

// a = R^-T t * scale, in place.
template <int kChannels, class V>
PF_HD void colour_slope(const V* inverse, V* t, double scale, int channels) {
  const int d = channel_count<kChannels>(channels);
  for (int i = 0; i < d; ++i) {
    V sum = inverse[packed(i, i)] * t[i];
    for (int k = i + 1; k < d; ++k) sum += inverse[packed(k, i)] * t[k];
    t[i] = sum * scale;
  }
}

}  // namespace PF_ISA
}  // namespace pyfast
