// The CPU kernels, compiled once for every instruction set. Each works on the tasks it is given
// (see sampling_cpu.h); what a task does is in the headers below.
#include "ops/sampling/sampling_cpu.h"

#include "ops/sampling/sampling_gathers.h"
#include "ops/sampling/sampling_nearest.h"
#include "ops/sampling/sampling_repack.h"
#include "ops/sampling/sampling_slopes.h"

namespace pyfast {
namespace PF_ISA {
namespace {

template <class T>
using Memory = TaskMemory<Accumulator<T>>;

template <class T>
void forward(const SamplingParams<T>& p, const SamplingPlan& plan, int64_t begin, int64_t end,
             const Memory<T>& memory) {
  for (int64_t task = begin; task < end; ++task) {
    const Tile tile = plan.tile(task % plan.tiles(), p.out_h, p.out_w);
    const int64_t rest = task / plan.tiles(), n = rest / plan.groups;
    switch (plan.route) {
      case Route::kNearest:
        forward_nearest(p, n, tile);
        break;
      case Route::kWide:
        forward_wide(p, n, tile, memory);
        break;
      case Route::kPacked:
        forward_packed(p, n, tile, memory);
        break;
      case Route::kFew:
        with_stencil(p, [&](auto stencil) {
          with_few(p.channels, [&](auto few) {
            forward_few<decltype(stencil), decltype(few)::value, T, Accumulator<T>>(Places<T>(p, n),
                                                                                    tile);
          });
        });
        break;
      case Route::kGathers:
        if constexpr (std::is_same_v<Accumulator<T>, float>) {
          const Places<T> at(p, n);
          with_reader(at, plan, tile, memory,
                      [&](const auto& reader) { forward_gathers(reader, at, tile); });
        }
        break;
      case Route::kTaps:
        with_stencil(p, [&](auto stencil) {
          using S = decltype(stencil);
          if constexpr ((S::kCount > 4)) forward_taps<S, T, Accumulator<T>>(p, n, tile);
        });
        break;
      case Route::kPlanar: {
        const Group group = plan.group(p.channels, rest % plan.groups);
        with_lanes(group, ForwardLanes<Accumulator<T>>{}, [&](auto lanes) {
          forward_tile<decltype(lanes)::value>(p, plan, n, group, tile, memory);
        });
      }
    }
  }
}

template <class T>
Box spread(const SamplingParams<T>& p, const SamplingPlan& plan, int64_t n, const Group& group,
           const Tile& tile, const Memory<T>& memory) {
  Box box;
  with_lanes(group, BackwardLanes{}, [&](auto lanes) {
    box = spread_tile<decltype(lanes)::value>(p, plan, n, group, tile, memory);
  });
  return box;
}

template <class T>
void merge(const SamplingParams<T>& p, int64_t n, const Group& group, const Tile& tile,
           const Box& box, const Accumulator<T>* packed, const Memory<T>& memory, int64_t begin,
           int64_t end) {
  with_lanes(group, BackwardLanes{}, [&](auto lanes) {
    merge_tile<decltype(lanes)::value>(p, n, group, tile, box, packed, memory, begin, end);
  });
}

template <class T>
void clear(const SamplingParams<T>& p, int64_t b, int64_t first, int64_t channels) {
  using Real = Accumulator<T>;
  const auto& view = p.grad_input;
  const bool pixels = view.c == 1 && view.w == channels;  // a row of the image is one piece
  for (int64_t z = 0; z < p.in_d; ++z)
    for (int64_t y = 0; y < p.in_h; ++y) {
      if (pixels) {
        std::memset(view.at(b, first, z, y, 0), 0, sizeof(Real) * channels * p.in_w);
        continue;
      }
      for (int64_t c = first; c < first + channels; ++c) {
        Real* line = view.at(b, c, z, y, 0);
        if (view.w == 1) {
          std::memset(line, 0, sizeof(Real) * p.in_w);
        } else {
          for (int64_t x = 0; x < p.in_w; ++x) line[x * view.w] = 0;
        }
      }
    }
}

template <class S, class T, class Real>
void spread_run(const Places<T>& at, const SamplingPlan& plan, const Tile& tile, int r, int rows,
                const Run<Real>& run, const TapPlaces<S>& places, int64_t first, int64_t channels,
                const Memory<T>& memory) {
  if (plan.route == Route::kWide) {
    spread_run_wide(at, tile, r, run, places, first, channels, memory);
  } else if (plan.route == Route::kFew) {
    with_few(channels,
             [&](auto few) { spread_run_few<S, decltype(few)::value>(at, tile, r, run, places); });
  } else if constexpr ((S::kCount > 4)) {
    spread_run_taps(at, tile, r, rows, run, places, first, channels);
  }
}

template <class T>
void spread_channels(const SamplingParams<T>& p, const SamplingPlan& plan, int64_t b, int64_t first,
                     int64_t channels, const Memory<T>& memory) {
  clear(p, b, first, channels);
  const int64_t begin = p.input_batch == 1 ? 0 : b, end = p.input_batch == 1 ? p.batch : b + 1;
  for (int64_t n = begin; n < end; ++n) {
    if (plan.route == Route::kNearest) {
      spread_nearest(p, plan, n, first, channels);
      continue;
    }
    const Places<T> at(p, n);
    for (int64_t t = 0; t < plan.tiles(); ++t) {
      const Tile tile = plan.tile(t, p.out_h, p.out_w);
      with_stencil(p, [&](auto stencil) {
        for_each_run<false>(at, tile, [&](int r, int rows, const auto& run) {
          const TapPlaces<decltype(stencil)> places(at, run, p.grad_input);
          spread_run(at, plan, tile, r, rows, run, places, first, channels, memory);
        });
      });
    }
  }
}

template <class T>
void coordinates(const SamplingParams<T>& p, const SamplingPlan& plan, int64_t begin, int64_t end,
                 const Memory<T>& memory, double* matrix_sums) {
  const int count = p.matrix_size();
  for (int64_t task = begin; task < end; ++task) {
    const Tile tile = plan.tile(task % plan.tiles(), p.out_h, p.out_w);
    const Places<T> at(p, task / plan.tiles());
    double* sums = matrix_sums + count * task;
    for (int c = 0; c < count; ++c) sums[c] = 0;
    if (plan.route == Route::kPlanar) {
      coordinates_planar(at, plan, tile, memory, sums);
    } else if (plan.route == Route::kGathers) {
      if constexpr (std::is_same_v<Accumulator<T>, float>)
        with_reader(at, plan, tile, memory, [&](const auto& reader) {
          for (int r = 0, rows; r < tile.rows; r += rows) {
            rows = rows_of_run(tile, r);
            Positions<float> by;
            slopes_run_gathers(reader, at, tile, r, rows, &by);
            finish_run(at, tile, r, rows, &by, sums);
          }
        });
    } else {
      with_stencil(p, [&](auto stencil) {
        for_each_run<true>(at, tile, [&](int r, int rows, const auto& run) {
          const TapPlaces<decltype(stencil)> places(at, run, p.input);
          slopes_run(at, plan, tile, r, rows, run, places, memory, sums);
        });
      });
    }
  }
}

template <class T>
void sweep(const SamplingParams<T>& p, const SamplingPlan& plan, int64_t n, const Memory<T>& memory,
           double* matrix_sums) {
  clear(p, n, 0, p.channels);
  const Places<T> at(p, n);
  const auto &from = p.input, &to = p.grad_input;
  const bool in_one_order = from.d == to.d && from.h == to.h && from.w == to.w;
  const int count = p.matrix_size();
  for (int64_t t = 0; t < plan.tiles(); ++t) {
    const Tile tile = plan.tile(t, p.out_h, p.out_w);
    double* sums = matrix_sums + count * t;
    for (int c = 0; c < count; ++c) sums[c] = 0;
    with_stencil(p, [&](auto stencil) {
      using S = decltype(stencil);
      for_each_run<true>(at, tile, [&](int r, int rows, const auto& run) {
        const TapPlaces<S> places(at, run, from);
        slopes_run(at, plan, tile, r, rows, run, places, memory, sums);
        const auto spread = [&](const TapPlaces<S>& of_gradient) {
          spread_run(at, plan, tile, r, rows, run, of_gradient, 0, p.channels, memory);
        };
        in_one_order ? spread(places) : spread(TapPlaces<S>(at, run, to));
      });
    });
  }
}

template <class T>
const SamplingKernels<T> kKernels = {kForwardLanes<Accumulator<T>>,
                                     kBackwardLanes,
                                     forward<T>,
                                     spread<T>,
                                     merge<T>,
                                     clear<T>,
                                     spread_channels<T>,
                                     coordinates<T>,
                                     sweep<T>,
                                     pack_rows<T>,
                                     unpack_rows<T>};

}  // namespace

#define PF_INSTANTIATE(T)                           \
  template <>                                       \
  const SamplingKernels<T>& sampling_kernels<T>() { \
    return kKernels<T>;                             \
  }
PF_INSTANTIATE(float)
PF_INSTANTIATE(double)
PF_INSTANTIATE(Half)
PF_INSTANTIATE(BFloat16)
#undef PF_INSTANTIATE

}  // namespace PF_ISA
}  // namespace pyfast
