// The CUDA kernels of the matting Laplacian and their launchers.
#pragma once

#include "ops/matting/matting_form.cuh"
#include "ops/matting/matting_matrix.cuh"
#include "ops/matting/matting_solver.cuh"
