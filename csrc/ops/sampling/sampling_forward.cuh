// Forward: one launch; a position is worked out once a thread and shared by its channels.
#pragma once

#include "ops/sampling/sampling_taps.cuh"
#include "ops/sampling/sampling_vectors.cuh"

namespace pyfast {
namespace PF_ISA {

template <Interpolation I, int D, int V, class T>
__global__ void __launch_bounds__(kThreads)
    sample(const SamplingParams<T> p, const Plan plan, const MapFrame frame) {
  using Real = Accumulator<T>;
  using SampleTaps = Taps<I, D, Real>;
  // As many loads at once as hide their latency, and registers hold.
  [[maybe_unused]] constexpr int kUnroll = V > 1                     ? 1
                                           : SampleTaps::kCount == 1 ? 8
                                                                     : 16 / SampleTaps::kCount;
  __shared__ MatrixMap<D, Real> map;
  const Place place = place_of(plan, blockIdx.x, threadIdx.x, V);
  share_map(p, frame, place.image, &map);
  if (place.x >= plan.width) return;
  const T* input = p.input.data + (p.input_batch == 1 ? 0 : place.image * p.input.n);
  for (int t = 0; t < plan.stack; ++t) {
    const int32_t row = place.row + t * plan.tile_rows;
    if (row >= plan.rows) return;
    const Pixel<D> pixel = pixel_at<D>(place.x, row, p.out_h);
    const SampleTaps taps(p, position_of(p, frame, map, place.image, pixel), p.input.w, p.input.h,
                          p.input.d);
    T* output = p.output.at(place.image, 0, pixel.z(), pixel.y(), pixel.x());
#pragma unroll(kUnroll)
    for (int c = place.channel; c < place.channels_end; c += plan.slots() * V) {
      Real sum[V] = {};
#pragma unroll
      for (int k = 0; k < SampleTaps::kCount; ++k) {
        const auto read = load_inside<V>(input, taps.offset(k) + c * p.input.c, taps.inside(k));
        for (int v = 0; v < V; ++v) sum[v] += taps.weight(k) * widen(read.value[v]);
      }
      Pack<V, T> rounded;
      for (int v = 0; v < V; ++v) rounded.value[v] = narrow<T>(sum[v]);
      store<V>(output + c * p.output.c, rounded);
    }
  }
}

struct Forward {
  template <Interpolation I, int D, class T>
  static int of(const SamplingParams<T>& p, cudaStream_t stream) {
    constexpr int V = I == Interpolation::kBicubic && kVector<T> > 4 ? 4 : kVector<T>;
    const Slots slots = slots_for<V>(p.input, p.output, p.channels);
    const Plan plan = plan_tiles(p.batch, p.out_d * p.out_h, p.out_w, p.channels, slots, 8, 8);
    if (plan.blocks > kMaxBlocks) return cudaErrorInvalidConfiguration;
    const auto kernel = slots.vector > 1 ? sample<I, D, V, T> : sample<I, D, 1, T>;
    PF_LAUNCH(kernel, unsigned(plan.blocks), kThreads, 0, stream, p, plan, map_frame(p));
    return cudaGetLastError();
  }
};

template <class T>
int launch_forward(const SamplingParams<T>& p, cudaStream_t stream) {
  if (!sides_fit(p)) return cudaErrorInvalidValue;
  if (p.batch * p.channels * p.out_size() == 0) return cudaSuccess;
  return dispatch<Forward>(p, stream);
}

}  // namespace PF_ISA
}  // namespace pyfast
