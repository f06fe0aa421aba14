// The form u^T L v, its product L v and its slope, matrix-free: one thread a window fits all
// vectors by affine functions of colour, then one thread a pixel gathers the windows that contain
// it. No atomic operation; the same bits in every run.
#pragma once

#include "core/block_sum.cuh"
#include "ops/matting/matting_window.cuh"

namespace pyfast {
namespace PF_ISA {

// In a window, a . I + b is nearest to a vector. Planes (batch, vectors, channels + 1, pixels):
// the slopes a and, last, b; a window at its centre.
struct AffineFits {
  double* planes;

  PF_HD double* at(const MattingGrid& grid, int64_t vector, int centre) const {
    return planes + vector * (grid.channels + 1) * grid.pixels() + centre;
  }
};

template <class T>
struct FormCall {
  MattingFormParams<T> params;
  MattingGrid grid;
  AffineFits of_u, of_v;  // the same where u = v
  double* partial_sums;   // (batch, vectors, blocks of an image) of the energy
};

// Keeps the fit of one vector in the window at `corner`. Returns sum of d^2, d = v - mean; t is
// R^-1 sum of c d.
template <int kD, class T>
PF_HD void fit_vector(const FormCall<T>& call, const WindowFit<kD>& fit, const T* colours,
                      const T* vector, int64_t number, int centre, const AffineFits& fits,
                      double* t, double* mean) {
  const MattingGrid& grid = call.grid;
  const int d = channel_count<kD>(grid.channels), side = grid.side();
  *mean = 0;
  for (int y = 0; y < side; ++y)
    for (int x = 0; x < side; ++x) *mean += double(vector[y * grid.width + x]);
  *mean /= grid.window_size();
  for (int c = 0; c < d; ++c) t[c] = 0;
  for (int y = 0; y < side; ++y)
    for (int x = 0; x < side; ++x) {
      double colour[kMostColours<kD>];
      fit.centred(grid, colours + y * grid.width + x, colour);
      const double rest = double(vector[y * grid.width + x]) - *mean;
      for (int c = 0; c < d; ++c) t[c] += colour[c] * rest;
    }
  whiten<kD>(fit.inverse, t, d);
  double slope[kMostColours<kD>];
  for (int c = 0; c < d; ++c) slope[c] = t[c];
  colour_slope<kD>(fit.inverse, slope, 1.0 / grid.window_size(), d);
  double* to = fits.at(grid, number, centre);
  double offset = *mean;
  for (int c = 0; c < d; ++c, to += grid.pixels()) {
    *to = slope[c];
    offset -= slope[c] * fit.mean[c];
  }
  *to = offset;
}

template <int kD, class T>
__global__ void __launch_bounds__(kMattingThreads) fit_vectors(const FormCall<T> call) {
  const MattingFormParams<T>& p = call.params;
  const MattingGrid& grid = call.grid;
  const MattingPlace place(grid, blockIdx.x, threadIdx.x);
  const bool active = place.pixel < grid.pixels() && grid.is_centre(place.y, place.x);
  const int corner = place.pixel - grid.radius * grid.width - grid.radius;
  const T* colours = p.image.data + int64_t{place.image} * grid.channels * grid.pixels() + corner;
  WindowFit<kD> fit;
  if (active) fit.set(grid, colours, p.image.epsilon);
  for (int64_t c = 0; c < p.vectors; ++c) {
    const int64_t number = place.image * p.vectors + c;
    const int64_t first = number * grid.pixels() + corner;
    Sums<1> energy{};
    if (active) {
      const T* u = p.u == nullptr ? p.v : p.u;
      double t_v[kMostColours<kD>], t_u[kMostColours<kD>], mean_v, mean_u;
      fit_vector(call, fit, colours, p.v + first, number, place.pixel, call.of_v, t_v, &mean_v);
      mean_u = mean_v;
      for (int k = 0; k < channel_count<kD>(grid.channels); ++k) t_u[k] = t_v[k];
      if (p.u != nullptr)
        fit_vector(call, fit, colours, u + first, number, place.pixel, call.of_u, t_u, &mean_u);
      if (p.energy != nullptr) {
        for (int y = 0; y < grid.side(); ++y)
          for (int x = 0; x < grid.side(); ++x) {
            const int at = y * grid.width + x;
            energy.value[0] +=
                (double(u[first + at]) - mean_u) * (double(p.v[first + at]) - mean_v);
          }
        for (int k = 0; k < channel_count<kD>(grid.channels); ++k)
          energy.value[0] -= t_u[k] * t_v[k] / grid.window_size();
      }
    }
    if (p.energy != nullptr)
      write_block_sum<kMattingThreads>(
          energy, call.partial_sums + number * grid.blocks + blockIdx.x % grid.blocks);
  }
}

// v - a . I - b of a pixel in the window at `fit`, which is advanced to b.
template <int kD, class T>
PF_HD double rest_of(const MattingGrid& grid, const double* colour, const T& value,
                     const double* fit, double* slope) {
  const int d = channel_count<kD>(grid.channels);
  double rest = double(value);
  for (int c = 0; c < d; ++c, fit += grid.pixels()) {
    slope[c] = *fit;
    rest -= slope[c] * colour[c];
  }
  return rest - *fit;
}

// Without the 1 the compiler spills registers to fit more blocks.
template <int kD, class T>
__global__ void __launch_bounds__(kMattingThreads, 1) gather_windows(const FormCall<T> call) {
  const MattingFormParams<T>& p = call.params;
  const MattingGrid& grid = call.grid;
  const MattingPlace place(grid, blockIdx.x, threadIdx.x);
  if (place.pixel >= grid.pixels()) return;
  const int d = channel_count<kD>(grid.channels);
  const int64_t first = int64_t{place.image} * d * grid.pixels() + place.pixel;
  double colour[kMostColours<kD>], slope_sum[kMostColours<kD>];
  for (int c = 0; c < d; ++c) {
    colour[c] = double(p.image.data[first + int64_t{c} * grid.pixels()]);
    slope_sum[c] = 0;
  }
  const Span rows = grid.rows(place.y), columns = grid.columns(place.x);
  for (int64_t v = 0; v < p.vectors; ++v) {
    const int64_t number = place.image * p.vectors + v;
    const int64_t at = number * grid.pixels() + place.pixel;
    double product = 0;
    for (int y = rows.first; y <= rows.last; ++y)
      for (int x = columns.first; x <= columns.last; ++x) {
        const int centre = y * grid.width + x;
        double a_v[kMostColours<kD>], a_u[kMostColours<kD>];
        const double rest =
            rest_of<kD>(grid, colour, p.v[at], call.of_v.at(grid, number, centre), a_v);
        product += rest;
        if (p.slope == nullptr) continue;
        if (p.u == nullptr) {
          for (int c = 0; c < d; ++c) slope_sum[c] -= 2 * rest * a_v[c];
        } else {
          const double rest_u =
              rest_of<kD>(grid, colour, p.u[at], call.of_u.at(grid, number, centre), a_u);
          for (int c = 0; c < d; ++c) slope_sum[c] -= rest_u * a_v[c] + rest * a_u[c];
        }
      }
    if (p.product != nullptr) p.product[at] = T(product);
  }
  if (p.slope == nullptr) return;
  for (int c = 0; c < d; ++c) p.slope[first + int64_t{c} * grid.pixels()] = T(slope_sum[c]);
}

// One block a vector.
template <int kThreads>
__global__ void __launch_bounds__(kThreads)
    add_energies(const double* partial_sums, unsigned partials, double* energy) {
  const double* of_vector = partial_sums + int64_t{blockIdx.x} * partials;
  Sums<1> sum{};
  for (unsigned k = threadIdx.x; k < partials; k += kThreads) sum.value[0] += of_vector[k];
  write_block_sum<kThreads>(sum, energy + blockIdx.x);
}

template <class T>
int launch_form(const MattingFormParams<T>& p, const DeviceMemory& memory, cudaStream_t stream) {
  const int64_t vectors = p.image.batch * p.vectors;
  if (!is_valid(p.image) || vectors > kMostMattingPixels) return cudaErrorInvalidValue;
  if (is_empty(p.image)) {
    if (p.energy == nullptr || vectors == 0) return cudaSuccess;
    return cudaMemsetAsync(p.energy, 0, size_t(vectors) * sizeof(double), stream);
  }
  const MattingGrid grid(p.image);
  FormCall<T> call{p, grid, {}, {}, nullptr};
  const int64_t fits = vectors * (grid.channels + 1) * grid.pixels();
  call.of_v.planes = memory.take<double>(fits);
  call.of_u.planes = p.u == nullptr ? call.of_v.planes : memory.take<double>(fits);
  if (p.energy != nullptr) call.partial_sums = memory.take<double>(vectors * grid.blocks);
  return with_channels(grid.channels, [&](auto c) {
    constexpr int kD = decltype(c)::kD;
    const unsigned blocks = unsigned(p.image.batch) * grid.blocks;
    if (vectors > 0) {
      const auto fit = fit_vectors<kD, T>;
      PF_LAUNCH(fit, blocks, kMattingThreads, 0, stream, call);
    }
    if (p.energy != nullptr && vectors > 0) {
      const auto add = add_energies<kMattingThreads>;
      PF_LAUNCH(add, unsigned(vectors), kMattingThreads, 0, stream, call.partial_sums, grid.blocks,
                p.energy);
    }
    if (p.product != nullptr || p.slope != nullptr) {
      const auto gather = gather_windows<kD, T>;
      PF_LAUNCH(gather, blocks, kMattingThreads, 0, stream, call);
    }
    return int(cudaGetLastError());
  });
}

// --- What a gradient needs besides: a thread an item ---

template <class T>
__global__ void __launch_bounds__(kMattingThreads)
    add_up_energies(const double* energies, int64_t batch, int64_t vectors, T* totals) {
  const int64_t k = int64_t{blockIdx.x} * kMattingThreads + threadIdx.x;
  if (k >= batch) return;
  double sum = 0;
  for (int64_t v = 0; v < vectors; ++v) sum += energies[k * vectors + v];
  totals[k] = T(sum);
}

template <class T>
__global__ void __launch_bounds__(kMattingThreads)
    scale_images(const T* from, const T* factors, double by, int64_t each, unsigned blocks, T* to) {
  const int64_t k = int64_t{blockIdx.x % blocks} * kMattingThreads + threadIdx.x;
  if (k >= each) return;
  const int64_t image = blockIdx.x / blocks;
  const double factor = factors == nullptr ? 1 : double(factors[image]);
  to[image * each + k] = T(by * factor) * from[image * each + k];
}

template <class T>
int launch_totals(const double* energies, int64_t batch, int64_t vectors, T* totals,
                  cudaStream_t stream) {
  if (batch == 0) return cudaSuccess;
  const auto kernel = add_up_energies<T>;
  PF_LAUNCH(kernel, unsigned(ceil_div(batch, kMattingThreads)), kMattingThreads, 0, stream,
            energies, batch, vectors, totals);
  return cudaGetLastError();
}

template <class T>
int launch_scale(const T* from, const T* factors, double by, int64_t batch, int64_t each, T* to,
                 cudaStream_t stream) {
  const int64_t blocks = ceil_div(each, kMattingThreads);
  if (batch * blocks == 0) return cudaSuccess;
  if (batch * blocks > kMostMattingPixels) return cudaErrorInvalidValue;
  const auto kernel = scale_images<T>;
  PF_LAUNCH(kernel, unsigned(batch * blocks), kMattingThreads, 0, stream, from, factors, by, each,
            unsigned(blocks), to);
  return cudaGetLastError();
}

}  // namespace PF_ISA
}  // namespace pyfast
