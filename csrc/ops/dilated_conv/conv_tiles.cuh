// Products of matrices in tiles, as both kernels of implicit convolution make them: 256 threads as
// 16 x 16, each with M / 16 rows and N / 16 columns of the tile in registers.
#pragma once

#include "ops/dilated_conv/conv_plan.cuh"

namespace pyfast {
namespace PF_ISA {

constexpr int kTileDepth = 8;  // of the sums that lie in shared memory at once
constexpr int kTileSide = 16;  // threads along each side of a tile
// Longest sum of a thread, in values: longer ones are divided, as float32 sums lose bits with
// length.
constexpr int64_t kLongestChain = 4608;
constexpr int64_t kMostPartialSums = int64_t{1} << 23;  // 32 MB

// Rows and columns that a thread has lie four at a time, so that they are read as vectors and
// neighbouring threads read neighbouring vectors.
template <int kCount>
PF_HD int tile_place(int thread, int k) {
  constexpr int kPack = kCount < 4 ? kCount : 4;
  return k / kPack * (kTileSide * kPack) + thread * kPack + k % kPack;
}

template <int kCount>
__device__ __forceinline__ void read_fragment(const float* row, int thread, float (&out)[kCount]) {
  constexpr int kPack = kCount < 4 ? kCount : 4;
#pragma unroll
  for (int k = 0; k < kCount; k += kPack) {
    const auto pack =
        *reinterpret_cast<const Pack<kPack, float>*>(row + tile_place<kCount>(thread, k));
    for (int i = 0; i < kPack; ++i) out[k + i] = pack.value[i];
  }
}

// sum += the product of a (depth, M) and a (depth, N) tile in shared memory. Steps of the depth
// that are taken together need registers, of which two blocks have 128 a thread.
template <int kTogether, int RM, int RN, int kStrideM, int kStrideN>
__device__ __forceinline__ void multiply_tiles(const float* a, const float* b, int row, int column,
                                               float (&sum)[RM][RN]) {
#pragma unroll(kTogether)
  for (int k = 0; k < kTileDepth; ++k) {
    float of_a[RM], of_b[RN];
    read_fragment<RM>(a + k * kStrideM, row, of_a);
    read_fragment<RN>(b + k * kStrideN, column, of_b);
#pragma unroll
    for (int m = 0; m < RM; ++m)
#pragma unroll
      for (int n = 0; n < RN; ++n) sum[m][n] += of_a[m] * of_b[n];
  }
}

// In how many parts the sums of a product are made: as many as fill the GPU and keep each short,
// as far as there is memory for `count` results of each part.
inline int32_t parts_of_product(int64_t blocks, int64_t depth, int64_t count) {
  const int64_t enough = ceil_div(PF_ENOUGH_THREADS / kConvThreads / 4, blocks > 0 ? blocks : 1);
  const int64_t least_depth = 16 * kTileDepth, most_parts = ceil_div(depth, least_depth);
  const int64_t fitting = kMostPartialSums / (count > 0 ? count : 1);
  int64_t parts = ceil_div(depth, kLongestChain);
  if (parts < enough) parts = enough;
  if (parts > most_parts) parts = most_parts;
  if (parts > fitting) parts = fitting;
  return int32_t(parts > 1 ? parts : 1);
}

// result[i] = the parts' values, one after another, and the bias of the channel that i belongs to:
// `stride` elements of a channel lie side by side, `channels` of these one after another.
static __global__ void __launch_bounds__(kConvThreads)
    add_product_parts(const float* partial_sums, int32_t parts, int64_t count, const float* bias,
                      int64_t stride, int32_t channels, float* result) {
  const int64_t i = int64_t{blockIdx.x} * kConvThreads + threadIdx.x;
  if (i >= count) return;
  float total = bias != nullptr ? bias[i / stride % channels] : 0.f;
  for (int32_t part = 0; part < parts; ++part) total += partial_sums[part * count + i];
  result[i] = total;
}

inline int launch_product_parts(const float* partial_sums, int32_t parts, int64_t count,
                                const float* bias, int64_t stride, int64_t channels, float* result,
                                cudaStream_t stream) {
  const int64_t blocks = ceil_div(count, kConvThreads);
  if (blocks > kConvMaxBlocks) return cudaErrorInvalidConfiguration;
  PF_LAUNCH(add_product_parts, unsigned(blocks), kConvThreads, 0, stream, partial_sums, parts,
            count, bias, stride, int32_t(channels), result);
  return cudaGetLastError();
}

}  // namespace PF_ISA
}  // namespace pyfast
