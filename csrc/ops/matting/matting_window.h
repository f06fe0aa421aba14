// Windows as the CPU kernels see them: as many at once as a register has doubles, side by side in
// a row.
#pragma once

#include <cstring>

#include "core/vectors.h"
#include "ops/matting/matting_cpu.h"
#include "ops/matting/matting_math.h"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace pyfast {
namespace PF_ISA {

constexpr int kLanes = kNative<double>;
using Doubles = Vec<double, kLanes>;

template <>
struct Maths<Doubles> {
  static Doubles inverse_root(Doubles x) {
#if defined(__AVX512F__)
    // From 14 bits to all by Newton's method: roots and divisions take five times as long.
    auto y = reinterpret_cast<Doubles>(_mm512_maskz_rsqrt14_pd(0xff, reinterpret_cast<__m512d>(x)));
    for (int i = 0; i < 2; ++i) y += 0.5 * y * (1.0 - x * y * y);
    return y;
#elif defined(__AVX__)
    return 1.0 / reinterpret_cast<Doubles>(_mm256_sqrt_pd(reinterpret_cast<__m256d>(x)));
#elif defined(__SSE2__)
    return 1.0 / reinterpret_cast<Doubles>(_mm_sqrt_pd(reinterpret_cast<__m128d>(x)));
#else
    for (int l = 0; l < kLanes; ++l) x[l] = 1.0 / sqrt(x[l]);
    return x;
#endif
  }
  static Doubles larger(Doubles a, Doubles b) { return a > b ? a : b; }
};

// 1 in the first `count` lanes.
inline Doubles first_lanes(int64_t count) {
  Doubles mask;
  for (int l = 0; l < kLanes; ++l) mask[l] = l < count ? 1.0 : 0.0;
  return mask;
}

// Memory that a kernel was given, handed out in whole cache lines.
class Memory {
 public:
  explicit Memory(double* start) : next_(start) {}
  double* take(int64_t count) {
    double* taken = next_;
    next_ += (count + 7) / 8 * 8;
    return taken;
  }
  Doubles* take_vectors(int64_t count) { return reinterpret_cast<Doubles*>(take(count * kLanes)); }

 private:
  double* next_;
};

// The last rows of some planes, in double; zeros on both sides of each.
class RowRing {
 public:
  RowRing(Memory& memory, int64_t rows, int64_t planes, int64_t columns)
      : rows_(rows),
        planes_(planes),
        stride_(matting_stride(columns)),
        data_(memory.take(rows * planes * stride_)) {
    std::memset(data_, 0, sizeof(double) * rows * planes * stride_);
  }

  double* row(int64_t y, int64_t plane) const {
    return data_ + (y % rows_ * planes_ + plane) * stride_ + kMattingPad;
  }
  void clear(int64_t y) const {
    std::memset(row(y, 0) - kMattingPad, 0, sizeof(double) * planes_ * stride_);
  }
  // Columns [left, right) of row y of planes that are `distance` apart, from plane `first` on.
  template <class T>
  void read(int64_t y, const T* image, int64_t first, int64_t planes, int64_t distance,
            int64_t width, int64_t left, int64_t right) const {
    for (int64_t plane = 0; plane < planes; ++plane) {
      const T* from = image + plane * distance + y * width + left;
      double* to = row(y, first + plane);
#pragma omp simd
      for (int64_t x = 0; x < right - left; ++x) to[x] = static_cast<double>(from[x]);
    }
  }

 private:
  int64_t rows_, planes_, stride_;
  double* data_;
};

// Sizes that are known to the compiler where they are common.
template <int kChannels, int kRadius>
struct WindowShape {
  int channels, radius;

  WindowShape(int64_t d, int64_t r)
      : channels(kChannels > 0 ? kChannels : static_cast<int>(d)),
        radius(kRadius > 0 ? kRadius : static_cast<int>(r)) {}
  int d() const { return kChannels > 0 ? kChannels : channels; }
  int r() const { return kRadius > 0 ? kRadius : radius; }
  int side() const { return 2 * r() + 1; }
  int n() const { return side() * side(); }
  static constexpr int kKnownChannels = kChannels;  // or 0
  static constexpr int kKnownPixels = kRadius > 0 ? (2 * kRadius + 1) * (2 * kRadius + 1) : 0;
};

// Calls f(shape) with the shape of an image as a type where it is common.
template <class F>
void with_shape(int64_t channels, int64_t radius, const F& f) {
  if (radius == 1 && channels == 3) {
    f(WindowShape<3, 1>(channels, radius));
  } else if (radius == 1 && channels == 1) {
    f(WindowShape<1, 1>(channels, radius));
  } else {
    f(WindowShape<0, 0>(channels, radius));
  }
}

// A few vectors: in registers where their number is known, else (kCount 0) in memory.
template <int kCount>
class Registers {
 public:
  explicit Registers(Doubles*) {}
  Doubles& operator[](int i) { return values_[i]; }
  const Doubles& operator[](int i) const { return values_[i]; }
  Doubles* data() { return values_; }

 private:
  Doubles values_[kCount];
};
template <>
class Registers<0> {
 public:
  explicit Registers(Doubles* memory) : values_(memory) {}
  Doubles& operator[](int i) const { return values_[i]; }
  Doubles* data() { return values_; }

 private:
  Doubles* values_;
};

// Mean colours (d) and R^-1, packed, of one group of windows.
inline int64_t statistics_size(int64_t d) { return d + d * (d + 1) / 2; }

// Statistics of `groups` groups of windows; the first window's upper left pixel is at x of the rows
// from y on. All groups of a chunk before anything is made of them: the chain of roots and
// divisions of one then overlaps with that of the next.
template <int kChannels, int kRadius>
inline void fit_windows(const WindowShape<kChannels, kRadius>& shape, const RowRing& image,
                        int64_t y, int64_t x, int64_t groups, double epsilon, Doubles* statistics) {
  const int d = shape.d(), side = shape.side();
  const double share = 1.0 / shape.n(), ridge = epsilon * share;
  for (int64_t g = 0; g < groups; ++g, x += kLanes, statistics += statistics_size(d)) {
    Registers<kChannels*(kChannels + 1) / 2> covariance(statistics + d);
    Registers<kChannels> mean(statistics);
    for (int c = 0; c < d; ++c) {
      Doubles sum{};
      for (int ay = 0; ay < side; ++ay)
        for (int ax = 0; ax < side; ++ax) sum += load<kLanes>(image.row(y + ay, c) + x + ax);
      mean[c] = sum * share;
    }
    for (int i = 0; i < packed_size(d); ++i) covariance[i] = Doubles{};
    for (int ay = 0; ay < side; ++ay)
      for (int ax = 0; ax < side; ++ax) {
        const auto centred = [&](int c) {
          return load<kLanes>(image.row(y + ay, c) + x + ax) - mean[c];
        };
        for (int i = 0; i < d; ++i)
          for (int j = 0; j <= i; ++j) covariance[packed(i, j)] += centred(i) * centred(j);
      }
    for (int i = 0; i < d; ++i)
      for (int j = 0; j <= i; ++j)
        covariance[packed(i, j)] = covariance[packed(i, j)] * share + (i == j ? ridge : 0.0);
    invert_factor<kChannels>(covariance.data(), ridge, d);
    for (int c = 0; c < d; ++c) statistics[c] = mean[c];
    for (int i = 0; i < packed_size(d); ++i) statistics[d + i] = covariance[i];
  }
}

// z (n, d) of one group of windows.
template <int kChannels, int kRadius>
inline void whiten_windows(const WindowShape<kChannels, kRadius>& shape, const RowRing& image,
                           int64_t y, int64_t x, const Doubles* statistics, Doubles* z) {
  const int d = shape.d(), side = shape.side();
  for (int ay = 0; ay < side; ++ay)
    for (int ax = 0; ax < side; ++ax, z += d) {
      for (int c = 0; c < d; ++c)
        z[c] = load<kLanes>(image.row(y + ay, c) + x + ax) - statistics[c];
      whiten<kChannels>(statistics + d, z, d);
    }
}

// The windows' own values at pixel (ay, ax), for a chunk of windows: a row with zeros around it.
class WindowPlanes {
 public:
  WindowPlanes(Memory& memory, int64_t count) : data_(memory.take(count * kStride)) {
    std::memset(data_, 0, sizeof(double) * count * kStride);
  }
  double* plane(int64_t index) const { return data_ + index * kStride + kMattingPad; }

  // row[x] += sum over `count` planes from `first` on of plane[x - shift - k], k = 0, 1, ...
  // The planes hold `windows` values.
  void spread(int64_t first, int64_t count, int64_t shift, int64_t windows, double* row) const {
    const double* from = plane(first) - shift;
    const int64_t end = windows + shift + count - 1;
    if (count == 3) {
#pragma omp simd
      for (int64_t x = shift; x < end; ++x)
        row[x] += from[x] + from[x + kStride - 1] + from[x + 2 * kStride - 2];
    } else {
      for (int64_t k = 0; k < count; ++k) {
        const double* one = from + k * (kStride - 1);
#pragma omp simd
        for (int64_t x = shift; x < end; ++x) row[x] += one[x];
      }
    }
  }

 private:
  static constexpr int64_t kStride = (kMattingChunk + 2 * kMattingPad + 7) / 8 * 8;
  double* data_;
};

}  // namespace PF_ISA
}  // namespace pyfast
