// A stable radix sort of numbers by keys, least significant digit first.
#pragma once

#include "ops/dense_crf/dense_crf_scan.cuh"

namespace pyfast {
namespace PF_ISA {

constexpr int kDigitBits = 8;
constexpr int kDigits = 1 << kDigitBits;
static_assert(kDigits == kThreads, "a thread counts one digit");

PF_HD int digit_of(uint64_t key, int shift) { return int(key >> shift) & (kDigits - 1); }

// counts[digit][tile]
__global__ void __launch_bounds__(kThreads)
    count_digits(const uint64_t* keys, int64_t count, int shift, int32_t* counts) {
  __shared__ int32_t of_digit[kDigits];
  of_digit[threadIdx.x] = 0;
  __syncthreads();
  const int64_t first = int64_t{blockIdx.x} * kTile + threadIdx.x;
  for (int k = 0; k < kItems; ++k) {
    const int64_t i = first + k * kThreads;
    if (i < count) atomicAdd(&of_digit[digit_of(keys[i], shift)], 1);
  }
  __syncthreads();
  counts[int64_t{threadIdx.x} * gridDim.x + blockIdx.x] = of_digit[threadIdx.x];
}

// Moves a tile to where `starts[digit][tile]` says. A warp owns kItems runs of kWarp items: lanes
// with equal digits find each other, so that order is kept.
__global__ void __launch_bounds__(kThreads)
    move_by_digit(const uint64_t* keys, const int32_t* values, int64_t count, int shift,
                  const int32_t* starts, uint64_t* moved_keys, int32_t* moved_values) {
  __shared__ int32_t of_warp[kWarps][kDigits];  // counts, then places
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  for (int w = 0; w < kWarps; ++w) of_warp[w][threadIdx.x] = 0;
  __syncthreads();
  const int64_t first = int64_t{blockIdx.x} * kTile + warp * kWarp * kItems + lane;
  int32_t rank[kItems];
  for (int k = 0; k < kItems; ++k) {
    const int64_t i = first + k * kWarp;
    const int digit = i < count ? digit_of(keys[i], shift) : kDigits;
    const unsigned peers = __match_any_sync(~0u, digit);
    const int before = __popc(peers & ((1u << lane) - 1));
    if (i < count) rank[k] = of_warp[warp][digit] + before;
    __syncwarp();
    if (i < count && before == 0) of_warp[warp][digit] += __popc(peers);
    __syncwarp();
  }
  __syncthreads();
  int32_t place = starts[int64_t{threadIdx.x} * gridDim.x + blockIdx.x];
  for (int w = 0; w < kWarps; ++w) {
    const int32_t here = of_warp[w][threadIdx.x];
    of_warp[w][threadIdx.x] = place;
    place += here;
  }
  __syncthreads();
  for (int k = 0; k < kItems; ++k) {
    const int64_t i = first + k * kWarp;
    if (i >= count) break;
    const int64_t to = of_warp[warp][digit_of(keys[i], shift)] + rank[k];
    moved_keys[to] = keys[i];
    moved_values[to] = values[i];
  }
}

// What the sort moves between: its input, and afterwards its result, is in keys[0] and values[0].
struct SortBuffers {
  uint64_t* keys[2];
  int32_t* values[2];
  int32_t* counts;
  int32_t* sums;

  SortBuffers(Run& run, int64_t count) {
    for (auto& k : keys) k = run.take<uint64_t>(count);
    for (auto& v : values) v = run.take<int32_t>(count);
    counts = run.take<int32_t>(tiles_of(count) * kDigits);
    sums = run.take<int32_t>(tiles_of(tiles_of(count) * kDigits));
  }
};

// By the lowest `bits` bits of the keys.
inline void sort(Run& run, int64_t count, int bits, SortBuffers* buffers) {
  auto& [keys, values, counts, sums] = *buffers;
  const unsigned tiles = run.good() ? unsigned(tiles_of(count)) : 0;
  for (int shift = 0; shift < bits; shift += kDigitBits) {
    run.launch(count_digits, tiles, keys[0], count, shift, counts);
    scan(run, counts, int64_t{tiles} * kDigits, sums);
    run.launch(move_by_digit, tiles, keys[0], values[0], count, shift, counts, keys[1], values[1]);
    uint64_t* sorted_keys = keys[1];
    keys[1] = keys[0];
    keys[0] = sorted_keys;
    int32_t* sorted_values = values[1];
    values[1] = values[0];
    values[0] = sorted_values;
  }
}

}  // namespace PF_ISA
}  // namespace pyfast
