#include "ops/sampling/sampling_arrays.h"

#include <stdexcept>
#include <string>

#include "ops/sampling/sampling_params.h"

namespace pyfast::arrays {
namespace {

constexpr int64_t kLargest = 2147483632;  // pixels on one axis: positions are 32-bit integers

StridedMemory memory(const ArrayView& a) { return {a.data, a.shape.data(), a.strides.data()}; }

void expect_length(const char* name, int64_t length) {
  if (length < 1 || length > kLargest)
    throw std::invalid_argument(std::string("expected ") + name + " from 1 to " +
                                std::to_string(kLargest) + ", got " + std::to_string(length));
}

void expect_theta(const ArrayView& theta) {
  if (!theta.has_shape({kAny, 2, 3})) throw shape_error(theta, "(N, 2, 3)");
}

void expect_grid(const ArrayView& grid) {
  if (!grid.has_shape({kAny, kAny, kAny, 2})) throw shape_error(grid, "(N, H, W, 2)");
}

Interpolation parse_mode(const std::string& mode) {
  if (mode == "bilinear") return Interpolation::kBilinear;
  if (mode == "nearest") return Interpolation::kNearest;
  throw std::invalid_argument("expected mode to be one of bilinear, nearest, got '" + mode + "'");
}

Padding parse_padding(const std::string& padding) {
  if (padding == "zeros") return Padding::kZeros;
  if (padding == "border") return Padding::kBorder;
  if (padding == "reflection") return Padding::kReflection;
  throw std::invalid_argument(
      "expected padding_mode to be one of zeros, border, reflection, got '" + padding + "'");
}

// One call of sampling, by theta or by a grid, without what is written.
struct Request {
  const ArrayView& input;
  const ArrayView& places;
  bool is_theta;
  int64_t height, width;
  Interpolation interpolation;
  Padding padding;
  bool align_corners;

  int64_t batch() const { return places.shape[0]; }
  std::vector<int64_t> output_shape() const { return {batch(), input.shape[1], height, width}; }
  void check() const;
  // `theta` is memory for a copy.
  template <class Real>
  SamplingParams<Real> params(std::vector<Real>& theta) const;
};

void Request::check() const {
  expect_alike(places, input);
  if (!input.has_shape({batch(), kAny, kAny, kAny}) && !input.has_shape({1, kAny, kAny, kAny}))
    throw shape_error(input, "(" + std::to_string(batch()) + ", C, H, W) or (1, C, H, W)");
  for (int d : {2, 3})
    if (input.shape[d] < 1 || input.shape[d] > kMaxInputSide)
      throw shape_error(input, "(N, C, H, W) with H and W from 1 to 2**24");
}

template <class Real>
SamplingParams<Real> Request::params(std::vector<Real>& theta) const {
  auto p = sampling_params<Real>(memory(input), memory(places), is_theta, height, width,
                                 interpolation, padding, align_corners);
  if (is_theta) p.theta = contiguous(places, theta);
  return p;
}

void sample(ArrayCall& call, const Request& request) {
  request.check();
  const ArrayView output = call.result(request.input, request.output_shape());
  dispatch(output.dtype, [&](auto real) {
    using Real = decltype(real);
    std::vector<Real> theta;
    auto p = request.params(theta);
    p.output = image_view<Real>(memory(output));
    call.run_on_device_of(
        output, [&] { sampling_forward_cpu(p); },
        [&](auto stream) { return sampling_forward_cuda(p, stream); });
  });
}

void sample_backward(ArrayCall& call, const Request& request, const ArrayView& grad_output) {
  request.check();
  expect_alike(grad_output, request.input);
  if (grad_output.shape != request.output_shape())
    throw shape_error(grad_output, to_text(request.output_shape()));
  const ArrayView grad_input = call.result(request.input, request.input.shape);
  const ArrayView grad_places = call.result(request.input, request.places.shape);
  expect_contiguous(grad_places);
  dispatch(grad_output.dtype, [&](auto real) {
    using Real = decltype(real);
    std::vector<Real> theta;
    auto p = request.params(theta);
    p.grad_output = image_view<const Real>(memory(grad_output));
    p.grad_input = image_view<Real>(memory(grad_input));
    (request.is_theta ? p.grad_theta : p.grad_grid) = grad_places.as<Real>();
    call.run_on_device_of(
        grad_output, [&] { sampling_backward_cpu(p); },
        [&](auto stream) {
          const auto count = sampling_partial_count(p.batch, p.out_h, p.out_w);
          const CudaScratch sums(count * sizeof(double), stream);
          return sampling_backward_cuda(p, static_cast<double*>(sums.data()), stream);
        });
  });
}

}  // namespace

void affine_grid(ArrayCall& call, const ArrayView& theta, int64_t height, int64_t width,
                 bool align_corners) {
  expect_theta(theta);
  expect_length("height", height);
  expect_length("width", width);
  const ArrayView grid = call.result(theta, {theta.shape[0], height, width, 2});
  expect_contiguous(grid);
  dispatch(grid.dtype, [&](auto real) {
    using Real = decltype(real);
    std::vector<Real> copy;
    AffineGridParams<Real> p{grid.shape[0], height, width, align_corners};
    p.theta = contiguous(theta, copy);
    p.grid = grid.as<Real>();
    call.run_on_device_of(
        grid, [&] { affine_grid_cpu(p); },
        [&](auto stream) { return affine_grid_cuda(p, stream); });
  });
}

void affine_grid_backward(ArrayCall& call, const ArrayView& grad_grid, bool align_corners) {
  expect_grid(grad_grid);
  const ArrayView grad_theta = call.result(grad_grid, {grad_grid.shape[0], 2, 3});
  expect_contiguous(grad_theta);
  dispatch(grad_grid.dtype, [&](auto real) {
    using Real = decltype(real);
    AffineGridParams<Real> p{grad_grid.shape[0], grad_grid.shape[1], grad_grid.shape[2],
                             align_corners};
    p.grad_grid = grad_grid.as<const Real>();
    for (int d = 0; d < 4; ++d) p.grad_grid_stride[d] = grad_grid.strides[d];
    p.grad_theta = grad_theta.as<Real>();
    call.run_on_device_of(
        grad_grid, [&] { affine_grid_backward_cpu(p); },
        [&](auto stream) {
          const auto count = sampling_partial_count(p.batch, p.out_h, p.out_w);
          const CudaScratch sums(count * sizeof(double), stream);
          return affine_grid_backward_cuda(p, static_cast<double*>(sums.data()), stream);
        });
  });
}

void grid_sample(ArrayCall& call, const ArrayView& input, const ArrayView& grid,
                 const std::string& mode, const std::string& padding, bool align_corners) {
  expect_grid(grid);
  sample(call, {input, grid, false, grid.shape[1], grid.shape[2], parse_mode(mode),
                parse_padding(padding), align_corners});
}

void grid_sample_backward(ArrayCall& call, const ArrayView& grad_output, const ArrayView& input,
                          const ArrayView& grid, const std::string& mode,
                          const std::string& padding, bool align_corners) {
  expect_grid(grid);
  sample_backward(call,
                  {input, grid, false, grid.shape[1], grid.shape[2], parse_mode(mode),
                   parse_padding(padding), align_corners},
                  grad_output);
}

void affine_grid_sample(ArrayCall& call, const ArrayView& input, const ArrayView& theta,
                        int64_t height, int64_t width, const std::string& mode,
                        const std::string& padding, bool align_corners) {
  expect_theta(theta);
  expect_length("height", height);
  expect_length("width", width);
  sample(call, {input, theta, true, height, width, parse_mode(mode), parse_padding(padding),
                align_corners});
}

void affine_grid_sample_backward(ArrayCall& call, const ArrayView& grad_output,
                                 const ArrayView& input, const ArrayView& theta,
                                 const std::string& mode, const std::string& padding,
                                 bool align_corners) {
  expect_theta(theta);
  if (!grad_output.has_shape({kAny, kAny, kAny, kAny}))
    throw shape_error(grad_output, "(N, C, H, W)");
  sample_backward(call,
                  {input, theta, true, grad_output.shape[2], grad_output.shape[3], parse_mode(mode),
                   parse_padding(padding), align_corners},
                  grad_output);
}

}  // namespace pyfast::arrays
