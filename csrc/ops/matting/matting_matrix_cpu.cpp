// The matrix in compressed rows, and its diagonal, compiled once for every instruction set.
#include "ops/matting/matting_weights.h"

namespace pyfast {
namespace PF_ISA {
namespace {

// Entries before row (or column) `at` of a band matrix of `size` rows: 2r on both sides.
int64_t entries_before(int64_t at, int64_t size, int64_t radius) {
  const auto pairs = [&](int64_t rows) {  // (i, j) with i < rows
    int64_t count = 0;
    for (int64_t d = -2 * radius; d <= 2 * radius; ++d) {
      const int64_t low = d < 0 ? -d : 0, high = d > 0 ? size - d : size;
      const int64_t last = rows < high ? rows : high;
      count += last > low ? last - low : 0;
    }
    return count;
  };
  return pairs(at);
}

// One row of pixels: value and column of every entry.
template <class Sweep>
class MatrixRows {
 public:
  MatrixRows(const MattingMatrixParams& p, const Sweep& sweep)
      : p_(p),
        sweep_(sweep),
        reach_(2 * p.image.radius),
        height_(p.image.height),
        width_(p.image.width),
        row_entries_(entries_before(width_, width_, p.image.radius)) {}

  void write(int64_t y) const {
    const int64_t above = y < reach_ ? y : reach_;
    const int64_t below = height_ - 1 - y < reach_ ? height_ - 1 - y : reach_;
    int64_t at = entries_before(y, height_, p_.image.radius) * row_entries_;
    for (int64_t x = 0; x < width_; ++x) {
      p_.row_start[y * width_ + x] = static_cast<int32_t>(at);
      const int64_t left = x < reach_ ? x : reach_;
      const int64_t right = width_ - 1 - x < reach_ ? width_ - 1 - x : reach_;
      at += (above + below + 1) * (left + right + 1);
    }
    if (y == height_ - 1) p_.row_start[height_ * width_] = static_cast<int32_t>(at);
    write_values(y, above, below);
  }

 private:
  // The weight between pixel x of row y and the one at the offset is sources[...][x].
  void write_values(int64_t y, int64_t above, int64_t below) const {
    const int64_t span = 2 * reach_ + 1;
    const double* sources[kMostSpan * kMostSpan];
    for (int64_t dy = -above; dy <= below; ++dy)
      for (int64_t dx = -reach_; dx <= reach_; ++dx) {
        const bool after = dy > 0 || (dy == 0 && dx > 0);
        const int64_t oy = after ? dy : -dy, ox = after ? dx : -dx;
        const int64_t offset = oy == 0 ? ox - 1 : reach_ + (oy - 1) * span + ox + reach_;
        sources[(dy + above) * span + dx + reach_] = dy == 0 && dx == 0 ? nullptr
                                                     : after ? sweep_.row(y, offset)
                                                             : sweep_.row(y - oy, offset) - ox;
      }
    const int64_t inside = width_ > 2 * reach_ ? width_ - reach_ : 0;
    for (int64_t x = 0; x < width_; ++x)
      if (x < reach_ || x >= inside) write_pixel(y, x, above, below, sources);
    for (int64_t x = reach_; x < inside; x += kRun)
      write_run(y, x, inside - x < kRun ? inside - x : kRun, above, below, sources);
  }

  void write_pixel(int64_t y, int64_t x, int64_t above, int64_t below,
                   const double* const* sources) const {
    const int64_t left = x < reach_ ? x : reach_;
    const int64_t right = width_ - 1 - x < reach_ ? width_ - 1 - x : reach_;
    double* value = p_.value + p_.row_start[y * width_ + x];
    int32_t* column = p_.column + p_.row_start[y * width_ + x];
    double* diagonal = nullptr;
    double sum = 0;
    for (int64_t dy = -above; dy <= below; ++dy) {
      const double* const* row = sources + (dy + above) * (2 * reach_ + 1) + reach_;
      for (int64_t dx = -left; dx <= right; ++dx) {
        *column++ = static_cast<int32_t>((y + dy) * width_ + x + dx);
        if (row[dx] == nullptr) {
          diagonal = value++;
        } else {
          sum += row[dx][x];
          *value++ = -row[dx][x];
        }
      }
    }
    *diagonal = sum;
  }

  // Pixels whose neighbours in the row are all inside of the image: entries have one pattern.
  void write_run(int64_t y, int64_t x, int64_t count, int64_t above, int64_t below,
                 const double* const* sources) const {
    const int64_t span = 2 * reach_ + 1, entries = (above + below + 1) * span;
    double* value = p_.value + p_.row_start[y * width_ + x];
    int32_t* column = p_.column + p_.row_start[y * width_ + x];
    fetch_lines<true>(value + kRun * entries, kRun * entries);
    fetch_lines<true>(column + kRun * entries, kRun * entries);
    double sums[kRun] = {};
    int32_t pattern[kMostSpan * kMostSpan];
    const double* entry[kMostSpan * kMostSpan];
    for (int64_t k = 0; k < entries; ++k) {
      pattern[k] = static_cast<int32_t>((y + k / span - above) * width_ + x + k % span - reach_);
      entry[k] = sources[k] == nullptr ? sums : sources[k] + x;
      if (entry[k] == sums) continue;
#pragma omp simd
      for (int64_t i = 0; i < count; ++i) sums[i] -= entry[k][i];
    }
    write_entries(entry, entries, count, value);
    for (int64_t i = 0; i < count; ++i, column += entries)
#pragma omp simd
      for (int64_t k = 0; k < entries; ++k) column[k] = pattern[k] + static_cast<int32_t>(i);
  }

  // value[i][k] = -entry[k][i], by squares where they fit.
  static void write_entries(const double* const* entry, int64_t entries, int64_t count,
                            double* value) {
    const int64_t whole = count - count % kLanes, wide = entries - entries % kLanes;
    for (int64_t i = 0; i < whole; i += kLanes)
      for (int64_t k = 0; k < wide; k += kLanes) {
        Doubles square[kLanes];
        for (int l = 0; l < kLanes; ++l) square[l] = -load<kLanes>(entry[k + l] + i);
        transpose<kLanes>(square);
        for (int l = 0; l < kLanes; ++l) store(value + (i + l) * entries + k, square[l]);
      }
    for (int64_t k = 0; k < entries; ++k)
      for (int64_t i = k < wide ? whole : 0; i < count; ++i) value[i * entries + k] = -entry[k][i];
  }

  static constexpr int64_t kRun = 32;
  static constexpr int64_t kMostSpan = 4 * kMostMattingRadius + 1;
  const MattingMatrixParams& p_;
  const Sweep& sweep_;
  const int64_t reach_, height_, width_, row_entries_;
};

void matrix(const MattingMatrixParams& p, int64_t top, int64_t bottom, double* memory) {
  with_shape(p.image.channels, p.image.radius, [&](const auto& shape) {
    using Sweep = WeightSweep<std::decay_t<decltype(shape)>>;
    Memory rest(memory);
    Sweep sweep(shape, p.image, p.image.data, p.known, rest);
    const MatrixRows<Sweep> rows(p, sweep);
    sweep.run(top, bottom, [&](int64_t y) { rows.write(y); });
  });
}

void diagonal(const MattingDiagonalParams& p, int64_t n, int64_t top, int64_t bottom,
              double* memory) {
  const int64_t width = p.image.width, size = p.image.pixels();
  with_shape(p.image.channels, p.image.radius, [&](const auto& shape) {
    using Sweep = WeightSweep<std::decay_t<decltype(shape)>>;
    Memory rest(memory);
    Sweep sweep(shape, p.image, p.image.data + n * shape.d() * size, nullptr, rest);
    sweep.run(top, bottom, [&](int64_t y) {
      double* to = p.diagonal + n * size + y * width;
      for (int64_t x = 0; x < width; ++x) to[x] = 0;
      sweep.for_offsets(y, [&](const double* own, const double* mirrored) {
        for (int64_t x = 0; x < width; ++x) to[x] += own[x];
        for (int64_t x = 0; mirrored != nullptr && x < width; ++x) to[x] += mirrored[x];
      });
    });
  });
}

const MattingMatrixKernels kKernels = {matrix, diagonal};

}  // namespace

const MattingMatrixKernels& matting_matrix_kernels() { return kKernels; }

}  // namespace PF_ISA
}  // namespace pyfast
