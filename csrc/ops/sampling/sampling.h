// Sampling an image at computed places: what one call works on, and the entry points of the CPU
// and CUDA kernels. Nothing here knows torch.
#pragma once

#include <cstdint>

#include "core/device.h"

namespace pyfast {

// Pixels on one side of an input image: more of them a float32 position cannot tell apart.
constexpr int64_t kMaxInputSide = int64_t{1} << 24;

enum class Interpolation : int32_t { kBilinear, kNearest };
enum class Padding : int32_t { kZeros, kBorder, kReflection };

// A (N, C, H, W) image; strides in elements, any order, any sign, zero allowed.
template <class T>
struct ImageView {
  T* data = nullptr;
  int64_t n = 0, c = 0, h = 0, w = 0;  // strides
  PF_HD T* at(int64_t ni, int64_t ci, int64_t hi, int64_t wi) const {
    return data + ni * n + ci * c + hi * h + wi * w;
  }
};

// One call, forward or backward. Real is float or double. Null pointers are parts not asked for.
template <class Real>
struct SamplingParams {
  int64_t batch = 0;        // N: outputs
  int64_t input_batch = 0;  // N, or 1: one input shared by all outputs
  int64_t channels = 0;
  int64_t in_h = 0, in_w = 0;
  int64_t out_h = 0, out_w = 0;
  Interpolation interpolation = Interpolation::kBilinear;
  Padding padding = Padding::kZeros;
  bool align_corners = false;

  // Where to sample, in normalised coordinates: exactly one of the two.
  const Real* theta = nullptr;  // (N, 2, 3), contiguous: affine maps of the output's base grid
  const Real* grid = nullptr;   // (N, out_h, out_w, 2), x before y
  int64_t grid_stride[4] = {0, 0, 0, 0};

  ImageView<const Real> input;        // (input_batch, C, in_h, in_w)
  ImageView<Real> output;             // (N, C, out_h, out_w), forward only
  ImageView<const Real> grad_output;  // (N, C, out_h, out_w), backward only
  ImageView<Real> grad_input;         // as input, overwritten
  Real* grad_theta = nullptr;         // (N, 2, 3), contiguous, overwritten
  Real* grad_grid = nullptr;          // (N, out_h, out_w, 2), contiguous, overwritten
};

// The base grid of F.affine_grid and its adjoint.
template <class Real>
struct AffineGridParams {
  int64_t batch = 0, out_h = 0, out_w = 0;
  bool align_corners = false;
  const Real* theta = nullptr;  // (N, 2, 3), contiguous; backward: not read
  Real* grid = nullptr;         // (N, out_h, out_w, 2), contiguous, forward only
  const Real* grad_grid = nullptr;
  int64_t grad_grid_stride[4] = {0, 0, 0, 0};
  Real* grad_theta = nullptr;  // (N, 2, 3), contiguous, overwritten
};

// CPU: sampling_driver.cpp, for Real = float and double. Same bits for any number of threads.
template <class Real>
void sampling_forward_cpu(const SamplingParams<Real>& params);
template <class Real>
void sampling_backward_cpu(const SamplingParams<Real>& params);
template <class Real>
void affine_grid_cpu(const AffineGridParams<Real>& params);
template <class Real>
void affine_grid_backward_cpu(const AffineGridParams<Real>& params);

// CUDA: sampling.cu. `stream` is a cudaStream_t, the result a cudaError_t. `partial_sums`, needed
// for a gradient of theta, is device memory for sampling_partial_count(params) doubles.
int64_t sampling_partial_count(int64_t batch, int64_t out_h, int64_t out_w);
template <class Real>
int sampling_forward_cuda(const SamplingParams<Real>& params, void* stream);
template <class Real>
int sampling_backward_cuda(const SamplingParams<Real>& params, double* partial_sums, void* stream);
template <class Real>
int affine_grid_cuda(const AffineGridParams<Real>& params, void* stream);
template <class Real>
int affine_grid_backward_cuda(const AffineGridParams<Real>& params, double* partial_sums,
                              void* stream);

}  // namespace pyfast
