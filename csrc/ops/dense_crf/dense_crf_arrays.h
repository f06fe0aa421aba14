// The array doors of the dense CRF. A lattice is an opaque array of the features' dtype.
#pragma once

#include <vector>

#include "core/array_call.h"

namespace pyfast::arrays {

void gaussian_lattice(ArrayCall& call, const ArrayView& features, bool closed);
void gaussian_filter(ArrayCall& call, const ArrayView& values, const ArrayView& lattice,
                     bool transposed);
void gaussian_exact(ArrayCall& call, const ArrayView& values, const ArrayView& features);

// K of a Gaussian on the pixel grid: grid (3,) is sigma_x, sigma_y and a factor, size (H, W).
void gaussian_grid(ArrayCall& call, const ArrayView& values, const ArrayView& grid,
                   const std::vector<int64_t>& size);

// Kernel m has the next lengths[m] items of `lattices`, or with 0 a Gaussian on the pixel grid;
// `grids` (m, 3) has sigma_x, sigma_y and what K is multiplied by, `costs` (m, L, L) what its sums
// are. An empty `start` is softmax(-unary).
void mean_field(ArrayCall& call, const ArrayView& unary, const ArrayView& start,
                const ArrayView& lattices, const ArrayView& grids, const ArrayView& costs,
                const std::vector<int64_t>& lengths, const std::vector<int64_t>& normalizations,
                const std::vector<int64_t>& size, int64_t iterations);

}  // namespace pyfast::arrays
