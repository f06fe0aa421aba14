// The array doors of the matting Laplacian: the operators of matting_torch.cpp on arrays, the
// solver and the matrix on those on the CPU.
#pragma once

#include "core/array_call.h"

namespace pyfast::arrays {

// Results: energy (B,), its gradients for v and for the image.
void matting_energy(ArrayCall& call, const ArrayView& v, const ArrayView& image, double epsilon,
                    int64_t radius);
void matting_product(ArrayCall& call, const ArrayView& v, const ArrayView& image, double epsilon,
                     int64_t radius);
// float64; `known` and `diagonal` are (B, H, W). Results: x and (B, K, 3), iterations, residual and
// whether it is what was asked for.
void matting_solve(ArrayCall& call, const ArrayView& rhs, const ArrayView& x,
                   const ArrayView& image, const ArrayView& diagonal, const ArrayView& known,
                   double epsilon, int64_t radius, double tolerance, int64_t most_iterations);

// (D, H, W) of float64: checks, for the matrix.
void expect_window(int64_t height, int64_t width, double epsilon, int64_t radius);

}  // namespace pyfast::arrays
