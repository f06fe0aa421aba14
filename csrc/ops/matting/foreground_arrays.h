// The array doors of foreground estimation and of the guided filter: the operators of
// foreground_torch.cpp and guided_filter_torch.cpp on arrays on the CPU.
#pragma once

#include "core/array_call.h"

namespace pyfast::arrays {

void foreground(ArrayCall& call, const ArrayView& image, const ArrayView& alpha,
                double regularization, double gradient_weight, int64_t small_iterations,
                int64_t big_iterations, int64_t small_size, double tolerance);
void guided_filter(ArrayCall& call, const ArrayView& guide, const ArrayView& input, int64_t radius,
                   double epsilon);

}  // namespace pyfast::arrays
