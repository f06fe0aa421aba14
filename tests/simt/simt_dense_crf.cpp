// The launchers of the dense CRF's kernels over NumPy arrays, by way of the shim.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cmath>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

// clang-format off: the shim defines the words that the kernels are written in
#include "simt.h"
#include "simt_python.h"
#include "ops/dense_crf/dense_crf.cuh"
// clang-format on

namespace py = pybind11;
using pyfast::CrfKernel;
using pyfast::ExactParams;
using pyfast::FilterGradientParams;
using pyfast::FilterParams;
using pyfast::ImageCrfParams;
using pyfast::LatticeError;
using pyfast::LatticeParams;
using pyfast::LatticeSizes;
using pyfast::MeanFieldParams;
namespace kernels = pyfast::PF_ISA;

namespace {

using Words = py::array_t<int32_t>;
template <class Real>
using Array = py::array_t<Real, py::array::c_style>;

struct ResultMemory : pyfast::LatticeMemory {
  Words words{0};
  int32_t* allocate(int64_t count) override {
    words = Words(count);
    std::memset(words.mutable_data(), 0xff, size_t(count) * sizeof(int32_t));  // NaN
    return words.mutable_data();
  }
};

void expect_success(cudaError_t error) {
  if (error != cudaSuccess) throw std::runtime_error("cudaError_t " + std::to_string(int(error)));
}

void expect_points(LatticeError failure) {
  if (failure != LatticeError::kNone)
    throw std::invalid_argument("LatticeError " + std::to_string(int(failure)));
}

// features: (B, d, N); the lattice as a block of words.
template <class Real>
Words build(const Array<Real>& features, bool closed, size_t most_blocks) {
  LatticeParams<Real> p;
  p.batch = features.shape(0);
  p.dims = int(features.shape(1));
  p.points = features.shape(2);
  p.features = features.data();
  p.closed = closed;
  ResultMemory result;
  simt::TestMemory memory(most_blocks);
  LatticeError failure;
  expect_success(kernels::launch_build(p, result, memory, nullptr, &failure));
  expect_points(failure);
  return result.words;
}

LatticeSizes sizes_of(const Words& lattice) { return pyfast::lattice_sizes(lattice.data()); }

// values: (B, C, N)
template <class Real>
Array<Real> filter(const Array<Real>& values, const Words& lattice, bool transposed) {
  Array<Real> output({values.shape(0), values.shape(1), values.shape(2)});
  FilterParams<Real> p;
  p.lattice = lattice.data();
  p.channels = values.shape(1);
  p.values = values.data();
  p.output = output.mutable_data();
  p.transposed = transposed;
  simt::TestMemory memory;
  expect_success(kernels::launch_filter(p, sizes_of(lattice), memory, nullptr));
  return output;
}

template <class Real>
Array<Real> filter_gradient(const Array<Real>& grad, const Array<Real>& values,
                            const Array<Real>& features, const Words& lattice) {
  Array<Real> output({features.shape(0), features.shape(1), features.shape(2)});
  FilterGradientParams<Real> p;
  p.lattice = lattice.data();
  p.channels = values.shape(1);
  p.features = features.data();
  p.values = values.data();
  p.grad = grad.data();
  p.grad_features = output.mutable_data();
  simt::TestMemory memory;
  expect_success(kernels::launch_filter_gradient(p, sizes_of(lattice), memory, nullptr));
  return output;
}

// With `grad` its gradient in the features.
template <class Real>
Array<Real> exact(const Array<Real>& values, const Array<Real>& features, double cutoff,
                  const std::optional<Array<Real>>& grad) {
  ExactParams<Real> p;
  p.batch = features.shape(0);
  p.dims = int(features.shape(1));
  p.points = features.shape(2);
  p.channels = values.shape(1);
  p.features = features.data();
  p.values = values.data();
  p.cutoff = cutoff;
  Array<Real> output({p.batch, grad ? int64_t{p.dims} : p.channels, p.points});
  p.output = output.mutable_data();
  simt::TestMemory memory;
  LatticeError failure;
  p.gradient = grad.has_value();
  if (grad) p.grad = grad->data();
  expect_success(kernels::launch_exact(p, memory, nullptr, &failure));
  expect_points(failure);
  return output;
}

// One kernel: a lattice, or the sigmas of a Gaussian on the grid.
template <class Real>
struct Kernel {
  std::optional<Words> lattice;
  double sigma_x, sigma_y, scale;
  int normalization;
  Array<Real> cost;
};

// unary: (B, L, H, W). Returns Q and, where asked for, all that came before it.
template <class Real>
std::pair<Array<Real>, Array<Real>> mean_field(const Array<Real>& unary,
                                               const std::vector<Kernel<Real>>& pairwise,
                                               int64_t iterations,
                                               const std::optional<Array<Real>>& start, bool keep) {
  MeanFieldParams<Real> p;
  p.batch = unary.shape(0);
  p.labels = unary.shape(1);
  p.height = unary.shape(2);
  p.width = unary.shape(3);
  p.iterations = iterations;
  p.unary = unary.data();
  if (start) p.start = start->data();
  Array<Real> marginals({p.batch, p.labels, p.height, p.width});
  Array<Real> history({keep ? iterations : 0, p.batch, p.labels, p.height, p.width});
  p.marginals = marginals.mutable_data();
  if (keep) p.history = history.mutable_data();
  LatticeSizes sizes[pyfast::kMostKernels] = {};
  for (const Kernel<Real>& given : pairwise) {
    CrfKernel<Real>& kernel = p.kernels[p.kernel_count];
    if (given.lattice) {
      kernel.lattice = given.lattice->data();
      sizes[p.kernel_count] = sizes_of(*given.lattice);
    }
    ++p.kernel_count;
    kernel.sigma_x = given.sigma_x;
    kernel.sigma_y = given.sigma_y;
    kernel.scale = given.scale;
    kernel.normalization = static_cast<pyfast::Normalization>(given.normalization);
    kernel.cost = given.cost.data();
  }
  simt::TestMemory memory;
  expect_success(kernels::launch_mean_field(p, sizes, memory, nullptr));
  return {marginals, history};
}

// unary: (B, L, H, W); image: (B, C, H, W).
template <class Real>
Array<Real> image_crf(const Array<Real>& unary, const Array<Real>& image, const Array<Real>& sigmas,
                      const Array<Real>& weights, const Array<Real>& compatibility,
                      int64_t iterations, int normalization, bool closed) {
  ImageCrfParams<Real> p;
  p.batch = unary.shape(0);
  p.labels = unary.shape(1);
  p.channels = image.shape(1);
  p.height = unary.shape(2);
  p.width = unary.shape(3);
  p.iterations = iterations;
  p.normalization = static_cast<pyfast::Normalization>(normalization);
  p.closed = closed;
  p.unary = unary.data();
  p.image = image.data();
  p.sigmas = sigmas.data();
  p.weights = weights.data();
  p.compatibility = compatibility.data();
  Array<Real> marginals({p.batch, p.labels, p.height, p.width});
  p.marginals = marginals.mutable_data();
  simt::TestMemory memory;
  LatticeError failure;
  expect_success(kernels::launch_image_crf(p, memory, nullptr, &failure));
  expect_points(failure);
  return marginals;
}

// The order of 64-bit keys by their lowest bits.
py::array_t<int32_t> order_of(const Array<uint64_t>& keys, int bits) {
  simt::TestMemory memory;
  kernels::Run run(memory, nullptr);
  const int64_t count = keys.size();
  kernels::SortBuffers buffers(run, count);
  std::memcpy(buffers.keys[0], keys.data(), size_t(keys.nbytes()));
  for (int64_t i = 0; i < count; ++i) buffers.values[0][i] = int32_t(i);
  kernels::sort(run, count, bits, &buffers);
  expect_success(run.error());
  return py::array_t<int32_t>(count, buffers.values[0]);
}

// In place; a copy of `values` with the sum of all before each.
py::array_t<int32_t> sums_before(const Array<int32_t>& values) {
  simt::TestMemory memory;
  kernels::Run run(memory, nullptr);
  py::array_t<int32_t> result(values.size(), values.data());
  const auto sums = run.take<int32_t>(kernels::tiles_of(values.size()));
  kernels::scan(run, result.mutable_data(), values.size(), sums);
  expect_success(run.error());
  return result;
}

template <class Real>
void define(py::module_& module, const char* kernel_name) {
  py::class_<Kernel<Real>>(module, kernel_name)
      .def(py::init<std::optional<Words>, double, double, double, int, Array<Real>>());
  module.def("build", &build<Real>, py::arg("features").noconvert(), py::arg("closed"),
             py::arg("most_blocks") = SIZE_MAX);
  module.def("filter", &filter<Real>, py::arg("values").noconvert(), py::arg("lattice"),
             py::arg("transposed"));
  module.def("filter_gradient", &filter_gradient<Real>, py::arg("grad").noconvert(),
             py::arg("values").noconvert(), py::arg("features").noconvert(), py::arg("lattice"));
  module.def("exact", &exact<Real>, py::arg("values").noconvert(), py::arg("features").noconvert(),
             py::arg("cutoff") = 0.0, py::arg("grad") = py::none());
  module.def("image_crf", &image_crf<Real>, py::arg("unary").noconvert(),
             py::arg("image").noconvert(), py::arg("sigmas").noconvert(),
             py::arg("weights").noconvert(), py::arg("compatibility").noconvert(),
             py::arg("iterations"), py::arg("normalization"), py::arg("closed"));
  module.def("mean_field", &mean_field<Real>, py::arg("unary").noconvert(), py::arg("kernels"),
             py::arg("iterations"), py::arg("start") = py::none(), py::arg("keep") = false);
}

}  // namespace

PYBIND11_MODULE(simt_dense_crf, module) {
  simt::bind_machine(module);
  module.def("order_of", &order_of);
  module.def("sums_before", &sums_before);
  define<float>(module, "KernelFloat32");
  define<double>(module, "KernelFloat64");
}
