// Rows of a depthwise convolution of 3 x 3 taps that are computed together, because they share
// rows of the image: loads across cache lines, one a cycle, would bound the rows one by one.
#pragma once

#include "core/vectors.h"

namespace pyfast {
namespace PF_ISA {

// Their sums, the weights and a register of the image fit the 16 registers of AVX2.
constexpr int kSharingRows = 4;

// kSharingRows rows of the output, `apart` values apart, of at least a register. Row r meets
// rows[r .. r + 2], whose columns[j] holds what tap j meets for output 0.
template <class Real>
void blend_sharing_rows(const Real* const* rows, const int64_t* columns, const Real* weight,
                        Real bias, int64_t width, int64_t apart, Real* out) {
  constexpr int kStep = kNative<Real>;
  Vec<Real, kStep> weights[9];
  for (int t = 0; t < 9; ++t) weights[t] = Vec<Real, kStep>{} + weight[t];
  for (int64_t x = 0; x < width; x += kStep) {
    // The last register computes some outputs again rather than reach behind the row.
    const int64_t at = x + kStep <= width ? x : width - kStep;
    Vec<Real, kStep> sum[kSharingRows];
#pragma GCC unroll 4
    for (int r = 0; r < kSharingRows; ++r) sum[r] = Vec<Real, kStep>{} + bias;
#pragma GCC unroll 6
    for (int i = 0; i < kSharingRows + 2; ++i) {
#pragma GCC unroll 3
      for (int j = 0; j < 3; ++j) {
        const auto pixels = load<kStep>(rows[i] + columns[j] + at);
#pragma GCC unroll 4
        for (int r = 0; r < kSharingRows; ++r)
          if (r <= i && i <= r + 2) sum[r] += pixels * weights[(i - r) * 3 + j];
      }
    }
#pragma GCC unroll 4
    for (int r = 0; r < kSharingRows; ++r) store(out + r * apart + at, sum[r]);
  }
}

}  // namespace PF_ISA
}  // namespace pyfast
