// Sums of all that comes before: of any number of integers, in three launches.
#pragma once

#include "ops/dense_crf/dense_crf_device.cuh"

namespace pyfast {
namespace PF_ISA {

constexpr int kItems = 8;                 // of a thread
constexpr int kTile = kThreads * kItems;  // of a block

// The sum over the threads before this one, and over all threads in `total`; every thread of the
// block has to come here.
__device__ __forceinline__ int32_t sum_before(int32_t value, int32_t* total) {
  __shared__ int32_t of_warp[kWarps];
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  int32_t through = value;
  for (int step = 1; step < kWarp; step *= 2) {
    const int32_t before = __shfl_up_sync(~0u, through, step);
    if (lane >= step) through += before;
  }
  __syncthreads();  // until others have read what an earlier call left
  if (lane == kWarp - 1) of_warp[warp] = through;
  __syncthreads();
  int32_t offset = 0, all = 0;
  for (int w = 0; w < kWarps; ++w) {
    if (w < warp) offset += of_warp[w];
    all += of_warp[w];
  }
  *total = all;
  return offset + through - value;
}

__global__ void __launch_bounds__(kThreads)
    sum_tiles(const int32_t* values, int64_t count, int32_t* sums) {
  const int64_t first = int64_t{blockIdx.x} * kTile + threadIdx.x;
  int32_t sum = 0, total;
  for (int k = 0; k < kItems; ++k) {
    const int64_t i = first + k * kThreads;
    if (i < count) sum += values[i];
  }
  sum_before(sum, &total);
  if (threadIdx.x == 0) sums[blockIdx.x] = total;
}

// One tile after another by one block, or each by its own, which knows what comes before.
__device__ __forceinline__ int32_t scan_tile(int32_t* values, int64_t start, int64_t count,
                                             int32_t before) {
  const int64_t first = start + int64_t{threadIdx.x} * kItems;
  int32_t item[kItems], sum = 0, total;
  for (int k = 0; k < kItems; ++k) {
    item[k] = first + k < count ? values[first + k] : 0;
    sum += item[k];
  }
  before += sum_before(sum, &total);
  for (int k = 0; k < kItems; ++k) {
    if (first + k < count) values[first + k] = before;
    before += item[k];
  }
  return total;
}

__global__ void __launch_bounds__(kThreads) scan_sums(int32_t* sums, int32_t tiles) {
  int32_t before = 0;
  for (int64_t start = 0; start < tiles; start += kTile)
    before += scan_tile(sums, start, tiles, before);
}

__global__ void __launch_bounds__(kThreads)
    scan_tiles(int32_t* values, int64_t count, const int32_t* sums) {
  scan_tile(values, int64_t{blockIdx.x} * kTile, count, sums[blockIdx.x]);
}

inline int64_t tiles_of(int64_t count) { return ceil_div(count, kTile); }

// In place: values[i] becomes the sum of values[0 .. i - 1]. `sums` holds tiles_of(count) items.
inline void scan(Run& run, int32_t* values, int64_t count, int32_t* sums) {
  const unsigned tiles = run.good() ? unsigned(tiles_of(count)) : 0;
  run.launch(sum_tiles, tiles, values, count, sums);
  run.launch(scan_sums, tiles > 0 ? 1 : 0, sums, int32_t(tiles));
  run.launch(scan_tiles, tiles, values, count, sums);
}

}  // namespace PF_ISA
}  // namespace pyfast
