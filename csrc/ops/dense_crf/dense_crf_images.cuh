// The whole of dense_crf for images: features, costs and lattice, then the mean field.
#pragma once

#include "ops/dense_crf/dense_crf_lattice.cuh"
#include "ops/dense_crf/dense_crf_mean_field.cuh"

namespace pyfast {
namespace PF_ISA {

// (B, 2 + C, N): x, y, then the channels, over their sigmas.
template <class Real>
__global__ void __launch_bounds__(kThreads) write_features(ImageCrfParams<Real> p, Real* features) {
  const int64_t i = thread_number(), points = p.height * p.width, dims = p.channels + 2;
  if (i >= p.batch * dims * points) return;
  const int64_t pixel = i % points, feature = i / points % dims, image = i / points / dims;
  Real value;
  if (feature < 2) {
    value = Real(feature == 0 ? pixel % p.width : pixel / p.width) / p.sigmas[0];
  } else {
    value = p.image[(image * p.channels + feature - 2) * points + pixel] / p.sigmas[1];
  }
  features[i] = value;
}

// (2, L, L)
template <class Real>
__global__ void __launch_bounds__(kThreads) write_costs(ImageCrfParams<Real> p, Real* costs) {
  const int64_t i = thread_number(), count = p.labels * p.labels;
  if (i < 2 * count) costs[i] = p.weights[i / count] * p.compatibility[i % count];
}

struct RunLattice final : LatticeMemory {
  explicit RunLattice(Run& run_) : run(run_) {}
  int32_t* allocate(int64_t count) override { return words = run.take<int32_t>(count); }
  Run& run;
  int32_t* words = nullptr;
};

template <class Real>
void image_crf(Run& run, const ImageCrfParams<Real>& p, LatticeError* failure) {
  LatticeParams<Real> built;
  built.batch = p.batch;
  built.dims = int(p.channels) + 2;
  built.points = p.height * p.width;
  built.closed = p.closed;
  const int64_t size = p.batch * built.dims * built.points, costs_of = p.labels * p.labels;
  Real* features = run.take<Real>(size);
  Real* costs = run.take<Real>(2 * costs_of);
  run.launch(write_features<Real>, run.blocks_for(size), p, features);
  run.launch(write_costs<Real>, run.blocks_for(2 * costs_of), p, costs);
  Real grid_sigma = 1;
  run.read(&grid_sigma, p.sigmas + 2, 1);
  built.features = features;
  RunLattice memory(run);
  const LatticeView<Real> lattice = build_whole_lattice(run, built, memory, failure);
  if (!run.good() || *failure != LatticeError::kNone) return;
  MeanFieldParams<Real> field;
  field.batch = p.batch;
  field.labels = p.labels;
  field.height = p.height;
  field.width = p.width;
  field.iterations = p.iterations;
  field.unary = p.unary;
  field.marginals = p.marginals;
  field.kernel_count = 2;
  for (int m = 0; m < 2; ++m) {
    field.kernels[m].normalization = p.normalization;
    field.kernels[m].cost = costs + m * costs_of;
  }
  field.kernels[0].lattice = memory.words;
  field.kernels[1].sigma_x = field.kernels[1].sigma_y = grid_sigma;
  const LatticeSizes sizes[2] = {
      {built.dims, p.batch, built.points, lattice.vertices, lattice.vertices, 0, sizeof(Real)}, {}};
  mean_field(run, field, sizes);
}

}  // namespace PF_ISA
}  // namespace pyfast
