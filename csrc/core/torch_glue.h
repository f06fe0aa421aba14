// The only header of the project that includes torch: the stable ABI of torch 2.11, so that one
// binary serves torch 2.11 and everything later, with and without CUDA.
#pragma once

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/Exception.h>

#include "core/cuda_build.h"

// torch 2.13 renamed the macro of 2.11.
#if !defined(STABLE_TORCH_ERROR_CODE_CHECK)
#define STABLE_TORCH_ERROR_CODE_CHECK TORCH_ERROR_CODE_CHECK
#endif

// Null under a torch without CUDA, where nobody calls it.
extern "C" __attribute__((weak)) AOTITorchError
aoti_torch_get_current_cuda_stream(int32_t device_index, void** stream);

namespace pyfast {

using torch::headeronly::MemoryFormat;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;

inline bool has_shape(const Tensor& t, std::initializer_list<int64_t> shape) {
  if (t.dim() != static_cast<int64_t>(shape.size())) return false;
  int64_t d = 0;
  for (int64_t size : shape)
    if (t.size(d++) != size) return false;
  return true;
}

inline bool is_contiguous_as(const Tensor& t, std::initializer_list<int> order) {
  int64_t expected = 1;
  for (int d : order) {
    if (t.size(d) != 1 && t.stride(d) != expected) return false;
    expected *= t.size(d);
  }
  return true;
}

// What torch's own operators do: channels_last in, channels_last out; everything else is NCHW.
inline MemoryFormat memory_format_of(const Tensor& image) {
  const bool last = image.numel() != 0 && !is_contiguous_as(image, {3, 2, 1, 0}) &&
                    is_contiguous_as(image, {1, 3, 2, 0});
  return last ? MemoryFormat::ChannelsLast : MemoryFormat::Contiguous;
}

inline Tensor empty_image(const Tensor& like, std::initializer_list<int64_t> shape,
                          MemoryFormat format) {
  return torch::stable::empty({shape.begin(), shape.size()}, like.scalar_type(), std::nullopt,
                              like.device(), std::nullopt, format);
}

inline Tensor as_contiguous(const Tensor& t) {
  return t.is_contiguous() ? t : torch::stable::contiguous(t);
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

}  // namespace pyfast
