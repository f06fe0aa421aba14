// The launchers of the sampling kernels over NumPy arrays, by way of the shim.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cmath>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

// clang-format off: the shim defines the words that the kernels are written in
#include "simt.h"
#include "ops/sampling/sampling.cuh"
// clang-format on

namespace py = pybind11;
using pyfast::AffineGridParams;
using pyfast::ImageView;
using pyfast::SamplingParams;
namespace kernels = pyfast::PF_ISA;

namespace {

using MaybeArray = std::optional<py::array>;

struct Options {
  std::string mode, padding;
  bool align_corners;
};

template <class Real>
Real* data_of(const MaybeArray& array) {
  if (!array) return nullptr;
  if (!py::isinstance<py::array_t<Real>>(*array)) throw std::invalid_argument("mixed dtypes");
  return static_cast<Real*>(const_cast<void*>(array->data()));
}

template <class Real>
void set_strides(const py::array& array, int64_t* strides) {
  for (int k = 0; k < 4; ++k) strides[k] = array.strides(k) / int64_t{sizeof(Real)};
}

template <class Element, class Real = std::remove_const_t<Element>>
ImageView<Element> view(const MaybeArray& array) {
  if (!array) return {};
  int64_t strides[4];
  set_strides<Real>(*array, strides);
  return {data_of<Real>(array), strides[0], strides[1], strides[2], strides[3]};
}

template <class Real>
SamplingParams<Real> params_of(const py::array& input, const py::array& output_like,
                               const MaybeArray& theta, const MaybeArray& grid,
                               const Options& options) {
  SamplingParams<Real> p;
  p.batch = output_like.shape(0);
  p.input_batch = input.shape(0);
  p.channels = input.shape(1);
  p.in_h = input.shape(2);
  p.in_w = input.shape(3);
  p.out_h = output_like.shape(2);
  p.out_w = output_like.shape(3);
  p.interpolation = options.mode == "nearest" ? pyfast::Interpolation::kNearest
                                              : pyfast::Interpolation::kBilinear;
  p.padding = options.padding == "border"       ? pyfast::Padding::kBorder
              : options.padding == "reflection" ? pyfast::Padding::kReflection
                                                : pyfast::Padding::kZeros;
  p.align_corners = options.align_corners;
  p.input = view<const Real>(input);
  p.theta = data_of<Real>(theta);
  p.grid = data_of<Real>(grid);
  if (grid) set_strides<Real>(*grid, p.grid_stride);
  return p;
}

// Exactly as many as the kernels may use, and NaN until they are written.
std::vector<double> partial_sums(int64_t batch, int64_t out_h, int64_t out_w) {
  return std::vector<double>(kernels::partial_count(batch, out_h, out_w),
                             std::numeric_limits<double>::quiet_NaN());
}

template <class Real>
int forward(const py::array& input, const py::array& output, const MaybeArray& theta,
            const MaybeArray& grid, const Options& options) {
  auto p = params_of<Real>(input, output, theta, grid, options);
  p.output = view<Real>(output);
  return kernels::launch_forward(p, nullptr);
}

template <class Real>
int backward(const py::array& grad_output, const py::array& input, const MaybeArray& theta,
             const MaybeArray& grid, const Options& options, const MaybeArray& grad_input,
             const MaybeArray& grad_theta, const MaybeArray& grad_grid) {
  auto p = params_of<Real>(input, grad_output, theta, grid, options);
  p.grad_output = view<const Real>(grad_output);
  p.grad_input = view<Real>(grad_input);
  p.grad_theta = data_of<Real>(grad_theta);
  p.grad_grid = data_of<Real>(grad_grid);
  auto sums = partial_sums(p.batch, p.out_h, p.out_w);
  return kernels::launch_backward(p, sums.data(), nullptr);
}

template <class Real>
AffineGridParams<Real> grid_params(const py::array& grid, bool align_corners) {
  AffineGridParams<Real> p;
  p.batch = grid.shape(0);
  p.out_h = grid.shape(1);
  p.out_w = grid.shape(2);
  p.align_corners = align_corners;
  return p;
}

template <class Real>
int affine_grid(const py::array& theta, const py::array& grid, bool align_corners) {
  auto p = grid_params<Real>(grid, align_corners);
  p.theta = data_of<Real>(theta);
  p.grid = data_of<Real>(grid);
  return kernels::launch_affine_grid(p, nullptr);
}

template <class Real>
int affine_grid_backward(const py::array& grad_grid, const py::array& grad_theta,
                         bool align_corners) {
  auto p = grid_params<Real>(grad_grid, align_corners);
  p.grad_grid = data_of<Real>(grad_grid);
  set_strides<Real>(grad_grid, p.grad_grid_stride);
  p.grad_theta = data_of<Real>(grad_theta);
  auto sums = partial_sums(p.batch, p.out_h, p.out_w);
  return kernels::launch_affine_grid_gradient(p, sums.data(), nullptr);
}

bool is_float(const py::array& array) { return py::isinstance<py::array_t<float>>(array); }

void set_schedule(const std::string& name, uint32_t seed) {
  simt::schedule = name == "reverse"  ? simt::Schedule::kReverse
                   : name == "random" ? simt::Schedule::kRandom
                                      : simt::Schedule::kForward;
  simt::seed = seed;
}

// Counted since the last call.
py::dict take_counters() {
  const auto counters = std::exchange(simt::counters, {});
  py::dict result;
  result["launches"] = counters.launches;
  result["block_barriers"] = counters.block_barriers;
  result["warp_barriers"] = counters.warp_barriers;
  result["atomics"] = counters.atomics;
  return result;
}

}  // namespace

PYBIND11_MODULE(simt_sampling, module) {
  py::class_<Options>(module, "Options")
      .def(py::init<std::string, std::string, bool>(), py::arg("mode"), py::arg("padding"),
           py::arg("align_corners"));
  module.def("set_schedule", &set_schedule, py::arg("name"), py::arg("seed") = 0);
  module.def("take_counters", &take_counters);
  // Each returns a cudaError_t and writes into the arrays that it is given.
  module.def(
      "forward",
      [](py::array input, py::array output, MaybeArray theta, MaybeArray grid, Options options) {
        return (is_float(input) ? forward<float> : forward<double>)(input, output, theta, grid,
                                                                    options);
      },
      py::arg("input"), py::arg("output"), py::kw_only(), py::arg("theta") = py::none(),
      py::arg("grid") = py::none(), py::arg("options"));
  module.def(
      "backward",
      [](py::array grad_output, py::array input, MaybeArray theta, MaybeArray grid, Options options,
         MaybeArray grad_input, MaybeArray grad_theta, MaybeArray grad_grid) {
        return (is_float(input) ? backward<float> : backward<double>)(grad_output, input, theta,
                                                                      grid, options, grad_input,
                                                                      grad_theta, grad_grid);
      },
      py::arg("grad_output"), py::arg("input"), py::kw_only(), py::arg("theta") = py::none(),
      py::arg("grid") = py::none(), py::arg("options"), py::arg("grad_input") = py::none(),
      py::arg("grad_theta") = py::none(), py::arg("grad_grid") = py::none());
  module.def("affine_grid", [](py::array theta, py::array grid, bool align_corners) {
    return (is_float(theta) ? affine_grid<float> : affine_grid<double>)(theta, grid, align_corners);
  });
  module.def("affine_grid_backward", [](py::array grad_grid, py::array grad_theta, bool align) {
    return (is_float(grad_grid) ? affine_grid_backward<float>
                                : affine_grid_backward<double>)(grad_grid, grad_theta, align);
  });
}
