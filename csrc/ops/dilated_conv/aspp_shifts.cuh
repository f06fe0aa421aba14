// Shifts of ASPP: a thread makes one value, neighbouring threads neighbouring columns.
//
// Floor: the products that lie inside are read once and each output written once (and the other way
// round): 4 branches of 3 x 3 taps into 21 outputs of 65 x 65 pixels have 12.8 MB of products in
// float32, which the matrix product before has left in the second-level cache: 3.8 us of 3.35 TB/s
// if it has not. A shift has any alignment, so that values are moved one by one; a thread has as
// many loads under way as taps.
#pragma once

#include "ops/dilated_conv/aspp_shifts.h"
#include "ops/dilated_conv/conv_plan.cuh"

namespace pyfast {
namespace PF_ISA {

template <class T>
__global__ void __launch_bounds__(kConvThreads)
    aspp_add(const AsppShiftParams<T> p, const AsppShifts taps) {
  const int32_t width = int32_t(p.width), height = int32_t(p.height), pixels = width * height;
  const int64_t at = int64_t{blockIdx.x} * kConvThreads + threadIdx.x;
  if (at >= p.batch * p.outputs * pixels) return;
  const int64_t plane = at / pixels, image = plane / p.outputs, output = plane - image * p.outputs;
  const int32_t pixel = int32_t(at - plane * pixels), y = pixel / width, x = pixel - y * width;
  const T* products = p.products + (image * taps.count * p.outputs + output) * pixels;
  Accumulator<T> sum = 0;
#pragma unroll 4
  for (int32_t t = 0; t < taps.count; ++t) {
    const int32_t from_y = y + taps.rows[t], from_x = x + taps.columns[t];
    const bool inside = from_y >= 0 && from_y < height && from_x >= 0 && from_x < width;
    const int64_t offset = t * p.outputs * pixels + from_y * width + from_x;
    sum += widen(load_inside<1>(products, offset, inside).value[0]);
  }
  p.image[at] = narrow<T>(sum);
}

template <class T>
__global__ void __launch_bounds__(kConvThreads)
    aspp_spread(const AsppShiftParams<T> p, const AsppShifts taps) {
  const int32_t width = int32_t(p.width), height = int32_t(p.height), pixels = width * height;
  const int64_t at = int64_t{blockIdx.x} * kConvThreads + threadIdx.x;
  if (at >= p.batch * taps.count * p.outputs * pixels) return;
  const int64_t plane = at / pixels, of_tap = plane / p.outputs, output = plane % p.outputs;
  const int32_t t = int32_t(of_tap % taps.count), pixel = int32_t(at - plane * pixels);
  const int32_t y = pixel / width - taps.rows[t], x = pixel % width - taps.columns[t];
  const bool inside = y >= 0 && y < height && x >= 0 && x < width;
  const T* image = p.image + (of_tap / taps.count * p.outputs + output) * pixels;
  store<1>(p.products + at, load_inside<1>(static_cast<const T*>(image), y * width + x, inside));
}

template <class T>
int launch_aspp_shifts(const AsppShiftParams<T>& p, const AsppShifts& taps, bool spread,
                       cudaStream_t stream) {
  const int64_t count = p.batch * p.outputs * p.pixels() * (spread ? taps.count : 1);
  const int64_t blocks = ceil_div(count, kConvThreads);
  if (count == 0) return cudaSuccess;
  if (p.pixels() > kConvMaxSide) return cudaErrorInvalidValue;
  if (blocks > kConvMaxBlocks) return cudaErrorInvalidConfiguration;
  const auto kernel = spread ? aspp_spread<T> : aspp_add<T>;
  PF_LAUNCH(kernel, unsigned(blocks), kConvThreads, 0, stream, p, taps);
  return cudaGetLastError();
}

}  // namespace PF_ISA
}  // namespace pyfast
