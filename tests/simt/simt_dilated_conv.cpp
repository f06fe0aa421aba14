// The launchers of the kernels of dilated convolution over NumPy arrays, by way of the shim.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <stdexcept>
#include <type_traits>

// clang-format off: the shim defines the words that the kernels are written in
#include "simt.h"
#include "simt_python.h"
#include "ops/dilated_conv/dilated_conv.cuh"
// clang-format on

namespace py = pybind11;
using pyfast::BFloat16;
using pyfast::Half;
namespace kernels = pyfast::PF_ISA;

namespace {

using MaybeArray = std::optional<py::array>;

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

template <class Element>
Element* data_of(const py::array& array) {
  if (!holds<std::remove_const_t<Element>>(array) || !(array.flags() & py::array::c_style))
    throw std::invalid_argument("not of the dtype that belongs here, or not contiguous");
  return static_cast<Element*>(const_cast<void*>(array.data()));
}

// Calls body with a value of the element type of `array`.
template <class Body>
int with_dtype(const py::array& array, const Body& body) {
  if (holds<float>(array)) return body(float{});
  if (holds<double>(array)) return body(double{});
  if (holds<Half>(array)) return body(Half{});
  return body(BFloat16{});
}

// Padding and dilation, each (height, width).
struct Geometry {
  int64_t padding_h, padding_w, dilation_h, dilation_w;
};

// Images are (N, C, H, W), or (N, H, W, C) with `last`; the weights are (C, kernel_h, kernel_w).
template <class T>
pyfast::DepthwiseConvParams<T> depthwise(const py::array& input, const py::array& output,
                                         const py::array& weight, const Geometry& g, bool last) {
  pyfast::DepthwiseConvParams<T> p;
  const int of_channels = last ? 3 : 1, of_rows = last ? 1 : 2;
  p.batch = input.shape(0);
  p.channels = input.shape(of_channels);
  p.in_h = input.shape(of_rows);
  p.in_w = input.shape(of_rows + 1);
  p.out_h = output.shape(of_rows);
  p.out_w = output.shape(of_rows + 1);
  p.kernel_h = weight.shape(1);
  p.kernel_w = weight.shape(2);
  p.padding_h = g.padding_h;
  p.padding_w = g.padding_w;
  p.dilation_h = g.dilation_h;
  p.dilation_w = g.dilation_w;
  p.channels_last = last;
  p.input = data_of<const T>(input);
  return p;
}

}  // namespace

PYBIND11_MODULE(simt_dilated_conv, module) {
  py::class_<Geometry>(module, "Geometry").def(py::init<int64_t, int64_t, int64_t, int64_t>());
  simt::bind_machine(module);
  // Each returns a cudaError_t and writes into the arrays that it is given.
  module.def("depthwise", [](py::array input, py::array weight, MaybeArray bias, py::array output,
                             Geometry geometry, bool last) {
    return with_dtype(input, [&](auto element) {
      using T = decltype(element);
      auto p = depthwise<T>(input, output, weight, geometry, last);
      p.weight = data_of<const T>(weight);
      if (bias) p.bias = data_of<const T>(*bias);
      p.output = data_of<T>(output);
      return kernels::launch_depthwise(p, nullptr);
    });
  });
  module.def("depthwise_weight", [](py::array input, py::array grad_output, py::array grad_weight,
                                    Geometry geometry, bool last) {
    return with_dtype(input, [&](auto element) {
      using T = decltype(element);
      auto p = depthwise<T>(input, grad_output, grad_weight, geometry, last);
      p.grad_output = data_of<const T>(grad_output);
      p.grad_weight = data_of<T>(grad_weight);
      simt::TestMemory memory;
      return kernels::launch_depthwise_weight(p, memory, nullptr);
    });
  });
}
