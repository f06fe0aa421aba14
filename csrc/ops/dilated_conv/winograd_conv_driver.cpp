// Divides the transforms of Winograd convolution into tiles and outputs; brings threads and memory.
#include <algorithm>

#include "core/cpu_dispatch.h"
#include "core/parallel.h"
#include "core/workspace.h"
#include "ops/dilated_conv/winograd_conv.h"

namespace pyfast {
namespace {

// Values for one thread: below this a second one costs more than it brings.
constexpr int64_t kGrain = 32768;

template <class Real>
const WinogradConvKernels<Real>& kernels() {
  return PF_PICK_CPU(winograd_conv_kernels<Real>);
}

int64_t grain(int64_t work) { return std::max<int64_t>(1, kGrain / std::max<int64_t>(1, work)); }

}  // namespace

template <class Real>
void winograd_weight_cpu(const WinogradWeightParams<Real>& p) {
  const int64_t blocks = (p.outputs + kWinogradOutputs - 1) / kWinogradOutputs;
  parallel_for(0, blocks, 1,
               [&](int64_t begin, int64_t end) { kernels<Real>().weight(p, begin, end); });
}

template <class Real>
void winograd_gather_cpu(const WinogradConvParams<Real>& p) {
  const Scratch<Real> blank(p.channels);
  std::fill_n(blank.data(), p.channels, Real(0));
  parallel_for(0, p.tiles, grain(p.taps() * p.channels), [&](int64_t begin, int64_t end) {
    kernels<Real>().gather(p, begin, end, blank.data());
  });
}

template <class Real>
void winograd_scatter_cpu(const WinogradConvParams<Real>& p) {
  parallel_for(0, p.tiles, grain(p.taps() * p.outputs), [&](int64_t begin, int64_t end) {
    const Scratch<Real> waste(p.outputs);
    kernels<Real>().scatter(p, begin, end, waste.data());
  });
}

#define PF_INSTANTIATE(Real)                                            \
  template void winograd_weight_cpu(const WinogradWeightParams<Real>&); \
  template void winograd_gather_cpu(const WinogradConvParams<Real>&);   \
  template void winograd_scatter_cpu(const WinogradConvParams<Real>&);
PF_INSTANTIATE(float)
PF_INSTANTIATE(double)
#undef PF_INSTANTIATE

}  // namespace pyfast
