// The 16-bit floats as storage: kernels widen them to float, compute, and round once at the end.
#pragma once

#include <cstdint>
#include <cstring>

#include "core/device.h"

#if defined(__CUDA_ARCH__)
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#endif

namespace pyfast {

struct Half {
  uint16_t bits;
};
struct BFloat16 {
  uint16_t bits;
};

// What sums of T are kept in.
template <class T>
struct AccumulatorOf {
  using type = T;
};
template <>
struct AccumulatorOf<Half> {
  using type = float;
};
template <>
struct AccumulatorOf<BFloat16> {
  using type = float;
};
template <class T>
using Accumulator = typename AccumulatorOf<T>::type;

namespace PF_ISA {

PF_HD float widen(float x) { return x; }
PF_HD double widen(double x) { return x; }

PF_HD float float_of_bits(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof(value));
  return value;
}

PF_HD uint32_t bits_of_float(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof(bits));
  return bits;
}

PF_HD float widen(BFloat16 x) { return float_of_bits(uint32_t{x.bits} << 16); }

PF_HD float widen(Half x) {
#if defined(__CUDA_ARCH__)
  return __half2float(__ushort_as_half(x.bits));
#else
  const uint32_t sign = uint32_t{x.bits & 0x8000u} << 16, rest = x.bits & 0x7fffu;
  // The exponent moves by 112; infinity and NaN keep theirs full; subnormal numbers are multiples
  // of 2^-24.
  if (rest >= 0x7c00u) return float_of_bits(sign | 0x7f800000u | (rest & 0x3ffu) << 13);
  if (rest >= 0x0400u) return float_of_bits(sign | ((rest << 13) + 0x38000000u));
  const float small = static_cast<float>(rest) * 5.9604644775390625e-8f;
  return sign != 0 ? -small : small;
#endif
}

// Rounds to nearest, ties to even.
template <class T>
PF_HD T narrow(Accumulator<T> x) {
  return x;
}

template <>
PF_HD BFloat16 narrow<BFloat16>(float x) {
  const uint32_t bits = bits_of_float(x);
  if (x != x) return {static_cast<uint16_t>(bits >> 16 | 0x40)};
  return {static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1)) >> 16)};
}

template <>
PF_HD Half narrow<Half>(float x) {
#if defined(__CUDA_ARCH__)
  return {__half_as_ushort(__float2half_rn(x))};
#else
  const uint32_t bits = bits_of_float(x), sign = bits >> 16 & 0x8000u, rest = bits & 0x7fffffffu;
  uint32_t half;
  if (rest > 0x7f800000u) {
    half = 0x7e00u;  // NaN
  } else if (rest >= 0x477ff000u) {
    half = 0x7c00u;  // rounds to infinity
  } else if (rest >= 0x38800000u) {
    half = (rest + 0xfffu + (rest >> 13 & 1) - 0x38000000u) >> 13;
  } else {
    // Adding 0.5 leaves in the last bits what the subnormal number keeps, rounded.
    half = bits_of_float(float_of_bits(rest) + 0.5f) - 0x3f000000u;
  }
  return {static_cast<uint16_t>(sign | half)};
#endif
}

}  // namespace PF_ISA
}  // namespace pyfast
