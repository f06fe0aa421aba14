// Rows of a depthwise convolution of 3 x 3 taps that are computed together, because they share
// rows of the image: loads across cache lines, one a cycle, would bound the rows one by one.
#pragma once

#include "core/vectors.h"
#include "ops/dilated_conv/depthwise_conv.h"

namespace pyfast {
namespace PF_ISA {

// Their sums, the weights and a register of the image fit the 16 registers of AVX2.
constexpr int kSharingRows = 4;

// A register of a row from column `first` on.
template <class Real>
struct Within {
  int64_t first;
  Within(int64_t first, int64_t) : first(first) {}
  auto load(const Real* row) const { return PF_ISA::load<kNative<Real>>(row + first); }
};

// The same with zeros for columns outside the row, which has `width`.
template <class Real>
struct Inside {
  static constexpr int kStep = kNative<Real>;
  using V = Vec<Real, kStep>;
  using Columns = Vec<std::conditional_t<sizeof(Real) == 4, uint32_t, uint64_t>, kStep>;
  using Column = std::remove_reference_t<decltype(Columns{}[0])>;

  int64_t first;
  Columns columns{};
  Column width;

  Inside(int64_t first, int64_t width) : first(first), width(static_cast<Column>(width)) {
    for (int l = 0; l < kStep; ++l) columns[l] = static_cast<Column>(l);
    columns += static_cast<Column>(first);  // far beyond the width where it is negative
  }

  V load(const Real* row) const {
    const Real* from = row + first;
#if defined(__AVX512F__)
    if constexpr (sizeof(Real) == 4) {
      const auto lanes = _mm512_cmplt_epu32_mask(reinterpret_cast<__m512i>(columns),
                                                 _mm512_set1_epi32(static_cast<int>(width)));
      return reinterpret_cast<V>(_mm512_maskz_loadu_ps(lanes, from));
    } else {
      const auto lanes = _mm512_cmplt_epu64_mask(reinterpret_cast<__m512i>(columns),
                                                 _mm512_set1_epi64(static_cast<int64_t>(width)));
      return reinterpret_cast<V>(_mm512_maskz_loadu_pd(lanes, from));
    }
#elif defined(__AVX2__)
    const auto lanes = reinterpret_cast<__m256i>(columns < width);
    if constexpr (sizeof(Real) == 4) {
      return reinterpret_cast<V>(_mm256_maskload_ps(from, lanes));
    } else {
      return reinterpret_cast<V>(_mm256_maskload_pd(from, lanes));
    }
#else
    V value{};
    for (int l = 0; l < kStep; ++l)
      if (columns[l] < width) value[l] = from[l];
    return value;
#endif
  }
};

// A register of kSharingRows rows of the output, `apart` values apart. Row r meets rows[r .. r +
// 2], and tap j of it columns[j].
template <class Columns, class Real>
inline void blend_sharing_rows(const Real* const* rows, const Columns (&columns)[3],
                               const Vec<Real, kNative<Real>> (&weights)[9], Real bias,
                               int64_t apart, Real* out) {
  using V = Vec<Real, kNative<Real>>;
  V sum[kSharingRows];
#pragma GCC unroll 4
  for (int r = 0; r < kSharingRows; ++r) sum[r] = V{} + bias;
#pragma GCC unroll 6
  for (int i = 0; i < kSharingRows + 2; ++i) {
#pragma GCC unroll 3
    for (int j = 0; j < 3; ++j) {
      const V pixels = columns[j].load(rows[i]);
#pragma GCC unroll 4
      for (int r = 0; r < kSharingRows; ++r)
        if (r <= i && i <= r + 2) sum[r] += pixels * weights[(i - r) * 3 + j];
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < kSharingRows; ++r) store(out + r * apart, sum[r]);
}

// A plane of the output, at least a register wide and, of each kind that meets the same rows of the
// image, kSharingRows high. `zeros` stand for the rows outside.
template <class Real>
void blend_sharing_plane(const DepthwiseConvParams<Real>& p, const Real* image, const Real* zeros,
                         const Real* weight, Real bias, Real* out) {
  constexpr int kStep = kNative<Real>;
  const int64_t in_h = p.in_h, in_w = p.in_w, out_h = p.out_h, out_w = p.out_w;
  const int64_t dilation_h = p.dilation_h, dilation_w = p.dilation_w, padding_w = p.padding_w;
  Vec<Real, kStep> weights[9];
  for (int t = 0; t < 9; ++t) weights[t] = Vec<Real, kStep>{} + weight[t];
  // Rows `dilation_h` apart share; those of a block take turns, so that memory is met in order.
  const int64_t reach = (kSharingRows - 1) * dilation_h, block = reach + dilation_h;
  for (int64_t begin = 0; begin < out_h; begin += block)
    for (int64_t y = begin; y < begin + dilation_h && y < out_h; ++y) {
      // The last rows and registers compute some outputs again rather than reach behind.
      int64_t top = y;
      while (top + reach >= out_h) top -= dilation_h;
      const Real* rows[kSharingRows + 2];
      for (int i = 0; i < kSharingRows + 2; ++i) {
        const int64_t from = top + i * dilation_h - p.padding_h;
        rows[i] = from >= 0 && from < in_h ? image + from * in_w : zeros;
      }
      for (int64_t x = 0; x < out_w; x += kStep) {
        const int64_t at = x + kStep <= out_w ? x : out_w - kStep, first = at - padding_w;
        const int64_t second = first + dilation_w, third = second + dilation_w;
#pragma GCC unroll 4
        for (int r = kSharingRows; r < 2 * kSharingRows; ++r) {
          // What the next block meets, perhaps in the next plane: the processor does not see that
          // rows go on.
          const int64_t next = top + r * dilation_h;
          __builtin_prefetch(image + next * in_w + at);
          __builtin_prefetch(out + next * out_w + at, 1);
        }
        Real* to = out + top * out_w + at;
        if (first >= 0 && third + kStep <= in_w) {
          const Within<Real> columns[3] = {{first, in_w}, {second, in_w}, {third, in_w}};
          blend_sharing_rows(rows, columns, weights, bias, dilation_h * out_w, to);
        } else {
          const Inside<Real> columns[3] = {{first, in_w}, {second, in_w}, {third, in_w}};
          blend_sharing_rows(rows, columns, weights, bias, dilation_h * out_w, to);
        }
      }
    }
}

}  // namespace PF_ISA
}  // namespace pyfast
