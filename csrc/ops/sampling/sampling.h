// Sampling an image at computed places: what one call works on, and the entry points of the CPU
// and CUDA kernels. Nothing here knows torch.
#pragma once

#include <cstdint>

#include "core/device.h"
#include "core/half.h"

namespace pyfast {

// Pixels on one side of an input image: more of them a float32 position cannot tell apart.
constexpr int64_t kMaxInputSide = int64_t{1} << 24;

enum class Interpolation : int32_t { kBilinear, kNearest, kBicubic };
enum class Padding : int32_t { kZeros, kBorder, kReflection };

// What says where an output pixel is sampled.
enum class Source : int32_t {
  kGrid,        // the coordinates themselves
  kFlow,        // displacements in pixels, from the pixel itself; `pixels` is true
  kAffine,      // a matrix of dims x (dims + 1) from output to input coordinates
  kHomography,  // one of (dims + 1) x (dims + 1), divided by its last row; 2-D
};

// A (N, C, D, H, W) volume, or an image with D = 1; strides in elements, any order, any sign, zero
// allowed.
template <class T>
struct ImageView {
  T* data = nullptr;
  int64_t n = 0, c = 0, d = 0, h = 0, w = 0;  // strides
  PF_HD T* at(int64_t ni, int64_t ci, int64_t hi, int64_t wi) const {
    return data + ni * n + ci * c + hi * h + wi * w;
  }
  PF_HD T* at(int64_t ni, int64_t ci, int64_t di, int64_t hi, int64_t wi) const {
    return at(ni, ci, hi, wi) + di * d;
  }
};

// A (N, D, H, W, dims) field of vectors, x before y before z; strides in elements.
template <class T>
struct FieldView {
  T* data = nullptr;
  int64_t n = 0, d = 0, h = 0, w = 0, c = 0;  // strides
  PF_HD T* at(int64_t ni, int64_t di, int64_t hi, int64_t wi) const {
    return data + ni * n + di * d + hi * h + wi * w;
  }
};

// One call, forward or backward. T is float, double, Half or BFloat16; coordinates, weights and
// sums are Real. Null pointers are parts not asked for.
template <class T>
struct SamplingParams {
  using Real = Accumulator<T>;

  int dims = 2;             // 2 or 3; sizes of depth are 1 in 2-D
  int64_t batch = 0;        // N: outputs
  int64_t input_batch = 0;  // N, or 1: one input shared by all outputs
  int64_t channels = 0;
  int64_t in_d = 1, in_h = 0, in_w = 0;
  int64_t out_d = 1, out_h = 0, out_w = 0;
  Interpolation interpolation = Interpolation::kBilinear;
  Padding padding = Padding::kZeros;
  bool align_corners = false;
  bool pixels = false;         // coordinates are in pixels, not normalised to [-1, 1]
  bool deterministic = false;  // CUDA: the same bits in every run (on CPU they always are)

  // Where to sample: a matrix for each output, (N, rows, dims + 1) and contiguous, or a field.
  Source source = Source::kGrid;
  const Real* matrix = nullptr;
  FieldView<const Real> field;  // (N, out_d, out_h, out_w, dims)

  ImageView<const T> input;        // (input_batch, C, in_d, in_h, in_w)
  ImageView<T> output;             // (N, C, out_d, out_h, out_w), forward only
  ImageView<const T> grad_output;  // (N, C, out_d, out_h, out_w), backward only
  ImageView<Real> grad_input;      // as input, overwritten
  Real* grad_matrix = nullptr;     // as matrix, contiguous, overwritten
  FieldView<Real> grad_field;      // as field, no two elements in one place, overwritten

  PF_HD bool has_matrix() const {
    return source == Source::kAffine || source == Source::kHomography;
  }
  PF_HD int matrix_size() const {
    return (source == Source::kHomography ? dims + 1 : dims) * (dims + 1);
  }
  PF_HD int64_t out_size() const { return out_d * out_h * out_w; }
};

// Values of the largest matrix: a homography has 9, an affine map of volumes 12.
constexpr int kMostMatrixValues = 12;

// The base grid of F.affine_grid and its adjoint.
template <class Real>
struct AffineGridParams {
  int dims = 2;  // sizes of depth are 1 in 2-D
  int64_t batch = 0, out_d = 1, out_h = 0, out_w = 0;
  bool align_corners = false;
  const Real* theta = nullptr;      // (N, dims, dims + 1), contiguous; backward: not read
  Real* grid = nullptr;             // (N, out_d, out_h, out_w, dims), contiguous, forward only
  FieldView<const Real> grad_grid;  // the same shape
  Real* grad_theta = nullptr;       // as theta, overwritten
};

// CPU: sampling_driver.cpp, for all four T; affine grids for float and double. Same bits for any
// number of threads.
template <class T>
void sampling_forward_cpu(const SamplingParams<T>& params);
template <class T>
void sampling_backward_cpu(const SamplingParams<T>& params);
template <class Real>
void affine_grid_cpu(const AffineGridParams<Real>& params);
template <class Real>
void affine_grid_backward_cpu(const AffineGridParams<Real>& params);

// CUDA: sampling.cu. `stream` is a cudaStream_t, the result a cudaError_t. `partial_sums`, needed
// for a gradient of a matrix, is device memory for sampling_partial_count(...) doubles;
// `fixed_point`, needed for some deterministic gradients of the input, is device memory for
// sampling_fixed_point_count(...) integers, which may be none.
int64_t sampling_partial_count(int64_t batch, int64_t out_d, int64_t out_h, int64_t out_w);
template <class T>
int64_t sampling_fixed_point_count(const SamplingParams<T>& params);
template <class T>
int sampling_forward_cuda(const SamplingParams<T>& params, void* stream);
template <class T>
int sampling_backward_cuda(const SamplingParams<T>& params, double* partial_sums,
                           int64_t* fixed_point, void* stream);
template <class Real>
int affine_grid_cuda(const AffineGridParams<Real>& params, void* stream);
template <class Real>
int affine_grid_backward_cuda(const AffineGridParams<Real>& params, double* partial_sums,
                              void* stream);

}  // namespace pyfast
