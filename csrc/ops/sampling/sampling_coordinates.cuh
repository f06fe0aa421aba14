// Gradients of where to sample: of a field pixel by pixel, of matrices as sums over pixels.
#pragma once

#include "ops/sampling/sampling_elements.cuh"
#include "ops/sampling/sampling_matrix_sum.cuh"
#include "ops/sampling/sampling_taps.cuh"

namespace pyfast {
namespace PF_ISA {

// Derivative of the loss by the position in pixels before padding, from this thread's channels.
template <Interpolation I, int D, int V, class T, class Real = Accumulator<T>>
__device__ __forceinline__ Point<D, Real> position_gradient(const SamplingParams<T>& p,
                                                            const Plan& plan, const Place& place,
                                                            const Pixel<D>& pixel,
                                                            const Point<D, Real>& position) {
  using SampleTaps = Taps<I, D, Real>;
  [[maybe_unused]] constexpr int kUnroll = SampleTaps::kCount * V < 8 ? 2 : 1;
  const SampleTaps taps(p, position, p.input.w, p.input.h, p.input.d);
  const Slopes<I, D, Real> slopes(taps);
  const T* input = p.input.data + (p.input_batch == 1 ? 0 : place.image * p.input.n);
  const T* grad = p.grad_output.at(place.image, 0, pixel.z(), pixel.y(), pixel.x());
  Point<D, Real> sum{};
#pragma unroll(kUnroll)
  for (int c = place.channel; c < place.channels_end; c += plan.slots() * V) {
    const auto g = load<V>(grad + c * p.grad_output.c);
    Pack<V, T> read[SampleTaps::kCount];
#pragma unroll
    for (int k = 0; k < SampleTaps::kCount; ++k)
      read[k] = load_inside<V>(input, taps.offset(k) + c * p.input.c, taps.inside(k));
#pragma unroll
    for (int v = 0; v < V; ++v) {
      Real value[SampleTaps::kCount];
#pragma unroll
      for (int k = 0; k < SampleTaps::kCount; ++k) value[k] = widen(read[k].value[v]);
      sum.at[0] += widen(g.value[v]) * slopes.template along<0>(taps, value);
      sum.at[1] += widen(g.value[v]) * slopes.template along<1>(taps, value);
      if constexpr (D == 3) sum.at[2] += widen(g.value[v]) * slopes.template along<2>(taps, value);
    }
  }
  for (int a = 0; a < D; ++a) sum.at[a] *= taps.axis[a].slope;
  return sum;
}

// Channels moved at once: as many as registers can hold of all taps.
template <Interpolation I, int D, class T>
constexpr int kGradientVector = I == Interpolation::kBicubic ? 1
                                : D == 3 && kVector<T> > 4   ? 4
                                                             : kVector<T>;

// The channels of a pixel are divided among enough threads; all of them in one block.
template <int V, class T>
Plan plan_coordinates(const SamplingParams<T>& p, Slots* slots) {
  *slots = slots_for<V>(p.input, p.grad_output, p.channels);
  const int64_t pixels = p.batch * p.out_size();
  if (!slots->inner)  // 8 pixels side by side still fill the smallest transfer from memory
    while (slots->log2 < kThreadsLog2 - 3 && (8 << slots->log2) <= p.channels &&
           pixels << slots->log2 < PF_ENOUGH_THREADS)
      ++slots->log2;
  return plan_tiles(p.batch, p.out_d * p.out_h, p.out_w, p.channels, *slots, 0, 1);
}

template <Interpolation I, int D, int V, class T>
__global__ void __launch_bounds__(kThreads, 1)
    field_gradient(const SamplingParams<T> p, const Plan plan, const MapFrame frame) {
  using Real = Accumulator<T>;
  __shared__ Point<D, Real> of_slot[kThreads];
  const Place place = place_of(plan, blockIdx.x, threadIdx.x, V);
  const Pixel<D> pixel = pixel_at<D>(place.x, place.row, p.out_h);
  const bool active = has_work(plan, place);
  Point<D, Real> sum{};
  if (active) {
    const Point<D, Real> position = field_position(p, frame, place.image, pixel);
    sum = position_gradient<I, D, V>(p, plan, place, pixel, position);
  }
  of_slot[threadIdx.x] = sum;
  __syncthreads();
  if (!active || place.slot > 0) return;
  const int next = plan.slots_inner ? 1 : 1 << plan.pixels_log2();
  Real* out = p.grad_field.at(place.image, pixel.z(), pixel.y(), pixel.x());
  for (int a = 0; a < D; ++a) {
    for (int s = 1; s < plan.slots(); ++s) sum.at[a] += of_slot[threadIdx.x + s * next].at[a];
    out[a * p.grad_field.c] =
        p.source == Source::kFlow ? sum.at[a] : sum.at[a] * Real(frame.step[a].scale);
  }
}

struct FieldGradient {
  template <Interpolation I, int D, class T>
  static int of(const SamplingParams<T>& p, cudaStream_t stream) {
    if constexpr (I == Interpolation::kNearest) {
      return cudaErrorInvalidValue;
    } else {
      constexpr int V = kGradientVector<I, D, T>;
      Slots slots;
      const Plan plan = plan_coordinates<V>(p, &slots);
      if (plan.blocks > kMaxBlocks) return cudaErrorInvalidConfiguration;
      const auto kernel =
          slots.vector > 1 ? field_gradient<I, D, V, T> : field_gradient<I, D, 1, T>;
      PF_LAUNCH(kernel, unsigned(plan.blocks), kThreads, 0, stream, p, plan, map_frame(p));
      return cudaGetLastError();
    }
  }
};

template <class T>
int launch_field_gradient(const SamplingParams<T>& p, cudaStream_t stream) {
  if (p.batch * p.out_size() == 0) return cudaSuccess;
  if (p.interpolation == Interpolation::kNearest || p.channels == 0) {
    const auto& g = p.grad_field;
    const Extent extent{p.batch, p.dims, p.out_d, p.out_h, p.out_w};
    return clear(ImageView<Accumulator<T>>{g.data, g.n, g.c, g.d, g.h, g.w}, extent, stream);
  }
  return dispatch<FieldGradient>(p, stream);
}

// From the gradient by a position in base coordinates to that by the R products of the matrix.
template <int R, int D, class T>
__device__ __forceinline__ void add_pixel(const SamplingParams<T>& p, int64_t image,
                                          const Base<D>& base, const double (&gradient)[D],
                                          MatrixSum<R, D>* sum) {
  if constexpr (R == D) {
    sum->add(gradient, base.at);
  } else {
    const Accumulator<T>* m = p.matrix + image * MatrixSum<R, D>::kSize;
    double product[R];
    for (int r = 0; r < R; ++r)
      product[r] = m[3 * r] * base.at[0] + m[3 * r + 1] * base.at[1] + m[3 * r + 2];
    double by_product[R] = {};
    for (int a = 0; a < D; ++a) {
      // A sample without influence has none, even where its position is not finite.
      if (gradient[a] == 0) continue;
      by_product[a] = gradient[a] / product[R - 1];
      by_product[R - 1] -= by_product[a] * product[a] / product[R - 1];
    }
    sum->add(by_product, base.at);
  }
}

// One block adds up its share of the tiles of one image.
template <Interpolation I, int R, int D, int V, class T>
__global__ void __launch_bounds__(kThreads, 1)
    matrix_gradient(const SamplingParams<T> p, const Plan plan, const MapFrame frame,
                    uint32_t partials, double* out) {
  using Real = Accumulator<T>;
  __shared__ MatrixMap<D, Real> map;
  Place place = place_of(plan, 0, threadIdx.x, V);
  place.image = blockIdx.x / partials;
  share_map(p, frame, place.image, &map);
  MatrixSum<R, D> sum{};
  for (uint32_t tile = blockIdx.x % partials; tile < plan.tiles; tile += partials) {
    move_to_tile(plan, tile, threadIdx.x, &place);
    if (!has_work(plan, place)) continue;
    const Pixel<D> pixel = pixel_at<D>(place.x, place.row, p.out_h);
    const Point<D, Real> position = map.template at<R>(frame, pixel);
    const Point<D, Real> g = position_gradient<I, D, V>(p, plan, place, pixel, position);
    double gradient[D];
    for (int a = 0; a < D; ++a) gradient[a] = g.at[a] * frame.step[a].scale;
    add_pixel(p, place.image, Base<D>(frame, pixel), gradient, &sum);
  }
  write_block_sum<kThreads>(sum, out + int64_t{blockIdx.x} * sum.kSize);
}

struct MatrixGradient {
  template <Interpolation I, int D, class T>
  static int of(const SamplingParams<T>& p, double* partial_sums, cudaStream_t stream) {
    if constexpr (D == 2) {
      if (p.source == Source::kHomography) return of_rows<I, 3, D>(p, partial_sums, stream);
    }
    return of_rows<I, D, D>(p, partial_sums, stream);
  }

  template <Interpolation I, int R, int D, class T>
  static int of_rows(const SamplingParams<T>& p, double* partial_sums, cudaStream_t stream) {
    if constexpr (I == Interpolation::kNearest) {
      return cudaErrorInvalidValue;
    } else {
      constexpr int V = kGradientVector<I, D, T>;
      Slots slots;
      const Plan plan = plan_coordinates<V>(p, &slots);
      const int64_t partials = partials_of_image(p.out_size());
      if (plan.blocks > kMaxBlocks || p.batch * partials > kMaxBlocks)
        return cudaErrorInvalidConfiguration;
      const auto kernel =
          slots.vector > 1 ? matrix_gradient<I, R, D, V, T> : matrix_gradient<I, R, D, 1, T>;
      PF_LAUNCH(kernel, unsigned(p.batch * partials), kThreads, 0, stream, p, plan, map_frame(p),
                uint32_t(partials), partial_sums);
      return launch_partial_sums<MatrixSum<R, D>>(p.batch, partials, partial_sums, p.grad_matrix,
                                                  stream);
    }
  }
};

template <class T>
int launch_matrix_gradient(const SamplingParams<T>& p, double* partial_sums, cudaStream_t stream) {
  if (p.batch == 0) return cudaSuccess;
  if (p.interpolation == Interpolation::kNearest || p.channels * p.out_size() == 0)
    return cudaMemsetAsync(p.grad_matrix, 0, p.batch * p.matrix_size() * sizeof(Accumulator<T>),
                           stream);
  return dispatch<MatrixGradient>(p, partial_sums, stream);
}

}  // namespace PF_ISA
}  // namespace pyfast
