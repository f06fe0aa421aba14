// Gradient of the input for any source: every sample adds to the pixels that it read, by atomic
// operations. The order of the additions, and with it the last bits, changes from run to run.
#pragma once

#include "ops/sampling/sampling_elements.cuh"
#include "ops/sampling/sampling_taps.cuh"

namespace pyfast {
namespace PF_ISA {

using Fixed = unsigned long long;  // the type of CUDA's 64-bit atomic operations

PF_HD bool is_finite(float x) { return x - x == 0; }
PF_HD bool is_finite(double x) { return x - x == 0; }

// Adds what a sample gives to a pixel. Where `only_odd` points at a flag, only what is not finite,
// if the flag is set: the rest of such a gradient comes from sampling_fixed_point.cuh.
template <class Real>
struct AddAtomically {
  const Fixed* only_odd;

  __device__ bool has_work() const { return only_odd == nullptr || *only_odd != 0; }
  __device__ Real scale(const Real& gradient, int64_t) const { return gradient; }
  __device__ void add(Real* pixel, Real share) const {
    if (only_odd == nullptr || !is_finite(share)) atomicAdd(pixel, share);
  }
};

// `sums`: where to add, of the input's size.
template <Interpolation I, int D, class Add, class T, class Sum>
__global__ void __launch_bounds__(kThreads)
    scatter(const SamplingParams<T> p, const Plan plan, const MapFrame frame,
            const ImageView<Sum> sums, const Add add) {
  using Real = Accumulator<T>;
  __shared__ MatrixMap<D, Real> map;
  if (!add.has_work()) return;
  const Place place = place_of(plan, blockIdx.x, threadIdx.x, 1);
  share_map(p, frame, place.image, &map);
  if (!has_work(plan, place)) return;
  const Pixel<D> pixel = pixel_at<D>(place.x, place.row, p.out_h);
  const Taps<I, D, Real> taps(p, position_of(p, frame, map, place.image, pixel), sums.w, sums.h,
                              sums.d);
  const T* grad = p.grad_output.at(place.image, 0, pixel.z(), pixel.y(), pixel.x());
  const int64_t image = p.input_batch == 1 ? 0 : place.image;
  for (int c = place.channel; c < place.channels_end; c += plan.slots()) {
    const auto pack = load<1>(grad + c * p.grad_output.c);
    const auto scaled = add.scale(widen(pack.value[0]), image * p.channels + c);
    Sum* plane = sums.data + image * sums.n + c * sums.c;
#pragma unroll
    for (int k = 0; k < taps.kCount; ++k) {
      if (taps.inside(k)) add.add(plane + taps.offset(k), taps.weight(k) * scaled);
    }
  }
}

struct Scatter {
  template <Interpolation I, int D, class T, class Sum, class Add>
  static int of(const SamplingParams<T>& p, const ImageView<Sum>& sums, const Add& add,
                cudaStream_t stream) {
    const Slots slots = slots_for(sums.c, p.grad_output.c, p.channels, 1, false);
    const Plan plan = plan_tiles(p.batch, p.out_d * p.out_h, p.out_w, p.channels, slots, 8, 1);
    if (plan.blocks > kMaxBlocks) return cudaErrorInvalidConfiguration;
    const auto kernel = scatter<I, D, Add, T, Sum>;
    PF_LAUNCH(kernel, unsigned(plan.blocks), kThreads, 0, stream, p, plan, map_frame(p), sums, add);
    return cudaGetLastError();
  }
};

template <class T>
int launch_scatter(const SamplingParams<T>& p, cudaStream_t stream) {
  using Real = Accumulator<T>;
  const int cleared = clear(p.grad_input, input_extent(p), stream);
  if (cleared != cudaSuccess || p.batch * p.out_size() == 0) return cleared;
  return dispatch<Scatter>(p, p.grad_input, AddAtomically<Real>{nullptr}, stream);
}

}  // namespace PF_ISA
}  // namespace pyfast
