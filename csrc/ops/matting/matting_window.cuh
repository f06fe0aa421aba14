// The fit of one window, for the CUDA kernels: which thread has which pixel, the mean colour and
// the whitening factor of the window around it.
#pragma once

#include "core/device.h"
#include "core/device_memory.h"
#include "ops/matting/matting.h"
#include "ops/matting/matting_math.h"

namespace pyfast {
namespace PF_ISA {

constexpr int kMattingThreads = 128;
constexpr int64_t kMostMattingPixels = 0x7ffff000;  // of a batch; threads beyond them count on

// A number of channels that is known to the compiler, or 0 and the most that there may be.
template <int kD>
constexpr int kMostColours = kD > 0 ? kD : kMostMattingChannels;
template <int kD>
constexpr int kMostFactor = kMostColours<kD> * (kMostColours<kD> + 1) / 2;

struct Span {
  int first, last;
};

// Numbers of an image in 32 bits.
struct MattingGrid {
  int height = 0, width = 0, radius = 0, channels = 0;
  unsigned blocks = 0;  // of threads, an image

  MattingGrid() = default;
  template <class T>
  explicit MattingGrid(const MattingImage<T>& image)
      : height(int(image.height)),
        width(int(image.width)),
        radius(int(image.radius)),
        channels(int(image.channels)),
        blocks(unsigned(ceil_div(image.pixels(), kMattingThreads))) {}

  PF_HD int pixels() const { return height * width; }
  PF_HD int side() const { return 2 * radius + 1; }
  PF_HD int window_size() const { return side() * side(); }
  PF_HD bool is_centre(int y, int x) const {
    return y >= radius && y < height - radius && x >= radius && x < width - radius;
  }
  // Centres, along one axis, of the windows that contain `at`.
  PF_HD Span centres(int at, int size) const {
    const int first = at - radius, last = at + radius;
    return {first > radius ? first : radius, last < size - 1 - radius ? last : size - 1 - radius};
  }
  PF_HD Span rows(int y) const { return centres(y, height); }
  PF_HD Span columns(int x) const { return centres(x, width); }
};

// A pixel of an image of the batch.
struct MattingPlace {
  unsigned image;
  int pixel, y, x;  // `pixel` beyond the image for a thread without work

  PF_HD MattingPlace(const MattingGrid& grid, unsigned block, int thread)
      : image(block / grid.blocks),
        pixel(int(block % grid.blocks) * kMattingThreads + thread),
        y(pixel / grid.width),
        x(pixel % grid.width) {}
};

template <int kD>
struct WindowFit {
  double mean[kMostColours<kD>];
  double inverse[kMostFactor<kD>];  // R^-1, packed

  // The window whose first pixel, of the first channel, is `corner`.
  template <class T>
  PF_HD void set(const MattingGrid& grid, const T* corner, double epsilon) {
    const int d = channel_count<kD>(grid.channels), side = grid.side();
    const double n = grid.window_size();
    for (int c = 0; c < d; ++c) mean[c] = 0;
    for (int c = 0; c < packed_size(d); ++c) inverse[c] = 0;
    for (int y = 0; y < side; ++y)
      for (int x = 0; x < side; ++x)
        for (int c = 0; c < d; ++c)
          mean[c] += double(corner[int64_t{c} * grid.pixels() + y * grid.width + x]);
    for (int c = 0; c < d; ++c) mean[c] /= n;
    for (int y = 0; y < side; ++y)
      for (int x = 0; x < side; ++x) {
        double colour[kMostColours<kD>];
        centred(grid, corner + y * grid.width + x, colour);
        for (int i = 0; i < d; ++i)
          for (int j = 0; j <= i; ++j) inverse[packed(i, j)] += colour[i] * colour[j];
      }
    for (int i = 0; i < d; ++i)
      for (int j = 0; j <= i; ++j)
        inverse[packed(i, j)] = (inverse[packed(i, j)] + (i == j ? epsilon : 0.0)) / n;
    invert_factor<kD>(inverse, epsilon / n, d);
  }

  // I - mean of the pixel whose first channel is `pixel`.
  template <class T>
  PF_HD void centred(const MattingGrid& grid, const T* pixel, double* colour) const {
    for (int c = 0; c < channel_count<kD>(grid.channels); ++c)
      colour[c] = double(pixel[int64_t{c} * grid.pixels()]) - mean[c];
  }

  // The same, whitened.
  template <class T>
  PF_HD void whitened(const MattingGrid& grid, const T* pixel, double* z) const {
    centred(grid, pixel, z);
    whiten<kD>(inverse, z, grid.channels);
  }
};

// Fits that are kept, as planes: (batch, mean and factor, pixels), a window at its centre.
struct WindowFits {
  double* planes = nullptr;
  uint8_t* used = nullptr;  // (batch, pixels), or null: all are

  PF_HD static int count(int channels) { return channels + packed_size(channels); }

  template <int kD>
  PF_HD void put(const MattingGrid& grid, unsigned image, int centre,
                 const WindowFit<kD>& fit) const {
    const int d = channel_count<kD>(grid.channels);
    double* to = planes + int64_t{image} * count(d) * grid.pixels() + centre;
    for (int c = 0; c < d; ++c, to += grid.pixels()) *to = fit.mean[c];
    for (int c = 0; c < packed_size(d); ++c, to += grid.pixels()) *to = fit.inverse[c];
  }
  template <int kD>
  PF_HD void get(const MattingGrid& grid, unsigned image, int centre, WindowFit<kD>* fit) const {
    const int d = channel_count<kD>(grid.channels);
    const double* from = planes + int64_t{image} * count(d) * grid.pixels() + centre;
    for (int c = 0; c < d; ++c, from += grid.pixels()) fit->mean[c] = *from;
    for (int c = 0; c < packed_size(d); ++c, from += grid.pixels()) fit->inverse[c] = *from;
  }
};

// One thread a window. Without the 1 the compiler spills registers to fit more blocks.
template <int kD>
__global__ void __launch_bounds__(kMattingThreads, 1)
    fit_windows(const MattingImage<double> image, const MattingGrid grid, const uint8_t* known,
                const WindowFits fits) {
  const MattingPlace place(grid, blockIdx.x, threadIdx.x);
  if (place.pixel >= grid.pixels() || !grid.is_centre(place.y, place.x)) return;
  const int corner = place.pixel - grid.radius * grid.width - grid.radius;
  if (known != nullptr) {
    const uint8_t* first = known + int64_t{place.image} * grid.pixels() + corner;
    bool all = true;
    for (int y = 0; y < grid.side(); ++y)
      for (int x = 0; x < grid.side(); ++x) all = all && first[y * grid.width + x] != 0;
    fits.used[int64_t{place.image} * grid.pixels() + place.pixel] = !all;
    if (all) return;
  }
  WindowFit<kD> fit;
  fit.set(grid, image.data + int64_t{place.image} * grid.channels * grid.pixels() + corner,
          image.epsilon);
  fits.put(grid, place.image, place.pixel, fit);
}

// Calls body with the number of channels that kernels are compiled for, or 0, as a type.
template <int kValue>
struct Channels {
  static constexpr int kD = kValue;
};
template <class Body>
int with_channels(int64_t channels, const Body& body) {
  if (channels == 1) return body(Channels<1>{});
  if (channels == 3) return body(Channels<3>{});
  return body(Channels<0>{});
}

// Whether indices hold what the kernels are asked for, and whether there is something to do.
template <class T>
bool is_valid(const MattingImage<T>& image) {
  return image.channels >= 1 && image.channels <= kMostMattingChannels && image.radius >= 1 &&
         image.batch * image.pixels() <= kMostMattingPixels;
}
template <class T>
bool is_empty(const MattingImage<T>& image) {
  return image.batch == 0 || image.pixels() == 0;
}

inline int launch_fits(const MattingImage<double>& image, const uint8_t* known,
                       const DeviceMemory& memory, cudaStream_t stream, WindowFits* fits) {
  const MattingGrid grid(image);
  const int64_t pixels = image.batch * image.pixels();
  fits->planes = memory.take<double>(pixels * WindowFits::count(grid.channels));
  if (known != nullptr) fits->used = memory.take<uint8_t>(pixels);
  return with_channels(image.channels, [&](auto c) {
    const auto kernel = fit_windows<decltype(c)::kD>;
    PF_LAUNCH(kernel, unsigned(image.batch) * grid.blocks, kMattingThreads, 0, stream, image, grid,
              known, *fits);
    return int(cudaGetLastError());
  });
}

}  // namespace PF_ISA
}  // namespace pyfast
