// The hierarchy of the solver: colour-affine multigrid, built as finite elements.
//
// A node of level 1 stands for a smooth function of colour around it: with the unknowns (b, a) a
// pixel i gets the sum over nodes of w_n(i) (b_n + a_n . (I_i - mean_n)). Nodes are 4 radius pixels
// apart; the weights are 1 on a plateau of 2 radius pixels and fall off to the neighbour's. So the
// windows that have their centre in the cell between four nodes touch these four and no other: the
// cell is an element with a matrix of its own, P^T L P is the sum of all, and a node is coupled
// with its 8 neighbours. Coarser levels have every second node, and matting_interpolation.h says
// how those between follow; the element of a cell is the sum of its four children's, carried over
// to its corners. Sums are in double and in fixed order; what iterations read is rounded to float.
#pragma once

#include "ops/matting/matting_interpolation.h"
#include "ops/matting/matting_window.cuh"

namespace pyfast {
namespace PF_ISA {

constexpr int kMostBottom = 256;     // unknowns of the level that is solved directly
constexpr int kMostLevels = 32;      // sides halve
constexpr double kNodeRidge = 1e-6;  // what rounding to float leaves of a singular block
constexpr int kTerms = 64;           // of an element, summed up at once

// The weight of a node along an axis at `from` pixels from it.
PF_HD float node_weight(int from, int radius) {
  const int rising = from + 3 * radius + 1, falling = 3 * radius - from;
  const int steps = rising < falling ? rising : falling, all = 2 * radius + 1;
  return steps >= all ? 1.0f : steps > 0 ? float(steps) / float(all) : 0.0f;
}

struct MattingLevel {
  int cells_y = 0, cells_x = 0;  // nodes are one more along each axis
  // Shapes begin with (batch); M unknowns a node: b and the components of a.
  float* mean = nullptr;         // (nodes, M - 1): where a node's functions of colour are 0
  double* mass = nullptr;        // (nodes): weights of its unknown pixels
  double* elements = nullptr;    // (cells, a packed matrix of 4 M rows)
  float* rows = nullptr;         // (9 neighbours, nodes, M, M)
  float* inverse = nullptr;      // (nodes, M, M): of diagonal blocks; null at the bottom
  double* exact_rows = nullptr;  // `rows`, unrounded, of the level whose cycle is repeated, or null
  // (nodes, 4, M, M): of the unknowns of the four nodes of the next level around each, row by row,
  // their part in its own; null at the bottom.
  double* carry = nullptr;
  float* rounded_carry = nullptr;  // the same
  // Shapes begin with (systems).
  float *rhs = nullptr, *guess = nullptr, *residual = nullptr, *result = nullptr;  // (nodes, M)
  float *kept_rhs = nullptr, *kept_result = nullptr;  // the same, of repeated cycles

  PF_HD int nodes_y() const { return cells_y + 1; }
  PF_HD int nodes_x() const { return cells_x + 1; }
  PF_HD int nodes() const { return nodes_y() * nodes_x(); }
  PF_HD int cells() const { return cells_y * cells_x; }
};

// What of the pixels the hierarchy is made of.
struct MattingFine {
  MattingGrid grid;
  const uint8_t* known = nullptr;    // (batch, pixels), or null
  const double* diagonal = nullptr;  // the same
  const float* colours = nullptr;    // (batch, channels, pixels): of the functions of nodes
  const double* exact = nullptr;     // the same, unrounded: of windows
  WindowFits fits;

  PF_HD int spacing() const { return 4 * grid.radius; }
  PF_HD bool is_unknown(unsigned image, int pixel) const {
    return known == nullptr || known[int64_t{image} * grid.pixels() + pixel] == 0;
  }
};

PF_HD double packed_at(const double* matrix, int i, int j) {
  return i > j ? matrix[packed(i, j)] : matrix[packed(j, i)];
}

// --- Mean colours: a thread a node ---

template <int kD>
__global__ void __launch_bounds__(kMattingThreads, 1)
    find_means(const MattingFine fine, const MattingLevel level, unsigned blocks) {
  const unsigned image = blockIdx.x / blocks;
  const int node = int(blockIdx.x % blocks * kMattingThreads + threadIdx.x);
  if (node >= level.nodes()) return;
  const MattingGrid& grid = fine.grid;
  const int d = channel_count<kD>(grid.channels), reach = 3 * grid.radius;
  const int top = node / level.nodes_x() * fine.spacing();
  const int left = node % level.nodes_x() * fine.spacing();
  double mass = 0, sum[kMostColours<kD>];
  for (int c = 0; c < d; ++c) sum[c] = 0;
  for (int y = top - reach; y < top + reach; ++y)
    for (int x = left - reach; x < left + reach; ++x) {
      if (y < 0 || y >= grid.height || x < 0 || x >= grid.width) continue;
      const int pixel = y * grid.width + x;
      if (!fine.is_unknown(image, pixel)) continue;
      const double weight = node_weight(y - top, grid.radius) * node_weight(x - left, grid.radius);
      const float* colour = fine.colours + int64_t{image} * d * grid.pixels() + pixel;
      mass += weight;
      for (int c = 0; c < d; ++c) sum[c] += weight * colour[int64_t{c} * grid.pixels()];
    }
  const int64_t at = int64_t{image} * level.nodes() + node;
  level.mass[at] = mass;
  for (int c = 0; c < d; ++c) level.mean[at * d + c] = mass > 0 ? float(sum[c] / mass) : 0.0f;
}

template <int kD>
__global__ void __launch_bounds__(kMattingThreads)
    average_means(const MattingLevel from, const MattingLevel level, int channels,
                  unsigned blocks) {
  const unsigned image = blockIdx.x / blocks;
  const int node = int(blockIdx.x % blocks * kMattingThreads + threadIdx.x);
  if (node >= level.nodes()) return;
  const int d = channel_count<kD>(channels);
  const int top = node / level.nodes_x() * 2, left = node % level.nodes_x() * 2;
  double mass = 0, sum[kMostColours<kD>];
  for (int c = 0; c < d; ++c) sum[c] = 0;
  for (int y = top - 1; y <= top + 1; ++y)
    for (int x = left - 1; x <= left + 1; ++x) {
      if (y < 0 || y >= from.nodes_y() || x < 0 || x >= from.nodes_x()) continue;
      const int64_t child = int64_t{image} * from.nodes() + y * from.nodes_x() + x;
      const double weight = from.mass[child] * (y == top ? 1.0 : 0.5) * (x == left ? 1.0 : 0.5);
      mass += weight;
      for (int c = 0; c < d; ++c) sum[c] += weight * from.mean[child * d + c];
    }
  const int64_t at = int64_t{image} * level.nodes() + node;
  level.mass[at] = mass;
  for (int c = 0; c < d; ++c) level.mean[at * d + c] = mass > 0 ? float(sum[c] / mass) : 0.0f;
}

// --- Elements: a block a cell, a thread 2 x 2 of its entries ---

// Function p of a cell: the value at a pixel of its corner p / M's function p % M.
template <int kD>
struct CellBasis {
  const MattingFine& fine;
  const float* mean;  // of the cell's first corner, and of the one below it
  const float* mean_below;
  unsigned image;
  int top, left;

  PF_HD double at(int y, int x, int p) const {
    const MattingGrid& grid = fine.grid;
    const int pixel = y * grid.width + x;
    if (!fine.is_unknown(image, pixel)) return 0;
    const int d = channel_count<kD>(grid.channels), corner = p / (d + 1), m = p % (d + 1);
    const int from_y = y - top - (corner / 2) * fine.spacing();
    const int from_x = x - left - (corner % 2) * fine.spacing();
    const double weight = node_weight(from_y, grid.radius) * node_weight(from_x, grid.radius);
    if (m == 0) return weight;
    const float* of_corner = (corner / 2 == 0 ? mean : mean_below) + (corner % 2) * d;
    const float colour = fine.colours[(int64_t{image} * d + m - 1) * grid.pixels() + pixel];
    return weight * double(colour - of_corner[m - 1]);
  }
};

// How many numbers of [first, last] are within `radius` of `at`.
PF_HD int count_near(int at, int radius, int first, int last) {
  const int from = at - radius > first ? at - radius : first;
  const int to = at + radius < last ? at + radius : last;
  return to >= from ? to - from + 1 : 0;
}

// This thread's 2 x 2 entries of a symmetric matrix of P rows.
struct EntryTile {
  int p, q;
  double value[2][2] = {};

  PF_HD EntryTile(int thread, int size) : p(thread / (size / 2) * 2), q(thread % (size / 2) * 2) {}
  PF_HD void write(double* packed_matrix) const {
    for (int i = 0; i < 2; ++i)
      for (int j = 0; j < 2; ++j)
        if (p + i >= q + j) packed_matrix[packed(p + i, q + j)] = value[i][j];
  }
};

// Terms are rows of P values; each adds its outer product by its factor.
__device__ __forceinline__ void add_terms(const double* terms, const double* factors, int count,
                                          int size, EntryTile* tile) {
  __syncthreads();
  for (int t = 0; t < count; ++t) {
    const double *row = terms + t * size, factor = factors[t];
    for (int i = 0; i < 2; ++i)
      for (int j = 0; j < 2; ++j) tile->value[i][j] += factor * row[tile->p + i] * row[tile->q + j];
  }
  __syncthreads();
}

// The form of the cell's windows on its functions: of a window the sum of f g over its pixels, less
// the products of the means and of the whitened slopes.
template <int kD>
__global__ void make_elements(const MattingFine fine, const MattingLevel level) {
  PF_DYN_SMEM(double, terms);  // kTerms rows, then their factors
  __shared__ int touched;
  const MattingGrid& grid = fine.grid;
  const int d = channel_count<kD>(grid.channels), size = 4 * (d + 1), radius = grid.radius;
  double* factors = terms + kTerms * size;
  const unsigned image = blockIdx.x / unsigned(level.cells());
  const int cell = int(blockIdx.x % unsigned(level.cells()));
  const int cell_y = cell / level.cells_x, cell_x = cell % level.cells_x;
  const int threads = int(blockDim.x), thread = int(threadIdx.x), spacing = fine.spacing();
  const int top = cell_y * spacing, left = cell_x * spacing;
  const float* mean =
      level.mean + (int64_t{image} * level.nodes() + cell_y * level.nodes_x() + cell_x) * d;
  const CellBasis<kD> basis{fine, mean, mean + int64_t{level.nodes_x()} * d, image, top, left};
  double* element = level.elements + (int64_t{image} * level.cells() + cell) * packed_size(size);

  // Centres of windows, and the pixels these reach.
  const Span rows{
      top > radius ? top : radius,
      (top + spacing < grid.height - radius ? top + spacing : grid.height - radius) - 1};
  const Span columns{
      left > radius ? left : radius,
      (left + spacing < grid.width - radius ? left + spacing : grid.width - radius) - 1};
  const int patch = 6 * radius, first_y = top - radius, first_x = left - radius;
  const auto in_image = [&](int y, int x) {
    return y >= 0 && y < grid.height && x >= 0 && x < grid.width;
  };

  if (thread == 0) touched = 0;
  __syncthreads();
  for (int k = thread; k < patch * patch; k += threads) {
    const int y = first_y + k / patch, x = first_x + k % patch;
    if (in_image(y, x) && fine.is_unknown(image, y * grid.width + x)) touched = 1;
  }
  __syncthreads();
  EntryTile tile(thread, size);
  if (touched == 0) {
    tile.write(element);
    return;
  }

  for (int start = 0; start < patch * patch; start += kTerms) {
    const int count = patch * patch - start < kTerms ? patch * patch - start : kTerms;
    for (int k = thread; k < count * size; k += threads) {
      const int t = k / size, p = k % size;
      const int y = first_y + (start + t) / patch, x = first_x + (start + t) % patch;
      const bool inside = in_image(y, x);
      terms[k] = inside ? basis.at(y, x, p) : 0.0;
      if (p != 0) continue;
      factors[t] = double(count_near(y, radius, rows.first, rows.last) *
                          count_near(x, radius, columns.first, columns.last));
      if (inside && fine.diagonal != nullptr && y >= top && y < top + spacing && x >= left &&
          x < left + spacing)
        factors[t] += fine.diagonal[int64_t{image} * grid.pixels() + y * grid.width + x];
    }
    add_terms(terms, factors, count, size, &tile);
  }

  const int at_once = kTerms / (d + 1);  // windows
  for (int start = 0; start < spacing * spacing; start += at_once) {
    const int left_over = spacing * spacing - start,
              count = left_over < at_once ? left_over : at_once;
    for (int k = thread; k < count * size; k += threads) {
      const int w = k / size, p = k % size;
      const int y = top + (start + w) / spacing, x = left + (start + w) % spacing;
      double sum = 0, slope[kMostColours<kD>];
      for (int c = 0; c < d; ++c) slope[c] = 0;
      const int64_t window = int64_t{image} * grid.pixels() + y * grid.width + x;
      if (y >= rows.first && y <= rows.last && x >= columns.first && x <= columns.last &&
          (fine.fits.used == nullptr || fine.fits.used[window] != 0)) {
        WindowFit<kD> fit;
        fine.fits.get(grid, image, y * grid.width + x, &fit);
        for (int dy = -radius; dy <= radius; ++dy)
          for (int dx = -radius; dx <= radius; ++dx) {
            const double value = basis.at(y + dy, x + dx, p);
            double colour[kMostColours<kD>];
            fit.centred(
                grid,
                fine.exact + int64_t{image} * d * grid.pixels() + (y + dy) * grid.width + x + dx,
                colour);
            sum += value;
            for (int c = 0; c < d; ++c) slope[c] += colour[c] * value;
          }
        whiten<kD>(fit.inverse, slope, d);
      }
      double* term = terms + w * (d + 1) * size + p;
      *term = sum;
      for (int c = 0; c < d; ++c) term[(c + 1) * size] = slope[c];
      if (p == 0)
        for (int c = 0; c <= d; ++c) factors[w * (d + 1) + c] = -1.0 / grid.window_size();
    }
    add_terms(terms, factors, count * (d + 1), size, &tile);
  }
  tile.write(element);
}

// --- From a level to the next ---

// The entry of unknown i of node (y, x) and unknown j of the node (dy, dx) from it, neighbours at
// most.
PF_HD double entry_of_nodes(const MattingLevel& level, unsigned image, int m, int y, int x, int dy,
                            int dx, int i, int j) {
  double sum = 0;
  for (int cell_y = y + (dy > 0 ? dy : 0) - 1; cell_y <= y + (dy < 0 ? dy : 0); ++cell_y)
    for (int cell_x = x + (dx > 0 ? dx : 0) - 1; cell_x <= x + (dx < 0 ? dx : 0); ++cell_x) {
      if (cell_y < 0 || cell_y >= level.cells_y || cell_x < 0 || cell_x >= level.cells_x) continue;
      const int64_t cell = int64_t{image} * level.cells() + cell_y * level.cells_x + cell_x;
      const int own = (y - cell_y) * 2 + x - cell_x;
      const int other = (y + dy - cell_y) * 2 + x + dx - cell_x;
      sum += packed_at(level.elements + cell * packed_size(4 * m), own * m + i, other * m + j);
    }
  return sum;
}

// The block of level.carry that takes unknowns of the next level's node (parent_y, parent_x) to
// those of node (y, x), or null: it has no part in them.
template <class Real>
PF_HD const Real* carry_of_nodes(const MattingLevel& level, const Real* carries, unsigned image,
                                 int m, int y, int x, int parent_y, int parent_x) {
  const int of_y = parent_y - y / 2, of_x = parent_x - x / 2;
  if (of_y < 0 || of_y > y % 2 || of_x < 0 || of_x > x % 2) return nullptr;
  const int64_t node = int64_t{image} * level.nodes() + y * level.nodes_x() + x;
  return carries + (node * 4 + of_y * 2 + of_x) * m * m;
}

// A thread a node: those that do not lie between four of the next level, or then those that do.
template <int kD>
__global__ void __launch_bounds__(kMattingThreads, 1)
    find_carries(const MattingLevel level, const MattingLevel next, int channels, bool between_four,
                 unsigned blocks) {
  constexpr int kM = kD > 0 ? kD + 1 : 0, kMost = kMostColours<kD> + 1;
  const unsigned image = blockIdx.x / blocks;
  const int node = int(blockIdx.x % blocks * kMattingThreads + threadIdx.x);
  if (node >= level.nodes()) return;
  const int d = channel_count<kD>(channels), m = d + 1, size = m * m;
  const int y = node / level.nodes_x(), x = node % level.nodes_x();
  if ((y % 2 == 1 && x % 2 == 1) != between_four) return;
  const auto mean = [&](const MattingLevel& of, int at_y, int at_x) {
    return of.mean + (int64_t{image} * of.nodes() + at_y * of.nodes_x() + at_x) * d;
  };
  const auto entry = [&](int dy, int dx, int i, int j) {
    return entry_of_nodes(level, image, m, y, x, dy, dx, i, j);
  };
  const auto is_inside = [&](int at_y, int at_x) {
    return at_y >= 0 && at_y < level.nodes_y() && at_x >= 0 && at_x < level.nodes_x();
  };
  const float* own_mean = mean(level, y, x);
  double carries[4 * kMost * kMost], diagonal[kMost * kMost];
  for (int k = 0; k < 4 * size; ++k) carries[k] = 0;
  for (int k = 0; k < size; ++k) diagonal[k] = entry(0, 0, k / m, k % m);
  if (diagonal[0] > 0 && between_four) {
    for (int dy = -1; dy <= 1; ++dy)
      for (int dx = -1; dx <= 1; ++dx) {
        if ((dy == 0 && dx == 0) || !is_inside(y + dy, x + dx)) continue;
        for (int p = 0; p < 4; ++p) {
          const double* carry = carry_of_nodes(level, level.carry, image, m, y + dy, x + dx,
                                               y / 2 + p / 2, x / 2 + p % 2);
          if (carry == nullptr) continue;
          for (int i = 0; i < m; ++i)
            for (int k = 0; k < m; ++k) {
              const double factor = entry(dy, dx, i, k);
              for (int j = 0; j < m; ++j)
                carries[p * size + i * m + j] += factor * carry[k * m + j];
            }
        }
      }
    double own[kMost * kMost];
    for (int k = 0; k < size; ++k) own[k] = diagonal[k];
    solve_for_parents<kM>(own, diagonal, carries, 4, m);
  } else if (diagonal[0] > 0) {
    // From a parent's basis, which is centred at `from`, to the node's.
    const auto change_basis = [&](double* block, const float* from) {
      for (int i = 0; i < m; ++i)
        for (int j = 1; j < m; ++j)
          block[i * m + j] += block[i * m] * (double(own_mean[j - 1]) - double(from[j - 1]));
    };
    if (y % 2 == 0 && x % 2 == 0) {
      for (int i = 0; i < m; ++i) carries[i * (m + 1)] = 1;
      change_basis(carries, mean(next, y / 2, x / 2));
    } else {
      const bool is_in_row = x % 2 == 1;
      double columns[3 * kMost * kMost], two[2 * kMost * kMost];
      for (int k = 0; k < 3 * size; ++k) columns[k] = 0;
      for (int dy = -1; dy <= 1; ++dy)
        for (int dx = -1; dx <= 1; ++dx) {
          if (!is_inside(y + dy, x + dx)) continue;
          const float* other = mean(level, y + dy, x + dx);
          double* column = columns + ((is_in_row ? dx : dy) + 1) * size;
          for (int i = 0; i < m; ++i) {
            const double constant = entry(dy, dx, i, 0);
            column[i * m] += constant;
            for (int j = 1; j < m; ++j)
              column[i * m + j] +=
                  entry(dy, dx, i, j) + constant * (double(other[j - 1]) - double(own_mean[j - 1]));
          }
        }
      carry_from_two<kM, kMost>(columns, diagonal, two, m);
      for (int p = 0; p < 2; ++p) {
        double* carry = carries + (is_in_row ? p : 2 * p) * size;
        for (int k = 0; k < size; ++k) carry[k] = two[p * size + k];
        change_basis(carry,
                     is_in_row ? mean(next, y / 2, x / 2 + p) : mean(next, y / 2 + p, x / 2));
      }
    }
  }
  const int64_t to = (int64_t{image} * level.nodes() + node) * 4 * size;
  for (int k = 0; k < 4 * size; ++k) {
    level.carry[to + k] = carries[k];
    level.rounded_carry[to + k] = float(carries[k]);
  }
}

template <int kD>
__global__ void merge_elements(const MattingLevel child, const MattingLevel level, int channels) {
  PF_DYN_SMEM(double, carried);  // E T
  const int d = channel_count<kD>(channels), m = d + 1, size = 4 * m;
  const unsigned image = blockIdx.x / unsigned(level.cells());
  const int cell = int(blockIdx.x % unsigned(level.cells()));
  const int cell_y = cell / level.cells_x, cell_x = cell % level.cells_x;
  const int threads = int(blockDim.x), thread = int(threadIdx.x);
  EntryTile tile(thread, size);
  for (int y = 0; y < 2; ++y)
    for (int x = 0; x < 2; ++x) {
      if (2 * cell_y + y >= child.cells_y || 2 * cell_x + x >= child.cells_x) continue;
      const int64_t number =
          int64_t{image} * child.cells() + (2 * cell_y + y) * child.cells_x + 2 * cell_x + x;
      const double* element = child.elements + number * packed_size(size);
      // Of T, whose column q is unknown q % m of the parent's corner q / m: the part that a corner
      // of the child has in that column, m numbers that are m apart, or null.
      const auto carry = [&](int corner, int q) {
        const double* block =
            carry_of_nodes(child, child.carry, image, m, 2 * cell_y + y + corner / 2,
                           2 * cell_x + x + corner % 2, cell_y + q / m / 2, cell_x + q / m % 2);
        return block == nullptr ? nullptr : block + q % m;
      };
      for (int k = thread; k < size * size; k += threads) {
        const int p = k / size, q = k % size;
        double sum = 0;
        for (int corner = 0; corner < 4; ++corner) {
          const double* by = carry(corner, q);
          for (int j = 0; by != nullptr && j < m; ++j)
            sum += by[j * m] * packed_at(element, p, corner * m + j);
        }
        carried[k] = sum;
      }
      __syncthreads();
      for (int i = 0; i < 2; ++i)
        for (int j = 0; j < 2; ++j) {
          const double* column = carried + tile.q + j;
          for (int corner = 0; corner < 4; ++corner) {
            const double* by = carry(corner, tile.p + i);
            for (int k = 0; by != nullptr && k < m; ++k)
              tile.value[i][j] += by[k * m] * column[(corner * m + k) * size];
          }
        }
      __syncthreads();
    }
  tile.write(level.elements + (int64_t{image} * level.cells() + cell) * packed_size(size));
}

// --- From elements to matrices ---

// A thread an entry; `blocks` share a neighbour of an image.
__global__ void __launch_bounds__(kMattingThreads)
    gather_rows(const MattingLevel level, int m, unsigned blocks) {
  const unsigned image = blockIdx.x / blocks / 9;
  const int neighbour = int(blockIdx.x / blocks % 9);
  const int entry = int(blockIdx.x % blocks * kMattingThreads + threadIdx.x);
  if (entry >= level.nodes() * m * m) return;
  const int node = entry / (m * m), y = node / level.nodes_x(), x = node % level.nodes_x();
  const int64_t first = (int64_t{image} * 9 + neighbour) * level.nodes() * m * m;
  const double value = entry_of_nodes(level, image, m, y, x, neighbour / 3 - 1, neighbour % 3 - 1,
                                      entry / m % m, entry % m);
  level.rows[first + entry] = float(value);
  if (level.exact_rows != nullptr) level.exact_rows[first + entry] = value;
}

// 1 / sqrt of a diagonal entry: scales a matrix to a diagonal of 1; 0 for an unknown without part.
PF_HD double unit_scale(double diagonal) { return diagonal > 0 ? 1 / sqrt(diagonal) : 0; }

// A thread a node. Colours of one direction make blocks singular, which the ridge mends.
template <int kD>
__global__ void __launch_bounds__(kMattingThreads)
    invert_blocks(const MattingLevel level, int channels, unsigned blocks) {
  const unsigned image = blockIdx.x / blocks;
  const int node = int(blockIdx.x % blocks * kMattingThreads + threadIdx.x);
  if (node >= level.nodes()) return;
  constexpr int kM = kD > 0 ? kD + 1 : 0, kMost = kMostColours<kD> + 1;
  const int m = channel_count<kD>(channels) + 1;
  const int y = node / level.nodes_x(), x = node % level.nodes_x();
  double block[kMost * (kMost + 1) / 2], scale[kMost];
  for (int i = 0; i < m; ++i)
    for (int j = 0; j <= i; ++j)
      block[packed(i, j)] = entry_of_nodes(level, image, m, y, x, 0, 0, i, j);
  double trace = 0;
  for (int i = 0; i < m; ++i) trace += block[packed(i, i)];
  for (int i = 0; i < m; ++i) scale[i] = unit_scale(block[packed(i, i)] + kNodeFloor * trace);
  for (int i = 0; i < m; ++i)
    for (int j = 0; j <= i; ++j)
      block[packed(i, j)] = i == j ? 1 + kNodeRidge : block[packed(i, j)] * scale[i] * scale[j];
  invert_factor<kM>(block, kNodeRidge, m);
  float* inverse = level.inverse + (int64_t{image} * level.nodes() + node) * m * m;
  for (int i = 0; i < m; ++i)
    for (int j = 0; j < m; ++j) {
      double sum = 0;
      for (int k = i > j ? i : j; k < m; ++k) sum += block[packed(k, i)] * block[packed(k, j)];
      inverse[i * m + j] = float(kNodeDamping * sum * scale[i] * scale[j]);
    }
}

constexpr int kBottomThreads = 512;

// The inverse of the coarsest level's matrix by Gauss and Jordan, without pivots, which a positive
// definite matrix does not need. A block an image.
__global__ void __launch_bounds__(kBottomThreads)
    invert_bottom(const MattingLevel level, int m, double* matrices, float* inverses) {
  __shared__ double row[kMostBottom], column[kMostBottom], scale[kMostBottom];
  const unsigned image = blockIdx.x;
  const int size = level.nodes() * m, thread = int(threadIdx.x);
  double* matrix = matrices + int64_t{image} * size * size;
  const auto entry = [&](int i, int j) {
    const int own = i / m, other = j / m;
    const int y = own / level.nodes_x(), x = own % level.nodes_x();
    const int dy = other / level.nodes_x() - y, dx = other % level.nodes_x() - x;
    if (dy < -1 || dy > 1 || dx < -1 || dx > 1) return 0.0;
    return entry_of_nodes(level, image, m, y, x, dy, dx, i % m, j % m);
  };
  for (int i = thread; i < size; i += kBottomThreads) scale[i] = unit_scale(entry(i, i));
  __syncthreads();
  for (int k = thread; k < size * size; k += kBottomThreads) {
    const int i = k / size, j = k % size;
    matrix[k] = i == j ? 1 + kNodeRidge : entry(i, j) * scale[i] * scale[j];
  }
  __syncthreads();
  for (int k = 0; k < size; ++k) {
    for (int i = thread; i < size; i += kBottomThreads) {
      row[i] = matrix[k * size + i];
      column[i] = matrix[i * size + k];
    }
    __syncthreads();
    const double pivot = 1 / (row[k] > kNodeRidge ? row[k] : kNodeRidge);
    for (int e = thread; e < size * size; e += kBottomThreads) {
      const int i = e / size, j = e % size;
      const double factor = i == k ? -pivot : column[i] * pivot;
      const double old = i == k || j == k ? 0 : matrix[e];
      matrix[e] = old - factor * (j == k ? 1 : row[j]);
    }
    __syncthreads();
  }
  for (int e = thread; e < size * size; e += kBottomThreads)
    inverses[int64_t{image} * size * size + e] =
        float(matrix[e] * scale[e / size] * scale[e % size]);
}

}  // namespace PF_ISA
}  // namespace pyfast
