// The launchers of the matting kernels over NumPy arrays, by way of the shim.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <stdexcept>

// clang-format off: the shim defines the words that the kernels are written in
#include "simt.h"
#include "simt_python.h"
#include "ops/matting/matting.cuh"
// clang-format on

namespace py = pybind11;
using pyfast::MattingImage;
namespace kernels = pyfast::PF_ISA;

namespace {

using MaybeArray = std::optional<py::array>;

template <class T>
T* data_of(const MaybeArray& array) {
  using Value = std::remove_const_t<T>;
  if (!array) return nullptr;
  if (!py::isinstance<py::array_t<Value>>(*array) || !(array->flags() & py::array::c_style))
    throw std::invalid_argument("not of the dtype that belongs here, or not contiguous");
  return static_cast<T*>(const_cast<void*>(array->data()));
}

// (B, D, H, W)
template <class T>
MattingImage<T> image_of(const py::array& image, double epsilon, int64_t radius) {
  return {image.shape(0), image.shape(1), image.shape(2),         image.shape(3),
          radius,         epsilon,        data_of<const T>(image)};
}

// Vectors (B, C, H, W), energy (B, C).
template <class T>
int form(const py::array& image, const MaybeArray& u, const py::array& v, const MaybeArray& energy,
         const MaybeArray& product, const MaybeArray& slope, double epsilon, int64_t radius) {
  pyfast::MattingFormParams<T> p;
  p.image = image_of<T>(image, epsilon, radius);
  p.vectors = v.shape(1);
  p.u = data_of<const T>(u);
  p.v = data_of<const T>(v);
  p.energy = data_of<double>(energy);
  p.product = data_of<T>(product);
  p.slope = data_of<T>(slope);
  simt::TestMemory memory;
  return kernels::launch_form(p, memory, nullptr);
}

}  // namespace

PYBIND11_MODULE(simt_matting, module) {
  simt::bind_machine(module);
  // Each returns a cudaError_t and writes into the arrays that it is given.
  module.def("form", [](py::array image, MaybeArray u, py::array v, MaybeArray energy,
                        MaybeArray product, MaybeArray slope, double epsilon, int64_t radius) {
    const auto call = py::isinstance<py::array_t<float>>(image) ? form<float> : form<double>;
    return call(image, u, v, energy, product, slope, epsilon, radius);
  });
  // energies (B, C), totals (B,).
  module.def("totals", [](py::array energies, py::array totals) {
    const auto call = [&](auto zero) {
      return kernels::launch_totals(data_of<const double>(energies), energies.shape(0),
                                    energies.shape(1), data_of<decltype(zero)>(totals), nullptr);
    };
    return py::isinstance<py::array_t<float>>(totals) ? call(float{}) : call(double{});
  });
  // values, result (B, N), factors (B,).
  module.def("scale", [](py::array values, MaybeArray factors, double by, py::array result) {
    const auto call = [&](auto zero) {
      using T = decltype(zero);
      return kernels::launch_scale(data_of<const T>(values), data_of<const T>(factors), by,
                                   values.shape(0), values.shape(1), data_of<T>(result), nullptr);
    };
    return py::isinstance<py::array_t<float>>(values) ? call(float{}) : call(double{});
  });
  module.def("diagonal", [](py::array image, py::array diagonal, double epsilon, int64_t radius) {
    simt::TestMemory memory;
    return kernels::launch_diagonal(
        {image_of<double>(image, epsilon, radius), data_of<double>(diagonal)}, memory, nullptr);
  });
  module.def("matrix", [](py::array image, MaybeArray known, py::array row_start, py::array column,
                          py::array value, double epsilon, int64_t radius) {
    pyfast::MattingMatrixParams p;
    p.image = image_of<double>(image, epsilon, radius);
    p.known = data_of<const uint8_t>(known);
    p.row_start = data_of<int32_t>(row_start);
    p.column = data_of<int32_t>(column);
    p.value = data_of<double>(value);
    simt::TestMemory memory;
    return kernels::launch_matrix(p, memory, nullptr);
  });
  // In x: known values and first guess, then the solution. Returns the reports besides.
  module.def("solve", [](py::array image, int64_t vectors, MaybeArray known, MaybeArray diagonal,
                         MaybeArray rhs, py::array x, double epsilon, int64_t radius,
                         double tolerance, int64_t most_iterations, int64_t stop_after) {
    pyfast::MattingSolveParams p;
    p.image = image_of<double>(image, epsilon, radius);
    p.vectors = vectors;
    p.known = data_of<const uint8_t>(known);
    p.diagonal = data_of<const double>(diagonal);
    p.rhs = data_of<const double>(rhs);
    p.x = data_of<double>(x);
    p.tolerance = tolerance;
    p.most_iterations = most_iterations;
    std::vector<pyfast::MattingReport> reports(size_t(p.image.batch * vectors));
    p.reports = reports.data();
    pyfast::MattingProgress progress{[](void* context, int64_t iteration, double, double) {
                                       return iteration >= *static_cast<const int64_t*>(context);
                                     },
                                     &stop_after};
    simt::TestMemory memory;
    if (stop_after < 0) progress = {};  // nobody listens
    const int error = kernels::launch_solve(p, progress, memory, nullptr);
    py::list result;
    for (const auto& report : reports)
      result.append(py::make_tuple(report.iterations, report.residual, report.converged));
    return py::make_tuple(error, result);
  });
}
