// The CUDA kernels of dilated convolution and their launchers.
#pragma once

#include "ops/dilated_conv/aspp_shifts.cuh"
#include "ops/dilated_conv/depthwise_conv.cuh"
#include "ops/dilated_conv/depthwise_conv_weight.cuh"
#include "ops/dilated_conv/direct_conv.cuh"
#include "ops/dilated_conv/implicit_conv.cuh"
#include "ops/dilated_conv/implicit_conv_weight.cuh"
