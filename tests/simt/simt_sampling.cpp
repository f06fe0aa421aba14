// The launchers of the sampling kernels over NumPy arrays, by way of the shim.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cmath>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

// clang-format off: the shim defines the words that the kernels are written in
#include "simt.h"
#include "simt_python.h"
#include "ops/sampling/sampling.cuh"
// clang-format on

namespace py = pybind11;
using pyfast::AffineGridParams;
using pyfast::BFloat16;
using pyfast::FieldView;
using pyfast::Half;
using pyfast::ImageView;
using pyfast::SamplingParams;
using pyfast::Source;
namespace kernels = pyfast::PF_ISA;

namespace {

using MaybeArray = std::optional<py::array>;

// Enumerations are the numbers that sampling.h gives them.
struct Options {
  int dims, source, mode, padding;
  bool align_corners, pixels, deterministic;
};

template <class T>
bool holds(const py::array& array) {
  if constexpr (std::is_same_v<T, Half>) {
    return array.dtype().char_() == 'e';
  } else if constexpr (std::is_same_v<T, BFloat16>) {  // unknown to NumPy
    return py::isinstance<py::array_t<uint16_t>>(array);
  } else {
    return py::isinstance<py::array_t<T>>(array);
  }
}

template <class Element, class T = std::remove_const_t<Element>>
Element* data_of(const py::array& array) {
  if (!holds<T>(array)) throw std::invalid_argument("not of the dtype that belongs here");
  return static_cast<Element*>(const_cast<void*>(array.data()));
}

template <class Element>
int64_t stride(const py::array& array, int k) {
  return array.strides(k) / int64_t{sizeof(Element)};
}

// (N, C, D, H, W)
template <class Element>
ImageView<Element> image(const MaybeArray& a) {
  if (!a) return {};
  return {data_of<Element>(*a),   stride<Element>(*a, 0), stride<Element>(*a, 1),
          stride<Element>(*a, 2), stride<Element>(*a, 3), stride<Element>(*a, 4)};
}

// (N, D, H, W, dims)
template <class Element>
FieldView<Element> field(const MaybeArray& a) {
  if (!a) return {};
  return {data_of<Element>(*a),   stride<Element>(*a, 0), stride<Element>(*a, 1),
          stride<Element>(*a, 2), stride<Element>(*a, 3), stride<Element>(*a, 4)};
}

template <class T>
SamplingParams<T> params_of(const py::array& input, const py::array& output_like,
                            const py::array& where, const Options& options) {
  using Real = pyfast::Accumulator<T>;
  SamplingParams<T> p;
  p.dims = options.dims;
  p.batch = output_like.shape(0);
  p.input_batch = input.shape(0);
  p.channels = input.shape(1);
  p.in_d = input.shape(2);
  p.in_h = input.shape(3);
  p.in_w = input.shape(4);
  p.out_d = output_like.shape(2);
  p.out_h = output_like.shape(3);
  p.out_w = output_like.shape(4);
  p.interpolation = static_cast<pyfast::Interpolation>(options.mode);
  p.padding = static_cast<pyfast::Padding>(options.padding);
  p.align_corners = options.align_corners;
  p.pixels = options.pixels;
  p.deterministic = options.deterministic;
  p.source = static_cast<Source>(options.source);
  p.input = image<const T>(input);
  if (p.has_matrix()) {
    p.matrix = data_of<const Real>(where);
  } else {
    p.field = field<const Real>(where);
  }
  return p;
}

// Exactly as many as the kernels may use, and NaN until they are written.
std::vector<double> partial_sums(int64_t batch, int64_t pixels) {
  return std::vector<double>(kernels::partial_count(batch, pixels),
                             std::numeric_limits<double>::quiet_NaN());
}

template <class T>
int forward(const py::array& input, const py::array& where, const Options& options,
            const py::array& output) {
  auto p = params_of<T>(input, output, where, options);
  p.output = image<T>(output);
  return kernels::launch_forward(p, nullptr);
}

template <class T>
int backward(const py::array& grad_output, const py::array& input, const py::array& where,
             const Options& options, const MaybeArray& grad_input, const MaybeArray& grad_where) {
  using Real = pyfast::Accumulator<T>;
  auto p = params_of<T>(input, grad_output, where, options);
  p.grad_output = image<const T>(grad_output);
  p.grad_input = image<Real>(grad_input);
  if (grad_where && p.has_matrix()) p.grad_matrix = data_of<Real>(*grad_where);
  if (grad_where && !p.has_matrix()) p.grad_field = field<Real>(grad_where);
  auto sums = partial_sums(p.batch, p.out_size());
  std::vector<int64_t> fixed_point(kernels::fixed_point_count(p), -1);
  return kernels::launch_backward(p, sums.data(), fixed_point.data(), nullptr);
}

// `grid` is (N, D, H, W, dims).
template <class Real>
AffineGridParams<Real> grid_params(const py::array& grid, bool align_corners) {
  AffineGridParams<Real> p;
  p.dims = int(grid.shape(4));
  p.batch = grid.shape(0);
  p.out_d = grid.shape(1);
  p.out_h = grid.shape(2);
  p.out_w = grid.shape(3);
  p.align_corners = align_corners;
  return p;
}

template <class Real>
int affine_grid(const py::array& theta, const py::array& grid, bool align_corners) {
  auto p = grid_params<Real>(grid, align_corners);
  p.theta = data_of<const Real>(theta);
  p.grid = data_of<Real>(grid);
  return kernels::launch_affine_grid(p, nullptr);
}

template <class Real>
int affine_grid_backward(const py::array& grad_grid, const py::array& grad_theta,
                         bool align_corners) {
  auto p = grid_params<Real>(grad_grid, align_corners);
  p.grad_grid = field<const Real>(grad_grid);
  p.grad_theta = data_of<Real>(grad_theta);
  auto sums = partial_sums(p.batch, p.out_d * p.out_h * p.out_w);
  return kernels::launch_affine_grid_gradient(p, sums.data(), nullptr);
}

// Calls body with a value of the element type of `array`.
template <class Body>
int with_dtype(const py::array& array, const Body& body) {
  if (holds<float>(array)) return body(float{});
  if (holds<double>(array)) return body(double{});
  if (holds<Half>(array)) return body(Half{});
  return body(BFloat16{});
}

}  // namespace

PYBIND11_MODULE(simt_sampling, module) {
  py::class_<Options>(module, "Options")
      .def(py::init<int, int, int, int, bool, bool, bool>(), py::kw_only(), py::arg("dims"),
           py::arg("source"), py::arg("mode"), py::arg("padding"), py::arg("align_corners"),
           py::arg("pixels"), py::arg("deterministic"));
  simt::bind_machine(module);
  // Each returns a cudaError_t and writes into the arrays that it is given.
  module.def("forward", [](py::array input, py::array where, Options options, py::array output) {
    return with_dtype(input, [&](auto element) {
      return forward<decltype(element)>(input, where, options, output);
    });
  });
  module.def("backward", [](py::array grad_output, py::array input, py::array where,
                            Options options, MaybeArray grad_input, MaybeArray grad_where) {
    return with_dtype(input, [&](auto element) {
      return backward<decltype(element)>(grad_output, input, where, options, grad_input,
                                         grad_where);
    });
  });
  module.def("affine_grid", [](py::array theta, py::array grid, bool align_corners) {
    return (holds<float>(theta) ? affine_grid<float> : affine_grid<double>)(theta, grid,
                                                                            align_corners);
  });
  module.def("affine_grid_backward", [](py::array grad_grid, py::array grad_theta, bool align) {
    return (holds<float>(grad_grid) ? affine_grid_backward<float>
                                    : affine_grid_backward<double>)(grad_grid, grad_theta, align);
  });
}
