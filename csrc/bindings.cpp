// The native module: importing it registers the operators with torch; it tells how it was built,
// and opens the kernels to arrays of other libraries.
#include "core/cpu_dispatch.h"
#include "core/parallel.h"
#include "core/python_glue.h"
#include "core/workspace.h"
#include "ops/dense_crf/dense_crf_arrays.h"
#include "ops/dilated_conv/depthwise_conv_arrays.h"
#include "ops/matting/foreground_arrays.h"
#include "ops/matting/matting.h"
#include "ops/matting/matting_arrays.h"
#include "ops/matting/matting_hierarchy.h"
#include "ops/sampling/sampling_arrays.h"

#if !defined(PF_CUDA_ARCHS)
#define PF_CUDA_ARCHS ""
#endif

// Declared weak in core/torch_glue.h as well: null under a torch without CUDA.
extern "C" __attribute__((weak)) int32_t aoti_torch_get_current_cuda_stream(int32_t, void**);

namespace py = pybind11;
using namespace py::literals;

namespace {

void add_facts(py::module_& m) {
  m.attr("with_cuda") = pyfast::kWithCuda;
  m.attr("cuda_archs") = PF_CUDA_ARCHS;
  m.def("torch_has_cuda_shim", [] { return aoti_torch_get_current_cuda_stream != nullptr; });
  m.def("cpu_capability", [] { return pyfast::cpu_level_name(pyfast::cpu_level()); });
  m.def("set_cpu_capability", [](const std::string& name) {
    if (!pyfast::set_cpu_level(name.c_str()))
      throw py::value_error("set_cpu_capability: expected one of cpu_capabilities(), got " + name);
  });
  m.def("cpu_capabilities", [] {
    py::list names;
    for (const char* name : {"baseline", "avx2", "avx512"})
      if (pyfast::has_cpu_level(name)) names.append(name);
    return names;
  });
  m.def("gathers", &pyfast::use_gathers);
  m.def("set_gathers", &pyfast::set_gathers, "use"_a);
  m.def("clear_scratch", &pyfast::clear_scratch);
  m.def("after_fork", &pyfast::run_serially_from_now_on);
}

// The array doors, by family. The number is that of results.

void add_sampling(py::module_& m) {
  using namespace pyfast;
  const auto mode = "mode"_a = "bilinear";
  const auto padding = "padding_mode"_a = "zeros";
  const auto corners = "align_corners"_a = false;
  const auto pixels = "pixels"_a = false;
  add_door(m, "affine_grid", 1, &arrays::affine_grid,
           "(N, 2, 3), (H, W) -> (N, H, W, 2), or (N, 3, 4), (D, H, W) -> (N, D, H, W, 3): "
           "pyfast.affine_grid on an array.",
           "theta"_a, "size"_a, corners);
  add_door(m, "affine_grid_backward", 1, &arrays::affine_grid_backward,
           "(N, H, W, 2) -> grad_theta (N, 2, 3), or (N, D, H, W, 3) -> (N, 3, 4).", "grad_grid"_a,
           corners);
  add_door(m, "grid_sample", 1, &arrays::grid_sample,
           "(N or 1, C, H_in, W_in), (N, H, W, 2) -> (N, C, H, W), volumes likewise: "
           "pyfast.grid_sample on arrays.",
           "input"_a, "grid"_a, mode, padding, corners);
  add_door(m, "grid_sample_backward", 2, &arrays::grid_sample_backward,
           "-> (grad_input, grad_grid), with the shapes of input and grid.", "grad_output"_a,
           "input"_a, "grid"_a, mode, padding, corners);
  add_door(m, "flow_sample", 1, &arrays::flow_sample,
           "(N or 1, C, H_in, W_in), (N, 2, H, W) -> (N, C, H, W), volumes likewise: pyfast.warp "
           "on arrays.",
           "input"_a, "flow"_a, mode, padding, corners);
  add_door(m, "flow_sample_backward", 2, &arrays::flow_sample_backward,
           "-> (grad_input, grad_flow), with the shapes of input and flow.", "grad_output"_a,
           "input"_a, "flow"_a, mode, padding, corners);
  add_door(m, "matrix_sample", 1, &arrays::matrix_sample,
           "(N or 1, C, H_in, W_in), (N, 2, 3) or (N, 3, 3), (H, W) -> (N, C, H, W), volumes with "
           "(N, 3, 4), (D, H, W): the matrix maps output to input coordinates, normalised or in "
           "pixels. pyfast.affine_grid_sample, homography_grid_sample, warp_affine and "
           "warp_perspective on arrays.",
           "input"_a, "matrix"_a, "size"_a, mode, padding, corners, pixels);
  add_door(m, "matrix_sample_backward", 2, &arrays::matrix_sample_backward,
           "-> (grad_input, grad_matrix), with the shapes of input and matrix.", "grad_output"_a,
           "input"_a, "matrix"_a, mode, padding, corners, pixels);
}

void add_dilated_conv(py::module_& m) {
  using namespace pyfast;
  add_door(m, "depthwise_conv2d", 1, &arrays::depthwise_conv2d,
           "(N, C, H, W), (C, KH, KW), (padding_h, padding_w), (dilation_h, dilation_w) -> "
           "(N, C, OH, OW): pyfast.dilated_conv2d of stride 1 with C groups, on arrays.",
           "input"_a, "weight"_a, "padding"_a, "dilation"_a);
  add_door(
      m, "depthwise_conv2d_weight", 1, &arrays::depthwise_conv2d_weight,
      "(N, C, H, W), (N, C, OH, OW), (KH, KW) -> grad_weight (C, KH, KW). That of the input is "
      "depthwise_conv2d of grad_output with weight[:, ::-1, ::-1] and padding "
      "dilation * (K - 1) - padding.",
      "input"_a, "grad_output"_a, "kernel"_a, "padding"_a, "dilation"_a);
}

void add_foreground(py::module_& m) {
  using namespace pyfast;
  add_door(m, "foreground", 2, &arrays::foreground,
           "(N, C, H, W), (N, 1, H, W) -> (foreground, background): pyfast.estimate_foreground on "
           "arrays.",
           "image"_a, "alpha"_a, "regularization"_a = 1e-5, "gradient_weight"_a = 1.0,
           "small_iterations"_a = 10, "big_iterations"_a = 4, "small_size"_a = 32,
           "tolerance"_a = 0.0);
  add_door(m, "guided_filter", 1, &arrays::guided_filter,
           "(N, G, H, W), (N, C, H, W) -> (N, C, H, W): pyfast.guided_filter on arrays.", "guide"_a,
           "input"_a, "radius"_a = 8, "epsilon"_a = 1e-4);
}

void add_dense_crf(py::module_& m) {
  using namespace pyfast;
  add_door(m, "gaussian_lattice", 1, &arrays::gaussian_lattice,
           "(B, d, N) -> a lattice of these features, opaque.", "features"_a, "closed"_a = false);
  add_door(m, "gaussian_filter", 1, &arrays::gaussian_filter,
           "(B, C, N), lattice -> (B, C, N): splat, blur, slice, not scaled.", "values"_a,
           "lattice"_a, "transposed"_a = false);
  add_door(m, "gaussian_exact", 1, &arrays::gaussian_exact,
           "(B, C, N), (B, d, N) -> (B, C, N): sums over all points.", "values"_a, "features"_a);
  add_door(m, "gaussian_grid", 1, &arrays::gaussian_grid,
           "(B, C, N), (sigma_x, sigma_y, factor), (H, W) -> (B, C, N): sums over pixels.",
           "values"_a, "grid"_a, "size"_a);
  add_door(m, "mean_field", 1, &arrays::mean_field,
           "(B, L, N) -> marginals (B, L, N), see dense_crf_arrays.h for the kernels.", "unary"_a,
           "start"_a, "lattices"_a, "grids"_a, "costs"_a, "lengths"_a, "normalizations"_a, "size"_a,
           "iterations"_a);
}

// The matrix has indices beside its values, which doors do not know.
py::tuple matting_matrix(
    const py::array_t<double, py::array::c_style | py::array::forcecast>& image, double epsilon,
    int64_t radius) {
  using namespace pyfast;
  MattingMatrixParams p;
  const auto refuse = [](const std::string& what) {
    throw py::value_error("matting_matrix: " + what);
  };
  if (image.ndim() != 3 || image.shape(0) < 1) refuse("expected image of shape (D, H, W)");
  p.image = {1, image.shape(0), image.shape(1), image.shape(2), radius, epsilon, image.data()};
  try {
    arrays::expect_window(p.image.height, p.image.width, epsilon, radius);
  } catch (const std::invalid_argument& error) {
    refuse(error.what());
  }
  const int64_t entries = matting_entries(p.image.height, p.image.width, radius);
  if (entries >= int64_t{1} << 31) refuse("expected a matrix of less than 2**31 entries");
  py::array_t<int32_t> row_start(p.image.pixels() + 1), column(entries);
  py::array_t<double> value(entries);
  prefer_large_pages(value.mutable_data(), sizeof(double) * entries);
  prefer_large_pages(column.mutable_data(), sizeof(int32_t) * entries);
  p.row_start = row_start.mutable_data();
  p.column = column.mutable_data();
  p.value = value.mutable_data();
  {
    const py::gil_scoped_release release;
    matting_matrix_cpu(p);
  }
  return py::make_tuple(row_start, column, value);
}

using Plane = py::array_t<double, py::array::c_style | py::array::forcecast>;

// The levels live while `body` runs: their memory is a scope of this thread's scratch.
py::object with_matting_preconditioner(const Plane& image, const Plane& diagonal, double epsilon,
                                       int64_t radius, const py::object& body) {
  using namespace pyfast;
  if (image.ndim() != 3 || image.shape(0) < 1 || image.shape(0) > kMostSolverChannels ||
      diagonal.size() != image.shape(1) * image.shape(2))
    throw py::value_error(
        "with_matting_preconditioner: expected image (D, H, W) of at most 16 channels and "
        "diagonal (H, W)");
  const MattingImage<double> view{1,      image.shape(0), image.shape(1), image.shape(2),
                                  radius, epsilon,        image.data()};
  arrays::expect_window(view.height, view.width, epsilon, radius);
  const MattingHierarchy hierarchy(view, nullptr, diagonal.data());
  const auto apply = [&](const Plane& r) {
    if (r.size() % view.pixels() != 0)
      throw py::value_error("with_matting_preconditioner: expected rows of H W values");
    Plane z(std::vector<py::ssize_t>(r.shape(), r.shape() + r.ndim()));
    for (int64_t i = 0; i < r.size(); i += view.pixels())
      hierarchy.apply(r.data() + i, z.mutable_data() + i);
    return z;
  };
  return body(py::cpp_function(apply));
}

void add_matting(py::module_& m) {
  using namespace pyfast;
  const auto epsilon = "epsilon"_a = 1e-7;
  const auto radius = "radius"_a = 1;
  add_door(m, "matting_energy", 3, &arrays::matting_energy,
           "(B, C, H, W), (B, D, H, W) -> (energy (B,), its gradients): pyfast.matting_energy on "
           "arrays.",
           "v"_a, "image"_a, epsilon, radius);
  add_door(m, "matting_product", 1, &arrays::matting_product,
           "(B, C, H, W), (B, D, H, W) -> L v, (B, C, H, W): pyfast.MattingLaplacian on arrays.",
           "v"_a, "image"_a, epsilon, radius);
  add_door(m, "matting_solve", 2, &arrays::matting_solve,
           "-> (x, (B, K, 3): iterations, residual, whether it is small enough). Solves "
           "(L + diag(diagonal)) x = rhs in pixels that are not known, x (B, K, H, W) being held "
           "in those that are.",
           "rhs"_a, "x"_a, "image"_a, "diagonal"_a, "known"_a, epsilon, radius,
           "tolerance"_a = 1e-7, "most_iterations"_a = 1000);
  m.def("with_matting_preconditioner", &with_matting_preconditioner,
        "Calls body(apply), apply(r (K, H W)) being one cycle of multigrid for L + diag(diagonal).",
        "image"_a, "diagonal"_a, "epsilon"_a, "radius"_a, "body"_a);
  m.def("matting_matrix", &matting_matrix,
        "(D, H, W) -> (row_start, column, value) of the matting Laplacian in compressed rows.",
        "image"_a, epsilon, radius);
  m.def(
      "with_matting_progress",
      [](const py::object& callback, const py::object& body) {
        return pyfast::with_progress(pyfast::matting_progress(), callback, body);
      },
      "Calls body() while solves of this thread call callback(iteration, residual, change), which "
      "ends them by returning something; with None in its place signals alone end them.",
      "callback"_a, "body"_a);
}

}  // namespace

PYBIND11_MODULE(_C, m) {
  add_facts(m);
  py::options options;
  options.disable_function_signatures();  // pyfast/_C.pyi has them, with types
  add_dense_crf(m);
  add_sampling(m);
  add_dilated_conv(m);
  add_foreground(m);
  add_matting(m);
}
