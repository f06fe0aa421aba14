// The native module: importing it registers the operators with torch; it tells how it was built,
// and opens the kernels to arrays of other libraries.
#include "core/cpu_dispatch.h"
#include "core/parallel.h"
#include "core/python_glue.h"
#include "core/workspace.h"
#include "ops/dense_crf/dense_crf_arrays.h"
#include "ops/matting/foreground_arrays.h"
#include "ops/matting/matting.h"
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

void add_foreground(py::module_& m) {
  using namespace pyfast;
  add_door(m, "foreground", 2, &arrays::foreground,
           "(N, C, H, W), (N, 1, H, W) -> (foreground, background): pyfast.estimate_foreground on "
           "arrays.",
           "image"_a, "alpha"_a, "regularization"_a = 1e-5, "gradient_weight"_a = 1.0,
           "small_iterations"_a = 10, "big_iterations"_a = 4, "small_size"_a = 32,
           "bounded"_a = true);
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
  add_door(m, "mean_field", 1, &arrays::mean_field,
           "(B, L, N) -> marginals (B, L, N), see dense_crf_arrays.h for the kernels.", "unary"_a,
           "start"_a, "lattices"_a, "grids"_a, "costs"_a, "lengths"_a, "normalizations"_a, "size"_a,
           "iterations"_a);
}

void add_matting(py::module_& m) {
  m.def(
      "with_matting_progress",
      [](const py::object& callback, const py::object& body) {
        return pyfast::with_progress(pyfast::matting_progress(), callback, body);
      },
      "Calls body() while solves of this thread call callback(iteration, residual).", "callback"_a,
      "body"_a);
}

}  // namespace

PYBIND11_MODULE(_C, m) {
  add_facts(m);
  py::options options;
  options.disable_function_signatures();  // pyfast/_C.pyi has them, with types
  add_dense_crf(m);
  add_sampling(m);
  add_foreground(m);
  add_matting(m);
}
