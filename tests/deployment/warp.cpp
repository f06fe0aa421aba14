// A program without Python: loads the operators of pyfast and turns an image by half a circle.
//   warp LIBRARY
#include <dlfcn.h>
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <array>
#include <cstdio>

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

Tensor tensor(float* data, std::initializer_list<int64_t> sizes) {
  Tensor made = torch::stable::empty({sizes.begin(), sizes.size()}, ScalarType::Float);
  for (int64_t i = 0; i < made.numel(); ++i)
    static_cast<float*>(made.mutable_data_ptr())[i] = data[i];
  return made;
}

int main(int count, char** arguments) {
  if (count != 2 || dlopen(arguments[1], RTLD_NOW | RTLD_GLOBAL) == nullptr) {
    std::fprintf(stderr, "%s\n", count == 2 ? dlerror() : "usage: warp LIBRARY");
    return 2;
  }
  float image[] = {1, 2, 3, 4, 5, 6}, turn[] = {-1, 0, 0, 0, -1, 0};
  // matrix_sample(input, matrix, depth, height, width, mode, padding_mode, coordinates)
  std::array<StableIValue, 8> stack{torch::stable::detail::from(tensor(image, {1, 1, 2, 3})),
                                    torch::stable::detail::from(tensor(turn, {1, 2, 3})),
                                    torch::stable::detail::from(int64_t{1}),
                                    torch::stable::detail::from(int64_t{2}),
                                    torch::stable::detail::from(int64_t{3}),
                                    torch::stable::detail::from(int64_t{0}),
                                    torch::stable::detail::from(int64_t{0}),
                                    torch::stable::detail::from(int64_t{0})};
  if (torch_call_dispatcher("pyfast::matrix_sample", "", stack.data(), TORCH_ABI_VERSION) != 0)
    return 1;
  const auto result = torch::stable::detail::to<Tensor>(stack[0]);
  for (int64_t i = 0; i < result.numel(); ++i)
    std::printf("%g ", static_cast<const float*>(result.const_data_ptr())[i]);
  return 0;
}
