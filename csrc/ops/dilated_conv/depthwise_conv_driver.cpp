// Divides a depthwise convolution into planes, rows or channels; brings threads and memory.
#include <algorithm>

#include "core/cpu_dispatch.h"
#include "core/parallel.h"
#include "core/workspace.h"
#include "ops/dilated_conv/depthwise_conv.h"

namespace pyfast {
namespace {

// Multiplications for one thread: below this a second one costs more than it brings.
constexpr int64_t kGrain = 65536;

// Channels of one task of the weights where lanes run over channels: whole registers.
constexpr int64_t kChannels = 64;

template <class Real>
const DepthwiseConvKernels<Real>& kernels() {
  return PF_PICK_CPU(depthwise_conv_kernels<Real>);
}

int64_t grain(int64_t work) { return std::max<int64_t>(1, kGrain / std::max<int64_t>(1, work)); }

}  // namespace

template <class Real>
void depthwise_conv_cpu(const DepthwiseConvParams<Real>& p) {
  if (p.batch * p.channels * p.out_h * p.out_w == 0) return;
  const int64_t row = p.out_w * p.taps();
  if (p.channels_last) {
    parallel_for(0, p.batch * p.out_h, grain(row * p.channels),
                 [&](int64_t begin, int64_t end) { kernels<Real>().rows(p, begin, end); });
    return;
  }
  parallel_for(0, p.batch * p.channels, grain(row * p.out_h), [&](int64_t begin, int64_t end) {
    const Scratch<Real> framed(p.framed_size());
    const Scratch<int64_t> columns(p.kernel_w);
    kernels<Real>().planes(p, begin, end, framed.data(), columns.data());
  });
}

template <class Real>
void depthwise_conv_weight_cpu(const DepthwiseConvParams<Real>& p) {
  if (p.channels * p.taps() == 0) return;
  const int64_t work = p.batch * p.out_h * p.out_w * p.taps();
  if (p.channels_last) {
    const int64_t blocks = (p.channels + kChannels - 1) / kChannels;
    parallel_for(0, blocks, grain(work * kChannels), [&](int64_t begin, int64_t end) {
      kernels<Real>().weight_channels(p, begin * kChannels, std::min(end * kChannels, p.channels));
    });
    return;
  }
  parallel_for(0, p.channels, grain(work), [&](int64_t begin, int64_t end) {
    const Scratch<Real> framed(p.framed_size());
    const Scratch<int64_t> columns(p.kernel_w);
    kernels<Real>().weight_planes(p, begin, end, framed.data(), columns.data());
  });
}

#define PF_INSTANTIATE(Real)                                          \
  template void depthwise_conv_cpu(const DepthwiseConvParams<Real>&); \
  template void depthwise_conv_weight_cpu(const DepthwiseConvParams<Real>&);
PF_INSTANTIATE(float)
PF_INSTANTIATE(double)
#undef PF_INSTANTIATE

}  // namespace pyfast
