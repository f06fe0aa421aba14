#include "ops/matting/matting_arrays.h"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "ops/matting/matting.h"

namespace pyfast::arrays {
namespace {

void expect_image(const ArrayView& image, double epsilon, int64_t radius) {
  if (!image.has_shape({kAny, kAny, kAny, kAny}) || image.shape[1] < 1)
    throw shape_error(image, "(B, D, H, W)");
  if (image.device != kCpu && image.shape[1] > kMostMattingChannels)
    throw std::invalid_argument("expected " + image.name + " of at most " +
                                std::to_string(kMostMattingChannels) + " channels on CUDA, got " +
                                std::to_string(image.shape[1]));
  expect_window(image.shape[2], image.shape[3], epsilon, radius);
}

// (B, C, H, W)
void expect_vectors(const ArrayView& v, const ArrayView& image) {
  expect_alike(v, image);
  const auto& s = image.shape;
  if (!v.has_shape({s[0], kAny, s[2], s[3]}))
    throw shape_error(v, to_text({s[0], -1, s[2], s[3]}) + " with any number for -1");
}

template <class Real>
MattingImage<Real> image_of(const ArrayView& image, const Real* data, double epsilon,
                            int64_t radius) {
  const auto& s = image.shape;
  return {s[0], s[1], s[2], s[3], radius, epsilon, data};
}

}  // namespace

void expect_window(int64_t height, int64_t width, double epsilon, int64_t radius) {
  if (radius < 1 || radius > kMostMattingRadius)
    throw std::invalid_argument("expected radius from 1 to " + std::to_string(kMostMattingRadius) +
                                ", got " + std::to_string(radius));
  if (std::min(height, width) <= 2 * radius)
    throw std::invalid_argument(
        "expected an image of at least 2 radius + 1 pixels on a side, got " +
        to_text({height, width}));
  if (!(epsilon >= kLeastMattingEpsilon && epsilon < kMostMattingEpsilon))
    throw std::invalid_argument("expected epsilon to be positive, from 1e-300 to 1e300, got " +
                                std::to_string(epsilon));
}

void matting_energy(ArrayCall& call, const ArrayView& v, const ArrayView& image, double epsilon,
                    int64_t radius) {
  expect_image(image, epsilon, radius);
  expect_vectors(v, image);
  const ArrayView energy = call.result(v, {v.shape[0]});
  const ArrayView of_v = call.result(v, v.shape), of_image = call.result(v, image.shape);
  for (const ArrayView* out : {&energy, &of_v, &of_image}) expect_contiguous(*out);
  dispatch(v.dtype, [&](auto real) {
    using Real = decltype(real);
    const int64_t batch = v.shape[0], vectors = v.shape[1];
    std::vector<Real> vector_copy, image_copy;
    MattingFormParams<Real> p;
    p.image = image_of(image, contiguous(image, image_copy), epsilon, radius);
    p.vectors = vectors;
    p.v = contiguous(v, vector_copy);
    p.product = of_v.as<Real>();
    p.slope = of_image.as<Real>();
    Real* const totals = energy.as<Real>();
    call.run_on_device_of(
        v,
        [&] {
          std::vector<double> energies(batch * vectors);
          p.energy = energies.data();
          matting_form_cpu(p);
          for (int64_t i = 0; i < batch * vectors * p.image.pixels(); ++i) p.product[i] *= 2;
          for (int64_t n = 0; n < batch; ++n) {
            double sum = 0;
            for (int64_t k = 0; k < vectors; ++k) sum += energies[n * vectors + k];
            totals[n] = static_cast<Real>(sum);
          }
        },
        [&](auto stream) {
          CudaMemory scratch(stream);
          const DeviceMemory memory = scratch;
          p.energy = memory.take<double>(batch * vectors);
          int error = matting_form_cuda(p, memory, stream);
          if (error == 0) error = matting_totals_cuda(p.energy, batch, vectors, totals, stream);
          if (error != 0) return error;
          return matting_scale_cuda(p.product, static_cast<const Real*>(nullptr), 2.0, batch,
                                    vectors * p.image.pixels(), p.product, stream);
        });
  });
}

void matting_product(ArrayCall& call, const ArrayView& v, const ArrayView& image, double epsilon,
                     int64_t radius) {
  expect_image(image, epsilon, radius);
  expect_vectors(v, image);
  const ArrayView product = call.result(v, v.shape);
  expect_contiguous(product);
  dispatch(v.dtype, [&](auto real) {
    using Real = decltype(real);
    std::vector<Real> vector_copy, image_copy;
    MattingFormParams<Real> p;
    p.image = image_of(image, contiguous(image, image_copy), epsilon, radius);
    p.vectors = v.shape[1];
    p.v = contiguous(v, vector_copy);
    p.product = product.as<Real>();
    call.run_on_device_of(
        v, [&] { matting_form_cpu(p); },
        [&](auto stream) {
          CudaMemory memory(stream);
          return matting_form_cuda(p, memory, stream);
        });
  });
}

void matting_solve(ArrayCall& call, const ArrayView& rhs, const ArrayView& x,
                   const ArrayView& image, const ArrayView& diagonal, const ArrayView& known,
                   double epsilon, int64_t radius, double tolerance, int64_t most_iterations) {
  if (image.device != kCpu)
    throw std::invalid_argument("expected " + image.name + " on the CPU, got it on " +
                                device_text(image.device));
  expect_image(image, epsilon, radius);
  if (image.dtype != DType::kFloat64) throw TypeMismatch("expected image of float64, got float32");
  if (image.shape[1] > kMostSolverChannels)
    throw std::invalid_argument("expected image of at most " + std::to_string(kMostSolverChannels) +
                                " channels, got " + std::to_string(image.shape[1]));
  expect_vectors(x, image);
  expect_vectors(rhs, image);
  if (rhs.shape != x.shape) throw shape_error(rhs, to_text(x.shape));
  const int64_t batch = x.shape[0], vectors = x.shape[1];
  const std::vector<int64_t> plane{batch, image.shape[2], image.shape[3]};
  for (const ArrayView* each : {&diagonal, &known}) {
    expect_alike(*each, image);
    if (each->shape != plane) throw shape_error(*each, to_text(plane));
  }
  for (const ArrayView* each : {&image, &diagonal, &rhs, &x}) expect_finite(*each);
  const ArrayView solution = call.result(x, x.shape);
  const ArrayView report = call.result(x, {batch, vectors, 3});
  expect_contiguous(solution);
  expect_contiguous(report);
  std::vector<double> image_copy, rhs_copy, x_copy, diagonal_copy, known_copy;
  MattingSolveParams p;
  p.image = image_of(image, contiguous(image, image_copy), epsilon, radius);
  const int64_t planes = batch * p.image.pixels();
  const double* is_known = contiguous(known, known_copy);
  std::vector<uint8_t> mask(planes);
  for (int64_t i = 0; i < planes; ++i) mask[i] = is_known[i] != 0;
  std::copy_n(contiguous(x, x_copy), planes * vectors, solution.as<double>());
  std::vector<MattingReport> reports(batch * vectors);
  p.vectors = vectors;
  p.known = mask.data();
  p.diagonal = contiguous(diagonal, diagonal_copy);
  for (int64_t i = 0; i < planes; ++i)
    if (!(p.diagonal[i] >= 0 && p.diagonal[i] <= kMostMattingWeight))
      throw std::invalid_argument("expected " + diagonal.name + " from 0 to 1e30, got " +
                                  std::to_string(p.diagonal[i]));
  p.rhs = contiguous(rhs, rhs_copy);
  p.x = solution.as<double>();
  p.tolerance = tolerance;
  p.most_iterations = most_iterations;
  p.reports = reports.data();
  matting_solve_cpu(p);
  double* to = report.as<double>();
  for (const MattingReport& each : reports) {
    *to++ = static_cast<double>(each.iterations);
    *to++ = each.residual;
    *to++ = each.converged ? 1 : 0;
  }
}

}  // namespace pyfast::arrays
