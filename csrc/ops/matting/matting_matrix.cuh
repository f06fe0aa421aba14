// Rows of L, gathered by one thread a pixel from the windows that contain it: written as compressed
// rows in their final place, and its diagonal.
#pragma once

#include "ops/matting/matting_window.cuh"

namespace pyfast {
namespace PF_ISA {

constexpr int kSharedBytes = 48 << 10;  // of a block, on every GPU

// --- The pattern: pixels at most `reach` = 2 radius apart along both axes ---

// How many pixels of an axis are within reach of `at`.
PF_HD int within_reach(int at, int size, int reach) {
  const int last = at + reach < size ? at + reach : size - 1;
  return last - (at > reach ? at - reach : 0) + 1;
}

// The sum of it over the pixels before `at`.
PF_HD int64_t reached_before(int64_t at, int64_t size, int64_t reach) {
  const int64_t whole = size - reach < 0 ? 0 : size - reach < at ? size - reach : at;
  const int64_t beyond = at - 1 - reach > 0 ? at - 1 - reach : 0;
  return whole * (reach + 1) + whole * (whole - 1) / 2 + (at - whole) * size -
         beyond * (beyond + 1) / 2;
}

// Where the row of pixel (y, x) begins.
PF_HD int64_t row_start_of(const MattingGrid& grid, int y, int x) {
  const int64_t reach = 2 * grid.radius;
  return reached_before(y, grid.height, reach) * reached_before(grid.width, grid.width, reach) +
         within_reach(y, grid.height, int(reach)) * reached_before(x, grid.width, reach);
}

// --- One row ---

// Adds up the row of a pixel: entry (dy, dx) is at centre[dy * step_y + dx * step_x].
template <int kD>
__device__ __forceinline__ void add_up_row(const MattingImage<double>& image,
                                           const MattingGrid& grid, const WindowFits& fits,
                                           const MattingPlace& place, double* centre, int step_y,
                                           int step_x) {
  const int d = channel_count<kD>(grid.channels), radius = grid.radius;
  const double* colours = image.data + int64_t{place.image} * d * grid.pixels();
  const double share = 1.0 / grid.window_size();
  const Span rows = grid.rows(place.y), columns = grid.columns(place.x);
  for (int y = rows.first; y <= rows.last; ++y)
    for (int x = columns.first; x <= columns.last; ++x) {
      const int window = y * grid.width + x;
      if (fits.used != nullptr && fits.used[int64_t{place.image} * grid.pixels() + window] == 0)
        continue;
      WindowFit<kD> fit;
      fits.get(grid, place.image, window, &fit);
      double own[kMostColours<kD>];
      fit.whitened(grid, colours + place.pixel, own);
      centre[0] += 1;
      for (int dy = -radius; dy <= radius; ++dy)
        for (int dx = -radius; dx <= radius; ++dx) {
          double z[kMostColours<kD>];
          fit.whitened(grid, colours + window + dy * grid.width + dx, z);
          double weight = 1;
          for (int c = 0; c < d; ++c) weight += own[c] * z[c];
          centre[(y + dy - place.y) * step_y + (x + dx - place.x) * step_x] -= weight * share;
        }
    }
}

// As many threads as share rows of (4 radius + 1)^2 entries; 0 where not even one has its row.
inline int row_threads(int64_t radius) {
  const int64_t bytes = (4 * radius + 1) * (4 * radius + 1) * int64_t{sizeof(double)};
  int threads = kMattingThreads;
  while (threads > 0 && threads * bytes > kSharedBytes) threads /= 2;
  return threads;
}

// --- Compressed rows ---

// The rows of a block lie side by side, so that they are written side by side. Without the 1 the
// compiler spills registers to fit more blocks.
template <int kD>
__global__ void __launch_bounds__(kMattingThreads, 1)
    write_rows(const MattingMatrixParams p, const MattingGrid grid, const WindowFits fits) {
  PF_DYN_SMEM(double, rows);
  const int first = int(blockIdx.x * blockDim.x);
  const int end = first + int(blockDim.x) < grid.pixels() ? first + int(blockDim.x) : grid.pixels();
  const int64_t begin = row_start_of(grid, first / grid.width, first % grid.width);
  const int64_t entries = row_start_of(grid, end / grid.width, end % grid.width) - begin;
  for (int k = threadIdx.x; k < entries; k += blockDim.x) rows[k] = 0;
  __syncthreads();
  MattingPlace place(grid, 0, first + int(threadIdx.x));
  if (place.pixel < end) {
    const int reach = 2 * grid.radius;
    const int top = place.y > reach ? place.y - reach : 0;
    const int left = place.x > reach ? place.x - reach : 0;
    const int height = within_reach(place.y, grid.height, reach);
    const int width = within_reach(place.x, grid.width, reach);
    const int64_t start = row_start_of(grid, place.y, place.x);
    const int in_row = (place.y - top) * width + place.x - left;
    add_up_row<kD>(p.image, grid, fits, place, rows + (start - begin) + in_row, width, 1);
    p.row_start[place.pixel] = int32_t(start);
    if (place.pixel == grid.pixels() - 1)
      p.row_start[grid.pixels()] = int32_t(start + height * width);
    int32_t* column = p.column + start;
    for (int y = top; y < top + height; ++y)
      for (int x = left; x < left + width; ++x) *column++ = y * grid.width + x;
  }
  __syncthreads();
  for (int k = threadIdx.x; k < entries; k += blockDim.x) p.value[begin + k] = rows[k];
}

inline int launch_matrix(const MattingMatrixParams& p, const DeviceMemory& memory,
                         cudaStream_t stream) {
  const int threads = row_threads(p.image.radius);
  if (!is_valid(p.image) || p.image.batch != 1 || threads == 0) return cudaErrorInvalidValue;
  if (is_empty(p.image)) return cudaMemsetAsync(p.row_start, 0, sizeof(int32_t), stream);
  const MattingGrid grid(p.image);
  WindowFits fits;
  const int error = launch_fits(p.image, p.known, memory, stream, &fits);
  if (error != cudaSuccess) return error;
  return with_channels(grid.channels, [&](auto c) {
    const auto kernel = write_rows<decltype(c)::kD>;
    const int side = 4 * grid.radius + 1;
    PF_LAUNCH(kernel, unsigned(ceil_div(grid.pixels(), threads)), threads,
              size_t(threads) * side * side * sizeof(double), stream, p, grid, fits);
    return int(cudaGetLastError());
  });
}

// --- The diagonal ---

template <int kD>
__global__ void __launch_bounds__(kMattingThreads)
    write_diagonal(const MattingDiagonalParams p, const MattingGrid grid, const WindowFits fits) {
  const MattingPlace place(grid, blockIdx.x, threadIdx.x);
  if (place.pixel >= grid.pixels()) return;
  const int d = channel_count<kD>(grid.channels);
  const double* colour = p.image.data + int64_t{place.image} * d * grid.pixels() + place.pixel;
  const Span rows = grid.rows(place.y), columns = grid.columns(place.x);
  double sum = 0;
  for (int y = rows.first; y <= rows.last; ++y)
    for (int x = columns.first; x <= columns.last; ++x) {
      WindowFit<kD> fit;
      fits.get(grid, place.image, y * grid.width + x, &fit);
      double z[kMostColours<kD>], square = 0;
      fit.whitened(grid, colour, z);
      for (int c = 0; c < d; ++c) square += z[c] * z[c];
      sum += 1 - (1 + square) / grid.window_size();
    }
  p.diagonal[int64_t{place.image} * grid.pixels() + place.pixel] = sum;
}

inline int launch_diagonal(const MattingDiagonalParams& p, const DeviceMemory& memory,
                           cudaStream_t stream) {
  if (!is_valid(p.image)) return cudaErrorInvalidValue;
  if (is_empty(p.image)) return cudaSuccess;
  const MattingGrid grid(p.image);
  WindowFits fits;
  const int error = launch_fits(p.image, nullptr, memory, stream, &fits);
  if (error != cudaSuccess) return error;
  return with_channels(grid.channels, [&](auto c) {
    const auto kernel = write_diagonal<decltype(c)::kD>;
    PF_LAUNCH(kernel, unsigned(p.image.batch) * grid.blocks, kMattingThreads, 0, stream, p, grid,
              fits);
    return int(cudaGetLastError());
  });
}

}  // namespace PF_ISA
}  // namespace pyfast
