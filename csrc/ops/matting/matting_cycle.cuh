// One cycle of the solver in float: damped Jacobi on pixels, block Jacobi on nodes, the inverse
// at the bottom. On pixels a thread has one that is unknown, on nodes one unknown of a node.
#pragma once

#include "core/block_sum.cuh"
#include "ops/matting/matting_levels.cuh"
#include "ops/matting/matting_matrix.cuh"

namespace pyfast {
namespace PF_ISA {

// Vectors on pixels that iterations work on, and rows of L for the unknown ones. Systems are
// (batch, vectors). `most` is the largest number of unknown pixels of an image.
struct MattingPixels {
  MattingFine fine;
  int vectors = 0, most = 0;
  unsigned blocks = 0;       // of threads, a system
  int* list = nullptr;       // (batch, pixels): the unknown ones, ascending
  int* counts = nullptr;     // (batch)
  double* rows = nullptr;    // (batch, entries but the diagonal, most): -L_ij
  float* rounded = nullptr;  // the same
  float* inverse = nullptr;  // (batch, most): damping / diagonal
  // (systems, most)
  double *r = nullptr, *ap = nullptr;
  // (systems, pixels), 0 where known; rhs is r, scaled
  double *x = nullptr, *p = nullptr;
  float *rhs = nullptr, *guess = nullptr, *residual = nullptr, *result = nullptr;
};

// How far a system is.
struct MattingState {
  double rz, alpha, beta;
  double rr, reference, target;  // squares of norms: of r, of r at x = 0, and where to stop
  double scale;                  // of the preconditioner's input: keeps floats near 1
  double change;                 // the norm of that of x in the last iteration
  int64_t iterations;
  int plain;  // without levels: rounding can cost them their definiteness where pixels are few
  int done;
};

struct UnknownPixel {
  unsigned system, image;
  int number, pixel;       // number is -1 for a thread without work
  int64_t compact, plane;  // places in (systems, most) and of the system in (systems, pixels)

  __device__ __forceinline__ UnknownPixel(const MattingPixels& pixels, int vectors) {
    system = blockIdx.x / pixels.blocks;
    image = system / unsigned(vectors);
    number = int(blockIdx.x % pixels.blocks * kMattingThreads + threadIdx.x);
    const int64_t size = pixels.fine.grid.pixels();
    plane = system * size;
    compact = int64_t{system} * pixels.most + number;
    if (number < pixels.counts[image]) {
      pixel = pixels.list[image * size + number];
    } else {
      number = -1;
    }
  }
};

// (L x)_i = sum of -L_ij (x_i - x_j): of differences, so that rounding -L_ij keeps rows of sum 0.
// Entries without a pixel are 0, and their place is anywhere in the image.
template <class Real>
__device__ __forceinline__ Real row_times(const MattingPixels& pixels, const Real* rows,
                                          unsigned image, int number, int pixel, const Real* x) {
  const MattingGrid& grid = pixels.fine.grid;
  const int reach = 2 * grid.radius, last = grid.pixels() - 1;
  const int64_t entries = int64_t{2 * reach + 1} * (2 * reach + 1) - 1;
  const Real own = x[pixel], *weight = rows + image * entries * pixels.most + number;
  Real sum = 0;
  for (int dy = -reach; dy <= reach; ++dy) {
    const int at = pixel + dy * grid.width;
#pragma unroll 5
    for (int dx = -reach; dx <= reach; ++dx) {
      if (dy == 0 && dx == 0) continue;
      const int other = at + dx < 0 ? 0 : at + dx > last ? last : at + dx;
      sum += *weight * (own - x[other]);
      weight += pixels.most;
    }
  }
  return sum;
}

__device__ __forceinline__ float cycle_residual(const MattingPixels& pixels,
                                                const UnknownPixel& unknown, const float* guess) {
  float product = row_times(pixels, pixels.rounded, unknown.image, unknown.number, unknown.pixel,
                            guess + unknown.plane);
  if (pixels.fine.diagonal != nullptr) {
    const int64_t size = pixels.fine.grid.pixels();
    product += float(pixels.fine.diagonal[unknown.image * size + unknown.pixel]) *
               guess[unknown.plane + unknown.pixel];
  }
  return pixels.rhs[unknown.plane + unknown.pixel] - product;
}

__global__ void __launch_bounds__(kMattingThreads) find_residual(const MattingPixels pixels) {
  const UnknownPixel unknown(pixels, pixels.vectors);
  if (unknown.number < 0) return;
  pixels.residual[unknown.plane + unknown.pixel] = cycle_residual(pixels, unknown, pixels.guess);
}

// One step of Jacobi's method from `guess` to `result`, or from 0 in systems that go without
// levels; and the scalar product of that with r.
__global__ void __launch_bounds__(kMattingThreads)
    smooth_pixels(const MattingPixels pixels, const MattingState* states, double* partial_sums) {
  const UnknownPixel unknown(pixels, pixels.vectors);
  Sums<1> of_r{};
  if (unknown.number >= 0) {
    const float inverse = pixels.inverse[int64_t{unknown.image} * pixels.most + unknown.number];
    const int64_t at = unknown.plane + unknown.pixel;
    const float value =
        states[unknown.system].plain != 0
            ? inverse * pixels.rhs[at]
            : pixels.guess[at] + inverse * cycle_residual(pixels, unknown, pixels.guess);
    pixels.result[at] = value;
    of_r.value[0] = pixels.r[unknown.compact] * double(value);
  }
  write_block_sum<kMattingThreads>(of_r, partial_sums + blockIdx.x);
}

// --- Nodes ---

// A thread's unknown: number m of a node.
template <int kD>
struct NodePlace {
  unsigned system, image;
  int size, m, node, y, x, first;  // `first`: the thread of the node's unknown 0
  bool active;

  __device__ __forceinline__ NodePlace(const MattingLevel& level, int channels, int vectors,
                                       unsigned blocks) {
    const int thread = int(threadIdx.x);
    size = channel_count<kD>(channels) + 1;
    const int of_block = kMattingThreads / size;
    system = blockIdx.x / blocks;
    image = system / unsigned(vectors);
    node = int(blockIdx.x % blocks) * of_block + thread / size;
    m = thread % size;
    first = thread - m;
    active = thread < of_block * size && node < level.nodes();
    y = node / level.nodes_x();
    x = node % level.nodes_x();
  }
  PF_HD int64_t vector(const MattingLevel& level) const {  // the node's in (systems, nodes, M)
    return (int64_t{system} * level.nodes() + node) * size;
  }
  PF_HD int64_t block(const MattingLevel& level) const {  // its row in (batch, nodes, M, M)
    return ((int64_t{image} * level.nodes() + node) * size + m) * size;
  }
  PF_HD const float* mean(const MattingLevel& level) const {
    return level.mean + (int64_t{image} * level.nodes() + node) * (size - 1);
  }
};

inline unsigned node_blocks(const MattingLevel& level, int channels) {
  return unsigned(ceil_div(level.nodes(), kMattingThreads / (channels + 1)));
}

// Unknowns that no unknown pixel depends on have no part: their rows are 0, and so is their part
// of the inverse.
template <int kD>
__device__ __forceinline__ bool has_part(const MattingLevel& level, const NodePlace<kD>& place) {
  return level.inverse[place.block(level) + place.m] != 0;
}

// rhs - A guess of a thread's unknown, by rows of A in Real.
template <class Real, int kD>
__device__ __forceinline__ float node_residual(const MattingLevel& level, const Real* rows,
                                               const NodePlace<kD>& place, const float* rhs,
                                               const float* guess) {
  const int64_t own = place.vector(level);
  Real sum = rhs[own + place.m];
  const int64_t squares = int64_t{level.nodes()} * place.size * place.size;
  const Real* row =
      rows + place.image * 9 * squares + (int64_t{place.node} * place.size + place.m) * place.size;
  for (int k = 0; k < 9; ++k, row += squares) {
    const int dy = k / 3 - 1, dx = k % 3 - 1;
    if (place.y + dy < 0 || place.y + dy >= level.nodes_y() || place.x + dx < 0 ||
        place.x + dx >= level.nodes_x())
      continue;
    const float* other = guess + own + int64_t{dy * level.nodes_x() + dx} * place.size;
    for (int q = 0; q < place.size; ++q) sum -= row[q] * Real(other[q]);
  }
  return float(sum);
}

// This thread's part of a step of block Jacobi for r, from the r of the node's threads; all have to
// come here.
template <int kD>
__device__ __forceinline__ float relax(const MattingLevel& level, const NodePlace<kD>& place,
                                       float r) {
  __shared__ float of_thread[kMattingThreads];
  of_thread[threadIdx.x] = r;
  __syncthreads();
  if (!place.active) return 0;
  const float* row = level.inverse + place.block(level);
  float sum = 0;
  for (int q = 0; q < place.size; ++q) sum += row[q] * of_thread[place.first + q];
  return sum;
}

// What is left of the pixels' residual is the right-hand side of the nodes; and the first step.
template <int kD>
__global__ void __launch_bounds__(kMattingThreads)
    restrict_pixels(const MattingPixels pixels, const MattingLevel level, unsigned blocks) {
  const MattingGrid& grid = pixels.fine.grid;
  const NodePlace<kD> place(level, grid.channels, pixels.vectors, blocks);
  float sum = 0;
  if (place.active) {
    const int spacing = pixels.fine.spacing(), reach = 3 * grid.radius;
    const int top = place.y * spacing, left = place.x * spacing;
    const int first_y = top > reach ? -reach : -top, first_x = left > reach ? -reach : -left;
    const int end_y = grid.height - top < reach ? grid.height - top : reach;
    const int end_x = grid.width - left < reach ? grid.width - left : reach;
    const float* residual = pixels.residual + int64_t{place.system} * grid.pixels();
    const float* colours =
        pixels.fine.colours +
        (int64_t{place.image} * (place.size - 1) + (place.m > 0 ? place.m - 1 : 0)) * grid.pixels();
    const float mean = place.m > 0 ? place.mean(level)[place.m - 1] : 0.0f;
    for (int y = first_y; y < end_y; ++y) {
      const float weight = node_weight(y, grid.radius);
      for (int x = first_x; x < end_x; ++x) {
        const int pixel = (top + y) * grid.width + left + x;
        const float value = weight * node_weight(x, grid.radius) * residual[pixel];
        sum += place.m > 0 ? value * (colours[pixel] - mean) : value;
      }
    }
    level.rhs[place.vector(level) + place.m] = sum;
  }
  if (level.inverse == nullptr) return;
  const float step = relax(level, place, sum);
  if (place.active) level.guess[place.vector(level) + place.m] = step;
}

template <int kD>
__global__ void __launch_bounds__(kMattingThreads)
    find_node_residual(const MattingLevel level, int channels, int vectors, unsigned blocks) {
  const NodePlace<kD> place(level, channels, vectors, blocks);
  if (!place.active) return;
  level.residual[place.vector(level) + place.m] =
      has_part(level, place) ? node_residual(level, level.rows, place, level.rhs, level.guess)
                             : 0.0f;
}

// From a level to the next.
template <int kD>
__global__ void __launch_bounds__(kMattingThreads)
    restrict_nodes(const MattingLevel from, const MattingLevel level, int channels, int vectors,
                   unsigned blocks) {
  const NodePlace<kD> place(level, channels, vectors, blocks);
  float sum = 0;
  if (place.active) {
    for (int dy = -1; dy <= 1; ++dy)
      for (int dx = -1; dx <= 1; ++dx) {
        const int y = 2 * place.y + dy, x = 2 * place.x + dx;
        if (y < 0 || y >= from.nodes_y() || x < 0 || x >= from.nodes_x()) continue;
        const int child = y * from.nodes_x() + x;
        const float* residual =
            from.residual + (int64_t{place.system} * from.nodes() + child) * place.size;
        const float* carry = carry_of_nodes(from, from.rounded_carry, place.image, place.size, y, x,
                                            place.y, place.x);
        for (int k = 0; k < place.size; ++k) sum += carry[k * place.size + place.m] * residual[k];
      }
    level.rhs[place.vector(level) + place.m] = sum;
  }
  if (level.inverse == nullptr) return;
  const float step = relax(level, place, sum);
  if (place.active) level.guess[place.vector(level) + place.m] = step;
}

// At the bottom: a block has 32 rows, of which 4 threads have a quarter each.
__global__ void __launch_bounds__(kMattingThreads)
    solve_bottom(const MattingLevel level, const float* inverses, int size, int vectors,
                 unsigned blocks) {
  constexpr int kRows = 32, kParts = kMattingThreads / kRows;
  __shared__ float parts[kParts][kRows];
  const unsigned system = blockIdx.x / blocks;
  const int lane = int(threadIdx.x) % kRows, part = int(threadIdx.x) / kRows;
  const int row = int(blockIdx.x % blocks) * kRows + lane;
  const float* inverse = inverses + int64_t{system / unsigned(vectors)} * size * size;
  const float* rhs = level.rhs + int64_t{system} * size;
  float sum = 0;
  if (row < size)
    for (int k = part; k < size; k += kParts) sum += inverse[int64_t{k} * size + row] * rhs[k];
  parts[part][lane] = sum;
  __syncthreads();
  if (part != 0 || row >= size) return;
  for (int k = 1; k < kParts; ++k) sum += parts[k][lane];
  level.result[int64_t{system} * size + row] = sum;
}

template <int kD>
__global__ void __launch_bounds__(kMattingThreads)
    prolong_nodes(const MattingLevel from, const MattingLevel level, int channels, int vectors,
                  unsigned blocks) {
  const NodePlace<kD> place(level, channels, vectors, blocks);
  if (!place.active || !has_part(level, place)) return;
  float sum = 0;
  for (int of_y = 0; of_y <= place.y % 2; ++of_y)
    for (int of_x = 0; of_x <= place.x % 2; ++of_x) {
      const int y = place.y / 2 + of_y, x = place.x / 2 + of_x, parent = y * from.nodes_x() + x;
      const float* value =
          from.result + (int64_t{place.system} * from.nodes() + parent) * place.size;
      const float* carry = carry_of_nodes(level, level.rounded_carry, place.image, place.size,
                                          place.y, place.x, y, x);
      for (int k = 0; k < place.size; ++k) sum += carry[place.m * place.size + k] * value[k];
    }
  level.guess[place.vector(level) + place.m] += sum;
}

// One step of block Jacobi from `guess` to `result`.
template <int kD>
__global__ void __launch_bounds__(kMattingThreads)
    smooth_nodes(const MattingLevel level, int channels, int vectors, unsigned blocks) {
  const NodePlace<kD> place(level, channels, vectors, blocks);
  const bool works = place.active && has_part(level, place);
  const float residual =
      works ? node_residual(level, level.rows, place, level.rhs, level.guess) : 0.0f;
  const float step = relax(level, place, residual);
  if (!place.active) return;
  const int64_t at = place.vector(level) + place.m;
  level.result[at] = works ? level.guess[at] + step : 0.0f;
}

// Adds up what repeated cycles found; `result` is the sum at last.
__global__ void __launch_bounds__(kMattingThreads)
    add_cycle(const MattingLevel level, int64_t count, int number, float step) {
  const int64_t k = int64_t{blockIdx.x} * kMattingThreads + threadIdx.x;
  if (k >= count) return;
  if (number == 0) level.kept_rhs[k] = level.rhs[k];
  const float sum = (number == 0 ? 0.0f : level.kept_result[k]) + step * level.result[k];
  level.kept_result[k] = sum;
  if (number + 1 == kRepeats) level.result[k] = sum;
}

// What is left is the next cycle's right-hand side; and its first step.
template <int kD>
__global__ void __launch_bounds__(kMattingThreads)
    find_rest(const MattingLevel level, int channels, int vectors, unsigned blocks) {
  const NodePlace<kD> place(level, channels, vectors, blocks);
  const bool works = place.active && has_part(level, place);
  const float rest =
      works ? node_residual(level, level.exact_rows, place, level.kept_rhs, level.kept_result)
            : 0.0f;
  if (place.active) level.rhs[place.vector(level) + place.m] = rest;
  const float step = relax(level, place, rest);
  if (place.active) level.guess[place.vector(level) + place.m] = step;
}

template <int kD>
__global__ void __launch_bounds__(kMattingThreads)
    prolong_pixels(const MattingPixels pixels, const MattingLevel level) {
  const UnknownPixel unknown(pixels, pixels.vectors);
  if (unknown.number < 0) return;
  const MattingGrid& grid = pixels.fine.grid;
  const int d = channel_count<kD>(grid.channels), spacing = pixels.fine.spacing();
  const int y = unknown.pixel / grid.width, x = unknown.pixel % grid.width;
  const int cell_y = y / spacing, cell_x = x / spacing;
  float colour[kMostColours<kD>];
  for (int c = 0; c < d; ++c)
    colour[c] =
        pixels.fine.colours[(int64_t{unknown.image} * d + c) * grid.pixels() + unknown.pixel];
  float sum = 0;
  for (int k = 0; k < 4; ++k) {
    const int node_y = cell_y + k / 2, node_x = cell_x + k % 2;
    const float weight = node_weight(y - node_y * spacing, grid.radius) *
                         node_weight(x - node_x * spacing, grid.radius);
    const int node = node_y * level.nodes_x() + node_x;
    const float* value = level.result + (int64_t{unknown.system} * level.nodes() + node) * (d + 1);
    const float* mean = level.mean + (int64_t{unknown.image} * level.nodes() + node) * d;
    float of_node = value[0];
    for (int c = 0; c < d; ++c) of_node += value[c + 1] * (colour[c] - mean[c]);
    sum += weight * of_node;
  }
  pixels.guess[unknown.plane + unknown.pixel] += sum;
}

}  // namespace PF_ISA
}  // namespace pyfast
