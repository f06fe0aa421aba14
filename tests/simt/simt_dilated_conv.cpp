// The launchers of the kernels of dilated convolution over NumPy arrays, by way of the shim.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <optional>
#include <stdexcept>
#include <type_traits>
#include <vector>

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

// A dense convolution: sizes are those of (N, C, H, W).
struct Convolution {
  int64_t groups;
  std::array<int64_t, 2> stride, padding, dilation;
};

pyfast::ConvImage strides_of(const py::array& image) {
  const auto stride = [&](int axis) { return image.strides(axis) / int64_t{image.itemsize()}; };
  return {stride(0), stride(1), stride(2), stride(3)};
}

// Axes are those of (N, C, H, W), elements in any order.
pyfast::ImplicitConvParams implicit(const py::array& input, const py::array& output,
                                    const py::array& weight, const Convolution& c) {
  pyfast::ImplicitConvParams p;
  p.batch = input.shape(0);
  p.groups = c.groups;
  p.inputs = input.shape(1);
  p.outputs = output.shape(1);
  p.in_h = input.shape(2);
  p.in_w = input.shape(3);
  p.out_h = output.shape(2);
  p.out_w = output.shape(3);
  p.kernel_h = weight.shape(2);
  p.kernel_w = weight.shape(3);
  p.stride_h = c.stride[0];
  p.stride_w = c.stride[1];
  p.padding_h = c.padding[0];
  p.padding_w = c.padding[1];
  p.dilation_h = c.dilation[0];
  p.dilation_w = c.dilation[1];
  p.in = strides_of(input);
  p.out = strides_of(output);
  return p;
}

float* floats(const py::array& array) {
  if (!holds<float>(array)) throw std::invalid_argument("not float32");
  return static_cast<float*>(const_cast<void*>(array.data()));
}

// Axes are those of (N, C, H, W), elements in any order. The weight is that of the convolution of
// which this is the adjoint, where `turned`.
template <class T>
int direct(const py::array& input, const py::array& weight, const MaybeArray& bias,
           const py::array& output, const Geometry& g, bool turned, bool relu) {
  pyfast::DirectConvCudaParams<T> p;
  p.batch = input.shape(0);
  p.channels = input.shape(1);
  p.outputs = output.shape(1);
  p.in_h = input.shape(2);
  p.in_w = input.shape(3);
  p.out_h = output.shape(2);
  p.out_w = output.shape(3);
  p.kernel_h = weight.shape(2);
  p.kernel_w = weight.shape(3);
  p.padding_h = g.padding_h;
  p.padding_w = g.padding_w;
  p.dilation_h = g.dilation_h;
  p.dilation_w = g.dilation_w;
  p.in = strides_of(input);
  p.out = strides_of(output);
  p.input = static_cast<const T*>(input.data());
  p.weight = data_of<const T>(weight);
  p.output_stride = weight.strides(turned ? 1 : 0) / int64_t{sizeof(T)};
  p.channel_stride = weight.strides(turned ? 0 : 1) / int64_t{sizeof(T)};
  p.turned = turned;
  p.relu = relu;
  if (bias) p.bias = data_of<const T>(*bias);
  p.output = static_cast<T*>(const_cast<void*>(output.data()));
  return kernels::launch_direct_conv(p, nullptr);
}

// products: (N, taps, O, H, W); image: (N, O, H, W).
int shift(const py::array& products, const py::array& image, const std::vector<int32_t>& rows,
          const std::vector<int32_t>& columns, bool spread) {
  return with_dtype(image, [&](auto element) {
    using T = decltype(element);
    pyfast::AsppShiftParams<T> p;
    p.batch = image.shape(0);
    p.outputs = image.shape(1);
    p.height = image.shape(2);
    p.width = image.shape(3);
    p.products = data_of<T>(products);
    p.image = data_of<T>(image);
    pyfast::AsppShifts taps;
    for (size_t t = 0; t < rows.size(); ++t, ++taps.count) {
      taps.rows[t] = rows[t];
      taps.columns[t] = columns[t];
    }
    return kernels::launch_aspp_shifts(p, taps, spread, nullptr);
  });
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
  module.def("shift", &shift);
  module.def("direct", [](py::array input, py::array weight, MaybeArray bias, py::array output,
                          Geometry geometry, bool turned, bool relu) {
    return (holds<float>(input) ? direct<float> : direct<double>)(input, weight, bias, output,
                                                                  geometry, turned, relu);
  });
  py::class_<Convolution>(module, "Convolution")
      .def(py::init<int64_t, std::array<int64_t, 2>, std::array<int64_t, 2>,
                    std::array<int64_t, 2>>());
  module.def("implicit", [](py::array input, py::array weight, MaybeArray bias, py::array output,
                            Convolution convolution) {
    auto p = implicit(input, output, weight, convolution);
    p.input = floats(input);
    p.weight = data_of<const float>(weight);
    if (bias) p.bias = data_of<const float>(*bias);
    p.output = floats(output);
    simt::TestMemory memory;
    return kernels::launch_implicit_conv(p, false, memory, nullptr);
  });
  module.def("implicit_input", [](py::array gradient, py::array weight, py::array grad_input,
                                  Convolution convolution) {
    auto p = implicit(grad_input, gradient, weight, convolution);
    p.gradient = floats(gradient);
    p.weight = data_of<const float>(weight);
    p.grad_input = floats(grad_input);
    simt::TestMemory memory;
    return kernels::launch_implicit_conv(p, true, memory, nullptr);
  });
  module.def("implicit_weight", [](py::array input, py::array gradient, py::array grad_weight,
                                   Convolution convolution) {
    auto p = implicit(input, gradient, grad_weight, convolution);
    p.input = floats(input);
    p.gradient = floats(gradient);
    p.grad_weight = data_of<float>(grad_weight);
    simt::TestMemory memory;
    return kernels::launch_implicit_conv_weight(p, memory, nullptr);
  });
}
