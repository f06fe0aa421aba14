// The Gaussian sum by its definition, pair by pair, and its gradient. Points are sorted along a
// curve that keeps neighbours together and divided into tiles of a warp; a warp owns a tile and
// leaves out those that lie too far away.
#pragma once

#include "ops/dense_crf/dense_crf_order.cuh"
#include "ops/dense_crf/dense_crf_points.cuh"
#include "ops/dense_crf/dense_crf_rows.cuh"

namespace pyfast {
namespace PF_ISA {

constexpr int kExactWarps = 4;  // of a block

// In device memory. A slot is a place in the order of the points, each image padded to whole tiles.
template <class Real>
struct SortedPoints {
  int32_t dims;
  int64_t images, points, tiles;  // the latter two of an image
  int32_t* point;                 // (slots): which of all; -1 for padding
  Real* feature;                  // (dims, slots)
  Real* box;                      // (2, dims, all tiles): least and most

  PF_HD int64_t all_tiles() const { return images * tiles; }
  PF_HD int64_t slots() const { return all_tiles() * kWarp; }
};

struct CurveLayout {
  int32_t bits, shift;
  int32_t least[kMostFeatures];
};

// Bits of the cells of a point in turns, the image above them.
template <class Real>
__global__ void __launch_bounds__(kThreads)
    number_along_curve(Points<Real> points, CurveLayout layout, uint64_t* keys) {
  const int64_t i = thread_number();
  if (i >= points.count()) return;
  int32_t cell[kMostFeatures];
  Cells::find(points, i, cell);
  uint64_t key = uint64_t(i / points.points);
  for (int bit = layout.bits - 1; bit >= layout.shift; --bit)
    for (int k = 0; k < points.dims; ++k)
      key = key << 1 | (uint32_t(cell[k] - layout.least[k]) >> bit & 1);
  keys[i] = key;
}

template <class Real>
__global__ void __launch_bounds__(kThreads)
    fill_slots(Points<Real> points, const int32_t* order, SortedPoints<Real> sorted) {
  const int64_t slot = thread_number(), of_image = sorted.tiles * kWarp;
  if (slot >= sorted.slots()) return;
  const int64_t image = slot / of_image, place = slot % of_image;
  const bool is_point = place < sorted.points;
  const int32_t point = is_point ? order[image * sorted.points + place] : -1;
  Real feature[kMostFeatures] = {};
  if (is_point) points.read(point, feature);
  sorted.point[slot] = point;
  for (int k = 0; k < sorted.dims; ++k) sorted.feature[k * sorted.slots() + slot] = feature[k];
}

template <class Real>
__global__ void __launch_bounds__(kThreads) find_boxes(SortedPoints<Real> sorted) {
  const int64_t i = thread_number(), tiles = sorted.all_tiles();
  if (i >= tiles * sorted.dims) return;
  const int64_t k = i / tiles, first = i % tiles * kWarp;
  const Real* feature = sorted.feature + k * sorted.slots() + first;
  Real least = feature[0], most = feature[0];  // the first slot of a tile is never padding
  for (int s = 1; s < kWarp && sorted.point[first + s] >= 0; ++s) {
    if (feature[s] < least) least = feature[s];
    if (feature[s] > most) most = feature[s];
  }
  sorted.box[i] = least;
  sorted.box[tiles * sorted.dims + i] = most;
}

template <class Real>
SortedPoints<Real> sort_points(Run& run, const Points<Real>& points, LatticeError* failure) {
  SortedPoints<Real> sorted{};
  sorted.dims = points.dims;
  sorted.images = points.images;
  sorted.points = points.points;
  sorted.tiles = ceil_div(points.points, kWarp);
  const int64_t count = points.count();
  if (count > kMostCorners) *failure = LatticeError::kTooManyPoints;
  const Bounds bounds = read_bounds<Cells>(run, points, failure);
  if (!run.good() || *failure != LatticeError::kNone) return sorted;
  CurveLayout layout{1, 0, {}};
  for (int k = 0; k < points.dims; ++k) {
    layout.least[k] = bounds.least[k];
    const int bits = bits_for(uint64_t(bounds.most[k] - bounds.least[k]));
    if (bits > layout.bits) layout.bits = bits;
  }
  const int image_bits = bits_for(uint64_t(points.images));
  const int room = (kKeyBits - image_bits) / points.dims;
  if (layout.bits > room) layout.shift = layout.bits - room;
  SortBuffers buffers(run, count);
  run.launch(count_up, run.blocks_for(count), buffers.values[0], count);
  run.launch(number_along_curve<Real>, run.blocks_for(count), points, layout, buffers.keys[0]);
  sort(run, count, image_bits + (layout.bits - layout.shift) * points.dims, &buffers);
  sorted.point = run.take<int32_t>(sorted.slots());
  sorted.feature = run.take<Real>(sorted.slots() * points.dims);
  sorted.box = run.take<Real>(sorted.all_tiles() * points.dims * 2);
  run.launch(fill_slots<Real>, run.blocks_for(sorted.slots()), points, buffers.values[0], sorted);
  run.launch(find_boxes<Real>, run.blocks_for(sorted.all_tiles() * points.dims), sorted);
  return sorted;
}

// What a warp works on: one tile against all tiles of its image that are near. D is the number of
// features, or 0 for any.
template <class Real, int D>
class TileOfWarp {
 public:
  static constexpr int kMost = D == 0 ? kMostFeatures : D;

  __device__ TileOfWarp(const SortedPoints<Real>& sorted, Real* shared_features)
      : sorted_(sorted),
        features_(shared_features),
        lane_(threadIdx.x % kWarp),
        tile_(int64_t{blockIdx.x} * kExactWarps + threadIdx.x / kWarp) {}

  __device__ bool has_work() const { return tile_ < sorted_.all_tiles(); }  // all of a warp
  __device__ int dims() const { return D == 0 ? sorted_.dims : D; }
  __device__ int32_t point() const { return sorted_.point[tile_ * kWarp + lane_]; }

  // load(slot's point, or -1) brings a lane's share of another tile to shared memory; then every
  // lane gets add(j, weight, difference) for the points j of it: exp(-|difference|^2 / 2), theirs
  // less its. Tiles whose boxes are further apart than sqrt(cut) are left out.
  template <class Load, class Add>
  __device__ void visit(Real cut, const Load& load, const Add& add) const {
    const int d = dims();
    const int64_t slots = sorted_.slots();
    Real mine[kMost], difference[kMost];
    for (int k = 0; k < d; ++k) mine[k] = sorted_.feature[k * slots + tile_ * kWarp + lane_];
    const int64_t begin = tile_ / sorted_.tiles * sorted_.tiles, end = begin + sorted_.tiles;
    for (int64_t start = begin; start < end; start += kWarp) {
      const bool is_near = start + lane_ < end && square_gap(start + lane_) <= cut;
      for (unsigned near = __ballot_sync(~0u, is_near); near != 0; near &= near - 1) {
        const int64_t other = (start + __ffs(int(near)) - 1) * kWarp + lane_;
        for (int k = 0; k < d; ++k)
          features_[k * kWarp + lane_] = sorted_.feature[k * slots + other];
        load(sorted_.point[other]);
        __syncwarp();
        for (int j = 0; j < kWarp; ++j) {
          Real square = 0;
          for (int k = 0; k < d; ++k) {
            difference[k] = features_[k * kWarp + j] - mine[k];
            square += difference[k] * difference[k];
          }
          add(j, exp_of(Real(-0.5) * square), difference);
        }
        __syncwarp();
      }
    }
  }

 private:
  __device__ Real square_gap(int64_t other) const {
    const int64_t all = sorted_.all_tiles();
    const Real *least = sorted_.box, *most = sorted_.box + all * dims();
    Real sum = 0;
    for (int k = 0; k < dims(); ++k) {
      const int64_t there = k * all + other, here = k * all + tile_;
      const Real above = least[there] - most[here], below = least[here] - most[there];
      const Real gap = above > below ? above : below;
      if (gap > 0) sum += gap * gap;
    }
    return sum;
  }

  const SortedPoints<Real>& sorted_;
  Real* features_;  // [d][kWarp]
  int lane_;
  int64_t tile_;
};

// Channels that a thread keeps at once: as many as fit its registers and the shared memory.
template <class Real>
constexpr int kManyChannels = sizeof(Real) == 4 ? 24 : 8;

// Brings C channels of the warp's points, one a lane, to shared memory [kWarp][C], a pack a lane at
// a time, so that neighbouring lanes read neighbouring memory. Zeros for padding. Every lane has to
// come.
template <int C, class Real>
__device__ __forceinline__ void load_channels(const Real* rows, int64_t stride, int64_t channel,
                                              int32_t point, Real* to) {
  constexpr int kPacks = C / 4;
  const int lane = threadIdx.x % kWarp;
#pragma unroll
  for (int k = 0; k < kPacks; ++k) {
    const int i = k * kWarp + lane, part = i % kPacks;
    const int64_t row = __shfl_sync(~0u, point, i / kPacks);
    Pack<Real, 4> pack{};
    if (row >= 0 && channel + 4 * part < stride)
      pack = *packs_of<4>(rows + row * stride + channel + 4 * part);
    packs_of<4>(to)[i] = pack;
  }
}

// out[point] = sum over others of exp(-|difference|^2 / 2) * values[other], for the C channels from
// blockIdx.y * C on.
template <class Real, int C, int D>
__global__ void __launch_bounds__(kExactWarps* kWarp, 1)
    sum_over_pairs(SortedPoints<Real> sorted, int64_t stride, Real cut, const Real* values,
                   Real* out) {
  PF_DYN_SMEM(Real, shared);
  const int d = D == 0 ? sorted.dims : D;
  Real* features = shared + threadIdx.x / kWarp * kWarp * (d + C);
  Real* rows = features + kWarp * d;  // [kWarp][C]
  const TileOfWarp<Real, D> tile(sorted, features);
  if (!tile.has_work()) return;
  const int64_t channel = int64_t{blockIdx.y} * C;
  constexpr int kPacks = C / 4;
  Pack<Real, 4> sum[kPacks] = {};
  tile.visit(
      cut, [&](int32_t point) { load_channels<C>(values, stride, channel, point, rows); },
      [&](int j, Real weight, const Real*) {
        for (int k = 0; k < kPacks; ++k)
          add_scaled(&sum[k], weight, packs_of<4>(rows)[j * kPacks + k]);
      });
  const int32_t point = tile.point();
  for (int k = 0; k < kPacks; ++k)
    if (point >= 0 && channel + 4 * k < stride)
      *packs_of<4>(out + point * stride + channel + 4 * k) = sum[k];
}

// slopes[point] (all points, dims), += sum over others of exp(-|difference|^2 / 2) * difference *
// (grad . values[other] + values . grad[other]) over C channels from `channel` on.
template <class Real, int C, int D>
__global__ void __launch_bounds__(kExactWarps* kWarp, 1)
    sum_slopes(SortedPoints<Real> sorted, int64_t stride, int64_t channel, Real cut,
               const Real* values, const Real* grad, Real* slopes) {
  PF_DYN_SMEM(Real, shared);
  constexpr int kMost = D == 0 ? kMostFeatures : D;
  const int d = D == 0 ? sorted.dims : D, lane = threadIdx.x % kWarp;
  Real* features = shared + threadIdx.x / kWarp * kWarp * (d + 2 * C);
  Real *value_rows = features + kWarp * d, *grad_rows = value_rows + kWarp * C;  // [kWarp][C]
  const TileOfWarp<Real, D> tile(sorted, features);
  if (!tile.has_work()) return;
  const int32_t point = tile.point();
  const auto load = [&](int32_t other) {
    load_channels<C>(values, stride, channel, other, value_rows);
    load_channels<C>(grad, stride, channel, other, grad_rows);
  };
  load(point);
  __syncwarp();
  const Pack<Real, C> own_value = packs_of<C>(value_rows)[lane];
  const Pack<Real, C> own_grad = packs_of<C>(grad_rows)[lane];
  __syncwarp();
  Real sum[kMost] = {};
  tile.visit(cut, load, [&](int j, Real weight, const Real* difference) {
    const Pack<Real, C> value = packs_of<C>(value_rows)[j], other_grad = packs_of<C>(grad_rows)[j];
    Real product = 0;
    for (int c = 0; c < C; ++c)
      product += own_grad.at[c] * value.at[c] + own_value.at[c] * other_grad.at[c];
    for (int k = 0; k < d; ++k) sum[k] += weight * product * difference[k];
  });
  for (int k = 0; k < d && point >= 0; ++k) {
    Real* slope = slopes + int64_t{point} * d + k;
    *slope = channel == 0 ? sum[k] : *slope + sum[k];
  }
}

template <class Real, int C, int D>
void launch_sum(Run& run, const SortedPoints<Real>& sorted, int64_t stride, Real cut,
                const Real* values, Real* out) {
  const int64_t blocks = ceil_div(sorted.all_tiles(), kExactWarps), chunks = ceil_div(stride, C);
  if (chunks > 65535) run.check(cudaErrorInvalidValue);
  const auto kernel = sum_over_pairs<Real, C, D>;
  const dim3 grid{unsigned(blocks), unsigned(chunks), 1};
  const size_t bytes = sizeof(Real) * kExactWarps * kWarp * (sorted.dims + C);
  if (!run.good() || blocks == 0 || chunks == 0) return;
  PF_LAUNCH(kernel, grid, kExactWarps * kWarp, bytes, run.stream(), sorted, stride, cut, values,
            out);
  run.check(cudaGetLastError());
}

template <class Real, int D>
void launch_slopes(Run& run, const SortedPoints<Real>& sorted, int64_t stride, Real cut,
                   const Real* values, const Real* grad, Real* slopes) {
  constexpr int C = 4;
  const unsigned blocks = unsigned(ceil_div(sorted.all_tiles(), kExactWarps));
  const auto kernel = sum_slopes<Real, C, D>;
  const size_t bytes = sizeof(Real) * kExactWarps * kWarp * (sorted.dims + 2 * C);
  for (int64_t channel = 0; channel < stride && blocks > 0 && run.good(); channel += C) {
    PF_LAUNCH(kernel, blocks, kExactWarps * kWarp, bytes, run.stream(), sorted, stride, channel,
              cut, values, grad, slopes);
    run.check(cudaGetLastError());
  }
}

// The cut of boxes as a square.
template <class Real>
Real square_cut(double cutoff) {
  return cutoff > 0 ? Real(cutoff * cutoff) : Real(INFINITY);
}

template <class Real>
void exact_filter(Run& run, const ExactParams<Real>& p, LatticeError* failure) {
  const Points<Real> points(p.features, p.dims, p.batch, p.points);
  const auto sorted = sort_points(run, points, failure);
  if (*failure != LatticeError::kNone) return;
  const RowShape shape = wide_rows(p.channels);
  const int64_t size = points.count() * shape.stride();
  Real *values = run.take<Real>(size), *sums = run.take<Real>(size);
  to_rows(run, p.values, shape, p.batch, p.points, Real(1), values);
  const auto cut = square_cut<Real>(p.cutoff);
  const auto launch = [&](auto sum) { sum(run, sorted, shape.stride(), cut, values, sums); };
  constexpr int kMany = kManyChannels<Real>;
  if (shape.stride() <= 4) {
    launch(p.dims == 5 ? launch_sum<Real, 4, 5> : launch_sum<Real, 4, 0>);
  } else {
    launch(p.dims == 5 ? launch_sum<Real, kMany, 5> : launch_sum<Real, kMany, 0>);
  }
  to_planes(run, sums, shape, p.batch, p.points, p.output);
}

template <class Real>
void exact_filter_gradient(Run& run, const ExactParams<Real>& p, LatticeError* failure) {
  const Points<Real> points(p.features, p.dims, p.batch, p.points);
  const auto sorted = sort_points(run, points, failure);
  if (*failure != LatticeError::kNone) return;
  const RowShape shape = wide_rows(p.channels), slope_shape = plain_rows(p.dims);
  const int64_t size = points.count() * shape.stride();
  Real *values = run.take<Real>(size), *grad = run.take<Real>(size);
  Real* slopes = run.take<Real>(points.count() * p.dims);
  to_rows(run, p.values, shape, p.batch, p.points, Real(1), values);
  to_rows(run, p.grad, shape, p.batch, p.points, Real(1), grad);
  if (p.channels == 0) run.zero(slopes, points.count() * p.dims);
  const auto launch = p.dims == 5 ? launch_slopes<Real, 5> : launch_slopes<Real, 0>;
  launch(run, sorted, shape.stride(), square_cut<Real>(p.cutoff), values, grad, slopes);
  to_planes(run, slopes, slope_shape, p.batch, p.points, p.output);
}

}  // namespace PF_ISA
}  // namespace pyfast
