// Between Python and the array doors: turns objects into views, makes results, gives errors the
// name of their function. The only header that includes pybind11; for bindings.cpp.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <chrono>
#include <exception>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/array_call.h"
#include "core/dlpack_view.h"

namespace pyfast {

namespace py = pybind11;

inline std::string type_name(py::handle object) {
  return py::str(py::type::handle_of(object).attr("__name__"));
}

// --- one object, one view ---

// What an object says about its memory. Strides are still in bytes, and the dtype may be none of
// ours. `owner` keeps the memory where it is.
struct Exported {
  ArrayView view;
  std::optional<DType> dtype;
  py::object owner;
};

inline std::optional<DType> dtype_of(char kind, int64_t item_size) {
  if (kind == 'f' && item_size == 4) return DType::kFloat32;
  if (kind == 'f' && item_size == 8) return DType::kFloat64;
  return std::nullopt;
}

inline std::vector<int64_t> c_order_strides(const std::vector<int64_t>& shape, int64_t item_size) {
  std::vector<int64_t> strides(shape.size());
  int64_t stride = item_size;
  for (size_t d = shape.size(); d-- > 0; stride *= shape[d]) strides[d] = stride;
  return strides;
}

// NumPy, memoryview, array.array.
inline Exported from_buffer(const py::object& object) {
  py::buffer_info info = py::reinterpret_borrow<py::buffer>(object).request();
  Exported e;
  e.view.data = info.ptr;
  e.view.writable = !info.readonly;
  e.view.shape.assign(info.shape.begin(), info.shape.end());
  e.view.strides.assign(info.strides.begin(), info.strides.end());
  // A prefix says how the item is laid out: as in C, or little-endian, aligned or not.
  const bool prefixed = info.format.find_first_of("@=<") == 0;
  const std::string type = info.format.substr(prefixed ? 1 : 0);
  if (type == "f" || type == "d") e.dtype = dtype_of('f', info.itemsize);
  e.owner = py::capsule(new py::buffer_info(std::move(info)),
                        [](void* held) { delete static_cast<py::buffer_info*>(held); });
  return e;
}

inline void expect_cuda_build() {
  if (!kWithCuda) throw std::runtime_error(kNoCudaKernels);
}

// torch, JAX, CuPy.
inline Exported from_dlpack(const py::object& object, uintptr_t stream) {
  const auto where = object.attr("__dlpack_device__")().cast<std::pair<int, int>>();
  const bool on_cuda = where.first == dlpack::kCudaDevice || where.first == dlpack::kCudaManaged;
  if (!on_cuda && where.first != dlpack::kCpuDevice && where.first != dlpack::kCudaHost)
    throw py::buffer_error("it lies on DLPack device type " + std::to_string(where.first));
  // torch exports the memory of such a view as if it were the values.
  if (py::hasattr(object, "is_neg") && object.attr("is_neg")().cast<bool>())
    throw py::buffer_error("its values are still to be negated, use tensor.resolve_neg()");
  py::dict arguments;
  if (on_cuda) {
    expect_cuda_build();
    // The producer makes this stream wait for its own work. DLPack forbids 0, which is ambiguous.
    arguments["stream"] = stream == 0 ? 1 : stream;
  }
  arguments["max_version"] = py::make_tuple(dlpack::kMajorVersion, 0);
  const py::object produce = object.attr("__dlpack__");
  py::object capsule;
  try {
    capsule = produce(**arguments);
  } catch (py::error_already_set& error) {
    if (!error.matches(PyExc_TypeError)) throw;
    arguments.attr("pop")("max_version");  // a producer from before DLPack 1
    capsule = produce(**arguments);
  }

  Exported e;
  const dlpack::Tensor* tensor;
  if (PyCapsule_IsValid(capsule.ptr(), dlpack::kVersionedCapsule)) {
    const auto* versioned = static_cast<dlpack::VersionedTensor*>(
        PyCapsule_GetPointer(capsule.ptr(), dlpack::kVersionedCapsule));
    if (versioned->major != dlpack::kMajorVersion)
      throw py::buffer_error("it speaks version " + std::to_string(versioned->major) +
                             " of DLPack");
    tensor = &versioned->tensor;
    e.view.writable = (versioned->flags & dlpack::kReadOnlyFlag) == 0;
  } else {
    if (!PyCapsule_IsValid(capsule.ptr(), dlpack::kCapsule))
      throw py::buffer_error("its __dlpack__ returns no DLPack capsule");
    tensor = static_cast<dlpack::Tensor*>(PyCapsule_GetPointer(capsule.ptr(), dlpack::kCapsule));
    e.view.writable = true;  // there was no flag
  }
  const int64_t item_size = tensor->type_bits / 8;
  if (tensor->type_code == dlpack::kFloatCode && tensor->type_lanes == 1)
    e.dtype = dtype_of('f', item_size);
  e.view.data = static_cast<char*>(tensor->data) + tensor->byte_offset;
  e.view.device = on_cuda ? where.second : kCpu;
  e.view.shape.assign(tensor->shape, tensor->shape + tensor->ndim);
  if (tensor->strides == nullptr) {
    e.view.strides = c_order_strides(e.view.shape, item_size);
  } else {
    for (int d = 0; d < tensor->ndim; ++d) e.view.strides.push_back(tensor->strides[d] * item_size);
  }
  e.owner = capsule;  // not consumed: the capsule gives the memory back itself
  return e;
}

// PyCUDA, Numba.
inline Exported from_cuda_interface(const py::object& object, uintptr_t stream) {
  expect_cuda_build();
  Exported e;
  if constexpr (kWithCuda) {
    const auto facts = object.attr("__cuda_array_interface__").cast<py::dict>();
    const auto type = facts["typestr"].cast<std::string>();  // <f4
    const int64_t item_size = std::stoll(type.substr(2));
    if (type[0] == '<') e.dtype = dtype_of(type[1], item_size);
    const auto memory = facts["data"].cast<std::pair<uintptr_t, bool>>();
    e.view.data = reinterpret_cast<void*>(memory.first);
    e.view.writable = !memory.second;
    e.view.device = memory.first == 0 ? 0 : cuda_device_of(e.view.data);
    for (const py::handle size : facts["shape"]) e.view.shape.push_back(size.cast<int64_t>());
    if (!facts.contains("strides") || facts["strides"].is_none()) {
      e.view.strides = c_order_strides(e.view.shape, item_size);
    } else {
      for (const py::handle s : facts["strides"]) e.view.strides.push_back(s.cast<int64_t>());
    }
    if (facts.contains("stream") && !facts["stream"].is_none()) {
      const CudaDeviceGuard guard(e.view.device);
      cuda_wait(reinterpret_cast<void*>(facts["stream"].cast<uintptr_t>()),
                reinterpret_cast<void*>(stream));
    }
    e.owner = object;
  }
  return e;
}

inline Exported export_memory(const std::string& name, const py::object& object, uintptr_t stream) {
  try {
    if (PyObject_CheckBuffer(object.ptr())) return from_buffer(object);
    if (py::hasattr(object, "__dlpack__")) return from_dlpack(object, stream);
    if (py::hasattr(object, "__cuda_array_interface__")) return from_cuda_interface(object, stream);
  } catch (py::error_already_set& error) {
    if (!error.matches(PyExc_Exception) || error.matches(PyExc_MemoryError)) throw;
    throw TypeMismatch("expected " + name + " to give access to its memory, got " +
                       type_name(object) + ": " + std::string(py::str(error.value())));
  } catch (const py::buffer_error& error) {
    throw TypeMismatch("expected " + name + " to be an array on the CPU or a CUDA device, got " +
                       type_name(object) + ": " + error.what());
  } catch (const py::cast_error&) {
    throw TypeMismatch("expected " + name + " to describe its memory as its protocol asks, got " +
                       type_name(object));
  }
  throw TypeMismatch("expected " + name +
                     " to be an array (buffer protocol, DLPack or __cuda_array_interface__), got " +
                     type_name(object));
}

inline std::invalid_argument alignment_error(const std::string& name) {
  return std::invalid_argument("expected " + name + " to be aligned to its items");
}

// Nothing, where memory on the CPU is not aligned to items of the dtype: NumPy can copy it.
inline std::optional<Exported> view_of(const std::string& name, const py::object& object,
                                       uintptr_t stream) {
  Exported e = export_memory(name, object, stream);
  if (!e.dtype)
    throw TypeMismatch("expected " + name + " of float32 or float64, got " +
                       (py::hasattr(object, "dtype") ? std::string(py::str(object.attr("dtype")))
                                                     : type_name(object) + " of another type"));
  // A tensor whose storage was freed, or that never had one.
  if (e.view.data == nullptr && !e.view.is_empty())
    throw TypeMismatch("expected " + name + " to have memory, got " + type_name(object) +
                       " without");
  e.view.name = name;
  e.view.dtype = *e.dtype;
  const int64_t item_size = e.view.item_size();
  bool aligned = reinterpret_cast<uintptr_t>(e.view.data) % item_size == 0;
  for (int64_t& stride : e.view.strides) {
    aligned = aligned && stride % item_size == 0;
    stride /= item_size;
  }
  if (aligned) return e;
  if (e.view.device != kCpu) throw alignment_error(name);
  return std::nullopt;
}

// --- one call ---

class PythonCall final : public ArrayCall {
 public:
  PythonCall(const py::object& out, size_t results, uintptr_t stream)
      : ArrayCall(reinterpret_cast<void*>(stream)), stream_(stream), results_(results) {
    if (out.is_none()) return;
    if (results == 1) {
      out_ = {out};
    } else if (py::isinstance<py::tuple>(out) && py::len(out) == results) {
      for (const py::handle one : out) out_.push_back(py::reinterpret_borrow<py::object>(one));
    } else {
      throw TypeMismatch("expected out to be a tuple of " + std::to_string(results) +
                         " arrays, got " + type_name(out));
    }
  }

  ArrayView read(const char* name, const py::object& object) {
    std::optional<Exported> memory = view_of(name, object, stream_);
    // A field of packed records, for example. What NumPy copies is aligned.
    if (!memory)
      memory = view_of(name, py::module_::import("numpy").attr("array")(object), stream_);
    return keep(*memory);
  }

  ArrayView result(const ArrayView& like, const std::vector<int64_t>& shape) override {
    const py::gil_scoped_acquire lock;
    const size_t index = made_.size();
    const std::string name = results_ == 1 ? "out" : "out[" + std::to_string(index) + "]";
    if (out_.empty() && like.device != kCpu)
      throw std::invalid_argument("expected out on the device of " + like.name + ", " +
                                  device_text(like.device) + ", got None");
    made_.push_back(out_.empty() ? new_array(like.dtype, shape) : out_[index]);
    const std::optional<Exported> memory = view_of(name, made_.back(), stream_);
    if (!memory) throw alignment_error(name);
    expect_result(memory->view, like, shape);
    for (const ArrayView& other : views_)
      if (memory->view.overlaps(other))
        throw std::invalid_argument("expected " + name + " and " + other.name +
                                    " in separate memory, got arrays that overlap");
    return keep(*memory);
  }

  py::object results() const {
    if (results_ == 1) return made_[0];
    py::tuple all(results_);
    for (size_t i = 0; i < results_; ++i) all[i] = made_[i];
    return std::move(all);
  }

 private:
  ArrayView keep(const Exported& memory) {
    owners_.push_back(memory.owner);
    views_.push_back(memory.view);
    return memory.view;
  }

  static py::object new_array(DType dtype, const std::vector<int64_t>& shape) {
    double count = 1;
    for (int64_t size : shape) count *= size > 1 ? static_cast<double>(size) : 1;
    if (count > kLargestCount)
      throw std::invalid_argument("expected sizes that memory can hold, got " + to_text(shape));
    return py::array(py::dtype(to_text(dtype)), shape);
  }

  static constexpr double kLargestCount = 1LL << 48;

  uintptr_t stream_;
  size_t results_;
  std::vector<py::object> out_, made_, owners_;
  std::vector<ArrayView> views_;
};

// --- progress ---

// Calls `body()` while `listener`, reached through a plain function, hears of its progress. What
// `callback` returns, if it is not None, ends the work; so do its errors, which are raised then.
// Without a callback only signals end it, such as that of Ctrl-C, unless somebody listens already.
template <class Listener>
py::object with_progress(Listener& listener, const py::object& callback, const py::object& body) {
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::milliseconds kPatience{100};  // whoever holds the lock may keep it
  struct Context {
    const py::object& callback;
    std::exception_ptr error;
    Clock::time_point looked = Clock::now();
  } context{callback, nullptr};
  const Listener before = listener;
  if (callback.is_none() && before.report != nullptr) return body();
  listener.context = &context;
  listener.of_each = !callback.is_none();
  listener.report = [](void* data, auto... progress) {
    auto& c = *static_cast<Context*>(data);
    if (c.error) return true;
    if (c.callback.is_none()) {
      if (Clock::now() - c.looked < kPatience) return false;
      c.looked = Clock::now();
    }
    const py::gil_scoped_acquire lock;
    try {
      if (!c.callback.is_none()) return !c.callback(progress...).is_none();
      if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    } catch (py::error_already_set&) {
      c.error = std::current_exception();
    }
    return c.error != nullptr;
  };
  py::object result;
  try {
    result = body();
  } catch (...) {
    if (!context.error) context.error = std::current_exception();
  }
  listener = before;
  if (context.error) std::rethrow_exception(context.error);
  return result;
}

// --- one door ---

template <class T>
T option(const char* name, const py::object& object) {
  py::detail::make_caster<T> caster;
  constexpr bool kNumber = std::is_floating_point_v<T>;  // an integer is one too, a bool is not
  const bool fits = !kNumber || !py::isinstance<py::bool_>(object);
  if (!fits || !caster.load(object, /*convert=*/kNumber)) {
    const char* kind = std::is_same_v<T, bool>          ? "a bool"
                       : std::is_same_v<T, std::string> ? "a string"
                       : kNumber                        ? "a number"
                       : std::is_signed_v<T>            ? "an integer of 64 bits"
                                                        : "a cudaStream_t as an integer";
    throw TypeMismatch("expected " + std::string(name) + " to be " + kind + ", got " +
                       std::string(py::repr(object)));
  }
  return py::detail::cast_op<T>(caster);
}

template <>
inline std::vector<int64_t> option(const char* name, const py::object& object) {
  if (!py::isinstance<py::tuple>(object) && !py::isinstance<py::list>(object))
    throw TypeMismatch("expected " + std::string(name) + " to be a tuple of integers, got " +
                       std::string(py::repr(object)));
  std::vector<int64_t> numbers;
  for (const py::handle one : object)
    numbers.push_back(option<int64_t>(name, py::reinterpret_borrow<py::object>(one)));
  return numbers;
}

template <class T>
std::decay_t<T> argument(PythonCall& call, const char* name, const py::object& object) {
  if constexpr (std::is_same_v<std::decay_t<T>, ArrayView>) {
    return call.read(name, object);
  } else {
    return option<std::decay_t<T>>(name, object);
  }
}

template <class>
using ObjectFor = const py::object&;

// Adds `door` to the module: its arguments by the names given, then `out` and `stream`. The lock is
// released while it runs.
template <class... Args, class... Names>
void add_door(py::module_& m, const char* function, size_t results,
              void (*door)(ArrayCall&, Args...), const char* doc, const Names&... names) {
  static_assert(sizeof...(Args) == sizeof...(Names));
  const auto call_door = [=](ObjectFor<Args>... objects, const py::object& out,
                             const py::object& stream) {
    try {
      PythonCall call(out, results, option<uintptr_t>("stream", stream));
      // Braces: from left to right.
      const std::tuple<std::decay_t<Args>...> arguments{
          argument<Args>(call, names.name, objects)...};
      {
        const py::gil_scoped_release release;
        std::apply([&](const auto&... each) { door(call, each...); }, arguments);
      }
      return call.results();
    } catch (const TypeMismatch& error) {
      throw py::type_error(std::string(function) + ": " + error.what());
    } catch (const std::invalid_argument& error) {
      throw py::value_error(std::string(function) + ": " + error.what());
    }
  };
  m.def(function, call_door, doc, names..., py::kw_only(), py::arg("out") = py::none(),
        py::arg("stream") = 0);
}

}  // namespace pyfast
