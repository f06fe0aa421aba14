// Runs CUDA kernels on the host, so that they can be tested without a GPU.
//
// Include this before a .cuh and compile as C++20. The threads of a block run in the order that
// simt::schedule gives: a kernel that lacks a barrier gives wrong results under at least one of
// them. Threads that can never go on (a divergent barrier) end the process with a message.
//
// Not simulated: races between threads that truly run at once, cooperative groups, textures.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "simt_machine.h"

// --- The words of the language ----------------------------------------------------------------
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ static

namespace simt {

// One warp operation: brings a value, waits for the threads of the mask.
inline void meet(unsigned mask, uint64_t brought, Location where) {
  machine.wait(State::kWarpBarrier, mask, brought, where);
}

template <class T>
uint64_t to_bits(T value) {
  static_assert(sizeof(T) <= sizeof(uint64_t) && std::is_trivially_copyable_v<T>);
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  return bits;
}

// What a lane brought; NaN, as far as the type has one, for a lane that took no part.
template <class T>
T from_lane(unsigned lane) {
  const bool took_part = machine.current().mask >> lane & 1;
  const uint64_t bits = took_part ? machine.lane_of_warp(lane).shown : ~uint64_t(0);
  T value;
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

template <class T, class... Allowed>
concept OneOf = (std::same_as<T, Allowed> || ...);

template <class T, class Update>
T atomic(T* address, Update update) {
  ++counters.atomics;
  const T old = *address;
  *address = update(old);
  return old;
}

}  // namespace simt

// --- Launching ----------------------------------------------------------------------------------
#define PF_LAUNCH(kernel, grid, block, shared_bytes, stream, ...) \
  ((void)(stream), simt::machine.launch(grid, block, shared_bytes, [&] { kernel(__VA_ARGS__); }))
#define PF_DYN_SMEM(Type, name) \
  Type* name = reinterpret_cast<Type*>(simt::machine.dynamic_shared.get())

inline cudaError_t cudaGetLastError() {
  return std::exchange(simt::machine.last_error, cudaSuccess);
}
inline cudaError_t cudaMemsetAsync(void* data, int value, size_t bytes, cudaStream_t) {
  std::memset(data, value, bytes);
  return cudaSuccess;
}
enum cudaMemcpyKind { cudaMemcpyDeviceToHost = 2 };
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind,
                                   cudaStream_t) {
  std::memcpy(to, from, bytes);
  return cudaSuccess;
}
inline cudaError_t cudaStreamSynchronize(cudaStream_t) {
  ++simt::counters.waits;
  return cudaSuccess;
}

// --- Barriers, shuffles, votes
// --------------------------------------------------------------------
inline void __syncthreads(simt::Location where = simt::Location::current()) {
  simt::machine.wait(simt::State::kBlockBarrier, ~0u, 0, where);
}
inline void __syncwarp(unsigned mask = ~0u, simt::Location where = simt::Location::current()) {
  simt::meet(mask, 0, where);
}
inline unsigned __activemask(simt::Location where = simt::Location::current()) {
  simt::machine.wait(simt::State::kActiveMask, 0, 0, where);
  return simt::machine.current().mask;
}

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = warpSize,
              simt::Location where = simt::Location::current()) {
  simt::meet(mask, simt::to_bits(value), where);
  const unsigned start = simt::machine.lane() & ~unsigned(width - 1);
  return simt::from_lane<T>(start + (unsigned(source) & unsigned(width - 1)));
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = warpSize,
                 simt::Location where = simt::Location::current()) {
  simt::meet(mask, simt::to_bits(value), where);
  const unsigned lane = simt::machine.lane(), place = lane & unsigned(width - 1);
  return simt::from_lane<T>(place >= delta ? lane - delta : lane);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = warpSize,
                   simt::Location where = simt::Location::current()) {
  simt::meet(mask, simt::to_bits(value), where);
  const unsigned lane = simt::machine.lane(), place = lane & unsigned(width - 1);
  return simt::from_lane<T>(place + delta < unsigned(width) ? lane + delta : lane);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = warpSize,
                  simt::Location where = simt::Location::current()) {
  simt::meet(mask, simt::to_bits(value), where);
  const unsigned lane = simt::machine.lane(), end = (lane | unsigned(width - 1)) + 1;
  const unsigned source = lane ^ unsigned(lanes);
  return simt::from_lane<T>(source < end ? source : lane);
}

inline unsigned __ballot_sync(unsigned mask, int predicate,
                              simt::Location where = simt::Location::current()) {
  simt::meet(mask, predicate != 0, where);
  unsigned lanes = 0;
  for (unsigned lane = 0; lane < warpSize; ++lane)
    if (simt::machine.current().mask >> lane & 1) lanes |= simt::from_lane<unsigned>(lane) << lane;
  return lanes;
}
inline int __any_sync(unsigned mask, int predicate,
                      simt::Location where = simt::Location::current()) {
  return __ballot_sync(mask, predicate, where) != 0;
}
inline int __all_sync(unsigned mask, int predicate,
                      simt::Location where = simt::Location::current()) {
  return __ballot_sync(mask, predicate, where) == simt::machine.current().mask;
}
template <class T>
unsigned __match_any_sync(unsigned mask, T value,
                          simt::Location where = simt::Location::current()) {
  simt::meet(mask, simt::to_bits(value), where);
  unsigned lanes = 0;
  for (unsigned lane = 0; lane < warpSize; ++lane)
    if (simt::machine.current().mask >> lane & 1)
      lanes |= unsigned(simt::machine.lane_of_warp(lane).shown == simt::to_bits(value)) << lane;
  return lanes;
}

// --- Atomics and the rest
// -------------------------------------------------------------------------
template <simt::OneOf<int, unsigned, unsigned long long, float, double> T>
T atomicAdd(T* address, std::type_identity_t<T> value) {
  return simt::atomic(address, [&](T old) { return old + value; });
}
template <simt::OneOf<int, unsigned, long long, unsigned long long> T>
T atomicMax(T* address, std::type_identity_t<T> value) {
  return simt::atomic(address, [&](T old) { return std::max(old, value); });
}
template <simt::OneOf<int, unsigned, unsigned long long> T>
T atomicCAS(T* address, std::type_identity_t<T> compare, std::type_identity_t<T> value) {
  return simt::atomic(address, [&](T old) { return old == compare ? value : old; });
}
template <class T>
T __ldg(const T* address) {
  return *address;
}
inline int __ffs(int bits) { return __builtin_ffs(bits); }
inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
