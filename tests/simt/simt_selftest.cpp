// Tests of the shim itself: kernels that are right, and kernels with a fault that has to show.
//
//   simt_selftest <case> <forward|reverse|random> <seed> [sizes...]  < inputs  > outputs
//
// Inputs and outputs are raw values; the counters (launches, block barriers, warp barriers,
// atomics; int64) come last.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "core/device.h"
#include "simt.h"

namespace {

constexpr int kTile = 8;

// c = a b, with a (m, k) and b (k, n), and the sum of all elements of c.
template <bool kAllBarriers>
__global__ void product(const float* a, const float* b, float* c, double* total, int m, int k,
                        int n) {
  PF_DYN_SMEM(float, tiles);
  float* left = tiles;
  float* right = tiles + kTile * kTile;
  const int x = threadIdx.x, y = threadIdx.y;
  const int row = blockIdx.y * kTile + y, column = blockIdx.x * kTile + x;
  float sum = 0;
  for (int start = 0; start < k; start += kTile) {
    const bool in_left = row < m && start + x < k, in_right = start + y < k && column < n;
    left[y * kTile + x] = in_left ? a[row * k + start + x] : 0.f;
    right[y * kTile + x] = in_right ? b[(start + y) * n + column] : 0.f;
    __syncthreads();
    for (int i = 0; i < kTile; ++i) sum += left[y * kTile + i] * right[i * kTile + x];
    if (kAllBarriers) __syncthreads();
  }
  if (row < m && column < n) c[row * n + column] = sum;

  __shared__ double of_warp[kTile * kTile / warpSize];
  double part = row < m && column < n ? sum : 0.;
  for (int lanes = warpSize / 2; lanes > 0; lanes /= 2) part += __shfl_xor_sync(~0u, part, lanes);
  const int thread = y * kTile + x;
  if (thread % warpSize == 0) of_warp[thread / warpSize] = part;
  __syncthreads();
  if (thread == 0) atomicAdd(total, of_warp[0] + of_warp[1]);
}

// Every warp operation once, by 40 threads of which the last 4 leave early.
__global__ void warp_operations(int* out) {
  const int thread = threadIdx.x;
  if (thread >= 36) return;
  const unsigned all = thread < 32 ? ~0u : 0xfu;
  int* results = out + thread * 12;
  *results++ = __shfl_sync(all, thread, 3);
  *results++ = __shfl_sync(all, thread, 5, 4);
  *results++ = __shfl_up_sync(all, thread, 1);
  *results++ = __shfl_down_sync(all, thread, 2, 4);
  *results++ = __shfl_xor_sync(all, thread, 1);
  *results++ = int(__ballot_sync(all, thread % 3 == 0));
  *results++ = __any_sync(all, thread == 35);
  *results++ = __all_sync(all, thread < 32);
  *results++ = int(__match_any_sync(all, thread % 4));
  unsigned active = 0;
  if (thread % 2) active = __activemask();
  *results++ = int(active);
  *results++ = __ffs(thread) * 100 + __popc(unsigned(thread));
  __syncthreads();  // 4 threads have left: they count as arrived
  atomicMax(out + 36 * 12, thread);
  unsigned long long* count = reinterpret_cast<unsigned long long*>(out + 36 * 12 + 2);
  atomicCAS(count, 0ull, 1ull << 40);  // the first succeeds, the others find it changed
  *results++ = __ldg(out);
}

__global__ void read_beyond(const float* in, float* out, int size) {
  const int i = threadIdx.x;
  if (i < size) out[i] = in[i] + in[i + 1];  // the last thread reads in[size]
}

__global__ void beyond_shared(float* out) {
  PF_DYN_SMEM(float, values);
  values[threadIdx.x] = 1.f;  // one thread more than elements
  out[0] = values[0];
}

__global__ void unset_shared(float* out) {
  PF_DYN_SMEM(float, values);
  out[threadIdx.x] = values[threadIdx.x];
}

__global__ void divergent_barrier(int* out) {
  if (threadIdx.x < 40) {
    __syncthreads();
    out[0] = 1;
  } else {
    __syncthreads();
    out[1] = 1;
  }
}

__global__ void mask_names_absent_lanes(int* out) {
  if (threadIdx.x < 8) out[threadIdx.x] = __shfl_sync(~0u, int(threadIdx.x), 0);
  __syncthreads();
}

__global__ void mask_without_itself(int* out) { out[0] = __ballot_sync(1u, 1); }

template <class T>
std::vector<T> read(size_t count) {
  std::vector<T> values(count);
  if (std::fread(values.data(), sizeof(T), count, stdin) != count) std::exit(2);
  return values;
}

template <class T>
void write(const std::vector<T>& values) {
  std::fwrite(values.data(), sizeof(T), values.size(), stdout);
}

template <bool kAllBarriers>
void run_product(int m, int k, int n) {
  const auto a = read<float>(m * k), b = read<float>(k * n);
  std::vector<float> c(m * n);
  std::vector<double> total(1);
  const dim3 grid((n + kTile - 1) / kTile, (m + kTile - 1) / kTile), block(kTile, kTile);
  PF_LAUNCH(product<kAllBarriers>, grid, block, 2 * kTile * kTile * sizeof(float), nullptr,
            a.data(), b.data(), c.data(), total.data(), m, k, n);
  write(c);
  write(total);
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 4) return 2;
  const std::string what = arguments[1], schedule = arguments[2];
  simt::schedule = schedule == "reverse"  ? simt::Schedule::kReverse
                   : schedule == "random" ? simt::Schedule::kRandom
                                          : simt::Schedule::kForward;
  simt::seed = std::atoi(arguments[3]);
  const auto size = [&](int i) { return i + 4 < count ? std::atoi(arguments[i + 4]) : 0; };
  std::vector<int> integers(36 * 12 + 4);
  std::vector<float> floats(64);
  if (what == "product") run_product<true>(size(0), size(1), size(2));
  if (what == "missing_barrier") run_product<false>(size(0), size(1), size(2));
  if (what == "warp_operations") {
    PF_LAUNCH(warp_operations, 1, 40, 0, nullptr, integers.data());
    write(integers);
  }
  if (what == "unset_shared") {
    PF_LAUNCH(unset_shared, 1, 64, 64 * sizeof(float), nullptr, floats.data());
    write(floats);
  }
  if (what == "read_beyond") {
    const std::vector<float> in(64);
    PF_LAUNCH(read_beyond, 1, 64, 0, nullptr, in.data(), floats.data(), 64);
  }
  if (what == "beyond_shared")
    PF_LAUNCH(beyond_shared, 1, 65, 64 * sizeof(float), nullptr, floats.data());
  if (what == "divergent_barrier") PF_LAUNCH(divergent_barrier, 1, 64, 0, nullptr, integers.data());
  if (what == "absent_lanes")
    PF_LAUNCH(mask_names_absent_lanes, 1, 32, 0, nullptr, integers.data());
  if (what == "without_itself") PF_LAUNCH(mask_without_itself, 1, 2, 0, nullptr, integers.data());
  if (what == "empty_grid") {
    PF_LAUNCH(mask_without_itself, 0, 32, 0, nullptr, integers.data());
    if (cudaGetLastError() != cudaErrorInvalidConfiguration) return 3;
  }
  const auto& counters = simt::counters;
  write(std::vector<int64_t>{counters.launches, counters.block_barriers, counters.warp_barriers,
                             counters.atomics});
}
