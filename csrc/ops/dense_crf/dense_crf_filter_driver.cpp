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

template <class S>
void run_sweep(const Sweep<S>& sweep) {
  const auto& lattice = sweep.lattice;
  const int64_t row = row_size(sweep.blocks), slabs = lattice.slabs;
  std::fill_n(sweep.used + lattice.used * row, row, S{});
  std::fill_n(sweep.all + lattice.vertices * row, row, S{});
  // Cuts at slabs with an equal share of vertices on each side of them; stages do less and less of
  // the slabs before and after a cut, and what they leave out is done when both sides are there.
  constexpr int kMostParts = 64;
  constexpr int64_t lag = kSweepStages - 1;
  int64_t cut[kMostParts + 1] = {0};
  int parts = 0;
  const int wanted = std::min(num_threads(), kMostParts);
  for (int i = 1; i < wanted; ++i) {
    const int64_t goal = lattice.vertices * i / wanted;
    const int64_t here =
        std::upper_bound(lattice.slab_starts, lattice.slab_starts + slabs + 1, goal) -
        lattice.slab_starts - 1;
    if (here - cut[parts] > 2 * lag && slabs - here > 2 * lag) cut[++parts] = here;
  }
  cut[++parts] = slabs;
  const auto wedge = [&](int64_t slab, int stage) {
    return slab == 0 || slab == slabs ? 0 : stage;
  };
  parallel_for(0, parts, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      SweepRange range;
      for (int j = 0; j < kSweepStages; ++j) {
        range.first[j] = cut[i] + wedge(cut[i], j);
        range.last[j] = cut[i + 1] - wedge(cut[i + 1], j);
      }
      kernels<S>().sweep(sweep, range);
    }
  });
  parallel_for(1, parts, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      SweepRange range;
      for (int j = 0; j < kSweepStages; ++j) {
        range.first[j] = cut[i] - j;
        range.last[j] = cut[i] + j;
      }
      kernels<S>().sweep(sweep, range);
    }
  });
}

template <class Real>
void filter_ones(const LatticeView<Real>& view) {
  Scratch<Real> used(view.used + 1), all(view.vertices + 1);
  run_sweep(Sweep<Real>{view, view.list_weights, false, 0, nullptr, used.data(), all.data()});
  const auto factor = static_cast<Real>(baseline::raw_slice_scale(view.dims));
  parallel_for(0, view.batch * view.points, kGrain, [&](int64_t begin, int64_t end) {
    kernels<Real>().slice(used.data(), view.corners, view.weights, view.dims + 1, 1, 0, begin, end,
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
    Scratch<Real> blurred((view.used + 1) * row), aside((view.vertices + 1) * row);
    const auto planes = [&](auto* values, int64_t image) {
      return values + (image * p.channels + first) * view.points;
    };
    for (int64_t b = 0; b < view.batch; ++b)
      parallel_for(0, view.points, kGrain, [&](int64_t begin, int64_t end) {
        kernels<Real>().pack(planes(p.values, b), view.points, channels, blocks, begin, end,
                             nullptr, rows.data() + b * view.points * row);
      });
    run_sweep(Sweep<Real>{view, view.list_weights, p.transposed, blocks, rows.data(),
                          blurred.data(), aside.data()});
    for (int64_t b = 0; b < view.batch; ++b)
      parallel_for(0, view.points, kGrain, [&](int64_t begin, int64_t end) {
        kernels<Real>().slice(blurred.data(), view.corners + b * view.points * corners,
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
    Scratch<Real> blurred((view.used + 1) * row), aside((view.vertices + 1) * row);
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
      run_sweep(Sweep<Real>{view, view.list_weights, transposed, blocks,
                            transposed ? back.data() : forth.data(), blurred.data(), aside.data()});
      parallel_for(0, total, kGrain, [&](int64_t begin, int64_t end) {
        kernels<Real>().dot(blurred.data(), view.corners, corners,
                            transposed ? forth.data() : back.data(), blocks, begin, end, factor,
                            grad_weights.data());
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

template void run_sweep(const Sweep<Half>&);
template void run_sweep(const Sweep<float>&);
template void run_sweep(const Sweep<double>&);
template void filter_ones(const LatticeView<float>&);
template void filter_ones(const LatticeView<double>&);
template void filter_cpu(const FilterParams<float>&);
template void filter_cpu(const FilterParams<double>&);
template void filter_gradient_cpu(const FilterGradientParams<float>&);
template void filter_gradient_cpu(const FilterGradientParams<double>&);

}  // namespace pyfast
