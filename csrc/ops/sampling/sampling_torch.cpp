// Sampling for torch: schema, checks, allocation, registration. pyfast/ops/_sampling_checks.py says
// in words what is wrong with a call that the checks here refuse.
#include "core/torch_glue.h"
#include "ops/sampling/sampling_inverse.h"
#include "ops/sampling/sampling_params.h"

namespace pyfast {
namespace {

// To read.
StridedMemory memory(const Tensor& t) {
  return {const_cast<void*>(data_of<void>(t)), t.dim(), t.sizes().data(), t.strides().data()};
}

StridedMemory result_memory(const Tensor& t) {
  return {result_of<void>(t), t.dim(), t.sizes().data(), t.strides().data()};
}

// body(T{}) for the type of an image.
template <class Body>
auto dispatch(ScalarType dtype, const Body& body) {
  switch (dtype) {
    case ScalarType::Float:
      return body(float{});
    case ScalarType::Double:
      return body(double{});
    case ScalarType::Half:
      return body(Half{});
    default:
      STD_TORCH_CHECK(dtype == ScalarType::BFloat16, "input must be a float of 16, 32 or 64 bits");
      return body(BFloat16{});
  }
}

template <class Body>
auto dispatch_real(ScalarType dtype, const Body& body) {
  STD_TORCH_CHECK(dtype == ScalarType::Float || dtype == ScalarType::Double,
                  "expected float32 or float64");
  return dtype == ScalarType::Float ? body(float{}) : body(double{});
}

// Of coordinates, matrices and gradients.
ScalarType real_dtype(const Tensor& input) {
  return input.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

// Options travel as numbers, the places of their words in the tuples of
// pyfast/ops/_sampling_operators.py: the stable ABI of torch 2.11 to 2.13 leaks the memory of every
// string.
template <class Option>
Option checked(int64_t value, int64_t count, const char* name) {
  STD_TORCH_CHECK(value >= 0 && value < count, name, " must be from 0 to ", count - 1, ", got ",
                  value);
  return static_cast<Option>(value);
}

SamplingOptions checked_options(int64_t mode, int64_t padding, bool align_corners, bool pixels) {
  return {checked<Interpolation>(mode, 3, "mode"), checked<Padding>(padding, 3, "padding_mode"),
          align_corners, pixels};
}

SamplingOptions matrix_options(int64_t mode, int64_t padding, int64_t coordinates) {
  const int64_t kind = checked<int64_t>(coordinates, 4, "coordinates");
  return checked_options(mode, padding, kind % 2 == 1, kind >= 2);
}

// One call without what is written. `places` is a contiguous matrix or a field.
struct Request {
  const Tensor& input;
  Source source;
  Tensor places;
  OutputSize size;
  SamplingOptions options;

  int64_t rank() const { return input.dim(); }
  int64_t dims() const { return input.dim() - 2; }
};

void check_image(const Tensor& input) {
  STD_TORCH_CHECK(input.dim() == 4 || input.dim() == 5,
                  "input must be (N, C, H, W) or (N, C, D, H, W)");
  for (int64_t d = 2; d < input.dim(); ++d)
    STD_TORCH_CHECK(input.size(d) > 0 && input.size(d) <= kMaxInputSide,
                    "input must have from 1 to 2^24 pixels on a side");
}

void check_size(const OutputSize& size, int64_t least) {
  for (int64_t length : {size.d, size.h, size.w})
    STD_TORCH_CHECK(length >= least && length <= kMaxOutputSide, "sizes must be from ", least,
                    " to ", kMaxOutputSide, ", got ", length);
}

void check(const Request& r) {
  STD_TORCH_CHECK(r.places.scalar_type() == real_dtype(r.input),
                  "matrix, grid and flow must have the dtype of input, or float32 for a half");
  STD_TORCH_CHECK(r.places.device() == r.input.device(), "all tensors must be on one device");
  STD_TORCH_CHECK(r.input.size(0) == r.places.size(0) || r.input.size(0) == 1,
                  "batch sizes must agree");
  STD_TORCH_CHECK(r.dims() == 2 || r.options.interpolation != Interpolation::kBicubic,
                  "bicubic is for images, not for volumes");
}

Request by_matrix(const Tensor& input, const Tensor& matrix, const OutputSize& size,
                  const SamplingOptions& options) {
  check_image(input);
  const int64_t dims = input.dim() - 2;
  const bool affine = has_shape(matrix, {matrix.size(0), dims, dims + 1});
  STD_TORCH_CHECK(affine || (dims == 2 && has_shape(matrix, {matrix.size(0), 3, 3})),
                  "matrix must be (N, 2, 3), (N, 3, 3) or (N, 3, 4)");
  STD_TORCH_CHECK(dims == 3 || size.d == 1, "the depth of an image must be 1");
  Request r{input, affine ? Source::kAffine : Source::kHomography, as_contiguous(matrix), size,
            options};
  check(r);
  check_size(size, 1);
  return r;
}

Request by_field(const Tensor& input, Source source, const Tensor& field,
                 const SamplingOptions& options) {
  check_image(input);
  STD_TORCH_CHECK(field.dim() == input.dim() &&
                      field.size(source == Source::kFlow ? 1 : field.dim() - 1) == input.dim() - 2,
                  "grid must be (N, H, W, 2) or (N, D, H, W, 3), flow (N, 2, H, W) or "
                  "(N, 3, D, H, W)");
  Request r{input, source, field, field_size(source, memory(field)), options};
  check(r);
  check_size(r.size, 0);
  return r;
}

template <class T>
SamplingParams<T> params(const Request& r) {
  return sampling_params<T>(memory(r.input), r.source, memory(r.places), r.size, r.options);
}

// Sizes of the output; its depth is left out in 2-D.
struct Sizes {
  int64_t values[5];
  Sizes(const Request& r) : values{r.places.size(0), r.input.size(1), r.size.d} {
    values[r.rank() - 2] = r.size.h;
    values[r.rank() - 1] = r.size.w;
  }
};

Tensor sample(const Request& r) {
  return dispatch(r.input.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    auto p = params<T>(r);
    Tensor output =
        empty(r.input, r.input.scalar_type(), Sizes(r).values, r.rank(), is_channels_last(r.input));
    p.output = image_view<T>(result_memory(output));
    run_on_device_of(
        r.input, [&] { sampling_forward_cpu(p); },
        [&](auto stream) { return sampling_forward_cuda(p, stream); });
    return output;
  });
}

// A gradient that is not asked for comes back as an empty tensor. Both are of `real_dtype`.
std::tuple<Tensor, Tensor> sample_backward(const Tensor& grad_output, const Request& r,
                                           bool of_input, bool of_places, bool deterministic) {
  const Sizes sizes(r);
  bool fits = grad_output.dim() == r.rank();
  for (int64_t d = 0; fits && d < r.rank(); ++d) fits = grad_output.size(d) == sizes.values[d];
  STD_TORCH_CHECK(fits && grad_output.scalar_type() == r.input.scalar_type() &&
                      grad_output.device() == r.input.device(),
                  "grad_output must have the output's shape, dtype and device");
  const ScalarType dtype = real_dtype(r.input);
  Tensor grad_input =
      of_input ? empty(r.input, dtype, r.input.sizes().data(), r.rank(), is_channels_last(r.input))
               : empty(r.input, dtype, {0});
  Tensor grad_places = of_places ? empty(r.places, dtype, r.places.sizes().data(), r.places.dim())
                                 : empty(r.places, dtype, {0});
  dispatch(r.input.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    using Real = Accumulator<T>;
    auto p = params<T>(r);
    p.deterministic = deterministic;
    p.grad_output = image_view<const T>(memory(grad_output));
    if (of_input) p.grad_input = image_view<Real>(result_memory(grad_input));
    const StridedMemory places = result_memory(grad_places);
    if (of_places && p.has_matrix()) p.grad_matrix = static_cast<Real*>(places.data);
    if (of_places && !p.has_matrix()) p.grad_field = field_view<Real>(places, r.source);
    run_on_device_of(
        r.input, [&] { sampling_backward_cpu(p); },
        [&](auto stream) {
          const int64_t count =
              p.grad_matrix ? sampling_partial_count(p.batch, p.out_d, p.out_h, p.out_w) : 0;
          const Tensor sums = empty(r.input, ScalarType::Double, {count});
          const Tensor fixed = empty(r.input, ScalarType::Long, {sampling_fixed_point_count(p)});
          return sampling_backward_cuda(p, result_of<double>(sums), result_of<int64_t>(fixed),
                                        stream);
        });
  });
  return {grad_input, grad_places};
}

// --- the operators ---

Tensor grid_sample(const Tensor& input, const Tensor& grid, int64_t mode, int64_t padding,
                   bool align_corners) {
  return sample(
      by_field(input, Source::kGrid, grid, checked_options(mode, padding, align_corners, false)));
}

std::tuple<Tensor, Tensor> grid_sample_backward(const Tensor& grad_output, const Tensor& input,
                                                const Tensor& grid, int64_t mode, int64_t padding,
                                                bool align_corners, bool of_input, bool of_grid,
                                                bool deterministic) {
  const auto options = checked_options(mode, padding, align_corners, false);
  return sample_backward(grad_output, by_field(input, Source::kGrid, grid, options), of_input,
                         of_grid, deterministic);
}

Tensor flow_sample(const Tensor& input, const Tensor& flow, int64_t mode, int64_t padding,
                   bool align_corners) {
  return sample(
      by_field(input, Source::kFlow, flow, checked_options(mode, padding, align_corners, true)));
}

std::tuple<Tensor, Tensor> flow_sample_backward(const Tensor& grad_output, const Tensor& input,
                                                const Tensor& flow, int64_t mode, int64_t padding,
                                                bool align_corners, bool of_input, bool of_flow,
                                                bool deterministic) {
  const auto options = checked_options(mode, padding, align_corners, true);
  return sample_backward(grad_output, by_field(input, Source::kFlow, flow, options), of_input,
                         of_flow, deterministic);
}

Tensor matrix_sample(const Tensor& input, const Tensor& matrix, int64_t depth, int64_t height,
                     int64_t width, int64_t mode, int64_t padding, int64_t coordinates) {
  return sample(
      by_matrix(input, matrix, {depth, height, width}, matrix_options(mode, padding, coordinates)));
}

std::tuple<Tensor, Tensor> matrix_sample_backward(const Tensor& grad_output, const Tensor& input,
                                                  const Tensor& matrix, int64_t mode,
                                                  int64_t padding, int64_t coordinates,
                                                  bool of_input, bool of_matrix,
                                                  bool deterministic) {
  STD_TORCH_CHECK(grad_output.dim() == 4 || grad_output.dim() == 5,
                  "grad_output must be (N, C, H, W) or (N, C, D, H, W)");
  const auto size = output_size(grad_output.dim() - 2, grad_output.sizes().data() + 2);
  return sample_backward(grad_output,
                         by_matrix(input, matrix, size, matrix_options(mode, padding, coordinates)),
                         of_input, of_matrix, deterministic);
}

Tensor affine_grid(const Tensor& theta, int64_t depth, int64_t height, int64_t width,
                   bool align_corners) {
  STD_TORCH_CHECK(theta.dim() == 3 && (theta.size(1) == 2 || theta.size(1) == 3) &&
                      theta.size(2) == theta.size(1) + 1,
                  "theta must be (N, 2, 3) or (N, 3, 4)");
  const int64_t dims = theta.size(1);
  STD_TORCH_CHECK(dims == 3 || depth == 1, "the depth of an image must be 1");
  check_size({depth, height, width}, 1);
  return dispatch_real(theta.scalar_type(), [&](auto zero) {
    using Real = decltype(zero);
    auto p = affine_grid_params<Real>(dims, theta.size(0), {depth, height, width}, align_corners);
    const Tensor dense = as_contiguous(theta);
    p.theta = data_of<Real>(dense);
    Tensor grid = dims == 2 ? empty(theta, theta.scalar_type(), {p.batch, height, width, 2})
                            : empty(theta, theta.scalar_type(), {p.batch, depth, height, width, 3});
    p.grid = result_of<Real>(grid);
    run_on_device_of(
        theta, [&] { affine_grid_cpu(p); },
        [&](auto stream) { return affine_grid_cuda(p, stream); });
    return grid;
  });
}

Tensor affine_grid_backward(const Tensor& grad_grid, bool align_corners) {
  const int64_t dims = grad_grid.dim() - 2;
  STD_TORCH_CHECK((dims == 2 || dims == 3) && grad_grid.size(dims + 1) == dims,
                  "grad_grid must be (N, H, W, 2) or (N, D, H, W, 3)");
  return dispatch_real(grad_grid.scalar_type(), [&](auto zero) {
    using Real = decltype(zero);
    const StridedMemory grid = memory(grad_grid);
    auto p = affine_grid_params<Real>(dims, grad_grid.size(0), field_size(Source::kGrid, grid),
                                      align_corners);
    p.grad_grid = field_view<const Real>(grid, Source::kGrid);
    Tensor grad_theta = empty(grad_grid, grad_grid.scalar_type(), {p.batch, dims, dims + 1});
    p.grad_theta = result_of<Real>(grad_theta);
    run_on_device_of(
        grad_grid, [&] { affine_grid_backward_cpu(p); },
        [&](auto stream) {
          const Tensor sums = empty(grad_grid, ScalarType::Double,
                                    {sampling_partial_count(p.batch, p.out_d, p.out_h, p.out_w)});
          return affine_grid_backward_cuda(p, result_of<double>(sums), stream);
        });
    return grad_theta;
  });
}

Tensor invert_maps(const Tensor& maps, bool rounded) {
  STD_TORCH_CHECK(maps.dim() == 3 && maps.scalar_type() == ScalarType::Double,
                  "expected maps of shape (N, rows, columns) in float64");
  const int64_t rows = maps.size(1), columns = maps.size(2);
  STD_TORCH_CHECK((rows == 2 || rows == 3) && (columns == rows || columns == rows + 1),
                  "expected maps of two or three rows and as many columns or one more");
  const Tensor dense = as_contiguous(maps);
  const ScalarType dtype = rounded ? ScalarType::Float : ScalarType::Double;
  const Tensor inverses = empty(maps, dtype, {maps.size(0), rows, columns});
  dispatch_real(dtype, [&](auto zero) {
    const auto* from = data_of<double>(dense);
    auto* to = result_of<decltype(zero)>(inverses);
    for (int64_t k = 0; k < maps.numel(); k += rows * columns) {
      const MapFlaw flaw =
          invert_map(from + k, static_cast<int>(rows), static_cast<int>(columns), to + k);
      STD_TORCH_CHECK(flaw != MapFlaw::kSingular, "a matrix has no inverse");
      STD_TORCH_CHECK(flaw == MapFlaw::kNone, "a matrix has no inverse but for rounding");
    }
  });
  return inverses;
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(pyfast, m) {
  m.def(
      "affine_grid(Tensor theta, SymInt depth, SymInt height, SymInt width, bool align_corners) "
      "-> Tensor");
  m.def("affine_grid_backward(Tensor grad_grid, bool align_corners) -> Tensor");
  m.def(
      "grid_sample(Tensor input, Tensor grid, int mode, int padding_mode, bool align_corners) "
      "-> Tensor");
  m.def(
      "grid_sample_backward(Tensor grad_output, Tensor input, Tensor grid, int mode, "
      "int padding_mode, bool align_corners, bool of_input, bool of_grid, bool deterministic) "
      "-> (Tensor, Tensor)");
  m.def(
      "flow_sample(Tensor input, Tensor flow, int mode, int padding_mode, bool align_corners) "
      "-> Tensor");
  m.def(
      "flow_sample_backward(Tensor grad_output, Tensor input, Tensor flow, int mode, "
      "int padding_mode, bool align_corners, bool of_input, bool of_flow, bool deterministic) "
      "-> (Tensor, Tensor)");
  // coordinates: 0 normalised to [-1, 1], 2 in pixels; one more with align_corners.
  m.def(
      "matrix_sample(Tensor input, Tensor matrix, SymInt depth, SymInt height, SymInt width, "
      "int mode, int padding_mode, int coordinates) -> Tensor");
  m.def(
      "matrix_sample_backward(Tensor grad_output, Tensor input, Tensor matrix, int mode, "
      "int padding_mode, int coordinates, bool of_input, bool of_matrix, bool deterministic) "
      "-> (Tensor, Tensor)");
  // (N, 2, 3), (N, 3, 3) or (N, 3, 4) of float64; rounded to float32 on demand.
  m.def("invert_maps(Tensor maps, bool rounded) -> Tensor");
}

// pyfast/ops/_sampling_operators.py has the one for CUDA.
STABLE_TORCH_LIBRARY_IMPL(pyfast, CPU, m) { m.impl("invert_maps", TORCH_BOX(&invert_maps)); }

#define PF_REGISTER(device)                                               \
  STABLE_TORCH_LIBRARY_IMPL(pyfast, device, m) {                          \
    m.impl("affine_grid", TORCH_BOX(&affine_grid));                       \
    m.impl("affine_grid_backward", TORCH_BOX(&affine_grid_backward));     \
    m.impl("grid_sample", TORCH_BOX(&grid_sample));                       \
    m.impl("grid_sample_backward", TORCH_BOX(&grid_sample_backward));     \
    m.impl("flow_sample", TORCH_BOX(&flow_sample));                       \
    m.impl("flow_sample_backward", TORCH_BOX(&flow_sample_backward));     \
    m.impl("matrix_sample", TORCH_BOX(&matrix_sample));                   \
    m.impl("matrix_sample_backward", TORCH_BOX(&matrix_sample_backward)); \
  }
PF_REGISTER(CPU)
PF_REGISTER(CUDA)
#undef PF_REGISTER

}  // namespace pyfast
