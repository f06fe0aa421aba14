// The lattice filter: divides sweeps among threads, brings memory. A sweep gives the same bits
// however it is divided, because every value is the same sum in the same order.
#include <algorithm>

#include "core/cpu_dispatch.h"
#include "core/parallel.h"
#include "core/workspace.h"
#include "ops/dense_crf/dense_crf_cpu.h"
#include "ops/dense_crf/dense_crf_filter.h"

namespace pyfast {
namespace {

constexpr int64_t kGrain = 1024;  // points for one thread

template <class S>
const FilterKernels<S>& kernels() {
  return PF_PICK_CPU(filter_kernels<S>);
}

}  // namespace

SweepPlan sweep_plan(int dims, int64_t reach, bool transposed) {
  SweepPlan plan;
  plan.stages = dims + 2;
  plan.lag[0] = 0, plan.axis[0] = -1;
  int64_t before = 0;
  for (int j = 1; j < plan.stages; ++j) {
    plan.axis[j] = transposed ? dims + 1 - j : j - 1;
    const int64_t here = plan.axis[j] == dims ? reach : 1;
    plan.lag[j] = plan.lag[j - 1] + std::max(before, here);
    before = here;
  }
  return plan;
}

template <class S>
Sweep<S> sweep_of(const LatticeView<Accumulator<S>>& view, int blocks, bool transposed) {
  Sweep<S> sweep{};
  sweep.starts = view.starts, sweep.list_points = view.list_points;
  sweep.neighbours = view.neighbours, sweep.slab_starts = view.slab_starts;
  sweep.list_weights = view.list_weights;
  sweep.vertices = view.vertices;
  sweep.blocks = blocks;
  sweep.plan = sweep_plan(view.dims, view.reach, transposed);
  return sweep;
}

template <class S>
S* run_sweep(const Sweep<S>& sweep, int64_t slabs) {
  const SweepPlan& plan = sweep.plan;
  const int last_stage = plan.stages - 1;
  const int64_t row = row_size(sweep.blocks), lag = plan.lag[last_stage];
  for (S* buffer : sweep.buffer) std::fill_n(buffer + sweep.vertices * row, row, S{});
  // Cuts at slabs with an equal share of vertices on each side of them; stages do less and less of
  // the slabs before and after a cut, and what they leave out is done when both sides are there.
  constexpr int kMostParts = 64;
  int64_t cut[kMostParts + 1] = {0};
  int parts = 0;
  const int wanted = std::min(num_threads(), kMostParts);
  for (int i = 1; i < wanted; ++i) {
    const int64_t goal = sweep.vertices * i / wanted;
    const int64_t here = std::upper_bound(sweep.slab_starts, sweep.slab_starts + slabs + 1, goal) -
                         sweep.slab_starts - 1;
    if (here - cut[parts] > 2 * lag && slabs - here > 2 * lag) cut[++parts] = here;
  }
  cut[++parts] = slabs;
  const auto wedge = [&](int64_t slab, int stage) {
    return slab == 0 || slab == slabs ? 0 : plan.lag[stage];
  };
  parallel_for(0, parts, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      SweepRange range;
      for (int j = 0; j <= last_stage; ++j) {
        range.first[j] = cut[i] + wedge(cut[i], j);
        range.last[j] = cut[i + 1] - wedge(cut[i + 1], j);
      }
      kernels<S>().sweep(sweep, range);
    }
  });
  parallel_for(1, parts, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      SweepRange range;
      for (int j = 0; j <= last_stage; ++j) {
        range.first[j] = cut[i] - plan.lag[j];
        range.last[j] = cut[i] + plan.lag[j];
      }
      kernels<S>().sweep(sweep, range);
    }
  });
  return sweep.buffer[last_stage % 2];
}

template <class Real>
void filter_ones(const LatticeView<Real>& view) {
  Scratch<Real> ones(view.batch * view.points), even(view.vertices + 1), odd(view.vertices + 1);
  std::fill_n(ones.data(), view.batch * view.points, Real(1));
  Sweep<Real> sweep = sweep_of<Real>(view, 0, false);
  sweep.points = ones.data();
  sweep.buffer[0] = even.data(), sweep.buffer[1] = odd.data();
  const Real* result = run_sweep(sweep, view.slabs);
  const auto factor = static_cast<Real>(baseline::raw_slice_scale(view.dims));
  parallel_for(0, view.batch * view.points, kGrain, [&](int64_t begin, int64_t end) {
    kernels<Real>().slice(result, view.corners, view.weights, view.dims + 1, 1, 0, begin, end,
                          factor, view.mass, 0);
  });
}

template <class Real>
void filter_cpu(const FilterParams<Real>& p) {
  const auto view = view_of<Real>(p.lattice);
  if (view.batch * view.points * p.channels == 0) return;
  const auto factor = static_cast<Real>(baseline::raw_slice_scale(view.dims));
  const int corners = view.dims + 1;
  for (int64_t first = 0; first < p.channels; first += kMostBlocks * kBlockChannels) {
    const int channels =
        static_cast<int>(std::min<int64_t>(p.channels - first, kMostBlocks * kBlockChannels));
    const int blocks = channels == 1 ? 0 : (channels + kBlockChannels - 1) / kBlockChannels;
    const int64_t row = row_size(blocks);
    Scratch<Real> rows(view.batch * view.points * row);
    Scratch<Real> even((view.vertices + 1) * row), odd((view.vertices + 1) * row);
    Sweep<Real> sweep = sweep_of<Real>(view, blocks, p.transposed);
    sweep.points = rows.data();
    sweep.buffer[0] = even.data(), sweep.buffer[1] = odd.data();
    const auto planes = [&](auto* values, int64_t image) {
      return values + (image * p.channels + first) * view.points;
    };
    for (int64_t b = 0; b < view.batch; ++b)
      parallel_for(0, view.points, kGrain, [&](int64_t begin, int64_t end) {
        kernels<Real>().pack(planes(p.values, b), view.points, channels, blocks, begin, end,
                             nullptr, rows.data() + b * view.points * row);
      });
    const Real* result = run_sweep(sweep, view.slabs);
    for (int64_t b = 0; b < view.batch; ++b)
      parallel_for(0, view.points, kGrain, [&](int64_t begin, int64_t end) {
        kernels<Real>().slice(result, view.corners + b * view.points * corners,
                              view.weights + b * view.points * corners, corners, channels, blocks,
                              begin, end, factor, planes(p.output, b), view.points);
      });
  }
}

template <class Real>
void filter_gradient_cpu(const FilterGradientParams<Real>& p) {
  const auto view = view_of<Real>(p.lattice);
  const int64_t total = view.batch * view.points;
  if (total == 0) return;
  const auto factor = static_cast<Real>(baseline::raw_slice_scale(view.dims));
  const int corners = view.dims + 1;
  Scratch<Real> grad_weights(view.corner_count());
  std::fill_n(grad_weights.data(), view.corner_count(), Real(0));
  for (int64_t first = 0; first < p.channels; first += kMostBlocks * kBlockChannels) {
    const int channels =
        static_cast<int>(std::min<int64_t>(p.channels - first, kMostBlocks * kBlockChannels));
    const int blocks = channels == 1 ? 0 : (channels + kBlockChannels - 1) / kBlockChannels;
    const int64_t row = row_size(blocks);
    Scratch<Real> forth(total * row), back(total * row);
    Scratch<Real> even((view.vertices + 1) * row), odd((view.vertices + 1) * row);
    const auto pack = [&](const Real* planes, Real* rows) {
      for (int64_t b = 0; b < view.batch; ++b)
        parallel_for(0, view.points, kGrain, [&](int64_t begin, int64_t end) {
          kernels<Real>().pack(planes + (b * p.channels + first) * view.points, view.points,
                               channels, blocks, begin, end, nullptr, rows + b * view.points * row);
        });
    };
    pack(p.values, forth.data());
    pack(p.grad, back.data());
    // <grad, K values> in the weights of the slice, then in those of the splat.
    for (const bool transposed : {false, true}) {
      Sweep<Real> sweep = sweep_of<Real>(view, blocks, transposed);
      sweep.points = transposed ? back.data() : forth.data();
      sweep.buffer[0] = even.data(), sweep.buffer[1] = odd.data();
      const Real* result = run_sweep(sweep, view.slabs);
      parallel_for(0, total, kGrain, [&](int64_t begin, int64_t end) {
        kernels<Real>().dot(result, view.corners, corners, transposed ? forth.data() : back.data(),
                            blocks, begin, end, factor, grad_weights.data());
      });
    }
  }
  const auto& lattice = PF_PICK_CPU(lattice_kernels<Real>);
  for (int64_t b = 0; b < view.batch; ++b)
    parallel_for(0, view.points, kGrain, [&](int64_t begin, int64_t end) {
      const int64_t plane = b * view.dims * view.points;
      lattice.adjoint(view.dims, p.features + plane, view.points,
                      grad_weights.data() + b * view.points * corners, begin, end,
                      p.grad_features + plane);
    });
}

#define PF_INSTANTIATE(S)                                                    \
  template Sweep<S> sweep_of(const LatticeView<Accumulator<S>>&, int, bool); \
  template S* run_sweep(const Sweep<S>&, int64_t);
PF_INSTANTIATE(Half)
PF_INSTANTIATE(float)
PF_INSTANTIATE(double)
#undef PF_INSTANTIATE
template void filter_ones(const LatticeView<float>&);
template void filter_ones(const LatticeView<double>&);
template void filter_cpu(const FilterParams<float>&);
template void filter_cpu(const FilterParams<double>&);
template void filter_gradient_cpu(const FilterGradientParams<float>&);
template void filter_gradient_cpu(const FilterGradientParams<double>&);

}  // namespace pyfast
