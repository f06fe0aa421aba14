// Convolution of few channels on the CPU, compiled once for every instruction set: a tile of
// outputs times pixels of a row stays in registers over all channels and taps. Lanes are pixels.
#include <cstring>

#include "core/vectors.h"
#include "ops/dilated_conv/direct_conv.h"

namespace pyfast {
namespace PF_ISA {
namespace {

// Registers of a tile: outputs times vectors of pixels. What is left of 16, or of 32, holds a
// weight and the pixels.
#if defined(__AVX512F__)
constexpr int kMostOutputs = 8, kSteps = 3;
#else
constexpr int kMostOutputs = 6, kSteps = 2;
#endif

// Outputs of block `at`, of blocks that differ by one at most.
struct Block {
  int64_t first, count;
  Block(int64_t outputs, int64_t at) {
    const int64_t blocks = count_of(outputs);
    first = outputs * at / blocks;
    count = outputs * (at + 1) / blocks - first;
  }
  static int64_t count_of(int64_t outputs) { return (outputs + kMostOutputs - 1) / kMostOutputs; }
};

template <class Real>
void pack(const DirectConvParams<Real>& p, Real* packed) {
  for (int64_t at = 0; at < Block::count_of(p.outputs); ++at) {
    const Block block(p.outputs, at);
    for (int64_t c = 0; c < p.channels; ++c)
      for (int64_t t = 0; t < p.taps(); ++t)
        for (int64_t o = block.first; o < block.first + block.count; ++o)
          *packed++ = p.weight[o * p.output_stride + c * p.channel_stride +
                               (p.turned ? p.taps() - 1 - t : t)];
  }
}

template <class Real>
void frame(const DirectConvParams<Real>& p, int64_t begin, int64_t end, Real* framed) {
  const int64_t width = p.framed_width(), room = width - p.padding_w;
  // A frame that is wider than what is read cuts off the image.
  const int64_t count = room < p.in_w ? (room > 0 ? room : 0) : p.in_w;
  const int64_t before = p.padding_w < width ? p.padding_w : width;
  for (int64_t row = begin * p.in_h; row < end * p.in_h; ++row, framed += width) {
    for (int64_t x = 0; x < before; ++x) framed[x] = 0;
    std::memcpy(framed + before, p.input + row * p.in_w, sizeof(Real) * count);
    for (int64_t x = before + count; x < width; ++x) framed[x] = 0;
  }
}

// What the tiles of one row share.
template <class Real>
struct Row {
  const Real* from;  // tap (first_row, 0) of channel 0 for pixel 0
  int64_t plane, tap_row, tap;
  const Real* weight;
  int64_t weight_channel, weight_row;  // from one channel, one row of taps to the next
  int64_t channels, tap_rows, taps;
  const Real* bias;
  bool relu;
  Real* to;
  int64_t out_plane;
};

template <int kOutputs, int kCount, class Real>
inline void tile(const Row<Real>& r, int64_t x, Real* to, int64_t to_plane) {
  constexpr int kStep = kNative<Real>;
  Vec<Real, kStep> sum[kOutputs][kCount];
  for (int o = 0; o < kOutputs; ++o)
    for (int s = 0; s < kCount; ++s)
      sum[o][s] = Vec<Real, kStep>{} + (r.bias != nullptr ? r.bias[o] : Real(0));
  for (int64_t c = 0; c < r.channels; ++c)
    for (int64_t i = 0; i < r.tap_rows; ++i) {
      const Real* from = r.from + c * r.plane + i * r.tap_row + x;
      const Real* weight = r.weight + c * r.weight_channel + i * r.weight_row;
      for (int64_t j = 0; j < r.taps; ++j, from += r.tap, weight += kOutputs) {
        Vec<Real, kStep> pixels[kCount];
        for (int s = 0; s < kCount; ++s) pixels[s] = load<kStep>(from + s * kStep);
        for (int o = 0; o < kOutputs; ++o)
          for (int s = 0; s < kCount; ++s) sum[o][s] += pixels[s] * weight[o];
      }
    }
  if (r.relu)
    for (int o = 0; o < kOutputs; ++o)
      for (int s = 0; s < kCount; ++s)
        sum[o][s] = sum[o][s] < Real(0) ? Vec<Real, kStep>{} : sum[o][s];  // NaN stays
  for (int o = 0; o < kOutputs; ++o)
    for (int s = 0; s < kCount; ++s) store(to + o * to_plane + s * kStep, sum[o][s]);
}

// The last pixels of a row, in kCount vectors at most; they start early enough to end with the row.
template <int kOutputs, int kCount, class Real>
void last_tile(const Row<Real>& r, int64_t x, int64_t width) {
  constexpr int64_t kStep = kNative<Real>, kWide = kCount * kStep;
  if constexpr (kCount > 1) {
    if (width - x <= kWide - kStep) return last_tile<kOutputs, kCount - 1>(r, x, width);
  }
  if (width >= kWide) {
    tile<kOutputs, kCount>(r, width - kWide, r.to + width - kWide, r.out_plane);
    return;
  }
  Real rest[kOutputs * kWide];
  tile<kOutputs, kCount>(r, x, rest, kWide);
  for (int o = 0; o < kOutputs; ++o)
    std::memcpy(r.to + o * r.out_plane + x, rest + o * kWide, sizeof(Real) * (width - x));
}

template <int kOutputs, class Real>
void tiles(const Row<Real>& r, int64_t width) {
  constexpr int kWide = kSteps * kNative<Real>;
  int64_t x = 0;
  for (; x + kWide <= width; x += kWide) tile<kOutputs, kSteps>(r, x, r.to + x, r.out_plane);
  if (x < width) last_tile<kOutputs, kSteps>(r, x, width);
}

template <int kOutputs, class Real>
void tiles_of(int64_t outputs, const Row<Real>& r, int64_t width) {
  if constexpr (kOutputs == 1) {
    tiles<1>(r, width);
  } else if (outputs == kOutputs) {
    tiles<kOutputs>(r, width);
  } else {
    tiles_of<kOutputs - 1>(outputs, r, width);
  }
}

template <class Real>
void row(const DirectConvParams<Real>& p, int64_t n, int64_t y, const Real* framed,
         const Real* packed) {
  const int64_t width = p.framed_width();
  int64_t first, last;
  p.tap_rows(y, &first, &last);
  Row<Real> r;
  r.plane = p.in_h * width;
  r.tap_row = p.dilation_h * width;
  r.tap = p.dilation_w;
  r.from = framed + (y + first * p.dilation_h - p.padding_h) * width;
  r.channels = p.channels;
  r.tap_rows = last - first;
  r.taps = p.kernel_w;
  r.out_plane = p.out_h * p.out_w;
  for (int64_t at = 0; at < Block::count_of(p.outputs); ++at) {
    const Block block(p.outputs, at);
    r.weight_row = p.kernel_w * block.count;
    r.weight_channel = p.taps() * block.count;
    r.weight = packed + block.first * p.channels * p.taps() + first * r.weight_row;
    r.bias = p.bias != nullptr ? p.bias + block.first : nullptr;
    r.relu = p.relu;
    r.to = p.output + ((n * p.outputs + block.first) * p.out_h + y) * p.out_w;
    tiles_of<kMostOutputs>(block.count, r, p.out_w);
  }
}

template <class Real>
const DirectConvKernels<Real> kKernels = {pack<Real>, frame<Real>, row<Real>};

}  // namespace

template <>
const DirectConvKernels<float>& direct_conv_kernels<float>() {
  return kKernels<float>;
}
template <>
const DirectConvKernels<double>& direct_conv_kernels<double>() {
  return kKernels<double>;
}

}  // namespace PF_ISA
}  // namespace pyfast
