// Gradient of the input for affine maps of images: every input pixel gathers from the output pixels
// that read it. No atomic operation and no scratch memory; the same bits in every run.
#pragma once

#include "ops/sampling/sampling_search.cuh"
#include "ops/sampling/sampling_vectors.cuh"

namespace pyfast {
namespace PF_ISA {

constexpr int kMapsAtOnce = 8;  // prepared in shared memory, where one input serves many outputs

// Adds what the outputs of map n give to pixel (place.x, py), for its channels place.channel +
// k * step.
template <Interpolation I, int K, int V, class T, class Real>
__device__ __forceinline__ void gather_map(const SamplingParams<T>& p, const Place& place,
                                           int32_t py, int step, const Search<Real>& search,
                                           int64_t n, Pack<V, Real> (&sum)[K]) {
  const bool align = p.align_corners;
  const Real radius = I == Interpolation::kBilinear ? Real(1) : Real(0.5);
  for (int fy = search.y.fold; fy < search.y.fold + search.y.folds; ++fy) {
    const auto window_y = search.y.window(py, fy, p.in_h, radius, p.padding, align);
    for (int fx = search.x.fold; fx < search.x.fold + search.x.folds; ++fx) {
      const auto window_x = search.x.window(place.x, fx, p.in_w, radius, p.padding, align);
      const Indices rows = search.rows(window_x, window_y, int32_t(p.out_h));
      for (int i = rows.first; i <= rows.last; ++i) {
        const Point<2, Real> row = search.image.template row<2>({{0, i}});
        const Indices columns = search.columns(row, window_x, window_y, int32_t(p.out_w));
        for (int j = columns.first; j <= columns.last; ++j) {
          const Point<2, Real> at = search.image.along(row, j);
          // Windows of neighbouring folds overlap: a sample counts in its own fold alone.
          if (p.padding == Padding::kReflection &&
              (fold_of(at.at[0], Real(p.in_w), align) != Real(fx) ||
               fold_of(at.at[1], Real(p.in_h), align) != Real(fy)))
            continue;
          const Real x = pad(p.padding, at.at[0], Real(p.in_w), align).position;
          const Real y = pad(p.padding, at.at[1], Real(p.in_h), align).position;
          Real weight_x, weight_y;
          if (!share<I>(x, place.x, Real(p.in_w), &weight_x) ||
              !share<I>(y, py, Real(p.in_h), &weight_y))
            continue;
          const Real weight = weight_x * weight_y;
          const T* grad = p.grad_output.at(n, place.channel, i, j);
#pragma unroll
          for (int k = 0; k < K; ++k) {
            if (place.channel + k * step >= place.channels_end) break;
            const auto g = load<V>(grad + k * step * p.grad_output.c);
            for (int v = 0; v < V; ++v) sum[k].value[v] += weight * widen(g.value[v]);
          }
        }
      }
    }
  }
}

// For maps that the search does not serve, which no training in its senses produces: one thread a
// channel walks over all outputs. Slow, but finite, in a fixed order and without atomics.
template <Interpolation I, class T, class Real>
__device__ void scatter_in_order(const SamplingParams<T>& p, const MapFrame& frame, int32_t channel,
                                 int32_t channels_end, int64_t image, int64_t first_n,
                                 int64_t last_n, MatrixMap<2, Real>* map) {
  const ImageView<Real>& grad_input = p.grad_input;
  for (int c = channel; c < channels_end; ++c) {
    for (int64_t k = threadIdx.x; k < p.in_h * p.in_w; k += kThreads)
      *grad_input.at(image, c, k / p.in_w, k % p.in_w) = 0;
  }
  for (int64_t n = first_n; n < last_n; ++n) {
    __syncthreads();
    share_map(p, frame, n, map);
    for (int c = channel + threadIdx.x; c < channels_end; c += kThreads) {
      for (int64_t pixel = 0; pixel < p.out_h * p.out_w; ++pixel) {
        const int32_t i = int32_t(pixel / p.out_w), j = int32_t(pixel % p.out_w);
        const Taps<I, 2, Real> taps(p, map->template at<2>(frame, {{j, i}}), grad_input.w,
                                    grad_input.h, 0);
        const Real g = widen(*p.grad_output.at(n, c, i, j));
        for (int k = 0; k < taps.kCount; ++k) {
          if (taps.inside(k)) grad_input.at(image, c, 0, 0)[taps.offset(k)] += taps.weight(k) * g;
        }
      }
    }
  }
}

// K packs of V channels a thread. Without the 1 the compiler spills registers to fit more blocks.
template <Interpolation I, int K, int V, class T>
__global__ void __launch_bounds__(kThreads, 1)
    gather(const SamplingParams<T> p, const Plan plan, const MapFrame frame) {
  using Real = Accumulator<T>;
  __shared__ Search<Real> searches[kMapsAtOnce];
  __shared__ int beyond_search;
  const int thread = threadIdx.x;
  const Place place = place_of(plan, blockIdx.x, thread, V);
  const int64_t first = p.input_batch == 1 ? 0 : place.image;
  const int64_t last = p.input_batch == 1 ? p.batch : place.image + 1;
  const int step = plan.slots() * V;
  if (thread == 0) beyond_search = 0;
  for (int t = 0; t < plan.stack; ++t) {
    const int32_t y = place.row + t * plan.tile_rows;
    const bool active = place.x < plan.width && y < plan.rows;
    Pack<V, Real> sum[K] = {};
    for (int64_t start = first; start < last; start += kMapsAtOnce) {
      const int maps = last - start < kMapsAtOnce ? int(last - start) : kMapsAtOnce;
      if (t == 0 || last - first > kMapsAtOnce) {
        __syncthreads();
        if (thread < maps && !searches[thread].set(p, frame, start + thread)) beyond_search = 1;
        __syncthreads();
      }
      if (beyond_search) {
        if (blockIdx.x % plan.tiles == 0)
          scatter_in_order<I>(p, frame, place.channel - place.slot * V, place.channels_end,
                              place.image, first, last, &searches[0].image);
        return;
      }
      for (int m = 0; active && m < maps; ++m)
        gather_map<I>(p, place, y, step, searches[m], start + m, sum);
    }
    if (!active) continue;
    Real* pixel = p.grad_input.at(place.image, place.channel, y, place.x);
#pragma unroll
    for (int k = 0; k < K; ++k) {
      if (place.channel + k * step < place.channels_end)
        store<V>(pixel + k * step * p.grad_input.c, sum[k]);
    }
  }
}

template <Interpolation I, class T>
int launch_gather_as(const SamplingParams<T>& p, cudaStream_t stream) {
  constexpr int V = kVector<T>;
  const Slots slots = slots_for<V>(p.grad_input, p.grad_output, p.channels);
  // Channels share the search.
  const int most = p.channels == 1 ? 1 : p.channels <= 4 && !slots.inner ? 4 : 8;
  const Plan plan = plan_tiles(p.input_batch, p.in_h, p.in_w, p.channels, slots, most, 8);
  if (plan.blocks > kMaxBlocks) return cudaErrorInvalidConfiguration;
  const auto kernel = slots.vector > 1 ? gather<I, 8 / V, V, T>
                      : most == 1      ? gather<I, 1, 1, T>
                      : most == 4      ? gather<I, 4, 1, T>
                                       : gather<I, 8, 1, T>;
  PF_LAUNCH(kernel, unsigned(plan.blocks), kThreads, 0, stream, p, plan, map_frame(p));
  return cudaGetLastError();
}

// Whether the gather serves a call; the scatter serves them all.
template <class T>
bool gathers(const SamplingParams<T>& p) {
  return p.source == Source::kAffine && p.dims == 2 && p.interpolation != Interpolation::kBicubic;
}

template <class T>
int launch_gather(const SamplingParams<T>& p, cudaStream_t stream) {
  return p.interpolation == Interpolation::kNearest
             ? launch_gather_as<Interpolation::kNearest>(p, stream)
             : launch_gather_as<Interpolation::kBilinear>(p, stream);
}

}  // namespace PF_ISA
}  // namespace pyfast
