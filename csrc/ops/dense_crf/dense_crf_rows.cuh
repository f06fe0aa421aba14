// Values inside: a row of channels for each point or vertex, padded so that it moves in packs of up
// to 4. Outside they are planes, (images, channels, points).
#pragma once

#include "ops/dense_crf/dense_crf_device.cuh"
#include "ops/dense_crf/dense_crf_math.h"

namespace pyfast {
namespace PF_ISA {

// No memory access moves more than 16 bytes.
template <class Real, int V>
struct alignas(V * sizeof(Real) < 16 ? V * sizeof(Real) : 16) Pack {
  Real at[V];
};

// V, known where kernels are launched, is what shape().pack says.
struct RowShape {
  int32_t channels, pack, packs;
  int32_t lanes_log2;  // threads that share a row: a power of two, at most a warp

  PF_HD int64_t stride() const { return int64_t{pack} * packs; }
  PF_HD int32_t lanes() const { return 1 << lanes_log2; }
  // Threads for so many rows.
  PF_HD int64_t threads(int64_t rows) const { return rows << lanes_log2; }
};

inline RowShape row_shape(int64_t channels) {
  RowShape shape;
  shape.channels = int32_t(channels);
  shape.pack = channels >= 3 ? 4 : channels == 2 ? 2 : 1;
  shape.packs = int32_t(ceil_div(channels, shape.pack));
  shape.lanes_log2 = 0;
  while (shape.lanes() < shape.packs && shape.lanes() < kWarp) ++shape.lanes_log2;
  return shape;
}

// Rows without padding, for what moves value by value.
inline RowShape plain_rows(int64_t channels) {
  return {int32_t(channels), 1, int32_t(channels), 0};
}

// Rows of packs of 4, however few the channels.
inline RowShape wide_rows(int64_t channels) {
  RowShape shape = row_shape(channels < 3 ? 3 : channels);
  shape.channels = int32_t(channels);
  return shape;
}

// exp, of what is not positive.
PF_HD float exp_of(float x) {
#if defined(__CUDA_ARCH__)
  return __expf(x);
#else
  return fast_exp(x);
#endif
}
PF_HD double exp_of(double x) { return exp(x); }

// body(PackOf) for the pack of a shape.
template <int V>
struct PackOf {
  static constexpr int kPack = V;
};
template <class Body>
void with_pack(const RowShape& shape, const Body& body) {
  if (shape.pack == 4) return body(PackOf<4>());
  if (shape.pack == 2) return body(PackOf<2>());
  return body(PackOf<1>());
}

template <int V, class Real>
PF_HD const Pack<Real, V>* packs_of(const Real* row) {
  return reinterpret_cast<const Pack<Real, V>*>(row);
}
template <int V, class Real>
PF_HD Pack<Real, V>* packs_of(Real* row) {
  return reinterpret_cast<Pack<Real, V>*>(row);
}

template <class Real, int V>
PF_HD void add_scaled(Pack<Real, V>* sum, Real factor, const Pack<Real, V>& value) {
  for (int v = 0; v < V; ++v) sum->at[v] += factor * value.at[v];
}

constexpr int kSide = 32;  // of a tile
constexpr int kTileRows = kThreads / kSide;

// Planes (images, channels, points) to rows (images, points, stride) times `factor`, zeros in the
// padding.
template <class Real>
__global__ void __launch_bounds__(kThreads)
    planes_to_rows(const Real* planes, int32_t channels, int64_t points, int64_t stride,
                   Real factor, Real* rows) {
  __shared__ Real tile[kSide][kSide + 1];
  const int64_t tiles_x = ceil_div(points, kSide), tiles_y = ceil_div(stride, kSide);
  const int64_t image = blockIdx.x / (tiles_x * tiles_y), rest = blockIdx.x % (tiles_x * tiles_y);
  const int64_t first = rest % tiles_x * kSide, channel = rest / tiles_x * kSide;
  const int x = threadIdx.x % kSide, y = threadIdx.x / kSide;
  for (int k = y; k < kSide; k += kTileRows) {
    const bool inside = channel + k < channels && first + x < points;
    tile[k][x] =
        inside ? factor * planes[(image * channels + channel + k) * points + first + x] : Real(0);
  }
  __syncthreads();
  for (int k = y; k < kSide; k += kTileRows)
    if (first + k < points && channel + x < stride)
      rows[(image * points + first + k) * stride + channel + x] = tile[x][k];
}

template <class Real>
__global__ void __launch_bounds__(kThreads)
    rows_to_planes(const Real* rows, int32_t channels, int64_t points, int64_t stride,
                   Real* planes) {
  __shared__ Real tile[kSide][kSide + 1];
  const int64_t tiles_x = ceil_div(points, kSide), tiles_y = ceil_div(channels, kSide);
  const int64_t image = blockIdx.x / (tiles_x * tiles_y), rest = blockIdx.x % (tiles_x * tiles_y);
  const int64_t first = rest % tiles_x * kSide, channel = rest / tiles_x * kSide;
  const int x = threadIdx.x % kSide, y = threadIdx.x / kSide;
  for (int k = y; k < kSide; k += kTileRows)
    if (first + k < points && channel + x < channels)
      tile[k][x] = rows[(image * points + first + k) * stride + channel + x];
  __syncthreads();
  for (int k = y; k < kSide; k += kTileRows)
    if (channel + k < channels && first + x < points)
      planes[(image * channels + channel + k) * points + first + x] = tile[x][k];
}

inline int64_t tile_blocks(int64_t images, int64_t points, int64_t width) {
  return images * ceil_div(points, kSide) * ceil_div(width, kSide);
}

template <class Real>
void to_rows(Run& run, const Real* planes, const RowShape& shape, int64_t images, int64_t points,
             Real factor, Real* rows) {
  const unsigned blocks = run.blocks_for(tile_blocks(images, points, shape.stride()) * kThreads);
  run.launch(planes_to_rows<Real>, blocks, planes, shape.channels, points, shape.stride(), factor,
             rows);
}

template <class Real>
void to_planes(Run& run, const Real* rows, const RowShape& shape, int64_t images, int64_t points,
               Real* planes) {
  const unsigned blocks = run.blocks_for(tile_blocks(images, points, shape.channels) * kThreads);
  run.launch(rows_to_planes<Real>, blocks, rows, shape.channels, points, shape.stride(), planes);
}

}  // namespace PF_ISA
}  // namespace pyfast
