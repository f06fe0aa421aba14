// The array doors of sampling: the operators of sampling_torch.cpp on arrays. Sizes are (H, W) or
// (D, H, W). Results: output, grid, (grad_input, gradient of the places), grad_theta.
#pragma once

#include <string>
#include <vector>

#include "core/array_call.h"

namespace pyfast::arrays {

void affine_grid(ArrayCall& call, const ArrayView& theta, const std::vector<int64_t>& size,
                 bool align_corners);
void affine_grid_backward(ArrayCall& call, const ArrayView& grad_grid, bool align_corners);

void grid_sample(ArrayCall& call, const ArrayView& input, const ArrayView& grid,
                 const std::string& mode, const std::string& padding, bool align_corners);
void grid_sample_backward(ArrayCall& call, const ArrayView& grad_output, const ArrayView& input,
                          const ArrayView& grid, const std::string& mode,
                          const std::string& padding, bool align_corners);

void flow_sample(ArrayCall& call, const ArrayView& input, const ArrayView& flow,
                 const std::string& mode, const std::string& padding, bool align_corners);
void flow_sample_backward(ArrayCall& call, const ArrayView& grad_output, const ArrayView& input,
                          const ArrayView& flow, const std::string& mode,
                          const std::string& padding, bool align_corners);

void matrix_sample(ArrayCall& call, const ArrayView& input, const ArrayView& matrix,
                   const std::vector<int64_t>& size, const std::string& mode,
                   const std::string& padding, bool align_corners, bool pixels);
void matrix_sample_backward(ArrayCall& call, const ArrayView& grad_output, const ArrayView& input,
                            const ArrayView& matrix, const std::string& mode,
                            const std::string& padding, bool align_corners, bool pixels);

}  // namespace pyfast::arrays
