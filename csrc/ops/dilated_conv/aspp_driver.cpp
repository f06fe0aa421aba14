// Divides the shifts of ASPP into planes.
#include "core/cpu_dispatch.h"
#include "core/parallel.h"
#include "ops/dilated_conv/aspp.h"

namespace pyfast {

template <class Real>
void aspp_add_cpu(const AsppParams<Real>& p) {
  parallel_for(0, p.outputs, 1, [&](int64_t begin, int64_t end) {
    for (int64_t o = begin; o < end; ++o) PF_PICK_CPU(aspp_kernels<Real>).add(p, o);
  });
}

template <class Real>
void aspp_spread_cpu(const AsppParams<Real>& p) {
  parallel_for(0, p.taps.count * p.outputs, 16, [&](int64_t begin, int64_t end) {
    for (int64_t plane = begin; plane < end; ++plane)
      PF_PICK_CPU(aspp_kernels<Real>).spread(p, plane);
  });
}

template void aspp_add_cpu(const AsppParams<float>&);
template void aspp_add_cpu(const AsppParams<double>&);
template void aspp_spread_cpu(const AsppParams<float>&);
template void aspp_spread_cpu(const AsppParams<double>&);

}  // namespace pyfast
