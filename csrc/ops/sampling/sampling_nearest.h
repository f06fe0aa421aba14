// The nearest pixel: one read for each output.
#pragma once

#include <cstdint>

#include "ops/sampling/sampling_stencil.h"

namespace pyfast {
namespace PF_ISA {

// Calls body(i, j, z, y, x) for every pixel of a tile whose nearest neighbour lies in the image,
// and outside(i, j) for the others.
template <class T, class Body, class Outside>
void for_each_nearest(const Places<T>& at, const Tile& tile, const Body& body,
                      const Outside& outside) {
  NearestRun<Accumulator<T>> run;
  for (int r = 0, rows; r < tile.rows; r += rows) {
    rows = rows_of_run(tile, r);
    locate_nearest(at, tile, r, rows, &run);
    for_each_pixel(tile, r, run.count, [&](int64_t i, int64_t j, int k) {
      int64_t index[3] = {0, 0, 0};
      bool inside = true;
      for (int a = 0; a < at.p.dims; ++a) {
        index[a] = run.index[a][k];
        inside = inside && index[a] >= 0 && index[a] < at.in_size(a);
      }
      if (inside) {
        body(i, j, index[2], index[1], index[0]);
      } else {
        outside(i, j);
      }
    });
  }
}

template <class T>
void forward_nearest(const SamplingParams<T>& p, int64_t n, const Tile& tile) {
  const int64_t b = input_of(p, n);
  for_each_nearest(
      Places<T>(p, n), tile,
      [&](int64_t i, int64_t j, int64_t z, int64_t y, int64_t x) {
        const T* from = p.input.at(b, 0, z, y, x);
        T* out = p.output.at(n, 0, tile.plane, i, j);
        for (int64_t c = 0; c < p.channels; ++c) out[c * p.output.c] = from[c * p.input.c];
      },
      [&](int64_t i, int64_t j) {
        T* out = p.output.at(n, 0, tile.plane, i, j);
        for (int64_t c = 0; c < p.channels; ++c) out[c * p.output.c] = T{};
      });
}

template <class T>
void spread_nearest(const SamplingParams<T>& p, const SamplingPlan& plan, int64_t n, int64_t first,
                    int64_t channels) {
  const int64_t b = input_of(p, n);
  for (int64_t t = 0; t < plan.tiles(); ++t) {
    const Tile tile = plan.tile(t, p.out_h, p.out_w);
    for_each_nearest(
        Places<T>(p, n), tile,
        [&](int64_t i, int64_t j, int64_t z, int64_t y, int64_t x) {
          Accumulator<T>* to = p.grad_input.at(b, first, z, y, x);
          const T* grad = p.grad_output.at(n, first, tile.plane, i, j);
          for (int64_t c = 0; c < channels; ++c)
            to[c * p.grad_input.c] += widen(grad[c * p.grad_output.c]);
        },
        [](int64_t, int64_t) {});
  }
}

}  // namespace PF_ISA
}  // namespace pyfast
