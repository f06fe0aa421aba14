// The native module: importing it registers the operators with torch, and it tells how it was
// built. The only file that includes pybind11.
#include <pybind11/pybind11.h>

#include "core/cpu_dispatch.h"
#include "core/parallel.h"
#include "core/workspace.h"

#if !defined(PF_CUDA_ARCHS)
#define PF_CUDA_ARCHS ""
#endif

// Declared weak in core/torch_glue.h as well: null under a torch without CUDA.
extern "C" __attribute__((weak)) int32_t aoti_torch_get_current_cuda_stream(int32_t, void**);

namespace py = pybind11;

PYBIND11_MODULE(_C, m) {
#if defined(PF_WITH_CUDA)
  m.attr("with_cuda") = true;
#else
  m.attr("with_cuda") = false;
#endif
  m.attr("cuda_archs") = PF_CUDA_ARCHS;
  m.def("torch_has_cuda_shim", [] { return aoti_torch_get_current_cuda_stream != nullptr; });
  m.def("cpu_capability", [] { return pyfast::cpu_level_name(pyfast::cpu_level()); });
  m.def("set_cpu_capability", [](const char* name) {
    if (!pyfast::set_cpu_level(name))
      throw py::value_error(std::string("set_cpu_capability: expected one of "
                                        "cpu_capabilities(), got ") + name);
  });
  m.def("cpu_capabilities", [] {
    const auto now = pyfast::cpu_level_name(pyfast::cpu_level());
    py::list names;
    for (const char* name : {"baseline", "avx2", "avx512"})
      if (pyfast::set_cpu_level(name)) names.append(name);
    pyfast::set_cpu_level(now);
    return names;
  });
  m.def("clear_scratch", &pyfast::clear_scratch);
  m.def("after_fork", &pyfast::run_serially_from_now_on);
}
