// The system of foreground and background on the CPU, compiled once for every instruction set.
#include "core/vectors.h"
#include "ops/matting/foreground_system.h"

namespace pyfast {
namespace PF_ISA {
namespace {

constexpr int kSweeps = 2;  // of both colours, on either way

// Where one layer is not seen at all it has no mass, and on the last level no weights: a little of
// what the other has keeps the diagonal from zero.
template <class T>
T diagonal_weight(const T& left, const T& right, const T& up, const T& down, const T& mass) {
  return (left + right) + (up + down) + 1e-6f * mass;
}

template <class T>
T magnitude(T value) {
  return value < 0 ? -value : value;
}

// --- levels ---

void weigh(const PixelSystem& system, const SystemLevel& level) {
  const int64_t width = level.grid.width, height = level.grid.height, stride = level.grid.stride();
  for (int64_t y = 0; y < height; ++y) {
    const int64_t at = level.grid.at(y);
    const float* a = system.alpha + at;
    float *right = level.right + at, *down = level.down + at;
    float *m00 = level.mass00 + at, *m01 = level.mass01 + at, *m11 = level.mass11 + at;
    const float below = y + 1 < height ? 1.0f : 0.0f;
#pragma omp simd
    for (int64_t x = 0; x < width; ++x) {
      right[x] = system.base + system.slope * magnitude(a[x] - a[x + 1]);
      down[x] = below * (system.base + system.slope * magnitude(a[x] - a[x + stride]));
      m00[x] = a[x] * a[x];
      m01[x] = a[x] * (1 - a[x]);
      m11[x] = (1 - a[x]) * (1 - a[x]);
    }
    right[width - 1] = 0;
  }
}

// Sums of 2 x 2 cells; cells beyond an odd edge are zeros.
void add_fours(const SystemGrid& fine, const float* from, const SystemGrid& coarse, float* to) {
  for (int64_t y = 0; y < coarse.height; ++y) {
    const float *upper = from + fine.at(2 * y), *lower = upper + fine.stride();
    float* row = to + coarse.at(y);
    for (int64_t x = 0; x < coarse.width; ++x)
      row[x] = (upper[2 * x] + upper[2 * x + 1]) + (lower[2 * x] + lower[2 * x + 1]);
  }
}

void coarsen(const SystemLevel& fine, const SystemLevel& coarse) {
  add_fours(fine.grid, fine.mass00, coarse.grid, coarse.mass00);
  add_fours(fine.grid, fine.mass01, coarse.grid, coarse.mass01);
  add_fours(fine.grid, fine.mass11, coarse.grid, coarse.mass11);
  const int64_t stride = fine.grid.stride();
  for (int64_t y = 0; y < coarse.grid.height; ++y) {
    const float* right = fine.right + fine.grid.at(2 * y);
    const float* down = fine.down + fine.grid.at(2 * y) + stride;
    const int64_t at = coarse.grid.at(y);
    for (int64_t x = 0; x < coarse.grid.width; ++x) {
      coarse.right[at + x] = kSoftening * (right[2 * x + 1] + right[2 * x + 1 + stride]);
      coarse.down[at + x] = kSoftening * (down[2 * x] + down[2 * x + 1]);
    }
  }
}

void invert(const SystemLevel& level) {
  const int64_t stride = level.grid.stride();
  for (int64_t y = 0; y < level.grid.height; ++y) {
    const int64_t at = level.grid.at(y);
    const float *r = level.right + at, *d = level.down + at;
    const float *m00 = level.mass00 + at, *m01 = level.mass01 + at, *m11 = level.mass11 + at;
    float *i00 = level.inverse00 + at, *i01 = level.inverse01 + at, *i11 = level.inverse11 + at;
#pragma omp simd
    for (int64_t x = 0; x < level.grid.width; ++x) {
      const float trace = m00[x] + m11[x];
      const float total = diagonal_weight(r[x - 1], r[x], d[x - stride], d[x], trace);
      const float of_mass = m00[x] * m11[x] - m01[x] * m01[x];
      const float inverse = 1 / ((of_mass > 0 ? of_mass : 0.0f) + total * (trace + total));
      i00[x] = (m11[x] + total) * inverse;
      i01[x] = -m01[x] * inverse;
      i11[x] = (m00[x] + total) * inverse;
    }
  }
}

// --- the cycle ---

constexpr int kCells = 16;  // at once; a row's padding takes what lies beyond its width
using Floats = Vec<float, kCells>;
using Choice = Vec<int32_t, kCells>;
static_assert(kCells <= kSystemPad, "padding for whole vectors");

// Cells `first`, `first` + 2, ...
Choice every_second(int64_t first) {
  Choice choice;
  for (int l = 0; l < kCells; ++l) choice[l] = (l + first) % 2 == 0 ? -1 : 0;
  return choice;
}

// One row of a level: pointers to its planes.
struct Row {
  const float *right, *down, *mass00, *mass01, *mass11, *inverse00, *inverse01, *inverse11;
  const float* b[2];
  float* x[2];
  int64_t width, stride;

  Row(const SystemLevel& level, const SystemVectors& v, int64_t y)
      : width(level.grid.width), stride(level.grid.stride()) {
    const int64_t at = level.grid.at(y);
    right = level.right + at;
    down = level.down + at;
    mass00 = level.mass00 + at;
    mass01 = level.mass01 + at;
    mass11 = level.mass11 + at;
    inverse00 = level.inverse00 + at;
    inverse01 = level.inverse01 + at;
    inverse11 = level.inverse11 + at;
    for (int side = 0; side < 2; ++side) {
      b[side] = v.b[side] + at;
      x[side] = v.x[side] + at;
    }
  }
};

template <int... I>
inline Floats one_back(const Floats& before, const Floats& here, Numbers<I...>) {
  return __builtin_shufflevector(before, here, (kCells - 1 + I)...);
}
template <int... I>
inline Floats one_on(const Floats& here, const Floats& after, Numbers<I...>) {
  return __builtin_shufflevector(here, after, (1 + I)...);
}

// A row's values, some cells at a time, and those of the cells beside them. A value that was
// written just before would be slow to read at another place; here each is read once.
class Window {
 public:
  explicit Window(const float* row) : row_(row), here_{}, after_(load<kCells>(row)) {}
  void move(int64_t x) {
    before_ = here_;
    here_ = after_;
    after_ = load<kCells>(row_ + x + kCells);
  }
  const Floats& here() const { return here_; }
  Floats left() const { return one_back(before_, here_, kLanes); }
  Floats right() const { return one_on(here_, after_, kLanes); }

 private:
  static constexpr FirstNumbers<kCells> kLanes{};
  const float* row_;
  Floats before_, here_, after_;
};

// Some cells of a row, their weights and neighbours.
struct Cells {
  const Row& row;
  Window weights, x[2];
  int64_t at = 0;
  Floats up, down;

  explicit Cells(const Row& r) : row(r), weights(r.right), x{Window(r.x[0]), Window(r.x[1])} {}
  void move(int64_t to) {
    at = to;
    weights.move(to);
    x[0].move(to);
    x[1].move(to);
    up = load<kCells>(row.down + to - row.stride);
    down = load<kCells>(row.down + to);
  }
  Floats of(const float* plane) const { return load<kCells>(plane + at); }
  // b and the neighbours' pull.
  Floats pulled(int side) const {
    const float* near = row.x[side] + at;
    return of(row.b[side]) + (weights.left() * x[side].left() + weights.here() * x[side].right()) +
           (up * load<kCells>(near - row.stride) + down * load<kCells>(near + row.stride));
  }
};

// Solves the chosen cells of a row, their neighbours fixed.
void solve_cells(const Row& row, const Choice& choice) {
  Cells cells(row);
  for (int64_t x = 0; x < row.width; x += kCells) {
    cells.move(x);
    const Floats front = cells.pulled(0), back = cells.pulled(1), i01 = cells.of(row.inverse01);
    store(row.x[0] + x, choice ? cells.of(row.inverse00) * front + i01 * back : cells.x[0].here());
    store(row.x[1] + x, choice ? i01 * front + cells.of(row.inverse11) * back : cells.x[1].here());
  }
}

// The same from zero: no neighbour has a part, and the others become zeros.
void start_cells(const Row& row, const Choice& choice) {
  const Floats none{};
  for (int64_t x = 0; x < row.width; x += kCells) {
    const Floats front = load<kCells>(row.b[0] + x), back = load<kCells>(row.b[1] + x);
    const Floats i01 = load<kCells>(row.inverse01 + x);
    store(row.x[0] + x, choice ? load<kCells>(row.inverse00 + x) * front + i01 * back : none);
    store(row.x[1] + x, choice ? i01 * front + load<kCells>(row.inverse11 + x) * back : none);
  }
}

// b - A x of a row, into two rows.
void residual_row(const Row& row, float* memory) {
  Cells cells(row);
  for (int64_t x = 0; x < row.width; x += kCells) {
    cells.move(x);
    const Floats m00 = cells.of(row.mass00), m01 = cells.of(row.mass01), m11 = cells.of(row.mass11);
    const Floats total = diagonal_weight(cells.weights.left(), cells.weights.here(), cells.up,
                                         cells.down, m00 + m11);
    const Floats front = cells.x[0].here(), back = cells.x[1].here();
    store(memory + x, cells.pulled(0) - ((m00 + total) * front + m01 * back));
    store(memory + row.stride + x, cells.pulled(1) - (m01 * front + (m11 + total) * back));
  }
}

// Sums of pairs of cells of one or two rows.
void add_pairs(const float* upper, const float* lower, int64_t width, float* to) {
  const int64_t pairs = width / 2;
  if (lower == nullptr) {
#pragma omp simd
    for (int64_t x = 0; x < pairs; ++x) to[x] = upper[2 * x] + upper[2 * x + 1];
  } else {
#pragma omp simd
    for (int64_t x = 0; x < pairs; ++x)
      to[x] = (upper[2 * x] + upper[2 * x + 1]) + (lower[2 * x] + lower[2 * x + 1]);
  }
  if (width % 2 == 1) to[pairs] = upper[2 * pairs] + (lower == nullptr ? 0.0f : lower[2 * pairs]);
}

// The steps follow each other through the rows, each one row behind the one before, so that what
// they share is in the cache. In row y - k it is the turn of cells y, y + 2, ... for every step k.
void descend(const SystemLevel& level, const SystemVectors& v, const SystemLevel* coarse,
             const SystemVectors* coarse_vectors, float* rows) {
  constexpr int kSteps = 2 * kSweeps;
  const int64_t height = level.grid.height, stride = level.grid.stride();
  for (int64_t y = 0; y < height + kSteps; ++y) {
    const Choice choice = every_second(y);
    if (y < height) start_cells(Row(level, v, y), choice);
    for (int64_t k = 1; k < kSteps; ++k)
      if (y >= k && y - k < height) solve_cells(Row(level, v, y - k), choice);
    if (y < kSteps || coarse == nullptr) continue;
    const int64_t done = y - kSteps;
    residual_row(Row(level, v, done), rows + done % 2 * 2 * stride);
    if (done % 2 == 0 && done + 1 < height) continue;
    const bool is_single = done % 2 == 0;
    for (int side = 0; side < 2; ++side) {
      const float *upper = rows + side * stride, *lower = upper + 2 * stride;
      add_pairs(upper, is_single ? nullptr : lower, level.grid.width,
                coarse_vectors->b[side] + coarse->grid.at(done / 2));
    }
  }
}

void add_coarse(const Row& row, const SystemLevel& coarse, const SystemVectors& v, int64_t y) {
  for (int side = 0; side < 2; ++side) {
    const float* from = v.x[side] + coarse.grid.at(y / 2);
    float* to = row.x[side];
    const int64_t pairs = row.width / 2;
#pragma omp simd
    for (int64_t x = 0; x < pairs; ++x) {
      to[2 * x] += from[x];
      to[2 * x + 1] += from[x];
    }
    if (row.width % 2 == 1) to[2 * pairs] += from[pairs];
  }
}

double ascend(const SystemLevel& level, const SystemVectors& v, const SystemLevel& coarse,
              const SystemVectors& coarse_vectors) {
  constexpr int kSteps = 2 * kSweeps;
  const int64_t height = level.grid.height;
  double dot = 0;
  for (int64_t y = 0; y < height + kSteps; ++y) {
    const Choice choice = every_second(y);
    if (y < height) add_coarse(Row(level, v, y), coarse, coarse_vectors, y);
    for (int64_t k = 1; k <= kSteps; ++k)
      if (y >= k && y - k < height) solve_cells(Row(level, v, y - k), choice);
    if (y < kSteps) continue;
    const Row row(level, v, y - kSteps);
    Floats sum{};
    for (int64_t x = 0; x < row.width; x += kCells)
      for (int side = 0; side < 2; ++side)
        sum += load<kCells>(row.b[side] + x) * load<kCells>(row.x[side] + x);
    dot += add_lanes<float, kCells>(sum);
  }
  return dot;
}

// --- conjugate gradients ---

// q = A p of row y for vectors of T, each F's and B's; returns p . q
template <class T>
T multiply_row(const PixelSystem& system, int64_t y, const T* const p[2], T* qf, T* qb) {
  const int64_t width = system.grid.width, stride = system.grid.stride(), at = system.grid.at(y);
  const float* a = system.alpha + at;
  const T *f = p[0] + at, *b = p[1] + at;
  const T base = system.base, slope = system.slope;
  // Beyond the edge there is no neighbour.
  const T above = y > 0 ? 1 : 0, below = y + 1 < system.grid.height ? 1 : 0;
  const auto pixel = [&](int64_t x, T left, T right) {
    const T here = a[x], rest = 1 - here;
    const T l = left * (base + slope * magnitude(here - a[x - 1]));
    const T r = right * (base + slope * magnitude(here - a[x + 1]));
    const T u = above * (base + slope * magnitude(here - a[x - stride]));
    const T d = below * (base + slope * magnitude(here - a[x + stride]));
    const T mixed = here * f[x] + rest * b[x];
    qf[x] = here * mixed + (l * (f[x] - f[x - 1]) + r * (f[x] - f[x + 1])) +
            (u * (f[x] - f[x - stride]) + d * (f[x] - f[x + stride]));
    qb[x] = rest * mixed + (l * (b[x] - b[x - 1]) + r * (b[x] - b[x + 1])) +
            (u * (b[x] - b[x - stride]) + d * (b[x] - b[x + stride]));
    return f[x] * qf[x] + b[x] * qb[x];
  };
  T sum = pixel(0, 0, width > 1 ? 1 : 0);
  if (width > 1) sum += pixel(width - 1, 1, 0);
#pragma omp simd reduction(+ : sum)
  for (int64_t x = 1; x < width - 1; ++x) sum += pixel(x, 1, 1);
  return sum;
}

double begin(const PixelSystem& system, const float* image, const SystemIterate& v,
             const SystemVectors& to, double* rows, double* scale) {
  double squares = 0;
  *scale = 0;
  double *front = rows, *back = rows + system.grid.stride();
  for (int64_t y = 0; y < system.grid.height; ++y) {
    const int64_t at = system.grid.at(y);
    multiply_row<double>(system, y, v.solution, front, back);
    for (int64_t x = 0; x < system.grid.width; ++x) {
      const double a = system.alpha[at + x], colour = image[at + x];
      const double f = a * colour - front[x], b = (1 - a) * colour - back[x];
      to.b[0][at + x] = static_cast<float>(f);
      to.b[1][at + x] = static_cast<float>(b);
      squares += f * f + b * b;
      *scale += (a * a + (1 - a) * (1 - a)) * colour * colour;
      for (int side = 0; side < 2; ++side) v.p[side][at + x] = v.correction[side][at + x] = 0;
    }
  }
  return squares;
}

double multiply(const PixelSystem& system, double factor, const SystemIterate& v,
                const SystemVectors& z) {
  const SystemGrid& grid = system.grid;
  const float by = static_cast<float>(factor);
  double dot = 0;
  for (int64_t y = 0; y < grid.height + 1; ++y) {
    if (y < grid.height)
      for (int side = 0; side < 2; ++side) {
        const float* from = z.x[side] + grid.at(y);
        float* p = v.p[side] + grid.at(y);
#pragma omp simd
        for (int64_t x = 0; x < grid.width; ++x) p[x] = from[x] + by * p[x];
      }
    if (y == 0) continue;
    const int64_t at = grid.at(y - 1);
    dot += multiply_row<float>(system, y - 1, v.p, v.q[0] + at, v.q[1] + at);
  }
  return dot;
}

double advance(const PixelSystem& system, double step, const SystemIterate& v,
               const SystemVectors& to) {
  const SystemGrid& grid = system.grid;
  const float by = static_cast<float>(step);
  double squares = 0;
  for (int64_t y = 0; y < grid.height; ++y)
    for (int side = 0; side < 2; ++side) {
      const int64_t at = grid.at(y);
      const float *p = v.p[side] + at, *q = v.q[side] + at;
      float *x = v.correction[side] + at, *b = to.b[side] + at;
      float sum = 0;
#pragma omp simd reduction(+ : sum)
      for (int64_t i = 0; i < grid.width; ++i) {
        x[i] += by * p[i];
        b[i] -= by * q[i];
        sum += b[i] * b[i];
      }
      squares += sum;
    }
  return squares;
}

void end(const PixelSystem& system, const SystemIterate& v) {
  for (int64_t y = 0; y < system.grid.height; ++y)
    for (int side = 0; side < 2; ++side) {
      const int64_t at = system.grid.at(y);
      for (int64_t x = 0; x < system.grid.width; ++x)
        v.solution[side][at + x] += v.correction[side][at + x];
    }
}

const SystemKernels kKernels = {weigh, coarsen,  invert,  descend, ascend,
                                begin, multiply, advance, end};

}  // namespace

const SystemKernels& system_kernels() { return kKernels; }

}  // namespace PF_ISA
}  // namespace pyfast
