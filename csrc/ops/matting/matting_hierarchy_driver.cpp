// Builds the levels of the preconditioner and runs its cycle. Ranges are divided by sizes alone and
// sums taken in their order, so that the bits do not depend on the number of threads.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "core/cpu_dispatch.h"
#include "core/parallel.h"
#include "ops/matting/matting_hierarchy.h"
#include "ops/matting/matting_threads.h"

namespace pyfast {
namespace {

// Items of a range, and ranges below which a second thread costs more than it brings.
struct Division {
  int64_t items, fewest;
};
constexpr Division kPixelBlocks{64, 8}, kNodeBlocks{16, 32}, kPixelRows{32, 1};
// Levels of at most so many nodes are solved directly.
constexpr int64_t kLastNodes = 24;

const MattingFineKernels& fine_kernels() { return PF_PICK_CPU(matting_fine_kernels); }
const MattingTransferKernels& transfers() { return PF_PICK_CPU(matting_transfer_kernels); }
const MattingNodeKernels& node_kernels() { return PF_PICK_CPU(matting_node_kernels); }
const MattingCoarseningKernels& coarsening() { return PF_PICK_CPU(matting_coarsening_kernels); }

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// f(begin, end) on parts of [first, last).
template <class F>
void for_parts(int64_t first, int64_t last, Division division, const F& f) {
  const int64_t parts = ceil_div(last - first, division.items);
  parallel_for(0, parts, division.fewest, [&](int64_t begin, int64_t end) {
    for (int64_t part = begin; part < end; ++part)
      f(first + part * division.items, std::min(first + (part + 1) * division.items, last));
  });
}

template <class F>
double sum_of_parts(int64_t first, int64_t last, Division division, const F& f) {
  const int64_t parts = ceil_div(last - first, division.items);
  const Scratch<double> sums(parts);
  for_parts(first, last, division, [&](int64_t begin, int64_t end) {
    sums.data()[(begin - first) / division.items] = f(begin, end);
  });
  double sum = 0;
  for (int64_t i = 0; i < parts; ++i) sum += sums.data()[i];
  return sum;
}

// Rows of nodes, as many together as kNodeBlocks has.
Division node_rows(const NodeLevel& level) {
  const int64_t of_row = ceil_div(level.table.count, level.rows) + 1;
  return {4, std::max<int64_t>(1, kNodeBlocks.items * kNodeBlocks.fewest / (4 * of_row))};
}

// Numbers the blocks that are marked in `index`.
void number_blocks(BlockTable& table, SolverMemory& memory) {
  for (int64_t y = 0; y < table.rows; ++y)
    for (int64_t b = 0; b < table.blocks; ++b) table.count += *table.at(y, b) != 0;
  table.row = memory.take<int32_t>(table.count + 1);
  table.block = memory.take<int32_t>(table.count + 1);
  table.first = memory.take<int32_t>(table.rows + 1);
  int32_t next = 1;
  for (int64_t y = 0; y < table.rows; ++y) {
    table.first[y] = next;
    for (int64_t b = 0; b < table.blocks; ++b)
      if (*table.at(y, b) != 0) {
        table.row[next] = static_cast<int32_t>(y);
        table.block[next] = static_cast<int32_t>(b);
        *table.at(y, b) = next++;
      }
  }
  table.first[table.rows] = next;
}

void open_table(BlockTable& table, int64_t rows, int64_t blocks, int64_t pad,
                SolverMemory& memory) {
  table.rows = rows;
  table.blocks = blocks;
  table.pad = pad;
  table.index = memory.take<int32_t>((rows + 2 * pad) * table.width());
}

}  // namespace

void* SolverMemory::take_bytes(size_t bytes, size_t zeros) {
  blocks_.push_back(std::make_unique<ScratchBytes>(bytes));
  char* data = static_cast<char*>(blocks_.back()->data());
  for_parts(0, static_cast<int64_t>(zeros), {int64_t{1} << 20, 4}, [&](int64_t begin, int64_t end) {
    std::memset(data + begin, 0, static_cast<size_t>(end - begin));
  });
  return data;
}

// --- the last level ---

void DenseFactor::factor(std::vector<double> a, int64_t n) {
  // Of the diagonal, what is added to it: more than rounding, in double and in float.
  constexpr double kRidge = 1e-6;
  size_ = n;
  for (int64_t j = 0; j < n; ++j) {
    const double diagonal = a[j * n + j];
    double pivot = (1 + kRidge) * diagonal;
    for (int64_t k = 0; k < j; ++k) pivot -= a[j * n + k] * a[j * n + k];
    const bool is_used = pivot > 0 && diagonal > 0;
    const double inverse = is_used ? 1 / std::sqrt(pivot) : 0;
    for (int64_t i = j + 1; i < n; ++i) {
      double sum = a[i * n + j];
      for (int64_t k = 0; k < j; ++k) sum -= a[i * n + k] * a[j * n + k];
      a[i * n + j] = sum * inverse;
    }
    a[j * n + j] = inverse;
  }
  factor_ = std::move(a);
}

void DenseFactor::solve(std::vector<double>& x) const {
  const int64_t n = size_;
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t k = 0; k < i; ++k) x[i] -= factor_[i * n + k] * x[k];
    x[i] *= factor_[i * n + i];
  }
  for (int64_t i = n; i-- > 0;) {
    x[i] *= factor_[i * n + i];
    for (int64_t k = 0; k < i; ++k) x[k] -= factor_[i * n + k] * x[i];
  }
}

// --- building ---

MattingHierarchy::MattingHierarchy(const MattingImage<double>& image, const uint8_t* known,
                                   const double* diagonal) {
  fine_.image = image;
  make_fine(known, diagonal);
  if (fine_.table.count == 0) return;
  make_nodes();
  while (levels_.back().rows * levels_.back().columns > kLastNodes) {
    const int64_t rows = levels_.back().rows, columns = levels_.back().columns;
    make_coarse(levels_.back());
    if (levels_.back().rows == rows && levels_.back().columns == columns) break;
  }
  if (levels_.size() > kRepeatedLevel) {
    const NodeLevel& repeated = levels_[kRepeatedLevel];
    repeated_f_ = memory_.take<float>(repeated.vector_size(repeated.unknowns));
    repeated_t_ = memory_.take<float>(repeated.vector_size(repeated.unknowns));
  }
  factor_last();
}

void MattingHierarchy::make_fine(const uint8_t* known, const double* diagonal) {
  const int64_t height = fine_.image.height, width = fine_.image.width;
  fine_.half = matting_half_offsets(fine_.image.radius);
  fine_.spacing = 4 * fine_.image.radius;
  BlockTable& table = fine_.table;
  open_table(table, height, ceil_div(width, kPixels), fine_.reach(), memory_);
  for_parts(0, height, kPixelRows, [&](int64_t begin, int64_t end) {
    for (int64_t y = begin; y < end; ++y)
      for (int64_t x = 0; x < width; ++x)
        if (known == nullptr || known[y * width + x] == 0) *table.at(y, x / kPixels) = 1;
  });
  number_blocks(table, memory_);
  if (table.count == 0) return;
  const int64_t blocks = fine_.block_size(), grid = fine_.grid_size();
  fine_.weight = memory_.take_blocks<float>(table.count + 1, kPixels * fine_.half);
  fine_.exact = memory_.take_blocks<double>(table.count + 1, kPixels * fine_.half);
  fine_.excess = memory_.take<double>(blocks);
  fine_.inverse = memory_.take<float>(blocks);
  fine_.colours = memory_.take<float>(grid * fine_.image.channels);
  v_.p = memory_.take<double>(grid);
  v_.z = memory_.take<float>(grid);
  v_.t = memory_.take<float>(grid);
  v_.q = memory_.take<double>(blocks);
  v_.x = memory_.take<double>(blocks);
  v_.r = memory_.take<double>(blocks);
  v_.f = memory_.take<float>(blocks);
  v_.s = memory_.take<float>(blocks);
  for_parts(0, height, kPixelRows, [&](int64_t begin, int64_t end) {
    const Scratch<double> rows(solver_weights_memory(fine_));
    fine_kernels().colours(fine_, begin, end);
    fine_kernels().weights(fine_, known, diagonal, begin, end, rows.data());
  });
}

NodeLevel MattingHierarchy::sized_level(int64_t rows, int64_t columns) const {
  NodeLevel level;
  level.rows = rows;
  level.columns = columns;
  level.unknowns = fine_.image.channels + 1;
  return level;
}

void MattingHierarchy::allocate(NodeLevel& level) {
  number_blocks(level.table, memory_);
  const int64_t m = level.unknowns, blocks = level.table.count + 1, size = kNodes * m * m;
  level.product = memory_.take_blocks<double>(blocks, kNeighbours * size);
  level.mass = memory_.take_blocks<double>(blocks, kNodes * m);
  level.carry = memory_.take_blocks<double>(blocks, 4 * size);
  level.centred_carry = memory_.take_blocks<float>(blocks, 4 * size);
  level.matrix = memory_.take_blocks<float>(blocks, kNeighbours * size);
  level.inverse = memory_.take_blocks<float>(blocks, size);
  level.mean = memory_.take<float>(level.vector_size(m - 1));
  level.f = memory_.take<float>(level.vector_size(m));
  level.x = memory_.take<float>(level.vector_size(m));
  level.t = memory_.take<float>(level.vector_size(m));
}

// Means, matrix and inverses, from the Galerkin product.
void MattingHierarchy::finish(const NodeLevel& level) const {
  const int64_t last = level.table.count + 1;
  for_parts(1, last, kNodeBlocks,
            [&](int64_t begin, int64_t end) { node_kernels().means(level, begin, end); });
  for_parts(1, last, kNodeBlocks,
            [&](int64_t begin, int64_t end) { node_kernels().centre(level, begin, end); });
}

void MattingHierarchy::make_nodes() {
  const int64_t spacing = fine_.spacing;
  NodeLevel level =
      sized_level((fine_.image.height - 1) / spacing + 2, (fine_.image.width - 1) / spacing + 2);
  open_table(level.table, level.rows, ceil_div(level.columns, kNodes), 1, memory_);
  for (int64_t i = 1; i <= fine_.table.count; ++i) {
    const int64_t cy = fine_.table.row[i] / spacing, x = fine_.table.block[i] * int64_t{kPixels};
    const int64_t last = std::min((x + kPixels - 1) / spacing + 1, level.columns - 1);
    for (int64_t y = cy; y <= cy + 1; ++y) {
      *level.table.at(y, x / spacing / kNodes) = 1;
      *level.table.at(y, last / kNodes) = 1;
    }
  }
  allocate(level);
  for_parts(0, level.rows, {16, 1}, [&](int64_t begin, int64_t end) {
    transfers().galerkin_pixels(fine_, level, begin, end);
  });
  finish(level);
  levels_.push_back(level);
}

void MattingHierarchy::make_coarse(const NodeLevel& fine_level) {
  const NodeLevel fine = fine_level;  // levels_ may move
  NodeLevel level = sized_level(fine.rows / 2 + 1, fine.columns / 2 + 1);
  open_table(level.table, level.rows, ceil_div(level.columns, kNodes), 1, memory_);
  for (int64_t i = 1; i <= fine.table.count; ++i) {
    const int64_t y = fine.table.row[i], x = fine.table.block[i] * int64_t{kNodes};
    const int64_t last = std::min((x + kNodes) / 2, level.columns - 1);
    for (int64_t cy = y / 2; cy <= (y + 1) / 2; ++cy) {
      *level.table.at(cy, x / 2 / kNodes) = 1;
      *level.table.at(cy, last / kNodes) = 1;
    }
  }
  allocate(level);
  const auto for_fine = [&](const auto& f) { for_parts(1, fine.table.count + 1, kNodeBlocks, f); };
  for (const bool between_four : {false, true})
    for_fine([&](int64_t begin, int64_t end) {
      coarsening().interpolate(fine, between_four, begin, end);
    });
  for_parts(0, level.rows, node_rows(level),
            [&](int64_t begin, int64_t end) { coarsening().galerkin(fine, level, begin, end); });
  finish(level);
  for_fine(
      [&](int64_t begin, int64_t end) { coarsening().centre_carries(fine, level, begin, end); });
  levels_.push_back(level);
}

void MattingHierarchy::factor_last() {
  const NodeLevel& level = levels_.back();
  const int64_t m = level.unknowns;
  std::vector<int64_t> number(level.rows * level.columns, -1);
  int64_t size = 0;
  const auto slot_of = [&](int64_t y, int64_t x) {
    return *level.table.at(y, x / kNodes) * int64_t{kNodes} + x % kNodes;
  };
  for (int64_t y = 0; y < level.rows; ++y)
    for (int64_t x = 0; x < level.columns; ++x) {
      if (*level.table.at(y, x / kNodes) == 0 || !(level.mass[slot_of(y, x) * m] > 0)) continue;
      number[y * level.columns + x] = size;
      for (int64_t c = 0; c < m; ++c) last_unknowns_.push_back(level.at(m, c, y, x));
      size += m;
    }
  std::vector<double> matrix(size * size, 0.0);
  for (int64_t y = 0; y < level.rows; ++y)
    for (int64_t x = 0; x < level.columns; ++x)
      for (int64_t e = 0; e < kNeighbours; ++e) {
        const int64_t i = number[y * level.columns + x], oy = y + e / 3 - 1, ox = x + e % 3 - 1;
        if (i < 0 || oy < 0 || oy >= level.rows || ox < 0 || ox >= level.columns) continue;
        const int64_t j = number[oy * level.columns + ox];
        if (j < 0) continue;
        const double* block = level.product + (slot_of(y, x) * kNeighbours + e) * m * m;
        for (int64_t a = 0; a < m; ++a)
          for (int64_t c = 0; c < m; ++c) matrix[(i + a) * size + j + c] = block[a * m + c];
      }
  last_.factor(std::move(matrix), size);
}

// --- the cycle ---

// t of f. The system is in the basis b + a . (I - 1/2), which is that of the Galerkin product.
void MattingHierarchy::solve_last() const {
  const NodeLevel& level = levels_.back();
  const int64_t m = level.unknowns, d = m - 1;
  std::vector<double> x(last_unknowns_.size());
  const auto for_slopes = [&](const auto& f) {
    for (size_t i = 0; i < x.size(); i += m) {
      const int64_t at = last_unknowns_[i];
      const int64_t row = at / (m * level.stride()), column = at % level.stride();
      for (int64_t c = 0; c < d; ++c)
        f(x[i], x[i + c + 1], level.mean[(row * d + c) * level.stride() + column]);
    }
  };
  for (size_t i = 0; i < x.size(); ++i) x[i] = level.f[last_unknowns_[i]];
  for_slopes([](double constant, double& slope, float mean) { slope += constant * mean; });
  last_.solve(x);
  for_slopes([](double& constant, double slope, float mean) { constant += slope * mean; });
  for (size_t i = 0; i < x.size(); ++i) level.t[last_unknowns_[i]] = static_cast<float>(x[i]);
}

// t of f, of a level and those below it.
void MattingHierarchy::cycle(size_t index) const {
  if (index + 1 == levels_.size()) return solve_last();
  return index == kRepeatedLevel ? repeat_cycle(index) : v_cycle(index);
}

void MattingHierarchy::repeat_cycle(size_t index) const {
  const NodeLevel& level = levels_[index];
  const int64_t size = level.vector_size(level.unknowns);
  std::copy_n(level.f, size, repeated_f_);
  std::fill_n(repeated_t_, size, 0.0f);
  for (int k = 0;; ++k) {
    v_cycle(index);
    for (int64_t i = 0; i < size; ++i) repeated_t_[i] += kRepeatSteps[k] * level.t[i];
    if (k + 1 == kRepeats) break;
    for_parts(1, level.table.count + 1, kNodeBlocks, [&](int64_t begin, int64_t end) {
      node_kernels().exact_residual(level, repeated_f_, repeated_t_, begin, end);
    });
  }
  std::copy_n(repeated_t_, size, level.t);
}

void MattingHierarchy::v_cycle(size_t index) const {
  const NodeLevel &level = levels_[index], &coarse = levels_[index + 1];
  const int64_t last = level.table.count + 1;
  const auto blocks = [&](const auto& f) { for_parts(1, last, kNodeBlocks, f); };
  blocks([&](int64_t begin, int64_t end) { node_kernels().start(level, begin, end); });
  blocks([&](int64_t begin, int64_t end) { node_kernels().residual(level, begin, end); });
  for_parts(0, coarse.rows, node_rows(coarse), [&](int64_t begin, int64_t end) {
    coarsening().restrict_nodes(level, coarse, begin, end);
  });
  cycle(index + 1);
  blocks(
      [&](int64_t begin, int64_t end) { coarsening().prolong_nodes(coarse, level, begin, end); });
  blocks([&](int64_t begin, int64_t end) { node_kernels().smooth(level, begin, end); });
}

double MattingHierarchy::multiply() const {
  return sum_of_parts(1, fine_.table.count + 1, kPixelBlocks, [&](int64_t begin, int64_t end) {
    return fine_kernels().outer(fine_, v_, begin, end);
  });
}

double MattingHierarchy::advance(double step, double* largest) const {
  const int64_t last = fine_.table.count + 1;
  const Scratch<double> changes(ceil_div(last - 1, kPixelBlocks.items));
  const double squares = sum_of_parts(1, last, kPixelBlocks, [&](int64_t begin, int64_t end) {
    double& change = changes.data()[(begin - 1) / kPixelBlocks.items];
    change = 0;
    return fine_kernels().advance(fine_, v_, step, begin, end, &change);
  });
  *largest = 0;
  for (int64_t i = 0; i < ceil_div(last - 1, kPixelBlocks.items); ++i)
    *largest = std::max(*largest, changes.data()[i]);
  return squares;
}

double MattingHierarchy::precondition(bool by_levels) const {
  const int64_t last = fine_.table.count + 1;
  if (!by_levels) {  // a Jacobi step from zero
    std::memset(v_.z, 0, sizeof(float) * fine_.grid_size());
    return sum_of_parts(1, last, kPixelBlocks, [&](int64_t begin, int64_t end) {
      return fine_kernels().smooth(fine_, v_, begin, end);
    });
  }
  for_parts(1, last, kPixelBlocks,
            [&](int64_t begin, int64_t end) { fine_kernels().residual(fine_, v_, begin, end); });
  for_parts(0, levels_[0].rows, node_rows(levels_[0]), [&](int64_t begin, int64_t end) {
    transfers().restrict_pixels(fine_, v_, levels_[0], begin, end);
  });
  cycle(0);
  for_parts(1, levels_[0].table.count + 1, kNodeBlocks,
            [&](int64_t begin, int64_t end) { node_kernels().uncentre(levels_[0], begin, end); });
  for_parts(1, last, kPixelBlocks, [&](int64_t begin, int64_t end) {
    transfers().prolong_pixels(fine_, v_, levels_[0], begin, end);
  });
  return sum_of_parts(1, last, kPixelBlocks, [&](int64_t begin, int64_t end) {
    return fine_kernels().smooth(fine_, v_, begin, end);
  });
}

void MattingHierarchy::apply(const double* r, double* z) const {
  if (fine_.table.count == 0) return;
  for_unknown([&](int64_t pixel, int64_t place) { v_.r[place] = r[pixel]; });
  double unchanged;
  advance(0, &unchanged);
  precondition(true);
  for_unknown([&](int64_t pixel, int64_t place) { z[pixel] = v_.s[place]; });
}

bool MattingHierarchy::is_singular() const {
  return std::all_of(fine_.excess, fine_.excess + fine_.block_size(),
                     [](double excess) { return excess == 0; });
}

void MattingHierarchy::remove_mean(float* v) const {
  double sum = 0, count = 0;
  for_unknown([&](int64_t, int64_t place) {
    sum += v[place];
    ++count;
  });
  const float mean = static_cast<float>(sum / count);
  for_unknown([&](int64_t, int64_t place) { v[place] -= mean; });
}

void MattingHierarchy::turn(double factor) const {
  for_parts(1, fine_.table.count + 1, kPixelBlocks, [&](int64_t begin, int64_t end) {
    fine_kernels().direction(fine_, v_, factor, begin, end);
  });
}

}  // namespace pyfast
