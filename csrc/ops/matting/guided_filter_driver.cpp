// Divides the guided filter into bands of rows; brings threads and memory.
#include <algorithm>

#include "core/cpu_dispatch.h"
#include "core/parallel.h"
#include "core/workspace.h"
#include "ops/matting/guided_filter.h"

namespace pyfast {
namespace {

// Of about equal height, and tall enough that the windows of the rows above, which every band sums
// anew, cost little. A few are a power of two, as processors are.
int64_t count_bands(int64_t height, int64_t radius) {
  const int64_t most = std::max<int64_t>(1, height / std::max<int64_t>(128, 6 * radius));
  int64_t power = 1;
  while (2 * power <= std::min<int64_t>(most, 16)) power *= 2;
  return most > 16 ? most : power;
}

}  // namespace

template <class Real>
void guided_filter_cpu(const GuidedFilterParams<Real>& params) {
  GuidedFilterParams<Real> p = params;
  if (p.batch * p.channels * p.height * p.width == 0) return;
  // A larger window sees no more.
  p.radius = std::min(p.radius, std::max(p.height, p.width));
  const int64_t bands = count_bands(p.height, p.radius);
  parallel_for(0, p.batch * bands, 1, [&](int64_t begin, int64_t end) {
    const int64_t moments = p.moments() * p.width, fits = p.coefficients() * p.width;
    const Scratch<double> columns(moments), windows(moments), coefficients(fits);
    const Scratch<double> pixels(2 * (p.guide_channels + p.channels) * p.width), shares(p.width);
    const Scratch<Real> ring((2 * p.radius + 1) * fits);
    const GuidedFilterScratch<Real> memory{columns.data(), windows.data(), coefficients.data(),
                                           pixels.data(),  shares.data(),  ring.data()};
    for (int64_t task = begin; task < end; ++task) {
      const int64_t i = task % bands;
      const GuidedFilterBand band{task / bands, i * p.height / bands, (i + 1) * p.height / bands};
      PF_PICK_CPU(guided_filter_kernels<Real>).band(p, band, memory);
    }
  });
}

template void guided_filter_cpu(const GuidedFilterParams<float>&);
template void guided_filter_cpu(const GuidedFilterParams<double>&);

}  // namespace pyfast
