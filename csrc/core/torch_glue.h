// The only header of the project that includes torch: the stable ABI of torch 2.11, so that one
// binary serves torch 2.11 and everything later, with and without CUDA.
#pragma once

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/inductor/aoti_torch/generated/c_shim_cpu.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/Exception.h>

#include <vector>

#include "core/cuda_build.h"
#include "core/device_memory.h"

// torch 2.13 renamed the macro of 2.11.
#if !defined(STABLE_TORCH_ERROR_CODE_CHECK)
#define STABLE_TORCH_ERROR_CODE_CHECK TORCH_ERROR_CODE_CHECK
#endif

// Null under a torch without CUDA, where nobody calls it.
extern "C" __attribute__((weak)) AOTITorchError
aoti_torch_get_current_cuda_stream(int32_t device_index, void** stream);

namespace pyfast {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Of a tensor made here.
constexpr int64_t kMostDims = 5, kMostElements = int64_t{1} << 48;

inline bool has_shape(const Tensor& t, std::initializer_list<int64_t> shape) {
  if (t.dim() != static_cast<int64_t>(shape.size())) return false;
  int64_t d = 0;
  for (int64_t size : shape)
    if (t.size(d++) != size) return false;
  return true;
}

// The same with elements in the order (N, D, H, W, C) or (N, H, W, C), and not in any other.
inline bool is_channels_last(const Tensor& image) {
  if (image.numel() == 0 || image.is_contiguous()) return false;
  const int64_t *sizes = image.sizes().data(), *strides = image.strides().data();
  int64_t expected = 1;
  const auto follows = [&](int64_t d) {
    const bool holds = sizes[d] == 1 || strides[d] == expected;
    expected *= sizes[d];
    return holds;
  };
  bool last = follows(1);
  for (int64_t d = image.dim() - 1; d >= 2 && last; --d) last = follows(d);
  return last && follows(0);
}

// The elements, to read. Asking for memory to write would copy a tensor that is a lazy copy.
template <class T>
const T* data_of(const Tensor& t) {
  const void* data = t.const_data_ptr();
  STD_TORCH_CHECK(data != nullptr || t.numel() == 0, "a tensor has no memory: it was freed");
  return static_cast<const T*>(data);
}

// The elements of a tensor made here, to write.
template <class T>
T* result_of(const Tensor& t) {
  return static_cast<T*>(t.mutable_data_ptr());
}

// An uninitialised tensor. Not torch::stable::empty: its way through the boxed dispatcher takes
// longer than a small kernel.
inline Tensor empty(int32_t device_type, int32_t device_index, ScalarType dtype,
                    const int64_t* sizes, int64_t dims, bool channels_last) {
  int64_t strides[kMostDims], next = 1;
  bool fits = true;
  const auto place = [&](int64_t d) {
    strides[d] = next;
    fits = fits && !__builtin_mul_overflow(next, sizes[d] > 1 ? sizes[d] : 1, &next);
  };
  if (channels_last) place(1);
  for (int64_t d = dims - 1; d >= (channels_last ? 2 : 0); --d) place(d);
  if (channels_last) place(0);
  STD_TORCH_CHECK(fits && next <= kMostElements, "a size that memory cannot hold");
  AtenTensorHandle made = nullptr;
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(
      dims, sizes, strides, torch::stable::detail::to<int32_t>(torch::stable::detail::from(dtype)),
      device_type, device_index, &made));
  return Tensor(made);
}

// On the device of `like`.
inline Tensor empty(const Tensor& like, ScalarType dtype, const int64_t* sizes, int64_t dims,
                    bool channels_last = false) {
  int32_t device_type = 0;
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_type(like.get(), &device_type));
  return empty(device_type, like.get_device_index(), dtype, sizes, dims, channels_last);
}

inline Tensor empty_on_host(ScalarType dtype, std::initializer_list<int64_t> sizes) {
  return empty(aoti_torch_device_type_cpu(), 0, dtype, sizes.begin(),
               static_cast<int64_t>(sizes.size()), false);
}

inline Tensor empty(const Tensor& like, ScalarType dtype, std::initializer_list<int64_t> sizes) {
  return empty(like, dtype, sizes.begin(), static_cast<int64_t>(sizes.size()));
}

inline Tensor as_channels_last(const Tensor& image) {
  if (is_channels_last(image)) return image;
  Tensor copy = empty(image, image.scalar_type(), image.sizes().data(), image.dim(), true);
  return torch::stable::copy_(copy, image);
}

inline Tensor as_contiguous(const Tensor& t) {
  return t.is_contiguous() ? t : torch::stable::contiguous(t);
}

// An image in channels_last, plane by plane. Torch copies matrices in blocks, and so several times
// as fast as images.
inline Tensor as_planes(const Tensor& image) {
  const int64_t n = image.size(0), c = image.size(1), pixels = image.size(2) * image.size(3);
  using namespace torch::stable;
  const Tensor rows = reshape(transpose(transpose(image, 1, 2), 2, 3), {n, pixels, c});
  Tensor copy = empty(image, image.scalar_type(), image.sizes().data(), 4);
  const Tensor planes = view(copy, {n, c, pixels});
  for (int64_t i = 0; i < n; ++i) {
    Tensor to = select(planes, 0, i);
    copy_(to, transpose(select(rows, 0, i), 0, 1));
  }
  return copy;
}

// Runs `cpu()`, or `cuda(stream)` on the current stream of the tensor's device. `cuda` is a
// generic lambda that returns a cudaError_t: a build without CUDA never compiles its body.
template <class Cpu, class Cuda>
void run_on_device_of(const Tensor& tensor, const Cpu& cpu, const Cuda& cuda) {
  if (tensor.is_cpu()) {
    cpu();
    return;
  }
  if constexpr (kWithCuda) {
    STD_TORCH_CHECK(aoti_torch_get_current_cuda_stream != nullptr,
                    "pyfast: this torch has no CUDA; install one that has");
    const torch::stable::accelerator::DeviceGuard guard(tensor.get_device_index());
    void* stream = nullptr;
    STABLE_TORCH_ERROR_CODE_CHECK(
        aoti_torch_get_current_cuda_stream(tensor.get_device_index(), &stream));
    const int error = cuda(stream);
    STD_TORCH_CHECK(error == 0, "pyfast: CUDA error ", error, " at the launch of a kernel");
  } else {
    STD_TORCH_CHECK(false, kNoCudaKernels);
  }
}

// Memory for the launchers of one call, on a tensor's device. It goes back to torch's allocator at
// the end of the scope, which gives it to later work on the same stream.
class ScratchTensors {
 public:
  explicit ScratchTensors(const Tensor& like) : like_(like) {}
  ScratchTensors(const ScratchTensors&) = delete;
  ScratchTensors& operator=(const ScratchTensors&) = delete;

  operator DeviceMemory() {
    return {this, [](void* self, size_t bytes) {
              return static_cast<ScratchTensors*>(self)->allocate(static_cast<int64_t>(bytes));
            }};
  }

 private:
  void* allocate(int64_t bytes) {
    taken_.push_back(empty(like_, ScalarType::Byte, {bytes}));
    return taken_.back().mutable_data_ptr();
  }

  const Tensor& like_;
  std::vector<Tensor> taken_;
};

}  // namespace pyfast
