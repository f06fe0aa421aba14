// The array doors of sampling: what pyfast/ops/sampling.py offers for tensors, on arrays.
// Results: output, grid, (grad_input, grad_theta or grad_grid), grad_theta.
#pragma once

#include <string>

#include "core/array_call.h"

namespace pyfast::arrays {

void affine_grid(ArrayCall& call, const ArrayView& theta, int64_t height, int64_t width,
                 bool align_corners);
void affine_grid_backward(ArrayCall& call, const ArrayView& grad_grid, bool align_corners);

void grid_sample(ArrayCall& call, const ArrayView& input, const ArrayView& grid,
                 const std::string& mode, const std::string& padding, bool align_corners);
void grid_sample_backward(ArrayCall& call, const ArrayView& grad_output, const ArrayView& input,
                          const ArrayView& grid, const std::string& mode,
                          const std::string& padding, bool align_corners);

void affine_grid_sample(ArrayCall& call, const ArrayView& input, const ArrayView& theta,
                        int64_t height, int64_t width, const std::string& mode,
                        const std::string& padding, bool align_corners);
void affine_grid_sample_backward(ArrayCall& call, const ArrayView& grad_output,
                                 const ArrayView& input, const ArrayView& theta,
                                 const std::string& mode, const std::string& padding,
                                 bool align_corners);

}  // namespace pyfast::arrays
