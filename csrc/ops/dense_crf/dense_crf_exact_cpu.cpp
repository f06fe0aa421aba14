// Sums over pairs of points, compiled once for every instruction set. A lane is a point that
// receives.
#include <type_traits>

#include "ops/dense_crf/dense_crf_exact.h"
#include "ops/dense_crf/dense_crf_rows.h"

namespace pyfast {
namespace PF_ISA {
namespace {

template <class Real>
constexpr int kLanes = sizeof(Real) == 4 ? 16 : 8;

template <class Real>
bool is_near(const ExactTask<Real>& t, int64_t a, int64_t b) {
  if (t.cutoff < 0) return true;
  const Real *first = t.boxes + a * 2 * t.dims, *second = t.boxes + b * 2 * t.dims;
  Real square = 0;
  for (int i = 0; i < t.dims; ++i) {
    const Real above = first[i] - second[t.dims + i], below = second[i] - first[t.dims + i];
    const Real gap = above > below ? above : below;
    if (gap > 0) square += gap * gap;
  }
  return square <= t.cutoff;
}

template <class Real>
using Points = Vec<Real, kLanes<Real>>;

// k(i, j) of the lanes i with point j, and f_j - f_i.
template <class Real>
inline Points<Real> gaussian(const ExactTask<Real>& t, const Points<Real>* here, int64_t j,
                             int64_t count, Points<Real>* apart) {
  Points<Real> square = {};
  for (int a = 0; a < t.dims; ++a) {
    apart[a] = t.features[a * count + j] - here[a];
    square += apart[a] * apart[a];
  }
  return fast_exp(square * Real(-0.5));
}

// Channels [first, first + kChannels) of the sums of the points at `at`.
template <class Real, int kChannels>
void sum_rows(const ExactTask<Real>& t, int64_t at, int first, int channels) {
  using V = Points<Real>;
  const int64_t count = t.blocks * kExactBlock, block = at / kExactBlock;
  V here[kMostFeatures], apart[kMostFeatures], sum[kChannels] = {};
  for (int a = 0; a < t.dims; ++a) here[a] = load<V>(t.features + a * count + at);
  for (int64_t other = 0; other < t.blocks; ++other) {
    if (!is_near(t, block, other)) continue;
    for (int64_t j = other * kExactBlock; j < (other + 1) * kExactBlock; ++j) {
      const V k = gaussian(t, here, j, count, apart);
      const Real* values = t.values + j * t.channels + first;
      for (int c = 0; c < kChannels; ++c) sum[c] += k * values[c];
    }
  }
  for (int l = 0; l < kLanes<Real>; ++l)
    for (int c = 0; c < channels; ++c) t.output[(at + l) * t.channels + first + c] = sum[c][l];
}

template <class Real>
void filter(const ExactTask<Real>& t, int64_t begin, int64_t end) {
  for (int64_t at = begin * kExactBlock; at < end * kExactBlock; at += kLanes<Real>)
    for (int first = 0; first < t.channels;) {
      const int left = t.channels - first;
      if (left >= 8) {
        const int blocks = left >= 24 ? 3 : left / 8;
        with_blocks(blocks, [&](auto wide) {
          sum_rows<Real, decltype(wide)::value * 8>(t, at, first, decltype(wide)::value * 8);
        });
        first += blocks * 8;
      } else if (left >= 4) {
        sum_rows<Real, 4>(t, at, first, 4);
        first += 4;
      } else {
        sum_rows<Real, 1>(t, at, first, 1);
        first += 1;
      }
    }
}

template <class Real>
void gradient(const ExactTask<Real>& t, int64_t begin, int64_t end) {
  using V = Points<Real>;
  constexpr int kPart = 32;  // channels whose own values are at hand
  const int64_t count = t.blocks * kExactBlock;
  for (int64_t at = begin * kExactBlock; at < end * kExactBlock; at += kLanes<Real>) {
    V here[kMostFeatures], apart[kMostFeatures], sum[kMostFeatures] = {};
    for (int a = 0; a < t.dims; ++a) here[a] = load<V>(t.features + a * count + at);
    for (int first = 0; first < t.channels; first += kPart) {
      const int part = t.channels - first < kPart ? t.channels - first : kPart;
      V own_value[kPart], own_grad[kPart];
      for (int c = 0; c < part; ++c)
        for (int l = 0; l < kLanes<Real>; ++l) {
          own_value[c][l] = t.values[(at + l) * t.channels + first + c];
          own_grad[c][l] = t.grad[(at + l) * t.channels + first + c];
        }
      for (int64_t other = 0; other < t.blocks; ++other) {
        if (!is_near(t, at / kExactBlock, other)) continue;
        for (int64_t j = other * kExactBlock; j < (other + 1) * kExactBlock; ++j) {
          const Real* values = t.values + j * t.channels + first;
          const Real* grads = t.grad + j * t.channels + first;
          V both = {};
          for (int c = 0; c < part; ++c) both += own_grad[c] * values[c] + own_value[c] * grads[c];
          both *= gaussian(t, here, j, count, apart);
          for (int a = 0; a < t.dims; ++a) sum[a] += both * apart[a];
        }
      }
    }
    for (int a = 0; a < t.dims; ++a) store(t.output + a * count + at, sum[a]);
  }
}

template <class Real>
const ExactKernels<Real> kExactKernels = {filter<Real>, gradient<Real>};

}  // namespace

template <>
const ExactKernels<float>& exact_kernels<float>() {
  return kExactKernels<float>;
}
template <>
const ExactKernels<double>& exact_kernels<double>() {
  return kExactKernels<double>;
}

}  // namespace PF_ISA
}  // namespace pyfast
