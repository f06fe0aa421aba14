// The multi-level foreground on the CPU, compiled once for every instruction set.
#include "ops/matting/foreground.h"

namespace pyfast {
namespace PF_ISA {
namespace {

template <class Real>
void sums(const ForegroundParams<Real>& p, int64_t n, double* sums, int64_t begin, int64_t end) {
  const int64_t stride = p.channels + 1;
  for (int64_t y = begin; y < end; ++y) {
    double* of_row = sums + 2 * stride * y;
    for (int64_t i = 0; i < 2 * stride; ++i) of_row[i] = 0;
    const Real* alpha = p.alpha.data + n * p.alpha.n + y * p.alpha.h;
    const Real* pixel = p.image.data + n * p.image.n + y * p.image.h;
    for (int64_t x = 0; x < p.width; ++x, alpha += p.alpha.w, pixel += p.image.w) {
      if (*alpha >= Real(0.1) && *alpha <= Real(0.9)) continue;
      double* side = of_row + (*alpha > Real(0.9) ? 0 : stride);
      for (int64_t c = 0; c < p.channels; ++c) side[c] += static_cast<double>(pixel[c * p.image.c]);
      side[p.channels] += 1;
    }
  }
}

template <class Real>
void resize(const PlanesView<const Real>& from, int64_t from_height, int64_t from_width,
            const PlanesView<Real>& to, int64_t height, int64_t width, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const int64_t plane = row / height, y = row % height;
    const Real* source = from.data + plane * from.c + y * from_height / height * from.h;
    Real* target = to.data + plane * to.c + y * to.h;
    if (width != from_width) {
      // x * from_width / width, without a division for each
      const int64_t whole = from_width / width, part = from_width % width;
      for (int64_t x = 0, place = 0, rest = 0; x < width; ++x) {
        target[x * to.w] = source[place * from.w];
        rest += part;
        place += whole + (rest >= width ? 1 : 0);
        rest -= rest >= width ? width : 0;
      }
    } else if (from.w == 1 && to.w == 1) {
#pragma omp simd
      for (int64_t x = 0; x < width; ++x) target[x] = source[x];
    } else {
      for (int64_t x = 0; x < width; ++x) target[x * to.w] = source[x * from.w];
    }
  }
}

template <class Real>
Real magnitude(Real value) {
  return value < 0 ? -value : value;
}

template <class Real>
Real clamp(Real value, Real low, Real high) {
  const Real above = value > low ? value : low;
  return above < high ? above : high;
}

// A row with its first and last value repeated at the ends.
template <class Real>
void copy_padded(const Real* row, int64_t width, Real* to) {
  to[0] = row[0];
#pragma omp simd
  for (int64_t x = 0; x < width; ++x) to[x + 1] = row[x];
  to[width + 1] = row[width - 1];
}

// What the normal equations of every pixel of a row have in common for its channels: the weights
// of the four neighbours, and the inverse of the symmetric matrix of 2 x 2.
template <class Real>
struct RowWeights {
  Real *left, *right, *up, *down, *inverse00, *inverse01, *inverse11;

  RowWeights(Real* memory, int64_t width)
      : left(memory),
        right(memory + width),
        up(memory + 2 * width),
        down(memory + 3 * width),
        inverse00(memory + 4 * width),
        inverse01(memory + 5 * width),
        inverse11(memory + 6 * width) {}

  // `padded` is the row of alpha with its ends repeated.
  void fill(const Real* __restrict padded, const Real* __restrict above,
            const Real* __restrict below, int64_t width, Real base, Real slope) const {
    Real* __restrict l = left, * __restrict r = right, * __restrict u = up, * __restrict d = down;
    Real* __restrict i00 = inverse00, * __restrict i01 = inverse01, * __restrict i11 = inverse11;
#pragma omp simd
    for (int64_t x = 0; x < width; ++x) {
      const Real a = padded[x + 1], rest = 1 - a;
      l[x] = base + slope * magnitude(a - padded[x]);
      r[x] = base + slope * magnitude(a - padded[x + 2]);
      u[x] = base + slope * magnitude(a - above[x]);
      d[x] = base + slope * magnitude(a - below[x]);
      const Real total = (l[x] + r[x]) + (u[x] + d[x]);
      const Real m00 = a * a + total, m01 = a * rest, m11 = rest * rest + total;
      // m00 m11 - m01^2 without its cancellation.
      const Real inverse = 1 / (total * (a * a + rest * rest + total));
      i00[x] = m11 * inverse;
      i01[x] = -m01 * inverse;
      i11[x] = m00 * inverse;
    }
  }
};

// Solves the pixels of a row for one channel, neighbours fixed. `front` and `back` are copies of
// the rows before, with their ends repeated; `above` and `below` the rows there.
template <class Real>
void solve_row(const RowWeights<Real>& weights, Real low, Real high, const Real* __restrict alpha,
               const Real* __restrict image, int64_t width, const Real* __restrict front,
               const Real* __restrict front_above, const Real* __restrict front_below,
               const Real* __restrict back, const Real* __restrict back_above,
               const Real* __restrict back_below, Real* __restrict foreground,
               Real* __restrict background) {
  const Real* __restrict l = weights.left, * __restrict r = weights.right;
  const Real* __restrict u = weights.up, * __restrict d = weights.down;
  const Real* __restrict i00 = weights.inverse00, * __restrict i01 = weights.inverse01;
  const Real* __restrict i11 = weights.inverse11;
#pragma omp simd
  for (int64_t x = 0; x < width; ++x) {
    const Real b0 = alpha[x] * image[x] + (l[x] * front[x] + r[x] * front[x + 2]) +
                    (u[x] * front_above[x] + d[x] * front_below[x]);
    const Real b1 = (1 - alpha[x]) * image[x] + (l[x] * back[x] + r[x] * back[x + 2]) +
                    (u[x] * back_above[x] + d[x] * back_below[x]);
    foreground[x] = clamp(i00[x] * b0 + i01[x] * b1, low, high);
    background[x] = clamp(i01[x] * b0 + i11[x] * b1, low, high);
  }
}

template <class Real>
void sweep(const ForegroundLevel<Real>& level, const ForegroundOptions<Real>& options,
           Real* scratch, int64_t from, int64_t to) {
  const int64_t width = level.width, plane = level.height * width;
  Real *front = scratch, *back = front + width + 2;
  const RowWeights<Real> weights(back + width + 2, width);
  const Real infinity = static_cast<Real>(__builtin_inff());
  const bool bounded = options.tolerance == 0;
  const Real low = bounded ? Real(0) : -infinity, high = bounded ? Real(1) : infinity;
  for (int64_t y = from; y < to; y += 2) {
    const bool first = y == 0, last = y + 1 == level.height;
    const Real* alpha = level.alpha + y * width;
    copy_padded(alpha, width, front);
    weights.fill(front, first ? alpha : alpha - width, last ? alpha : alpha + width, width,
                 options.regularization, options.gradient_weight);
    for (int64_t c = 0; c < level.channels; ++c) {
      const int64_t at = c * plane + y * width;
      Real *foreground = level.foreground + at, *background = level.background + at;
      copy_padded(foreground, width, front);
      copy_padded(background, width, back);
      // Beyond the edge a pixel is its own neighbour.
      solve_row(weights, low, high, alpha, level.image + at, width, front,
                first ? front + 1 : foreground - width, last ? front + 1 : foreground + width, back,
                first ? back + 1 : background - width, last ? back + 1 : background + width,
                foreground, background);
    }
  }
}

template <class Real>
const ForegroundKernels<Real> kKernels = {sums<Real>, resize<Real>, sweep<Real>};

}  // namespace

template <>
const ForegroundKernels<float>& foreground_kernels<float>() {
  return kKernels<float>;
}
template <>
const ForegroundKernels<double>& foreground_kernels<double>() {
  return kKernels<double>;
}

}  // namespace PF_ISA
}  // namespace pyfast
