// Dilated 3 x 3 convolution of stride 1 by Winograd's minimal filtering: what one call works on,
// the kernels that each instruction set exports, and the entry points. Nothing here knows torch.
//
// Pixels that a dilation of (dilation_h, dilation_w) brings together form dilation_h * dilation_w
// images of their own ("polyphase"), each convolved without dilation. A tile of
// kTile x kTile outputs of one of them is A^T [(G g G^T) * (B^T d B)] A, where the products over
// channels are (kTile + 2)^2 matrix products.
// Reference: Lavin, Gray, Fast Algorithms for Convolutional Neural Networks, CVPR 2016, eq. 8.
#pragma once

#include <cstdint>

#include "core/device.h"

namespace pyfast {

template <class Real>
struct WinogradConvParams {
  int64_t channels = 0, outputs = 0;
  int64_t in_h = 0, in_w = 0, out_h = 0, out_w = 0;
  int64_t padding_h = 0, padding_w = 0;  // not negative
  int64_t dilation_h = 1, dilation_w = 1;
  int64_t tile = 2;             // 2 or 4: outputs of a tile along one side
  const Real* input = nullptr;  // (N, in_h, in_w, C)
  const Real* bias = nullptr;   // (O), or null
  Real* output = nullptr;       // (N, out_h, out_w, O), overwritten

  // Tiles [first_tile, first_tile + tiles) of all images; matrices of the taps, of which rows are
  // tiles. Strides are from one tap to the next.
  int64_t first_tile = 0, tiles = 0;
  Real* patches = nullptr;   // (taps, tiles, C): B^T d B
  Real* products = nullptr;  // (taps, tiles, O): patches times weights
  int64_t patch_stride = 0, product_stride = 0;

  int64_t taps() const { return (tile + 2) * (tile + 2); }

  // Of one image: phases and tiles of a phase along each side.
  int64_t phases_h() const { return dilation_h < out_h ? dilation_h : out_h; }
  int64_t phases_w() const { return dilation_w < out_w ? dilation_w : out_w; }
  int64_t tiles_h() const { return in_tiles(out_h, dilation_h); }
  int64_t tiles_w() const { return in_tiles(out_w, dilation_w); }
  int64_t tiles_of_image() const { return phases_h() * tiles_h() * phases_w() * tiles_w(); }

 private:
  int64_t in_tiles(int64_t size, int64_t dilation) const {
    const int64_t of_phase = (size + dilation - 1) / dilation;
    return (of_phase + tile - 1) / tile;
  }
};

template <class Real>
struct WinogradWeightParams {
  int64_t channels = 0, outputs = 0;
  int64_t tile = 2;
  bool turned = false;           // taps from the last to the first, as the adjoint has them
  const Real* weight = nullptr;  // taps of (o, c) at o * output_stride + c * channel_stride
  int64_t output_stride = 0, channel_stride = 0;
  Real* transformed = nullptr;  // (taps, C, O): G g G^T
};

template <class Real>
struct WinogradConvKernels {
  // Tiles [begin, end) of a call. `blank`: C zeros; `waste`: room for O values.
  void (*gather)(const WinogradConvParams<Real>&, int64_t begin, int64_t end, const Real* blank);
  void (*scatter)(const WinogradConvParams<Real>&, int64_t begin, int64_t end, Real* waste);
  // Blocks [begin, end) of kWinogradOutputs outputs.
  void (*weight)(const WinogradWeightParams<Real>&, int64_t begin, int64_t end);
};

constexpr int64_t kWinogradOutputs = 16;

// winograd_conv_driver.cpp, for float and double. Same bits for any number of threads.
template <class Real>
void winograd_weight_cpu(const WinogradWeightParams<Real>& params);
template <class Real>
void winograd_gather_cpu(const WinogradConvParams<Real>& params);
template <class Real>
void winograd_scatter_cpu(const WinogradConvParams<Real>& params);

#define PF_DECLARE(level)                                   \
  namespace level {                                         \
  template <class Real>                                     \
  const WinogradConvKernels<Real>& winograd_conv_kernels(); \
  }
PF_DECLARE(baseline)
PF_DECLARE(avx2)
PF_DECLARE(avx512)
#undef PF_DECLARE

}  // namespace pyfast
