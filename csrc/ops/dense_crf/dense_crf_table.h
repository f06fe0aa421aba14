// A hash table of the keys of vertices, in buckets of a cache line: a key is looked for in all
// places of a bucket at once, without a branch that would be foreseen wrongly.
#pragma once

#include <cstdint>

#include "ops/dense_crf/dense_crf_cpu.h"
#include "ops/dense_crf/dense_crf_vector.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace pyfast {
namespace PF_ISA {

constexpr int kBucket = 8;  // words of a cache line

// Bit l: whether words[l] >> kShift is `value`. Other threads may be writing.
template <int kShift>
inline unsigned places_of(const uint64_t* words, uint64_t value) {
#if defined(__AVX512F__)
  const auto found = load<Vec<uint64_t, kBucket>>(words) >> kShift;
  return _mm512_cmpeq_epi64_mask(reinterpret_cast<__m512i>(found),
                                 _mm512_set1_epi64(static_cast<int64_t>(value)));
#elif defined(__AVX2__)
  const __m256i wanted = _mm256_set1_epi64x(static_cast<int64_t>(value));
  const auto half = [&](const uint64_t* from) {
    const __m256i read = _mm256_load_si256(reinterpret_cast<const __m256i*>(from));
    const __m256i same = _mm256_cmpeq_epi64(_mm256_srli_epi64(read, kShift), wanted);
    return static_cast<unsigned>(_mm256_movemask_pd(_mm256_castsi256_pd(same)));
  };
  return half(words) | half(words + 4) << 4;
#else
  unsigned found = 0;
  for (int l = 0; l < kBucket; ++l)
    found |= unsigned{__atomic_load_n(words + l, __ATOMIC_RELAXED) >> kShift == value} << l;
  return found;
#endif
}

template <int W>
inline uint64_t* bucket_of(const KeyTable<W>& table, uint64_t hashed) {
  return table.words + (hashed & table.mask & ~uint64_t{kBucket - 1});
}
template <int W>
inline uint64_t* bucket_after(const KeyTable<W>& table, uint64_t* bucket) {
  return table.words + ((bucket - table.words + kBucket) & static_cast<int64_t>(table.mask));
}

// What stands for a key in the table.
template <int W>
inline uint64_t word_of(const Key<W>& key, uint64_t hashed, int64_t entry) {
  return W == 1 ? key.word[0] : (hashed >> 33 << 32) | static_cast<uint64_t>(entry);
}

// Bit l: whether word l of a bucket stands for the key, whose own word is `wanted`.
template <int W>
inline unsigned places_of_key(const KeyTable<W>& table, const uint64_t* bucket, const Key<W>& key,
                              uint64_t wanted) {
  if constexpr (W == 1) {
    return places_of<0>(bucket, wanted);
  } else {
    unsigned same = places_of<32>(bucket, wanted >> 32);
    if (table.shared) __atomic_thread_fence(__ATOMIC_ACQUIRE);
    const auto is_same = [&](int place) {
      // Read again: another thread may have put a number there since, which is no entry.
      const uint64_t word = __atomic_load_n(bucket + place, __ATOMIC_RELAXED);
      return word >> 32 == wanted >> 32 && table.keys[word & 0xffffffffu] == key;
    };
    while (same != 0 && !is_same(__builtin_ctz(same))) same &= same - 1;
    return same;
  }
}

constexpr int64_t kFull = -1;

// Where a key is in the table after this; kFull where there was no place. Several threads at a
// time: which place a key has differs, which keys there are does not.
template <int W>
inline int64_t insert(const KeyTable<W>& table, const Key<W>& key, uint64_t hashed, int64_t entry) {
  const uint64_t wanted = word_of<W>(key, hashed, entry);
  uint64_t* bucket = bucket_of(table, hashed);
  for (int probe = 0; probe < 128;) {
    // In this order: a place that another thread fills meanwhile then counts as empty, and is seen
    // to be taken below. The other way round a key that it put there would be missed.
    const unsigned empty = places_of<0>(bucket, KeyTable<W>::kEmpty);
    if (table.shared) __atomic_thread_fence(__ATOMIC_ACQUIRE);
    const unsigned same = places_of_key(table, bucket, key, wanted);
    if ((same | empty) == 0) {
      bucket = bucket_after(table, bucket);
      ++probe;
      continue;
    }
    uint64_t* place = bucket + __builtin_ctz(same != 0 ? same : empty);
    uint64_t before = KeyTable<W>::kEmpty;
    if (!table.shared) {
      *place = wanted;
    } else if (same == 0 && !__atomic_compare_exchange_n(place, &before, wanted, false,
                                                         __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
      continue;
    }
    return place - table.words;
  }
  return kFull;
}

// Puts a number in the place of a key that is in the table. The highest bit, which no key has,
// tells it from those that wait.
template <int W>
inline void number(const KeyTable<W>& table, const Key<W>& key, uint64_t hashed, int64_t number) {
  const uint64_t wanted = word_of<W>(key, hashed, 0);
  for (uint64_t* bucket = bucket_of(table, hashed);; bucket = bucket_after(table, bucket))
    if (const unsigned same = places_of_key(table, bucket, key, wanted)) {
      bucket[__builtin_ctz(same)] = uint64_t{1} << 63 | static_cast<uint64_t>(number);
      return;
    }
}

}  // namespace PF_ISA
}  // namespace pyfast
