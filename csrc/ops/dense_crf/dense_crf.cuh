// What the exported entries of dense_crf.cu launch; the run of the kernels on the host starts here
// too.
#pragma once

#include "ops/dense_crf/dense_crf_exact.cuh"
#include "ops/dense_crf/dense_crf_gradient.cuh"
#include "ops/dense_crf/dense_crf_images.cuh"

namespace pyfast {
namespace PF_ISA {

template <class Real>
cudaError_t launch_build(const LatticeParams<Real>& p, LatticeMemory& result, DeviceMemory memory,
                         cudaStream_t stream, LatticeError* failure) {
  Run run(memory, stream);
  *failure = LatticeError::kNone;
  build_whole_lattice(run, p, result, failure);
  return run.error();
}

template <class Real>
cudaError_t launch_filter(const FilterParams<Real>& p, const LatticeSizes& sizes,
                          DeviceMemory memory, cudaStream_t stream) {
  Run run(memory, stream);
  const auto lattice = lattice_in<Real>(p.lattice, sizes);
  const RowShape shape = row_shape(p.channels);
  const int64_t size = sizes.batch * sizes.points * shape.stride();
  Real* values = run.take<Real>(size);
  Real* out = run.take<Real>(size);
  to_rows(run, p.values, shape, sizes.batch, sizes.points, Real(1), values);
  filter_rows(run, lattice, shape, values, p.transposed, out);
  to_planes(run, out, shape, sizes.batch, sizes.points, p.output);
  return run.error();
}

template <class Real>
cudaError_t launch_filter_gradient(const FilterGradientParams<Real>& p, const LatticeSizes& sizes,
                                   DeviceMemory memory, cudaStream_t stream) {
  Run run(memory, stream);
  filter_gradient(run, p, sizes);
  return run.error();
}

template <class Real>
cudaError_t launch_exact(const ExactParams<Real>& p, DeviceMemory memory, cudaStream_t stream,
                         LatticeError* failure) {
  Run run(memory, stream);
  *failure = LatticeError::kNone;
  if (p.gradient) {
    exact_filter_gradient(run, p, failure);
  } else {
    exact_filter(run, p, failure);
  }
  return run.error();
}

template <class Real>
cudaError_t launch_mean_field(const MeanFieldParams<Real>& p, const LatticeSizes* sizes,
                              DeviceMemory memory, cudaStream_t stream) {
  Run run(memory, stream);
  mean_field(run, p, sizes);
  return run.error();
}

template <class Real>
cudaError_t launch_image_crf(const ImageCrfParams<Real>& p, DeviceMemory memory,
                             cudaStream_t stream, LatticeError* failure) {
  Run run(memory, stream);
  *failure = LatticeError::kNone;
  image_crf(run, p, failure);
  return run.error();
}

}  // namespace PF_ISA
}  // namespace pyfast
