// Sampling for torch: schema, checks, allocation, registration. The checks are the safety net
// behind those of pyfast/ops/sampling.py, which say more.
#include "core/torch_glue.h"
#include "ops/sampling/sampling_params.h"

namespace pyfast {
namespace {

StridedMemory memory(const Tensor& t) {
  return {t.data_ptr(), t.sizes().data(), t.strides().data()};
}

template <class Body>
auto dispatch(ScalarType dtype, const Body& body) {
  STD_TORCH_CHECK(dtype == ScalarType::Float || dtype == ScalarType::Double,
                  "expected float32 or float64");
  return dtype == ScalarType::Float ? body(float{}) : body(double{});
}

// Options travel as numbers, the places of their words in MODES and PADDING_MODES of
// pyfast/ops/sampling.py: the stable ABI of torch 2.11 to 2.13 leaks the memory of every string.
template <class Option>
Option checked(int64_t value, int64_t count, const char* name) {
  STD_TORCH_CHECK(value >= 0 && value < count, name, " must be from 0 to ", count - 1, ", got ",
                  value);
  return static_cast<Option>(value);
}

// `places` is theta or the grid.
template <class Real>
SamplingParams<Real> checked_params(const Tensor& input, const Tensor& places, bool is_theta,
                                    int64_t height, int64_t width, int64_t mode, int64_t padding,
                                    bool align_corners) {
  STD_TORCH_CHECK(input.dim() == 4 && input.size(2) > 0 && input.size(3) > 0,
                  "input must be (N, C, H, W) with H and W above zero");
  STD_TORCH_CHECK(input.scalar_type() == places.scalar_type() && input.device() == places.device(),
                  "input and theta or grid must have one dtype and device");
  const int64_t batch = places.size(0);
  STD_TORCH_CHECK(input.size(0) == batch || input.size(0) == 1, "batch sizes must agree");
  STD_TORCH_CHECK(input.size(2) <= kMaxInputSide && input.size(3) <= kMaxInputSide,
                  "input must have at most 2^24 pixels on a side");
  STD_TORCH_CHECK(height >= 0 && width >= 0, "sizes must not be negative");
  STD_TORCH_CHECK(!is_theta || has_shape(places, {batch, 2, 3}), "theta must be (N, 2, 3)");
  STD_TORCH_CHECK(is_theta || has_shape(places, {batch, height, width, 2}),
                  "grid must be (N, H, W, 2)");
  return sampling_params<Real>(memory(input), memory(places), is_theta, height, width,
                               checked<Interpolation>(mode, 2, "mode"),
                               checked<Padding>(padding, 3, "padding_mode"), align_corners);
}

Tensor sample(const Tensor& input, const Tensor& places, bool is_theta, int64_t height,
              int64_t width, int64_t mode, int64_t padding, bool align_corners) {
  return dispatch(input.scalar_type(), [&](auto real) {
    using Real = decltype(real);
    auto p =
        checked_params<Real>(input, places, is_theta, height, width, mode, padding, align_corners);
    Tensor output =
        empty_image(input, {p.batch, p.channels, height, width}, memory_format_of(input));
    p.output = image_view<Real>(memory(output));
    run_on_device_of(
        input, [&] { sampling_forward_cpu(p); },
        [&](auto stream) { return sampling_forward_cuda(p, stream); });
    return output;
  });
}

// An output that is not asked for comes back as an empty tensor.
std::tuple<Tensor, Tensor> sample_backward(const Tensor& grad_output, const Tensor& input,
                                           const Tensor& places, bool is_theta, int64_t mode,
                                           int64_t padding, bool align_corners, bool of_input,
                                           bool of_places) {
  return dispatch(input.scalar_type(), [&](auto real) {
    using Real = decltype(real);
    STD_TORCH_CHECK(grad_output.dim() == 4, "grad_output must be (N, C, H, W)");
    const int64_t height = grad_output.size(2), width = grad_output.size(3);
    auto p =
        checked_params<Real>(input, places, is_theta, height, width, mode, padding, align_corners);
    STD_TORCH_CHECK(has_shape(grad_output, {p.batch, p.channels, height, width}) &&
                        grad_output.scalar_type() == input.scalar_type() &&
                        grad_output.device() == input.device(),
                    "grad_output must have the output's shape, dtype and device");
    p.grad_output = image_view<const Real>(memory(grad_output));
    Tensor grad_input = torch::stable::new_empty(input, {0});
    Tensor grad_places = torch::stable::new_empty(input, {0});
    if (of_input) {
      grad_input =
          empty_image(input, {p.input_batch, p.channels, p.in_h, p.in_w}, memory_format_of(input));
      p.grad_input = image_view<Real>(memory(grad_input));
    }
    if (of_places) {
      grad_places = torch::stable::new_empty(places, places.sizes());
      Real* data = static_cast<Real*>(grad_places.data_ptr());
      (is_theta ? p.grad_theta : p.grad_grid) = data;
    }
    run_on_device_of(
        input, [&] { sampling_backward_cpu(p); },
        [&](auto stream) {
          const Tensor sums = torch::stable::new_empty(
              input, {sampling_partial_count(p.batch, height, width)}, ScalarType::Double);
          return sampling_backward_cuda(p, static_cast<double*>(sums.data_ptr()), stream);
        });
    return std::make_tuple(grad_input, grad_places);
  });
}

Tensor affine_grid_sample(const Tensor& input, const Tensor& theta, int64_t height, int64_t width,
                          int64_t mode, int64_t padding, bool align_corners) {
  return sample(input, as_contiguous(theta), true, height, width, mode, padding, align_corners);
}

std::tuple<Tensor, Tensor> affine_grid_sample_backward(const Tensor& grad_output,
                                                       const Tensor& input, const Tensor& theta,
                                                       int64_t mode, int64_t padding,
                                                       bool align_corners, bool of_input,
                                                       bool of_theta) {
  return sample_backward(grad_output, input, as_contiguous(theta), true, mode, padding,
                         align_corners, of_input, of_theta);
}

Tensor grid_sample(const Tensor& input, const Tensor& grid, int64_t mode, int64_t padding,
                   bool align_corners) {
  STD_TORCH_CHECK(grid.dim() == 4, "grid must be (N, H, W, 2)");
  return sample(input, grid, false, grid.size(1), grid.size(2), mode, padding, align_corners);
}

std::tuple<Tensor, Tensor> grid_sample_backward(const Tensor& grad_output, const Tensor& input,
                                                const Tensor& grid, int64_t mode, int64_t padding,
                                                bool align_corners, bool of_input, bool of_grid) {
  return sample_backward(grad_output, input, grid, false, mode, padding, align_corners, of_input,
                         of_grid);
}

Tensor affine_grid(const Tensor& theta, int64_t height, int64_t width, bool align_corners) {
  return dispatch(theta.scalar_type(), [&](auto real) {
    using Real = decltype(real);
    STD_TORCH_CHECK(theta.dim() == 3 && theta.size(1) == 2 && theta.size(2) == 3,
                    "theta must be (N, 2, 3)");
    STD_TORCH_CHECK(height >= 0 && width >= 0, "sizes must not be negative");
    AffineGridParams<Real> p{theta.size(0), height, width, align_corners};
    const Tensor dense = as_contiguous(theta);
    p.theta = static_cast<const Real*>(dense.data_ptr());
    Tensor grid = torch::stable::new_empty(theta, {p.batch, height, width, 2});
    p.grid = static_cast<Real*>(grid.data_ptr());
    run_on_device_of(
        theta, [&] { affine_grid_cpu(p); },
        [&](auto stream) { return affine_grid_cuda(p, stream); });
    return grid;
  });
}

Tensor affine_grid_backward(const Tensor& grad_grid, bool align_corners) {
  return dispatch(grad_grid.scalar_type(), [&](auto real) {
    using Real = decltype(real);
    STD_TORCH_CHECK(grad_grid.dim() == 4 && grad_grid.size(3) == 2,
                    "grad_grid must be (N, H, W, 2)");
    AffineGridParams<Real> p{grad_grid.size(0), grad_grid.size(1), grad_grid.size(2),
                             align_corners};
    p.grad_grid = static_cast<const Real*>(grad_grid.data_ptr());
    for (int d = 0; d < 4; ++d) p.grad_grid_stride[d] = grad_grid.stride(d);
    Tensor grad_theta = torch::stable::new_empty(grad_grid, {p.batch, 2, 3});
    p.grad_theta = static_cast<Real*>(grad_theta.data_ptr());
    run_on_device_of(
        grad_grid, [&] { affine_grid_backward_cpu(p); },
        [&](auto stream) {
          const Tensor sums = torch::stable::new_empty(
              grad_grid, {sampling_partial_count(p.batch, p.out_h, p.out_w)}, ScalarType::Double);
          return affine_grid_backward_cuda(p, static_cast<double*>(sums.data_ptr()), stream);
        });
    return grad_theta;
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(pyfast, m) {
  m.def("affine_grid(Tensor theta, SymInt height, SymInt width, bool align_corners) -> Tensor");
  m.def("affine_grid_backward(Tensor grad_grid, bool align_corners) -> Tensor");
  m.def(
      "grid_sample(Tensor input, Tensor grid, int mode, int padding_mode, bool align_corners) "
      "-> Tensor");
  m.def(
      "grid_sample_backward(Tensor grad_output, Tensor input, Tensor grid, int mode, "
      "int padding_mode, bool align_corners, bool of_input, bool of_grid) -> (Tensor, Tensor)");
  m.def(
      "affine_grid_sample(Tensor input, Tensor theta, SymInt height, SymInt width, int mode, "
      "int padding_mode, bool align_corners) -> Tensor");
  m.def(
      "affine_grid_sample_backward(Tensor grad_output, Tensor input, Tensor theta, int mode, "
      "int padding_mode, bool align_corners, bool of_input, bool of_theta) -> (Tensor, Tensor)");
}

#define PF_REGISTER(device)                                                         \
  STABLE_TORCH_LIBRARY_IMPL(pyfast, device, m) {                                    \
    m.impl("affine_grid", TORCH_BOX(&affine_grid));                                 \
    m.impl("affine_grid_backward", TORCH_BOX(&affine_grid_backward));               \
    m.impl("grid_sample", TORCH_BOX(&grid_sample));                                 \
    m.impl("grid_sample_backward", TORCH_BOX(&grid_sample_backward));               \
    m.impl("affine_grid_sample", TORCH_BOX(&affine_grid_sample));                   \
    m.impl("affine_grid_sample_backward", TORCH_BOX(&affine_grid_sample_backward)); \
  }
PF_REGISTER(CPU)
PF_REGISTER(CUDA)
#undef PF_REGISTER

}  // namespace pyfast
