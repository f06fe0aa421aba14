// The one-dimensional transforms of Winograd's F(m, 3), on numbers or on vectors of them.
//
// Interpolation points are 0, +-1 and infinity for m = 2; 0, +-a, +-b and infinity for m = 4 with
// a = sqrt(1/2) and b = sqrt(2), whose powers stay closer to 1 than those of the usual 1 and 2.
// Reference: Barabasz et al., Error Analysis and Improving the Accuracy of Winograd Convolution,
// ACM TOMS 2020, section 4.
#pragma once

#include <type_traits>

#include "core/device.h"

namespace pyfast {
namespace PF_ISA {

template <int kTile>
struct Winograd;

template <>
struct Winograd<2> {
  static constexpr int kTaps = 4;

  // B^T d
  template <class V>
  static inline void input(const V d[4], V out[4]) {
    out[0] = d[0] - d[2];
    out[1] = d[1] + d[2];
    out[2] = d[2] - d[1];
    out[3] = d[3] - d[1];
  }
  // G g
  template <class V>
  static inline void weight(const V g[3], V out[4]) {
    const V even = g[0] + g[2];
    out[0] = g[0];
    out[1] = (even + g[1]) * 0.5f;
    out[2] = (even - g[1]) * 0.5f;
    out[3] = g[2];
  }
  // A^T m
  template <class V>
  static inline void output(const V m[4], V out[2]) {
    out[0] = m[0] + m[1] + m[2];
    out[1] = m[1] - m[2] + m[3];
  }
};

template <>
struct Winograd<4> {
  static constexpr int kTaps = 6;

  template <class V>
  static inline void input(const V d[6], V out[6]) {
    using T = Scalar<V>;
    const T a = T(kA), b = T(kB), a2 = T(0.5), b2 = T(2), both = T(2.5);
    out[0] = d[0] - both * d[2] + d[4];
    const V even_a = d[4] - b2 * d[2], odd_a = a * (d[3] - b2 * d[1]);
    out[1] = even_a + odd_a;
    out[2] = even_a - odd_a;
    const V even_b = d[4] - a2 * d[2], odd_b = b * (d[3] - a2 * d[1]);
    out[3] = even_b + odd_b;
    out[4] = even_b - odd_b;
    out[5] = d[1] - both * d[3] + d[5];
  }
  template <class V>
  static inline void weight(const V g[3], V out[6]) {
    using T = Scalar<V>;
    // 1 / (2 a^2 (a^2 - b^2)) and 1 / (2 b^2 (b^2 - a^2))
    const T by_a = T(-2.0 / 3), by_b = T(1.0 / 6);
    out[0] = g[0];
    const V even_a = by_a * g[0] + T(0.5) * by_a * g[2], odd_a = T(kA) * by_a * g[1];
    out[1] = even_a + odd_a;
    out[2] = even_a - odd_a;
    const V even_b = by_b * g[0] + T(2) * by_b * g[2], odd_b = T(kB) * by_b * g[1];
    out[3] = even_b + odd_b;
    out[4] = even_b - odd_b;
    out[5] = g[2];
  }
  template <class V>
  static inline void output(const V m[6], V out[4]) {
    using T = Scalar<V>;
    const V sum_a = m[1] + m[2], rest_a = m[1] - m[2], sum_b = m[3] + m[4], rest_b = m[3] - m[4];
    out[0] = m[0] + sum_a + sum_b;
    out[1] = T(kA) * rest_a + T(kB) * rest_b;
    out[2] = T(0.5) * sum_a + T(2) * sum_b;
    out[3] = T(kA * 0.5) * rest_a + T(kB * 2) * rest_b + m[5];
  }

 private:
  template <class V>
  using Scalar = std::remove_cv_t<std::remove_reference_t<decltype(V{}[0])>>;
  static constexpr double kA = 0.70710678118654752440, kB = 1.41421356237309504880;
};

}  // namespace PF_ISA
}  // namespace pyfast
