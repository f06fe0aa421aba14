// The base grid of an affine map and its adjoint, compiled once for every instruction set.
#include "ops/sampling/sampling_slopes.h"

namespace pyfast {
namespace PF_ISA {
namespace {

template <class Real>
MapFrame base_frame(const AffineGridParams<Real>& p) {
  MapFrame frame{};
  const int64_t size[3] = {p.out_w, p.out_h, p.out_d};
  for (int a = 0; a < 3; ++a) frame.base[a] = base_scale<double>(size[a], p.align_corners);
  return frame;
}

template <class V, class Real, int... I>
V repeat_pair(Real a, Real b, Numbers<I...>) {
  return __builtin_shufflevector(V{} + a, V{} + b, (I % 2 == 0 ? I : I + int{sizeof...(I)})...);
}

// Coordinates from -1 to 1 as (first + 2 j) * scale: whole numbers about the middle, so that what
// rounds the scale counts least.
template <class Real>
struct Centred {
  explicit Centred(PixelScale<double> base)
      : scale(static_cast<Real>(base.scale == 0 ? 1 : base.scale / 2)),
        first(static_cast<Real>(base.scale == 0 ? base.shift : base.shift / (base.scale / 2))) {}
  Real at(int j) const { return (first + static_cast<Real>(2 * j)) * scale; }
  Real scale, first;
};

// A row of the grid, values of a point side by side: value c of point j is
// step[c] * base.at(j) + start[c].
template <int kDims, class Real>
void fill_row(const Real* step, const Real* start, const Centred<Real>& base, int width,
              Real* out) {
  if constexpr (kDims == 2) {
    // No larger registers: more of these are worked on at once, and stored without a pause.
    constexpr int kStep = (kRegisterBytes < 32 ? kRegisterBytes : 32) / int{sizeof(Real)};
    using V = Vec<Real, kStep>;
    constexpr FirstNumbers<kStep> all{};
    const V steps = repeat_pair<V>(step[0], step[1], all);
    const V starts = repeat_pair<V>(start[0], start[1], all);
    V first;
    for (int l = 0; l < kStep; ++l) first[l] = base.first + static_cast<Real>(l / 2 * 2);
    const auto place = [&](const V& at) { return V(steps * (at * base.scale) + starts); };
    constexpr Real kNext = kStep;
    const int length = 2 * width;
    V index = first;
    int k = 0;
    for (; k + 2 * kStep <= length; k += 2 * kStep, index += 2 * kNext) {
      store(out + k, place(index));
      store(out + k + kStep, place(index + kNext));
    }
    if (k + kStep <= length) store(out + k, place(index)), k += kStep;
    if (k > 0 && k < length) {  // the last ones and some that are there already
      k = length - kStep;
      return store(out + k, place(first + static_cast<Real>(k)));
    }
    for (; k < length; ++k) out[k] = step[k % 2] * base.at(k / 2) + start[k % 2];
  } else {
    for (int j = 0; j < width; ++j)
      for (int c = 0; c < kDims; ++c) out[kDims * j + c] = step[c] * base.at(j) + start[c];
  }
}

template <int kDims, class Real>
void forward_rows(const AffineGridParams<Real>& p, int64_t begin, int64_t end) {
  constexpr int kColumns = kDims + 1;
  const MapFrame frame = base_frame(p);
  const auto place = [&](int axis, int64_t i) {
    return static_cast<double>(i) * frame.base[axis].scale + frame.base[axis].shift;
  };
  const Centred<Real> x(frame.base[0]);
  for (int64_t plane = begin / p.out_h; plane * p.out_h < end; ++plane) {
    const int64_t first = plane * p.out_h;
    const int64_t top = begin > first ? begin - first : 0;
    const int64_t bottom = end - first < p.out_h ? end - first : p.out_h;
    const Real* theta = p.theta + kDims * kColumns * (plane / p.out_d);
    const double z = place(2, plane % p.out_d);
    Real step[kDims], start[kDims];  // what a row shares is rounded once
    double by_row[kDims], shift[kDims];
    for (int c = 0; c < kDims; ++c, theta += kColumns) {
      step[c] = theta[0];
      by_row[c] = theta[1];
      shift[c] = theta[kDims];
      if (kDims == 3) shift[c] += theta[2] * z;
    }
    for (int64_t i = top; i < bottom; ++i) {
      const double y = place(1, i);
      for (int c = 0; c < kDims; ++c) start[c] = static_cast<Real>(by_row[c] * y + shift[c]);
      fill_row<kDims>(step, start, x, static_cast<int>(p.out_w),
                      p.grid + kDims * (first + i) * p.out_w);
    }
  }
}

template <class Real>
void forward(const AffineGridParams<Real>& p, int64_t begin, int64_t end) {
  return p.dims == 2 ? forward_rows<2>(p, begin, end) : forward_rows<3>(p, begin, end);
}

template <class Real>
void backward(const AffineGridParams<Real>& p, int64_t begin, int64_t end) {
  const auto& field = p.grad_grid;
  const MapFrame frame = base_frame(p);
  const int columns = p.dims + 1, count = p.dims * columns;
  for (int64_t n = begin; n < end; ++n) {
    double sums[kMostMatrixValues] = {};
    for (int64_t row = 0; row < p.out_d * p.out_h; ++row)
      for (int64_t j = 0; j < p.out_w; j += kRun) {
        const Corner corner{row / p.out_h, row % p.out_h, j};
        const int length = static_cast<int>(p.out_w - j < kRun ? p.out_w - j : kRun);
        const Real* from = field.at(n, corner.d, corner.i, j);
        for (int a = 0; a < p.dims; ++a) {
          Real line[kRun];
          for (int k = 0; k < length; ++k) line[k] = from[k * field.w + a * field.c];
          double moments[3] = {0, 0, 0};
          add_moments(line, 1, length, moments);
          add_matrix_row(frame, p.dims, moments, corner, sums + a * columns);
        }
      }
    for (int c = 0; c < count; ++c) p.grad_theta[count * n + c] = static_cast<Real>(sums[c]);
  }
}

template <class Real>
const AffineGridKernels<Real> kKernels = {forward<Real>, backward<Real>};

}  // namespace

template <>
const AffineGridKernels<float>& affine_grid_kernels<float>() {
  return kKernels<float>;
}
template <>
const AffineGridKernels<double>& affine_grid_kernels<double>() {
  return kKernels<double>;
}

}  // namespace PF_ISA
}  // namespace pyfast
