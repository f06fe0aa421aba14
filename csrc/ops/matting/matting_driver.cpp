// Brings threads and memory to the kernels of forms and matrices. How a call is divided depends on
// its sizes alone, and sums are taken in the order of the tiles, so that the bits do not depend on
// the number of threads.
#include <algorithm>

#include "core/cpu_dispatch.h"
#include "core/parallel.h"
#include "core/workspace.h"
#include "ops/matting/matting_cpu.h"

namespace pyfast {
namespace {

constexpr int64_t kTileRows = 64, kTileColumns = 512;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// The tiles of a batch, image by image. Their windows overlap, so small ones repeat much.
class Tiles {
 public:
  Tiles(int64_t batch, int64_t height, int64_t width)
      : batch_(batch), height_(height), width_(width) {}
  int64_t of_image() const { return rows() * columns(); }
  int64_t count() const { return batch_ * of_image(); }
  MattingTile operator[](int64_t index) const {
    const int64_t in_image = index % of_image();
    const int64_t top = in_image / columns() * kTileRows,
                  left = in_image % columns() * kTileColumns;
    return {index / of_image(), top, std::min(top + kTileRows, height_), left,
            std::min(left + kTileColumns, width_)};
  }

 private:
  int64_t rows() const { return ceil_div(height_, kTileRows); }
  int64_t columns() const { return ceil_div(width_, kTileColumns); }
  int64_t batch_, height_, width_;
};

}  // namespace

int64_t matting_entries(int64_t height, int64_t width, int64_t radius) {
  const auto along = [&](int64_t side) {
    int64_t pairs = side;
    for (int64_t d = 1; d <= 2 * radius && d < side; ++d) pairs += 2 * (side - d);
    return pairs;
  };
  return along(height) * along(width);
}

template <class T>
void matting_form_cpu(const MattingFormParams<T>& p) {
  const Tiles tiles(p.image.batch, p.image.height, p.image.width);
  Scratch<double> energies(tiles.count() * p.vectors);
  parallel_for(0, tiles.count(), 1, [&](int64_t begin, int64_t end) {
    const Scratch<double> memory(form_memory(p, std::min(p.image.width, kTileColumns)));
    for (int64_t i = begin; i < end; ++i)
      PF_PICK_CPU(matting_form_kernels<T>)
          .form(p, tiles[i], memory.data(), energies.data() + i * p.vectors);
  });
  if (p.energy == nullptr) return;
  for (int64_t n = 0; n < p.image.batch; ++n)
    for (int64_t k = 0; k < p.vectors; ++k) {
      double sum = 0;
      for (int64_t i = 0; i < tiles.of_image(); ++i)
        sum += energies.data()[(n * tiles.of_image() + i) * p.vectors + k];
      p.energy[n * p.vectors + k] = sum;
    }
}

void matting_matrix_cpu(const MattingMatrixParams& p) {
  const int64_t strips = ceil_div(p.image.height, kTileRows);
  parallel_for(0, strips, 1, [&](int64_t begin, int64_t end) {
    const Scratch<double> memory(matrix_memory(p.image));
    PF_PICK_CPU(matting_matrix_kernels)
        .matrix(p, begin * kTileRows, std::min(end * kTileRows, p.image.height), memory.data());
  });
}

void matting_diagonal_cpu(const MattingDiagonalParams& p) {
  const int64_t strips = ceil_div(p.image.height, kTileRows);
  parallel_for(0, p.image.batch * strips, 1, [&](int64_t begin, int64_t end) {
    const Scratch<double> memory(matrix_memory(p.image));
    for (int64_t i = begin; i < end; ++i) {
      const int64_t top = i % strips * kTileRows;
      PF_PICK_CPU(matting_matrix_kernels)
          .diagonal(p, i / strips, top, std::min(top + kTileRows, p.image.height), memory.data());
    }
  });
}

template void matting_form_cpu(const MattingFormParams<float>&);
template void matting_form_cpu(const MattingFormParams<double>&);

}  // namespace pyfast
