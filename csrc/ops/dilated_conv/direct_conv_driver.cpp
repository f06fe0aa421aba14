// Divides a convolution of few channels into planes and rows; brings threads and memory.
#include <algorithm>

#include "core/cpu_dispatch.h"
#include "core/parallel.h"
#include "core/workspace.h"
#include "ops/dilated_conv/direct_conv.h"

namespace pyfast {
namespace {

// Values copied, or multiplications, for one thread: below this a second one costs more than it
// brings.
constexpr int64_t kCopies = 32768, kProducts = 262144;

// Framed images that are in memory together.
constexpr int64_t kMostBytes = int64_t{8} << 20;

int64_t grain(int64_t all, int64_t work) {
  return std::max<int64_t>(1, all / std::max<int64_t>(1, work));
}

}  // namespace

template <class Real>
void direct_conv_cpu(const DirectConvParams<Real>& p) {
  if (p.batch * p.outputs * p.out_h * p.out_w == 0) return;
  const auto& kernels = PF_PICK_CPU(direct_conv_kernels<Real>);
  const Scratch<Real> packed(p.outputs * p.channels * p.taps());
  kernels.pack(p, packed.data());
  const int64_t plane = p.in_h * p.framed_width(), image = p.channels * plane;
  const int64_t together = std::min(p.batch, grain(kMostBytes, image * int64_t(sizeof(Real))));
  const Scratch<Real> framed(together * image);
  for (int64_t first = 0; first < p.batch; first += together) {
    const int64_t images = std::min(together, p.batch - first);
    parallel_for(0, images * p.channels, grain(kCopies, plane), [&](int64_t begin, int64_t end) {
      kernels.frame(p, first * p.channels + begin, first * p.channels + end,
                    framed.data() + begin * plane);
    });
    const int64_t work = p.outputs * p.channels * p.taps() * p.out_w;
    parallel_for(0, images * p.out_h, grain(kProducts, work), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const int64_t n = row / p.out_h;
        kernels.row(p, first + n, row % p.out_h, framed.data() + n * image, packed.data());
      }
    });
  }
}

template void direct_conv_cpu(const DirectConvParams<float>&);
template void direct_conv_cpu(const DirectConvParams<double>&);

}  // namespace pyfast
