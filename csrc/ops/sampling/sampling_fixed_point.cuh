// Deterministic gradient of the input for any source: the scatter, in 64-bit integers, whose sums
// do not depend on their order.
//
// The gradients of a plane (one channel of one image) are scaled by a power of two so that no sum
// of theirs can overflow, whatever is sampled: to integers of 61 - log2(samples) bits. That is
// finer than the last bits of a float32 sum as long as a plane is sampled less than 2^37 times; in
// float64 it keeps, of a million samples, 41 bits behind the largest gradient of the plane. What is
// not finite has no place in an integer and is added afterwards, to the finished sums.
#pragma once

#include "ops/sampling/sampling_scatter.cuh"

namespace pyfast {
namespace PF_ISA {

// Bits of |x|: of finite numbers, larger ones have larger bits.
PF_HD Fixed bits_of_magnitude(float x) { return bits_of_float(x) & 0x7fffffffu; }
PF_HD Fixed bits_of_magnitude(double x) {
  Fixed bits;
  memcpy(&bits, &x, sizeof(bits));
  return bits & ~(Fixed{1} << 63);
}

// A k with |x| < 2^k for all x of no larger magnitude.
template <class Real>
PF_HD int exponent_above(Fixed magnitude) {
  return sizeof(Real) == 4 ? int(magnitude >> 23) - 126 : int(magnitude >> 52) - 1022;
}

// The memory of one call: the sums first, then of each plane the largest magnitude of its
// gradients, then whether anything was not finite.
template <class T>
struct FixedPoint {
  Extent extent;
  Fixed* sums;
  int bits;  // of the scaled gradients

  FixedPoint(const SamplingParams<T>& p, int64_t* memory)
      : extent(input_extent(p)), sums(reinterpret_cast<Fixed*>(memory)) {
    const int64_t samples = p.out_size() * (p.input_batch == 1 ? p.batch : 1);
    bits = 61 - log2_above(samples, 61);  // one bit less: bicubic weights add up to less than 2
  }
  Fixed* largest() const { return sums + extent.count(); }
  Fixed* odd() const { return largest() + extent.n * extent.c; }
  int64_t count() const { return extent.count() + extent.n * extent.c + 1; }
};

// `shares` blocks divide the tiles of an image and a group of channels.
template <class T>
__global__ void __launch_bounds__(kThreads)
    largest_gradients(const SamplingParams<T> p, const Plan plan, uint32_t shares, Fixed* largest) {
  __shared__ Fixed of_slot[kThreads];
  const int thread = threadIdx.x;
  const uint32_t share = blockIdx.x % shares, images_and_groups = blockIdx.x / shares;
  Place place = place_of(plan, images_and_groups * plan.tiles, thread, 1);
  const int64_t image = p.input_batch == 1 ? 0 : place.image;
  // All threads go round together: there are barriers.
  for (int c = place.channel; c - place.slot < place.channels_end; c += plan.slots()) {
    if (thread < plan.slots()) of_slot[thread] = 0;
    __syncthreads();
    Fixed most = 0;
    for (uint32_t tile = share; tile < plan.tiles && c < place.channels_end; tile += shares) {
      move_to_tile(plan, tile, thread, &place);
      if (!has_work(plan, place)) continue;
      const Pixel<3> pixel = pixel_at<3>(place.x, place.row, p.out_h);
      const auto g = widen(
          load<1>(p.grad_output.at(place.image, c, pixel.z(), pixel.y(), pixel.x())).value[0]);
      const Fixed magnitude = is_finite(g) ? bits_of_magnitude(g) : 0;
      most = magnitude > most ? magnitude : most;
    }
    if (most != 0) atomicMax(&of_slot[place.slot], most);
    __syncthreads();
    const int channel = c - place.slot + thread;
    if (thread < plan.slots() && channel < place.channels_end)
      atomicMax(largest + image * p.channels + channel, of_slot[thread]);
    __syncthreads();
  }
}

template <class T>
int launch_largest_gradients(const SamplingParams<T>& p, Fixed* largest, cudaStream_t stream) {
  const Slots slots = slots_for(p.grad_output.c, p.grad_output.c, p.channels, 1, false);
  const Plan plan = plan_tiles(p.batch, p.out_d * p.out_h, p.out_w, p.channels, slots, 8, 1);
  if (plan.blocks > kMaxBlocks) return cudaErrorInvalidConfiguration;
  const int64_t others = p.batch * plan.groups;
  const int64_t enough = ceil_div(PF_ENOUGH_THREADS / kThreads, others);
  const int64_t shares = enough < plan.tiles ? enough : plan.tiles;
  PF_LAUNCH(largest_gradients<T>, unsigned(shares * others), kThreads, 0, stream, p, plan,
            uint32_t(shares), largest);
  return cudaGetLastError();
}

// As AddAtomically, but of scaled and rounded gradients.
template <class Real>
struct AddFixed {
  const Fixed* largest;
  Fixed* odd;
  Real unit;

  __device__ bool has_work() const { return true; }
  __device__ Real scale(const Real& gradient, int64_t plane) const {
    return gradient * std::ldexp(Real(1), -exponent_above<Real>(largest[plane]));
  }
  __device__ void add(Fixed* pixel, Real share) const {
    if (is_finite(share)) {
      atomicAdd(pixel, Fixed(std::llrint(share * unit)));
    } else {
      *odd = 1;
    }
  }
};

template <class Real>
__global__ void __launch_bounds__(kThreads)
    write_sums(const ImageView<Real> grad_input, const Plan plan, int64_t height,
               const ImageView<Fixed> sums, const Fixed* largest, int bits) {
  const Place place = place_of(plan, blockIdx.x, threadIdx.x, 1);
  if (!has_work(plan, place)) return;
  const Pixel<3> pixel = pixel_at<3>(place.x, place.row, height);
  for (int c = place.channel; c < place.channels_end; c += plan.slots()) {
    const Fixed sum = *sums.at(place.image, c, pixel.z(), pixel.y(), pixel.x());
    const int exponent = exponent_above<Real>(largest[place.image * plan.channels + c]) - bits;
    *grad_input.at(place.image, c, pixel.z(), pixel.y(), pixel.x()) =
        Real(std::ldexp(double(static_cast<long long>(sum)), exponent));
  }
}

template <class T>
int launch_deterministic_scatter(const SamplingParams<T>& p, int64_t* memory, cudaStream_t stream) {
  using Real = Accumulator<T>;
  if (p.batch * p.out_size() == 0) return clear(p.grad_input, input_extent(p), stream);
  const FixedPoint<T> fixed(p, memory);
  const ImageView<Fixed> sums = dense_like(p.grad_input, fixed.extent, fixed.sums);
  const Plan plan = plan_elements(p.grad_input, fixed.extent);
  if (plan.blocks > kMaxBlocks) return cudaErrorInvalidConfiguration;
  int error = cudaMemsetAsync(memory, 0, fixed.count() * sizeof(Fixed), stream);
  if (error == cudaSuccess) error = launch_largest_gradients(p, fixed.largest(), stream);
  const AddFixed<Real> add{fixed.largest(), fixed.odd(), std::ldexp(Real(1), fixed.bits)};
  if (error == cudaSuccess) error = dispatch<Scatter>(p, sums, add, stream);
  if (error != cudaSuccess) return error;
  PF_LAUNCH(write_sums<Real>, unsigned(plan.blocks), kThreads, 0, stream, p.grad_input, plan,
            p.in_h, sums, fixed.largest(), fixed.bits);
  error = cudaGetLastError();
  if (error != cudaSuccess) return error;
  return dispatch<Scatter>(p, p.grad_input, AddAtomically<Real>{fixed.odd()}, stream);
}

}  // namespace PF_ISA
}  // namespace pyfast
