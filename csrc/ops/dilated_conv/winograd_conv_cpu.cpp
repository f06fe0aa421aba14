// Transforms of Winograd convolution on the CPU, compiled once for every instruction set. Lanes run
// over channels, which are next to each other in all arrays.
#include "core/vectors.h"
#include "ops/dilated_conv/winograd_conv.h"
#include "ops/dilated_conv/winograd_conv_math.h"

namespace pyfast {
namespace PF_ISA {
namespace {

// Where a tile lies: image, and the first of its outputs.
struct Place {
  int64_t n, y, x;

  template <class Real>
  Place(const WinogradConvParams<Real>& p, int64_t tile) {
    const int64_t across = p.phases_w() * p.tiles_w(), down = p.phases_h() * p.tiles_h();
    const int64_t column = tile % across, row = tile / across % down;
    n = tile / across / down;
    y = row / p.tiles_h() + row % p.tiles_h() * p.tile * p.dilation_h;
    x = column / p.tiles_w() + column % p.tiles_w() * p.tile * p.dilation_w;
  }
};

template <int kTile, int kLanes, class Real>
inline void gather_lanes(const Real* const* at, int64_t c, Real* out, int64_t stride) {
  using W = Winograd<kTile>;
  using V = Vec<Real, kLanes>;
  V half[W::kTaps][W::kTaps];
  for (int j = 0; j < W::kTaps; ++j) {
    V column[W::kTaps], turned[W::kTaps];
    for (int i = 0; i < W::kTaps; ++i) column[i] = load<kLanes>(at[i * W::kTaps + j] + c);
    W::input(column, turned);
    for (int i = 0; i < W::kTaps; ++i) half[i][j] = turned[i];
  }
  for (int i = 0; i < W::kTaps; ++i) {
    V turned[W::kTaps];
    W::input(half[i], turned);
    for (int j = 0; j < W::kTaps; ++j) store(out + (i * W::kTaps + j) * stride + c, turned[j]);
  }
}

template <int kTile, class Real>
void gather_tiles(const WinogradConvParams<Real>& p, int64_t begin, int64_t end,
                  const Real* blank) {
  constexpr int kTaps = kTile + 2, kStep = kNative<Real>;
  const int64_t channels = p.channels, stride = p.patch_stride;
  for (int64_t t = begin; t < end; ++t) {
    const Place place(p, p.first_tile + t);
    const Real* at[kTaps * kTaps];
    for (int i = 0; i < kTaps; ++i) {
      const int64_t y = place.y + i * p.dilation_h - p.padding_h;
      for (int j = 0; j < kTaps; ++j) {
        const int64_t x = place.x + j * p.dilation_w - p.padding_w;
        const bool inside = y >= 0 && y < p.in_h && x >= 0 && x < p.in_w;
        at[i * kTaps + j] =
            inside ? p.input + ((place.n * p.in_h + y) * p.in_w + x) * channels : blank;
      }
    }
    Real* out = p.patches + t * channels;
    int64_t c = 0;
    for (; c + kStep <= channels; c += kStep) gather_lanes<kTile, kStep>(at, c, out, stride);
    for (; c < channels; ++c) gather_lanes<kTile, 1>(at, c, out, stride);
  }
}

template <int kTile, int kLanes, class Real>
inline void scatter_lanes(const Real* from, int64_t stride, const Real* bias, int64_t o,
                          Real* const* to) {
  using W = Winograd<kTile>;
  using V = Vec<Real, kLanes>;
  V half[kTile][W::kTaps];
  for (int j = 0; j < W::kTaps; ++j) {
    V column[W::kTaps], turned[kTile];
    for (int i = 0; i < W::kTaps; ++i)
      column[i] = load<kLanes>(from + (i * W::kTaps + j) * stride + o);
    W::output(column, turned);
    for (int i = 0; i < kTile; ++i) half[i][j] = turned[i];
  }
  V offset{};
  if (bias != nullptr) offset = load<kLanes>(bias + o);
  for (int i = 0; i < kTile; ++i) {
    V turned[kTile];
    W::output(half[i], turned);
    for (int j = 0; j < kTile; ++j) store(to[i * kTile + j] + o, turned[j] + offset);
  }
}

template <int kTile, class Real>
void scatter_tiles(const WinogradConvParams<Real>& p, int64_t begin, int64_t end, Real* waste) {
  constexpr int kStep = kNative<Real>;
  const int64_t outputs = p.outputs, stride = p.product_stride;
  for (int64_t t = begin; t < end; ++t) {
    const Place place(p, p.first_tile + t);
    Real* to[kTile * kTile];
    for (int i = 0; i < kTile; ++i) {
      const int64_t y = place.y + i * p.dilation_h;
      for (int j = 0; j < kTile; ++j) {
        const int64_t x = place.x + j * p.dilation_w;
        const bool inside = y < p.out_h && x < p.out_w;
        to[i * kTile + j] =
            inside ? p.output + ((place.n * p.out_h + y) * p.out_w + x) * outputs : waste;
      }
    }
    const Real* from = p.products + t * outputs;
    int64_t o = 0;
    for (; o + kStep <= outputs; o += kStep)
      scatter_lanes<kTile, kStep>(from, stride, p.bias, o, to);
    for (; o < outputs; ++o) scatter_lanes<kTile, 1>(from, stride, p.bias, o, to);
  }
}

// Whole vectors go past the caches, which the matrices of the taps would fill several times over.
template <bool kStream, int kTile, class Real>
void weight_block(const WinogradWeightParams<Real>& p, int64_t o, int64_t count) {
  using W = Winograd<kTile>;
  constexpr int kLanes = kWinogradOutputs, kTaps = W::kTaps, kStep = kNative<Real>;
  using V = Vec<Real, kLanes>;
  for (int64_t c = 0; c < p.channels; ++c) {
    Real taps[9][kLanes] = {};
    for (int64_t l = 0; l < count; ++l) {
      const Real* from = p.weight + (o + l) * p.output_stride + c * p.channel_stride;
      for (int k = 0; k < 9; ++k) taps[k][l] = from[p.turned ? 8 - k : k];
    }
    V half[kTaps][3];
    for (int j = 0; j < 3; ++j) {
      const V column[3] = {load<kLanes>(taps[j]), load<kLanes>(taps[3 + j]),
                           load<kLanes>(taps[6 + j])};
      V turned[kTaps];
      W::weight(column, turned);
      for (int i = 0; i < kTaps; ++i) half[i][j] = turned[i];
    }
    for (int i = 0; i < kTaps; ++i) {
      V turned[kTaps];
      W::weight(half[i], turned);
      for (int j = 0; j < kTaps; ++j) {
        Real* to = p.transformed + ((i * kTaps + j) * p.channels + c) * p.outputs + o;
        if constexpr (kStream) {
          Real values[kLanes];
          store(values, turned[j]);
          for (int l = 0; l < kLanes; l += kStep) stream(to + l, load<kStep>(values + l));
        } else {
          std::memcpy(to, &turned[j], sizeof(Real) * count);
        }
      }
    }
  }
}

template <int kTile, class Real>
void weight_blocks(const WinogradWeightParams<Real>& p, int64_t begin, int64_t end) {
  const bool aligned = reinterpret_cast<uintptr_t>(p.transformed) % kRegisterBytes == 0 &&
                       p.outputs % kWinogradOutputs == 0;
  for (int64_t block = begin; block < end; ++block) {
    const int64_t o = block * kWinogradOutputs, rest = p.outputs - o;
    if (aligned) {
      weight_block<true, kTile>(p, o, kWinogradOutputs);
    } else {
      weight_block<false, kTile>(p, o, rest < kWinogradOutputs ? rest : kWinogradOutputs);
    }
  }
  end_of_stream();
}

template <class Real>
void gather(const WinogradConvParams<Real>& p, int64_t begin, int64_t end, const Real* blank) {
  p.tile == 2 ? gather_tiles<2>(p, begin, end, blank) : gather_tiles<4>(p, begin, end, blank);
}

template <class Real>
void scatter(const WinogradConvParams<Real>& p, int64_t begin, int64_t end, Real* waste) {
  p.tile == 2 ? scatter_tiles<2>(p, begin, end, waste) : scatter_tiles<4>(p, begin, end, waste);
}

template <class Real>
void weight(const WinogradWeightParams<Real>& p, int64_t begin, int64_t end) {
  p.tile == 2 ? weight_blocks<2>(p, begin, end) : weight_blocks<4>(p, begin, end);
}

template <class Real>
const WinogradConvKernels<Real> kKernels = {gather<Real>, scatter<Real>, weight<Real>};

}  // namespace

template <>
const WinogradConvKernels<float>& winograd_conv_kernels<float>() {
  return kKernels<float>;
}
template <>
const WinogradConvKernels<double>& winograd_conv_kernels<double>() {
  return kKernels<double>;
}

}  // namespace PF_ISA
}  // namespace pyfast
