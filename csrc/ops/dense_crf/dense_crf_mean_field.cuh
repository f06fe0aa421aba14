// The mean field: what its iterations launch.
#pragma once

#include "core/device_graph.cuh"
#include "ops/dense_crf/dense_crf_update.cuh"

namespace pyfast {
namespace PF_ISA {

// One logit a label, minus its energy. A pixel with a NaN, or whose labels are all impossible, is
// unknown: its logits are 0. Infinite ones become large ones, whose differences are numbers.
template <class Real>
__global__ void __launch_bounds__(kThreads)
    clean_logits(int64_t all_points, int32_t labels, int64_t stride, Real* logits) {
  const int64_t point = thread_number();
  if (point >= all_points) return;
  constexpr Real kLarge = Real(1e30);
  Real* row = logits + point * stride;
  bool known = true, possible = false;
  for (int32_t l = 0; l < labels; ++l) {
    known = known && row[l] == row[l];
    possible = possible || row[l] > -kLarge;
  }
  for (int32_t l = 0; l < labels; ++l) {
    if (!known || !possible) row[l] = 0;
    if (row[l] > kLarge) row[l] = kLarge;
    if (row[l] < -kLarge) row[l] = -kLarge;
  }
}

// What values are multiplied by before and after they are filtered; null for nothing.
template <class Real>
struct Scales {
  Real* before;
  Real* after;
};

template <class Real>
__global__ void __launch_bounds__(kThreads)
    find_scales(const Real* mass, int64_t count, bool symmetric, Real* scale) {
  const int64_t i = thread_number();
  if (i >= count) return;
  const Real least = Real(1e-20), m = mass[i] > least ? mass[i] : least;
  scale[i] = Real(1) / (symmetric ? sqrt(m) : m);
}

template <class Real>
Scales<Real> make_scales(Run& run, const Real* mass, int64_t count, Normalization kind) {
  if (kind == Normalization::kNone) return {nullptr, nullptr};
  Real* scale = run.take<Real>(count);
  const bool symmetric = kind == Normalization::kSymmetric;
  run.launch(find_scales<Real>, run.blocks_for(count), mass, count, symmetric, scale);
  return {kind == Normalization::kAfter ? nullptr : scale,
          kind == Normalization::kBefore ? nullptr : scale};
}

template <class Real>
class MeanField {
 public:
  // sizes: of the kernels' lattices.
  MeanField(Run& run, const MeanFieldParams<Real>& p, const LatticeSizes* sizes)
      : p_(p), shape_(row_shape(p.labels)), count_(p.batch * p.points()) {
    const int64_t size = count_ * shape_.stride();
    logits_ = run.take<Real>(size);
    marginals_ = run.take<Real>(size);
    to_rows(run, p.unary, shape_, p.batch, p.points(), Real(-1), logits_);
    run.launch(clean_logits<Real>, run.blocks_for(count_), count_, shape_.channels, shape_.stride(),
               logits_);
    step_.all_points = count_;
    step_.points = p.points();
    step_.width = p.width;
    step_.shape = shape_;
    step_.logits = logits_;
    step_.marginals = marginals_;
    step_.message_count = 0;
    for (int k = 0; k < p.kernel_count; ++k) add_kernel(run, p.kernels[k], sizes[k]);
  }

  void start(Run& run) const {
    if (p_.start != nullptr) {
      to_rows(run, p_.start, shape_, p_.batch, p_.points(), Real(1), marginals_);
      return;
    }
    MeanFieldStep<Real> softmax = step_;
    softmax.message_count = 0;
    launch_update(run, softmax);
  }

  void iterate(Run& run) const {
    MeanFieldStep<Real> step = step_;
    for (int k = 0; k < step.message_count; ++k) {
      Message<Real>& m = step.messages[k];
      const Plan& plan = plans_[k];
      if (m.on_grid) {
        blur_rows(run, plan);
        m.rows = plan.across;
      } else {
        m.rows = splat_and_blur(run, m.lattice, shape_, marginals_, plan.scales.before, false,
                                plan.vertex_rows);
      }
    }
    launch_update(run, step);
  }

  void finish(Run& run, Real* planes) const {
    to_planes(run, marginals_, shape_, p_.batch, p_.points(), planes);
  }

 private:
  // What a kernel does before its message is taken.
  struct Plan {
    Scales<Real> scales;
    LatticeRows<Real> vertex_rows;
    Taps<Real> along_x;
    Real* across;  // rows of pixels
  };

  void add_kernel(Run& run, const CrfKernel<Real>& kernel, const LatticeSizes& sizes) {
    Plan& plan = plans_[step_.message_count];
    Message<Real>& m = step_.messages[step_.message_count++];
    const bool raw = kernel.normalization == Normalization::kNone;
    m.on_grid = kernel.lattice == nullptr;
    m.factor = Real(raw ? kernel.scale : 1.0);
    if (m.on_grid) {
      plan.along_x = make_taps<Real>(run, kernel.sigma_x, p_.width);
      m.along_y = make_taps<Real>(run, kernel.sigma_y, p_.height);
      Real* mass = run.take<Real>(p_.points());
      run.launch(grid_mass<Real>, run.blocks_for(p_.points()), p_.height, p_.width, plan.along_x,
                 m.along_y, mass);
      plan.scales = make_scales(run, mass, p_.points(), kernel.normalization);
      plan.across = run.take<Real>(count_ * shape_.stride());
    } else {
      m.lattice = lattice_in<Real>(kernel.lattice, sizes);
      m.factor *= Real(raw_slice_scale(m.lattice.dims));
      plan.scales = make_scales(run, m.lattice.mass, count_, kernel.normalization);
      plan.vertex_rows = make_lattice_rows(run, m.lattice, shape_);
    }
    m.after = plan.scales.after;
    m.costs.matrix = run.take<Real>(p_.labels * shape_.stride());
    m.costs.diagonal = run.take<Real>(shape_.stride());
    m.costs.is_full = run.take<int32_t>(1);
    run.zero(m.costs.is_full, 1);
    run.launch(prepare_costs<Real>, run.blocks_for(p_.labels * shape_.stride()), kernel.cost,
               int32_t(p_.labels), shape_.stride(), m.costs);
  }

  void blur_rows(Run& run, const Plan& plan) const {
    with_pack(shape_, [&](auto pack) {
      constexpr int V = decltype(pack)::kPack;
      run.launch(blur_along_x<Real, V>, run.blocks_for(count_ * shape_.packs), marginals_, count_,
                 p_.points(), p_.width, shape_.packs, plan.along_x, plan.scales.before,
                 plan.across);
    });
  }

  const MeanFieldParams<Real>& p_;
  RowShape shape_;
  int64_t count_;  // points of all images
  Real* logits_;
  Real* marginals_;
  MeanFieldStep<Real> step_{};
  Plan plans_[kMostKernels]{};
};

// Capturing takes as long as the launches of a few iterations.
constexpr int64_t kWorthAGraph = 4;

template <class Real>
void mean_field(Run& run, const MeanFieldParams<Real>& p, const LatticeSizes* sizes) {
  const int64_t size = p.batch * p.labels * p.points();
  if (size == 0) return;
  const MeanField<Real> field(run, p, sizes);
  field.start(run);
  const auto launches = [&](cudaStream_t stream) {
    Run on_stream = run.on(stream);
    field.iterate(on_stream);
    return int(on_stream.error());
  };
  RepeatedLaunches<decltype(launches)> iteration(launches);
  for (int64_t i = 0; i < p.iterations && run.good(); ++i) {
    if (p.history != nullptr) field.finish(run, p.history + i * size);
    const bool worth_a_graph = p.iterations >= kWorthAGraph;
    run.check(worth_a_graph ? iteration.run(run.stream()) : launches(run.stream()));
  }
  field.finish(run, p.marginals);
}

}  // namespace PF_ISA
}  // namespace pyfast
