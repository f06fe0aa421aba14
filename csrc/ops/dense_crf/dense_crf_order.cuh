// Puts keys of several words in order and finds those that differ.
#pragma once

#include "ops/dense_crf/dense_crf_keys.cuh"
#include "ops/dense_crf/dense_crf_sort.cuh"

namespace pyfast {
namespace PF_ISA {

// Keys in order.
struct Ordered {
  int32_t* order;     // which is the i-th
  int32_t* number;    // number[i + 1] - 1: of the i-th, among those that differ
  int32_t different;  // how many that are
};

__global__ void __launch_bounds__(kThreads) count_up(int32_t* values, int64_t count) {
  const int64_t i = thread_number();
  if (i < count) values[i] = int32_t(i);
}

template <class T>
__global__ void __launch_bounds__(kThreads) fill(T* values, int64_t count, T value) {
  const int64_t i = thread_number();
  if (i < count) values[i] = value;
}

__global__ void __launch_bounds__(kThreads)
    gather_word(const uint64_t* word, const int32_t* order, int64_t count, uint64_t* keys) {
  const int64_t i = thread_number();
  if (i < count) keys[i] = word[order[i]];
}

// first[i]: whether the i-th key differs from the one before; first[count] is 0.
__global__ void __launch_bounds__(kThreads)
    mark_first(const uint64_t* words, int32_t word_count, const int32_t* order, int64_t count,
               int32_t* first) {
  const int64_t i = thread_number();
  if (i > count) return;
  bool differs = i == 0 && count > 0;
  for (int w = 0; 0 < i && i < count && w < word_count; ++w)
    differs = differs || words[w * count + order[i]] != words[w * count + order[i - 1]];
  first[i] = differs;
}

// Each of the keys that differ: (words, different), in order.
__global__ void __launch_bounds__(kThreads)
    take_first(const uint64_t* words, int32_t word_count, Ordered sorted, int64_t count,
               uint64_t* taken) {
  const int64_t i = thread_number();
  if (i >= count || sorted.number[i] == sorted.number[i + 1]) return;
  for (int w = 0; w < word_count; ++w)
    taken[int64_t{w} * sorted.different + sorted.number[i]] = words[w * count + sorted.order[i]];
}

// The host waits for the number of those that differ.
inline Ordered order_keys(Run& run, const uint64_t* words, const SortKeys& layout, int64_t count) {
  SortBuffers buffers(run, count);
  const unsigned blocks = run.blocks_for(count);
  run.launch(count_up, blocks, buffers.values[0], count);
  for (int w = 0; w < layout.words; ++w) {
    run.launch(gather_word, blocks, words + w * count, buffers.values[0], count, buffers.keys[0]);
    sort(run, count, layout.bits[w], &buffers);
  }
  Ordered result{buffers.values[0], run.take<int32_t>(count + 1), 0};
  run.launch(mark_first, run.blocks_for(count + 1), words, layout.words, result.order, count,
             result.number);
  scan(run, result.number, count + 1, run.take<int32_t>(tiles_of(count + 1)));
  run.read(&result.different, result.number + count, 1);
  return result;
}

inline uint64_t* take_different(Run& run, const uint64_t* words, const SortKeys& layout,
                                const Ordered& sorted, int64_t count) {
  uint64_t* taken = run.take<uint64_t>(int64_t{sorted.different} * layout.words);
  run.launch(take_first, run.blocks_for(count), words, layout.words, sorted, count, taken);
  return taken;
}

}  // namespace PF_ISA
}  // namespace pyfast
