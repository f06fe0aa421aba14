// Sorts points into blocks of neighbours for the exact Gaussian sum, and divides them among
// threads.
#include <algorithm>
#include <limits>
#include <numeric>

#include "core/cpu_dispatch.h"
#include "core/parallel.h"
#include "core/workspace.h"
#include "ops/dense_crf/dense_crf_exact.h"

namespace pyfast {
namespace {

// Halves the points across their widest feature, block by block, until each half is a block.
template <class Real>
void sort_into_blocks(const Real* features, int dims, int64_t points, int32_t* begin,
                      int32_t* end) {
  const int64_t count = end - begin;
  if (count <= kExactBlock) return;
  int widest = 0;
  Real width = -1;
  for (int a = 0; a < dims; ++a) {
    const Real* feature = features + a * points;
    Real low = feature[*begin], high = low;
    for (const int32_t* n = begin; n < end; ++n) {
      low = std::min(low, feature[*n]);
      high = std::max(high, feature[*n]);
    }
    if (high - low > width) widest = a, width = high - low;
  }
  const int64_t blocks = (count + kExactBlock - 1) / kExactBlock;
  int32_t* middle = begin + blocks / 2 * kExactBlock;
  const Real* feature = features + widest * points;
  std::nth_element(begin, middle, end, [feature](int32_t a, int32_t b) {
    return feature[a] != feature[b] ? feature[a] < feature[b] : a < b;
  });
  sort_into_blocks(features, dims, points, begin, middle);
  sort_into_blocks(features, dims, points, middle, end);
}

template <class Real>
void run_image(const ExactParams<Real>& p, int64_t image) {
  const int64_t points = p.points, blocks = (points + kExactBlock - 1) / kExactBlock;
  const int64_t count = blocks * kExactBlock, channels = p.channels;
  const bool is_gradient = p.gradient;
  const Real* features = p.features + image * p.dims * points;
  Scratch<int32_t> order(count);
  std::iota(order.data(), order.data() + points, 0);
  if (p.cutoff > 0) sort_into_blocks(features, p.dims, points, order.data(), order.data() + points);
  std::fill(order.data() + points, order.data() + count, order.data()[points - 1]);

  Scratch<Real> sorted(p.dims * count), boxes(blocks * 2 * p.dims), values(count * channels);
  Scratch<Real> grads(is_gradient ? count * channels : 0);
  Scratch<Real> output(count * (is_gradient ? p.dims : channels));
  const auto gather = [&](const Real* planes, Real* rows) {
    for (int64_t n = 0; n < count; ++n)
      for (int64_t c = 0; c < channels; ++c)
        rows[n * channels + c] =
            n < points ? planes[(image * channels + c) * points + order.data()[n]] : Real(0);
  };
  gather(p.values, values.data());
  if (is_gradient) gather(p.grad, grads.data());
  for (int64_t b = 0; b < blocks; ++b)
    for (int a = 0; a < p.dims; ++a) {
      Real low = std::numeric_limits<Real>::max(), high = -low;
      for (int64_t n = b * kExactBlock; n < (b + 1) * kExactBlock; ++n) {
        const Real value = features[a * points + order.data()[n]];
        sorted.data()[a * count + n] = value;
        low = std::min(low, value);
        high = std::max(high, value);
      }
      boxes.data()[(2 * b) * p.dims + a] = low;
      boxes.data()[(2 * b + 1) * p.dims + a] = high;
    }

  const Real cutoff = p.cutoff > 0 ? static_cast<Real>(p.cutoff * p.cutoff) : Real(-1);
  const ExactTask<Real> task{p.dims,       static_cast<int>(channels),
                             blocks,       sorted.data(),
                             boxes.data(), values.data(),
                             grads.data(), output.data(),
                             cutoff};
  const auto& kernel = PF_PICK_CPU(exact_kernels<Real>);
  parallel_for(0, blocks, 1, [&](int64_t begin, int64_t end) {
    (is_gradient ? kernel.gradient : kernel.filter)(task, begin, end);
  });
  for (int64_t n = 0; n < points; ++n) {
    const int64_t here = order.data()[n];
    if (is_gradient) {
      for (int a = 0; a < p.dims; ++a)
        p.output[(image * p.dims + a) * points + here] = output.data()[a * count + n];
    } else {
      for (int64_t c = 0; c < channels; ++c)
        p.output[(image * channels + c) * points + here] = output.data()[n * channels + c];
    }
  }
}

}  // namespace

template <class Real>
void exact_filter_cpu(const ExactParams<Real>& p) {
  if (p.points == 0) return;
  for (int64_t b = 0; b < p.batch; ++b) run_image(p, b);
}

template void exact_filter_cpu(const ExactParams<float>&);
template void exact_filter_cpu(const ExactParams<double>&);

}  // namespace pyfast
