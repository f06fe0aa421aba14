#include "ops/sampling/sampling_arrays.h"

#include <stdexcept>
#include <string>

#include "ops/sampling/sampling_params.h"

namespace pyfast::arrays {
namespace {

StridedMemory memory(const ArrayView& a) {
  return {a.data, static_cast<int64_t>(a.shape.size()), a.shape.data(), a.strides.data()};
}

int64_t dims_of(const ArrayView& image) { return static_cast<int64_t>(image.shape.size()) - 2; }

// (H, W) or (D, H, W). A gradient may belong to an empty output (`least` 0), which nobody asks for.
OutputSize parse_size(const std::vector<int64_t>& size, int64_t dims, int64_t least) {
  const std::string form = dims == 3 ? "(D, H, W)" : "(H, W)";
  if (static_cast<int64_t>(size.size()) != dims)
    throw std::invalid_argument("expected size " + form + ", got " + to_text(size));
  for (int64_t length : size)
    if (length < least || length > kMaxOutputSide)
      throw std::invalid_argument("expected size " + form + " from " + std::to_string(least) +
                                  " to " + std::to_string(kMaxOutputSide) + ", got " +
                                  to_text(size));
  return output_size(dims, size.data());
}

template <size_t kCount>
int position(const char* name, const std::string& word, const char* const (&words)[kCount]) {
  std::string known;
  for (size_t i = 0; i < kCount; ++i) {
    if (word == words[i]) return static_cast<int>(i);
    known += (i > 0 ? ", " : "") + std::string(words[i]);
  }
  throw std::invalid_argument("expected " + std::string(name) + " to be one of " + known +
                              ", got '" + word + "'");
}

SamplingOptions parse_options(const std::string& mode, const std::string& padding,
                              bool align_corners, bool pixels) {
  return {
      static_cast<Interpolation>(position("mode", mode, {"bilinear", "nearest", "bicubic"})),
      static_cast<Padding>(position("padding_mode", padding, {"zeros", "border", "reflection"})),
      align_corners, pixels};
}

void expect_image(const ArrayView& input, int64_t batch) {
  const bool volume = dims_of(input) == 3;
  const std::string sizes = volume ? ", C, D, H, W)" : ", C, H, W)";
  if (dims_of(input) != 2 && !volume) throw shape_error(input, "(N, C, H, W) or (N, C, D, H, W)");
  if (input.shape[0] != batch && input.shape[0] != 1)
    throw shape_error(input,
                      "(" + std::to_string(batch) + sizes + (batch == 1 ? "" : " or (1" + sizes));
  for (size_t d = 2; d < input.shape.size(); ++d)
    if (input.shape[d] < 1 || input.shape[d] > kMaxInputSide)
      throw shape_error(input, "(N" + sizes + " with sides from 1 to 2**24");
}

// One call of sampling without what is written. `places` is a matrix or a field.
struct Request {
  const ArrayView& input;
  Source source;
  const ArrayView& places;
  OutputSize size;
  SamplingOptions options;

  bool by_matrix() const { return source == Source::kAffine || source == Source::kHomography; }
  std::vector<int64_t> output_shape() const {
    const int64_t batch = places.shape[0], channels = input.shape[1];
    if (dims_of(input) == 2) return {batch, channels, size.h, size.w};
    return {batch, channels, size.d, size.h, size.w};
  }
  // `matrix` is memory for a copy.
  template <class Real>
  SamplingParams<Real> params(std::vector<Real>& matrix) const {
    auto p = sampling_params<Real>(memory(input), source, memory(places), size, options);
    if (by_matrix()) p.matrix = contiguous(places, matrix);
    return p;
  }
};

Request checked(const Request& request) {
  expect_alike(request.places, request.input);
  if (dims_of(request.input) == 3 && request.options.interpolation == Interpolation::kBicubic)
    throw std::invalid_argument("expected mode to be one of bilinear, nearest for a volume");
  return request;
}

Request by_matrix(const ArrayView& input, const ArrayView& matrix, const std::vector<int64_t>& size,
                  const SamplingOptions& options, int64_t least) {
  const bool volume = matrix.has_shape({kAny, 3, 4}), homography = matrix.has_shape({kAny, 3, 3});
  if (!volume && !homography && !matrix.has_shape({kAny, 2, 3}))
    throw shape_error(matrix, "(N, 2, 3), (N, 3, 3) or (N, 3, 4)");
  expect_image(input, matrix.shape[0]);
  if ((dims_of(input) == 3) != volume)
    throw shape_error(matrix, volume ? "(N, 2, 3) or (N, 3, 3)" : "(N, 3, 4)");
  return checked({input, homography ? Source::kHomography : Source::kAffine, matrix,
                  parse_size(size, dims_of(input), least), options});
}

Request by_field(const ArrayView& input, Source source, const ArrayView& field,
                 const SamplingOptions& options) {
  const int64_t dims = dims_of(field);
  const bool flow = source == Source::kFlow;
  if ((dims != 2 && dims != 3) || field.shape[flow ? 1 : dims + 1] != dims)
    throw shape_error(field,
                      flow ? "(N, 2, H, W) or (N, 3, D, H, W)" : "(N, H, W, 2) or (N, D, H, W, 3)");
  expect_image(input, field.shape[0]);
  if (dims_of(input) != dims)
    throw shape_error(input, dims == 3 ? "(N, C, D, H, W)" : "(N, C, H, W)");
  return checked({input, source, field, field_size(source, memory(field)), options});
}

void sample(ArrayCall& call, const Request& request) {
  const ArrayView output = call.result(request.input, request.output_shape());
  dispatch(output.dtype, [&](auto real) {
    using Real = decltype(real);
    std::vector<Real> matrix;
    auto p = request.params(matrix);
    p.output = image_view<Real>(memory(output));
    call.run_on_device_of(
        output, [&] { sampling_forward_cpu(p); },
        [&](auto stream) { return sampling_forward_cuda(p, stream); });
  });
}

void sample_backward(ArrayCall& call, const ArrayView& grad_output, const Request& request) {
  expect_alike(grad_output, request.input);
  if (grad_output.shape != request.output_shape())
    throw shape_error(grad_output, to_text(request.output_shape()));
  const ArrayView grad_input = call.result(request.input, request.input.shape);
  const ArrayView grad_places = call.result(request.input, request.places.shape);
  if (request.by_matrix()) expect_contiguous(grad_places);
  dispatch(grad_output.dtype, [&](auto real) {
    using Real = decltype(real);
    std::vector<Real> matrix;
    auto p = request.params(matrix);
    p.grad_output = image_view<const Real>(memory(grad_output));
    p.grad_input = image_view<Real>(memory(grad_input));
    if (request.by_matrix())
      p.grad_matrix = grad_places.as<Real>();
    else
      p.grad_field = field_view<Real>(memory(grad_places), request.source);
    call.run_on_device_of(
        grad_output, [&] { sampling_backward_cpu(p); },
        [&](auto stream) {
          const auto sums_count = sampling_partial_count(p.batch, p.out_d, p.out_h, p.out_w);
          const CudaScratch sums(sums_count * sizeof(double), stream);
          const CudaScratch fixed(sampling_fixed_point_count(p) * sizeof(int64_t), stream);
          return sampling_backward_cuda(p, static_cast<double*>(sums.data()),
                                        static_cast<int64_t*>(fixed.data()), stream);
        });
  });
}

}  // namespace

void affine_grid(ArrayCall& call, const ArrayView& theta, const std::vector<int64_t>& size,
                 bool align_corners) {
  const bool volume = theta.has_shape({kAny, 3, 4});
  if (!volume && !theta.has_shape({kAny, 2, 3})) throw shape_error(theta, "(N, 2, 3) or (N, 3, 4)");
  const int64_t dims = volume ? 3 : 2;
  const OutputSize parsed = parse_size(size, dims, 1);
  std::vector<int64_t> shape = size;
  shape.insert(shape.begin(), theta.shape[0]);
  shape.push_back(dims);
  const ArrayView grid = call.result(theta, shape);
  expect_contiguous(grid);
  dispatch(grid.dtype, [&](auto real) {
    using Real = decltype(real);
    std::vector<Real> copy;
    auto p = affine_grid_params<Real>(dims, theta.shape[0], parsed, align_corners);
    p.theta = contiguous(theta, copy);
    p.grid = grid.as<Real>();
    call.run_on_device_of(
        grid, [&] { affine_grid_cpu(p); },
        [&](auto stream) { return affine_grid_cuda(p, stream); });
  });
}

void affine_grid_backward(ArrayCall& call, const ArrayView& grad_grid, bool align_corners) {
  const int64_t dims = dims_of(grad_grid);
  if ((dims != 2 && dims != 3) || grad_grid.shape[dims + 1] != dims)
    throw shape_error(grad_grid, "(N, H, W, 2) or (N, D, H, W, 3)");
  const ArrayView grad_theta = call.result(grad_grid, {grad_grid.shape[0], dims, dims + 1});
  expect_contiguous(grad_theta);
  dispatch(grad_grid.dtype, [&](auto real) {
    using Real = decltype(real);
    auto p = affine_grid_params<Real>(dims, grad_grid.shape[0],
                                      field_size(Source::kGrid, memory(grad_grid)), align_corners);
    p.grad_grid = field_view<const Real>(memory(grad_grid), Source::kGrid);
    p.grad_theta = grad_theta.as<Real>();
    call.run_on_device_of(
        grad_grid, [&] { affine_grid_backward_cpu(p); },
        [&](auto stream) {
          const auto count = sampling_partial_count(p.batch, p.out_d, p.out_h, p.out_w);
          const CudaScratch sums(count * sizeof(double), stream);
          return affine_grid_backward_cuda(p, static_cast<double*>(sums.data()), stream);
        });
  });
}

void grid_sample(ArrayCall& call, const ArrayView& input, const ArrayView& grid,
                 const std::string& mode, const std::string& padding, bool align_corners) {
  sample(call,
         by_field(input, Source::kGrid, grid, parse_options(mode, padding, align_corners, false)));
}

void grid_sample_backward(ArrayCall& call, const ArrayView& grad_output, const ArrayView& input,
                          const ArrayView& grid, const std::string& mode,
                          const std::string& padding, bool align_corners) {
  sample_backward(
      call, grad_output,
      by_field(input, Source::kGrid, grid, parse_options(mode, padding, align_corners, false)));
}

void flow_sample(ArrayCall& call, const ArrayView& input, const ArrayView& flow,
                 const std::string& mode, const std::string& padding, bool align_corners) {
  sample(call,
         by_field(input, Source::kFlow, flow, parse_options(mode, padding, align_corners, true)));
}

void flow_sample_backward(ArrayCall& call, const ArrayView& grad_output, const ArrayView& input,
                          const ArrayView& flow, const std::string& mode,
                          const std::string& padding, bool align_corners) {
  sample_backward(
      call, grad_output,
      by_field(input, Source::kFlow, flow, parse_options(mode, padding, align_corners, true)));
}

void matrix_sample(ArrayCall& call, const ArrayView& input, const ArrayView& matrix,
                   const std::vector<int64_t>& size, const std::string& mode,
                   const std::string& padding, bool align_corners, bool pixels) {
  sample(call,
         by_matrix(input, matrix, size, parse_options(mode, padding, align_corners, pixels), 1));
}

void matrix_sample_backward(ArrayCall& call, const ArrayView& grad_output, const ArrayView& input,
                            const ArrayView& matrix, const std::string& mode,
                            const std::string& padding, bool align_corners, bool pixels) {
  if (dims_of(grad_output) != 2 && dims_of(grad_output) != 3)
    throw shape_error(grad_output, "(N, C, H, W) or (N, C, D, H, W)");
  const std::vector<int64_t> size(grad_output.shape.begin() + 2, grad_output.shape.end());
  sample_backward(
      call, grad_output,
      by_matrix(input, matrix, size, parse_options(mode, padding, align_corners, pixels), 0));
}

}  // namespace pyfast::arrays
