// Matrices in memory that somebody else owns, multiplied by torch's library on the CPU.
#pragma once

#include "core/torch_glue.h"

namespace pyfast {

struct Matrix {
  Tensor tensor;
  template <class Real>
  Matrix(const Real* data, int64_t rows, int64_t columns, int64_t row_stride, int64_t column_stride)
      : tensor(view(const_cast<Real*>(data), sizeof(Real), {rows, columns},
                    {row_stride, column_stride})) {}
  AtenTensorHandle get() const { return tensor.get(); }

 private:
  struct Pair {
    int64_t of[2];
  };
  static Tensor view(void* data, size_t bytes, Pair sizes, Pair strides) {
    const ScalarType dtype = bytes == sizeof(float) ? ScalarType::Float : ScalarType::Double;
    AtenTensorHandle made = nullptr;
    STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_create_tensor_from_blob(
        data, 2, sizes.of, strides.of, 0,
        torch::stable::detail::to<int32_t>(torch::stable::detail::from(dtype)),
        aoti_torch_device_type_cpu(), 0, &made));
    return Tensor(made);
  }
};

inline void multiply(const Matrix& a, const Matrix& b, const Matrix& out) {
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_cpu_mm_out(out.get(), a.get(), b.get()));
}

}  // namespace pyfast
