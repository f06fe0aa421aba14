// The guided filter on the CPU, compiled once for every instruction set.
//
// A band of rows is swept from top to bottom. Sums over columns of 2 radius + 1 pixels are kept:
// the row that enters is added and the row that leaves subtracted. Along the row they are summed to
// windows in the same way. From the moments of a window follows its linear fit; the fits of the
// last 2 radius + 1 rows are kept, and averaged over windows likewise. Sums are in double
// precision, where what is added and subtracted over a whole picture leaves no trace.
#include "core/vectors.h"
#include "ops/matting/guided_filter.h"

namespace pyfast {
namespace PF_ISA {
namespace {

constexpr int kLanes = kNative<double>;

// Sums over columns when a row enters and another leaves: of a, or with b of the products a b.
void slide(double* __restrict sums, const double* __restrict a_in, const double* __restrict b_in,
           const double* __restrict a_out, const double* __restrict b_out, int64_t width) {
#pragma omp simd
  for (int64_t x = 0; x < width; ++x) sums[x] += a_in[x] * b_in[x] - a_out[x] * b_out[x];
}

void slide(double* __restrict sums, const double* __restrict a_in, const double* __restrict a_out,
           int64_t width) {
#pragma omp simd
  for (int64_t x = 0; x < width; ++x) sums[x] += a_in[x] - a_out[x];
}

// Windows of `kRows` rows along x: windows[x] = sum of columns[x - radius .. x + radius], clipped.
// Several rows at a time, because each sum waits for the one before.
template <int kRows>
void window_rows(const double* columns, double* windows, int64_t width, int64_t radius) {
  double sum[kRows] = {};
  const int64_t reach = radius < width ? radius : width;
  for (int r = 0; r < kRows; ++r)
    for (int64_t x = 0; x < reach; ++x) sum[r] += columns[r * width + x];
  int64_t x = 0;
  const auto step = [&](bool enters, bool leaves) {
    for (int r = 0; r < kRows; ++r) {
      const double* row = columns + r * width + x;
      if (enters && leaves)
        sum[r] += row[radius] - row[-radius - 1];
      else if (enters)
        sum[r] += row[radius];
      else if (leaves)
        sum[r] -= row[-radius - 1];
      windows[r * width + x] = sum[r];
    }
  };
  const int64_t filled = radius + 1 < width - radius ? radius + 1 : width - radius;
  for (; x < filled; ++x) step(true, false);
  for (; x < width - radius; ++x) step(true, true);
  for (; x <= radius && x < width; ++x) step(false, false);
  for (; x < width; ++x) step(false, true);
}

void windows_of(const double* columns, double* windows, int64_t rows, int64_t width,
                int64_t radius) {
  int64_t r = 0;
  for (; r + 4 <= rows; r += 4)
    window_rows<4>(columns + r * width, windows + r * width, width, radius);
  for (; r < rows; ++r) window_rows<1>(columns + r * width, windows + r * width, width, radius);
}

// Pixels of a window that lie in a row (or column) of `length`, around `at`.
int64_t window_length(int64_t at, int64_t length, int64_t radius) {
  const int64_t from = at < radius ? 0 : at - radius;
  const int64_t to = length - 1 - at < radius ? length - 1 : at + radius;
  return to - from + 1;
}

template <class Real>
void read_row(const PlanesView<const Real>& view, int64_t n, int64_t channels, int64_t y,
              int64_t width, double* to) {
  for (int64_t c = 0; c < channels; ++c, to += width) {
    const Real* from = view.data + n * view.n + c * view.c + y * view.h;
    const int64_t stride = view.w;
    if (stride == 1) {
#pragma omp simd
      for (int64_t x = 0; x < width; ++x) to[x] = static_cast<double>(from[x]);
    } else {
      for (int64_t x = 0; x < width; ++x) to[x] = static_cast<double>(from[x * stride]);
    }
  }
}

template <class Real, int kGuide>
struct Band {
  const GuidedFilterParams<Real>& p;
  const GuidedFilterBand& band;
  const GuidedFilterScratch<Real>& memory;
  const int64_t width = p.width, radius = p.radius;

  static constexpr int kPairs = kGuide * (kGuide + 1) / 2;

  // Moves the sums of columns down by a row: `enters` joins and `leaves` goes. A row outside the
  // picture counts as zeros.
  void slide_columns(int64_t enters, int64_t leaves) const {
    const int64_t size = (kGuide + p.channels) * width;
    double *in = memory.pixels, *out = in + size;
    read(enters, in);
    read(leaves, out);
    double* sums = memory.columns;
    const auto sum = [&](int64_t a) {
      slide(sums, in + a * width, out + a * width, width);
      sums += width;
    };
    const auto sum_products = [&](int64_t a, int64_t b) {
      slide(sums, in + a * width, in + b * width, out + a * width, out + b * width, width);
      sums += width;
    };
    for (int i = 0; i < kGuide; ++i) sum(i);
    for (int i = 0; i < kGuide; ++i)
      for (int j = 0; j <= i; ++j) sum_products(i, j);
    for (int64_t c = kGuide; c < kGuide + p.channels; ++c) {
      sum(c);
      for (int i = 0; i < kGuide; ++i) sum_products(c, i);
    }
  }

  // Row y of guide and input, or zeros where there is none or it has not been taken in.
  void read(int64_t y, double* to) const {
    if (y < 0 || y >= p.height) {
      for (int64_t i = 0; i < (kGuide + p.channels) * width; ++i) to[i] = 0;
      return;
    }
    read_row(p.guide, band.n, kGuide, y, width, to);
    read_row(p.input, band.n, p.channels, y, width, to + kGuide * width);
  }

  // The fit of every window around row y, into its place in the ring.
  void fit_row(int64_t y) const {
    windows_of(memory.columns, memory.windows, p.moments(), width, radius);
    const double share = 1 / static_cast<double>(window_length(y, p.height, radius));
    Real* const fits = fits_of(y);
    for (int64_t c = 0; c < p.channels; ++c) {
      int64_t x = 0;
      for (; x + kLanes <= width; x += kLanes) fit<kLanes>(c, x, share, fits);
      for (; x < width; ++x) fit<1>(c, x, share, fits);
    }
  }

  // Of input channel c, for kCount windows from the one around x on; `share` is that of their rows.
  template <int kCount>
  void fit(int64_t c, int64_t x, double share, Real* fits) const {
    using V = Vec<double, kCount>;
    const double* windows = memory.windows + x;
    const auto mean_of = [&, of_pixel = share * load<kCount>(memory.shares + x)](int64_t moment) {
      return of_pixel * load<kCount>(windows + moment * width);
    };
    V mean[kGuide], covariance[kPairs], slope[kGuide];
    for (int i = 0; i < kGuide; ++i) mean[i] = mean_of(i);
    const int64_t of_input = kGuide + kPairs + c * (kGuide + 1);
    V constant = mean_of(of_input);
    int k = 0;
    for (int i = 0; i < kGuide; ++i) {
      for (int j = 0; j <= i; ++j, ++k) covariance[k] = mean_of(kGuide + k) - mean[i] * mean[j];
      covariance[k - 1] += larger(V{} + p.epsilon, kGuideRounding * mean_of(kGuide + k - 1));
      slope[i] = mean_of(of_input + 1 + i) - mean[i] * constant;
    }
    solve(covariance, slope);
    Real* to = fits + c * (kGuide + 1) * width + x;
    for (int i = 0; i < kGuide; ++i, to += width) {
      constant -= slope[i] * mean[i];
      store(to, __builtin_convertvector(slope[i], Vec<Real, kCount>));
    }
    store(to, __builtin_convertvector(constant, Vec<Real, kCount>));
  }

  // Solves S v = b for a symmetric positive definite S, by its lower triangle, in place: L D L^T.
  template <class V>
  static void solve(V* s, V* b) {
    V inverse[kGuide];
    for (int i = 0; i < kGuide; ++i) {
      V* row = s + i * (i + 1) / 2;
      V pivot = row[i];
      for (int j = 0; j < i; ++j) {
        const V* other = s + j * (j + 1) / 2;
        V value = row[j];
        for (int k = 0; k < j; ++k) value -= row[k] * other[k];
        row[j] = value;  // L_ij D_j, until all of the row is known
      }
      for (int j = 0; j < i; ++j) {
        const V scaled = row[j] * inverse[j];
        pivot -= scaled * row[j];
        row[j] = scaled;
      }
      inverse[i] = 1.0 / pivot;
      for (int j = 0; j < i; ++j) b[i] -= row[j] * b[j];
    }
    for (int i = 0; i < kGuide; ++i) b[i] *= inverse[i];
    for (int i = kGuide - 1; i >= 0; --i)
      for (int j = i + 1; j < kGuide; ++j) b[i] -= s[j * (j + 1) / 2 + i] * b[j];
  }

  Real* fits_of(int64_t y) const {
    return memory.ring + y % (2 * radius + 1) * p.coefficients() * width;
  }

  // Moves the sums of fits: row y is fitted and joins, and the row whose place it takes goes.
  void slide_fits(int64_t y, bool leaves) const {
    const Real* fits = fits_of(y);
    if (leaves) add_fits(fits, -1);
    if (y >= p.height) return;
    fit_row(y);
    add_fits(fits, 1);
  }

  void add_fits(const Real* __restrict fits, double sign) const {
    double* __restrict sums = memory.coefficient_columns;
    const int64_t count = p.coefficients() * width;
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) sums[i] += sign * static_cast<double>(fits[i]);
  }

  // The output: the mean of the fits of all windows around a pixel, at the pixel's guide.
  void write_row(int64_t y) const {
    windows_of(memory.coefficient_columns, memory.windows, p.coefficients(), width, radius);
    double* __restrict guide = memory.pixels;
    read_row(p.guide, band.n, kGuide, y, width, guide);
    const double share = 1 / static_cast<double>(window_length(y, p.height, radius));
    for (int64_t c = 0; c < p.channels; ++c) {
      const double* __restrict windows = memory.windows + c * (kGuide + 1) * width;
      double* __restrict result = memory.pixels + kGuide * width;
#pragma omp simd
      for (int64_t x = 0; x < width; ++x) {
        double value = windows[kGuide * width + x];
        for (int i = 0; i < kGuide; ++i) value += windows[i * width + x] * guide[i * width + x];
        result[x] = value * (share * memory.shares[x]);
      }
      Real* to = p.output.data + band.n * p.output.n + c * p.output.c + y * p.output.h;
      const int64_t stride = p.output.w;
      if (stride == 1) {
#pragma omp simd
        for (int64_t x = 0; x < width; ++x) to[x] = static_cast<Real>(result[x]);
      } else {
        for (int64_t x = 0; x < width; ++x) to[x * stride] = static_cast<Real>(result[x]);
      }
    }
  }

  void run() const {
    for (int64_t i = 0; i < p.moments() * width; ++i) memory.columns[i] = 0;
    for (int64_t i = 0; i < p.coefficients() * width; ++i) memory.coefficient_columns[i] = 0;
    for (int64_t x = 0; x < width; ++x)
      memory.shares[x] = 1 / static_cast<double>(window_length(x, width, radius));
    const int64_t first = band.top < radius ? 0 : band.top - radius;  // row with a fit
    const int64_t start = first < radius ? 0 : first - radius;        // row in its sums
    for (int64_t y = start; y < first + radius; ++y) slide_columns(y, -1);
    for (int64_t y = first; y < band.bottom + radius; ++y) {
      if (y < p.height) {
        const int64_t leaves = y - radius - 1;
        slide_columns(y + radius, leaves < start ? -1 : leaves);
      }
      slide_fits(y, y - first > 2 * radius);
      if (y - radius >= band.top) write_row(y - radius);
    }
  }
};

template <class Real>
void band(const GuidedFilterParams<Real>& p, const GuidedFilterBand& band,
          const GuidedFilterScratch<Real>& memory) {
  switch (p.guide_channels) {
    case 1:
      return Band<Real, 1>{p, band, memory}.run();
    case 2:
      return Band<Real, 2>{p, band, memory}.run();
    case 3:
      return Band<Real, 3>{p, band, memory}.run();
    default:
      return Band<Real, 4>{p, band, memory}.run();
  }
}

template <class Real>
const GuidedFilterKernels<Real> kKernels = {band<Real>};

}  // namespace

template <>
const GuidedFilterKernels<float>& guided_filter_kernels<float>() {
  return kKernels<float>;
}
template <>
const GuidedFilterKernels<double>& guided_filter_kernels<double>() {
  return kKernels<double>;
}

}  // namespace PF_ISA
}  // namespace pyfast
