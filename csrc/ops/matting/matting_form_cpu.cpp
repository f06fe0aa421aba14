// The form u^T L v, products and slopes without a matrix, compiled once for every instruction set.
#include "ops/matting/matting_window.h"

namespace pyfast {
namespace PF_ISA {
namespace {

// One vector in some windows: its distance from the mean, what the best affine function of colour
// leaves of that, and the slope of that function.
template <class Shape>
struct Fit {
  Registers<Shape::kKnownPixels> centred, rest;
  Registers<Shape::kKnownChannels> slope;

  // `memory`: of size(n, d) vectors.
  Fit(const Shape& shape, Doubles* memory)
      : centred(memory), rest(memory + shape.n()), slope(memory + 2 * shape.n()) {}
  static int64_t size(const Shape& shape) { return 2 * shape.n() + shape.d(); }
};

template <class Shape>
inline void fit_vector(const Shape& shape, const RowRing& rows, int64_t y, int64_t x, int64_t k,
                       const Doubles& valid, const Doubles* z, Fit<Shape>& fit) {
  const int d = shape.d(), side = shape.side(), n = shape.n();
  const double share = 1.0 / n;
  Doubles mean{};
  for (int ay = 0; ay < side; ++ay)
    for (int ax = 0; ax < side; ++ax) {
      const Doubles value = load<kLanes>(rows.row(y + ay, k) + x + ax);
      fit.centred[ay * side + ax] = value;
      mean += value;
    }
  mean *= share;
  for (int a = 0; a < n; ++a) fit.centred[a] -= mean;
  if (valid[kLanes - 1] == 0)
    for (int a = 0; a < n; ++a) fit.centred[a] *= valid;
  for (int c = 0; c < d; ++c) {
    Doubles sum{};
    for (int a = 0; a < n; ++a) sum += z[a * d + c] * fit.centred[a];
    fit.slope[c] = sum * share;
  }
  for (int a = 0; a < n; ++a) {
    Doubles fitted{};
    for (int c = 0; c < d; ++c) fitted += z[a * d + c] * fit.slope[c];
    fit.rest[a] = fit.centred[a] - fitted;
  }
}

template <class Shape, class T>
class FormSweep {
 public:
  FormSweep(const Shape& shape, const MattingFormParams<T>& p, const MattingTile& tile,
            double* memory)
      : shape_(shape),
        p_(p),
        tile_(tile),
        height_(p.image.height),
        width_(p.image.width),
        first_y_(clamped(tile.top - shape.r(), height_)),
        last_y_(clamped(tile.bottom + shape.r(), height_)),
        first_x_(clamped(tile.left - shape.r(), width_)),
        last_x_(clamped(tile.right + shape.r(), width_)),
        column_(first_x_ - shape.r()),
        columns_(last_x_ + shape.r() - column_),
        sources_(p.vectors * (p.u == nullptr ? 1 : 2)),
        products_(p.product == nullptr ? 0 : p.vectors),
        slopes_(p.slope == nullptr ? 0 : shape.d()),
        memory_(memory),
        image_(memory_, shape.side(), shape.d(), columns_),
        vectors_(memory_, shape.side(), sources_, columns_),
        sums_(memory_, shape.side(), products_ + slopes_, columns_),
        planes_(memory_, (products_ + slopes_) * shape.n()),
        z_(memory_.take_vectors(shape.n() * shape.d())),
        statistics_(memory_.take_vectors(kMattingChunk / kLanes * statistics_size(shape.d()))),
        rates_(memory_.take_vectors(shape.n() * shape.d())),
        energy_(memory_.take_vectors(p.vectors)),
        fits_(memory_.take_vectors(2 * Fit<Shape>::size(shape))) {}

  void run(double* energy) {
    const int r = shape_.r();
    for (int64_t k = 0; k < p_.vectors; ++k) energy_[k] = Doubles{};
    for (int64_t y = first_y_ - r; y < first_y_ + r; ++y) read(y);
    for (int64_t y = first_y_; y < last_y_; ++y) {
      read(y + r);
      for (int64_t x = 0; x < last_x_ - first_x_; x += kMattingChunk) add_chunk(y, x);
      write(y - r);
    }
    for (int64_t y = last_y_ - r; y < last_y_ + r; ++y) write(y);
    for (int64_t k = 0; k < p_.vectors; ++k) energy[k] = add_lanes<double, kLanes>(energy_[k]);
  }

 private:
  // A centre of a window that fits.
  int64_t clamped(int64_t centre, int64_t size) const {
    const int64_t r = shape_.r();
    return centre < r ? r : centre > size - r ? size - r : centre;
  }

  const T* planes_of(const T* data, int64_t count) const {
    return data + tile_.n * count * height_ * width_;
  }

  void read(int64_t y) {
    const int64_t size = height_ * width_, right = column_ + columns_, k = p_.vectors;
    const int d = shape_.d();
    image_.read(y, planes_of(p_.image.data, d), 0, d, size, width_, column_, right);
    vectors_.read(y, planes_of(p_.v, k), 0, k, size, width_, column_, right);
    if (p_.u != nullptr) vectors_.read(y, planes_of(p_.u, k), k, k, size, width_, column_, right);
    sums_.clear(y);
  }

  // The windows of row y from the x-th on.
  void add_chunk(int64_t y, int64_t x) {
    const int64_t left = last_x_ - first_x_ - x;
    const int64_t windows = left < kMattingChunk ? left : kMattingChunk;
    if (p_.known != nullptr && !has_unknown(y, first_x_ + x, windows)) return;
    const int64_t groups = (windows + kLanes - 1) / kLanes, done = groups * kLanes;
    fit_windows(shape_, image_, y - shape_.r(), x, groups, p_.image.epsilon, statistics_);
    for (int64_t g = 0; g < groups; ++g)
      add_group(y, x, g * kLanes, windows, statistics_ + g * statistics_size(shape_.d()));
    if (windows < kMattingChunk)  // what the row before left behind
      for (int64_t i = 0; i < (products_ + slopes_) * shape_.n(); ++i)
        for (int64_t k = done; k < done + 2 * shape_.r(); ++k) planes_.plane(i)[k] = 0;
    const int side = shape_.side();
    for (int64_t plane = 0; plane < products_ + slopes_; ++plane)
      for (int ay = 0; ay < side; ++ay)
        planes_.spread(plane * shape_.n() + ay * side, side, 0, windows,
                       sums_.row(y - shape_.r() + ay, plane) + x);
  }

  // Of the windows of row y from the one with its centre in column x on.
  bool has_unknown(int64_t y, int64_t x, int64_t windows) const {
    const int64_t r = shape_.r();
    const uint8_t* known = p_.known + tile_.n * height_ * width_ + x - r;
    for (int64_t row = y - r; row <= y + r; ++row)
      if (std::memchr(known + row * width_, 0, static_cast<size_t>(windows + 2 * r)) != nullptr)
        return true;
    return false;
  }

  void add_group(int64_t y, int64_t chunk, int64_t at, int64_t windows, const Doubles* statistics) {
    const int64_t top = y - shape_.r(), x = chunk + at;
    const int d = shape_.d(), n = shape_.n();
    const Doubles valid = first_lanes(windows - at);
    whiten_windows(shape_, image_, top, x, statistics, z_);
    for (int i = 0; i < (slopes_ == 0 ? 0 : n * d); ++i) rates_[i] = Doubles{};
    const Doubles own = y >= tile_.top && y < tile_.bottom ? owned(first_x_ + x) : Doubles{};
    for (int64_t k = 0; k < p_.vectors; ++k) {
      Fit<Shape> v(shape_, fits_);
      fit_vector(shape_, vectors_, top, x, k, valid, z_, v);
      if (products_ != 0)
        for (int a = 0; a < n; ++a) store(planes_.plane(k * n + a) + at, v.rest[a]);
      Doubles sum{};
      if (p_.u == nullptr) {
        for (int a = 0; a < n; ++a) sum += v.centred[a] * v.rest[a];
        if (slopes_ != 0) add_rates(statistics + d, v);
      } else {
        Fit<Shape> u(shape_, fits_ + Fit<Shape>::size(shape_));
        fit_vector(shape_, vectors_, top, x, p_.vectors + k, valid, z_, u);
        for (int a = 0; a < n; ++a) sum += u.centred[a] * v.rest[a];
        if (slopes_ != 0) add_rates(statistics + d, v, u);
      }
      energy_[k] += sum * own;
    }
    for (int c = 0; c < slopes_; ++c)
      for (int a = 0; a < n; ++a)
        store(planes_.plane((products_ + c) * n + a) + at, rates_[a * d + c]);
  }

  // -2 rho a of one vector.
  void add_rates(const Doubles* inverse, Fit<Shape>& v) {
    const int d = shape_.d(), n = shape_.n();
    colour_slope<Shape::kKnownChannels>(inverse, v.slope.data(), -2.0, d);
    for (int a = 0; a < n; ++a)
      for (int c = 0; c < d; ++c) rates_[a * d + c] += v.rest[a] * v.slope[c];
  }

  // -(rho^u a^v + rho^v a^u) of two.
  void add_rates(const Doubles* inverse, Fit<Shape>& v, Fit<Shape>& u) {
    const int d = shape_.d(), n = shape_.n();
    colour_slope<Shape::kKnownChannels>(inverse, v.slope.data(), -1.0, d);
    colour_slope<Shape::kKnownChannels>(inverse, u.slope.data(), -1.0, d);
    for (int a = 0; a < n; ++a)
      for (int c = 0; c < d; ++c)
        rates_[a * d + c] += u.rest[a] * v.slope[c] + v.rest[a] * u.slope[c];
  }

  // 1 in lanes whose window has its centre in the tile's columns.
  Doubles owned(int64_t centre) const {
    return first_lanes(tile_.right - centre) - first_lanes(tile_.left - centre);
  }

  void write(int64_t y) const {
    if (y < tile_.top || y >= tile_.bottom) return;
    for (int64_t k = 0; k < products_; ++k) write_row(y, k, p_.product, p_.vectors, k);
    for (int64_t c = 0; c < slopes_; ++c)
      write_row(y, products_ + c, p_.slope, p_.image.channels, c);
  }

  void write_row(int64_t y, int64_t plane, T* planes, int64_t count, int64_t index) const {
    T* to = planes + ((tile_.n * count + index) * height_ + y) * width_;
    const double* from = sums_.row(y, plane) - column_;
#pragma omp simd
    for (int64_t x = tile_.left; x < tile_.right; ++x) to[x] = static_cast<T>(from[x]);
  }

  const Shape shape_;
  const MattingFormParams<T>& p_;
  const MattingTile& tile_;
  const int64_t height_, width_;
  // Centres of windows that reach into the tile, and the columns of pixels in them.
  const int64_t first_y_, last_y_, first_x_, last_x_, column_, columns_;
  const int64_t sources_, products_, slopes_;
  Memory memory_;
  const RowRing image_, vectors_, sums_;
  const WindowPlanes planes_;
  Doubles *z_, *statistics_, *rates_, *energy_, *fits_;
};

template <class T>
void form(const MattingFormParams<T>& p, const MattingTile& tile, double* memory, double* energy) {
  with_shape(p.image.channels, p.image.radius, [&](const auto& shape) {
    FormSweep<std::decay_t<decltype(shape)>, T>(shape, p, tile, memory).run(energy);
  });
}

template <class T>
const MattingFormKernels<T> kKernels = {form<T>};

}  // namespace

template <>
const MattingFormKernels<float>& matting_form_kernels<float>() {
  return kKernels<float>;
}
template <>
const MattingFormKernels<double>& matting_form_kernels<double>() {
  return kKernels<double>;
}

}  // namespace PF_ISA
}  // namespace pyfast
