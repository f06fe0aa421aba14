// The matting Laplacian for torch: schema, checks, allocation, registration.
// pyfast/ops/_matting_checks.py says in words what is wrong with a call that the checks refuse.
#include <algorithm>
#include <vector>

#include "core/parallel.h"
#include "core/torch_glue.h"
#include "core/workspace.h"
#include "ops/matting/matting.h"

namespace pyfast {
namespace {

template <class Body>
void dispatch(const Tensor& t, const Body& body) {
  STD_TORCH_CHECK(t.scalar_type() == ScalarType::Float || t.scalar_type() == ScalarType::Double,
                  "expected float32 or float64");
  t.scalar_type() == ScalarType::Float ? body(float{}) : body(double{});
}

void check_window(int64_t height, int64_t width, double epsilon, int64_t radius) {
  STD_TORCH_CHECK(radius >= 1 && radius <= kMostMattingRadius, "radius must be from 1 to ",
                  kMostMattingRadius);
  STD_TORCH_CHECK(height > 2 * radius && width > 2 * radius,
                  "the image must hold a window of 2 radius + 1 pixels");
  STD_TORCH_CHECK(epsilon >= kLeastMattingEpsilon && epsilon < kMostMattingEpsilon,
                  "epsilon must be from 1e-300 to 1e300");
}

void check_channels(const Tensor& image, int64_t channels) {
  STD_TORCH_CHECK(image.is_cpu() || channels <= kMostMattingChannels,
                  "on CUDA, image must have at most ", kMostMattingChannels, " channels");
}

// (B, D, H, W), contiguous.
template <class T>
MattingImage<T> image_of(const Tensor& image, double epsilon, int64_t radius) {
  return {image.size(0), image.size(1), image.size(2),    image.size(3),
          radius,        epsilon,       data_of<T>(image)};
}

void check_image(const Tensor& image, double epsilon, int64_t radius) {
  STD_TORCH_CHECK(image.dim() == 4 && image.size(1) >= 1, "image must be (B, D, H, W)");
  check_channels(image, image.size(1));
  check_window(image.size(2), image.size(3), epsilon, radius);
}

void check_vectors(const Tensor& v, const Tensor& image) {
  STD_TORCH_CHECK(v.dim() == 4 && v.size(0) == image.size(0) && v.size(2) == image.size(2) &&
                      v.size(3) == image.size(3),
                  "vectors must be (B, C, H, W) with the batch and size of the image");
  STD_TORCH_CHECK(v.scalar_type() == image.scalar_type() && v.device() == image.device(),
                  "vectors and image must have one dtype and device");
}

// Runs the form of u and v, each (B, C, H, W), on what is asked for.
template <class T>
void run_form(const Tensor& image, MattingFormParams<T> p, const Tensor& v, double epsilon,
              int64_t radius) {
  p.image = image_of<T>(image, epsilon, radius);
  p.vectors = v.size(1);
  p.v = data_of<T>(v);
  run_on_device_of(
      v, [&] { matting_form_cpu(p); },
      [&](auto stream) {
        ScratchTensors memory(v);
        return matting_form_cuda(p, memory, stream);
      });
}

std::tuple<Tensor, Tensor, Tensor> matting_energy(const Tensor& v_, const Tensor& image_,
                                                  double epsilon, int64_t radius, bool of_v,
                                                  bool of_image) {
  check_image(image_, epsilon, radius);
  check_vectors(v_, image_);
  const Tensor v = as_contiguous(v_), image = as_contiguous(image_);
  const ScalarType dtype = v.scalar_type();
  const Tensor energies = empty(v, ScalarType::Double, {v.size(0), v.size(1)});
  Tensor energy = empty(v, dtype, {v.size(0)});
  Tensor product =
      of_v ? empty(v, dtype, v.sizes().data(), 4) : empty(v, dtype, {v.size(0), 0, 0, 0});
  Tensor slope =
      of_image ? empty(v, dtype, image.sizes().data(), 4) : empty(v, dtype, {v.size(0), 0, 0, 0});
  dispatch(v, [&](auto zero) {
    using T = decltype(zero);
    MattingFormParams<T> p;
    p.energy = result_of<double>(energies);
    if (of_v) p.product = result_of<T>(product);
    if (of_image) p.slope = result_of<T>(slope);
    run_form(image, p, v, epsilon, radius);
    T* const total = result_of<T>(energy);
    run_on_device_of(
        v,
        [&] {
          const double* each = p.energy;
          for (int64_t n = 0; n < v.size(0); ++n) {
            double sum = 0;
            for (int64_t k = 0; k < v.size(1); ++k) sum += *each++;
            total[n] = static_cast<T>(sum);
          }
        },
        [&](auto stream) {
          return matting_totals_cuda(p.energy, v.size(0), v.size(1), total, stream);
        });
  });
  return {energy, product, slope};
}

// What matting_energy saved, times the incoming gradient.
std::tuple<Tensor, Tensor> matting_energy_backward(const Tensor& grad, const Tensor& v,
                                                   const Tensor& image, const Tensor& product,
                                                   const Tensor& slope, double epsilon,
                                                   int64_t radius) {
  check_image(image, epsilon, radius);
  check_vectors(v, image);
  STD_TORCH_CHECK(grad.dim() == 1 && grad.size(0) == v.size(0), "grad must be (B,)");
  for (const Tensor* each : {&grad, &product, &slope})
    STD_TORCH_CHECK(each->scalar_type() == v.scalar_type() && each->device() == v.device() &&
                        each->size(0) == v.size(0),
                    "grad, product and slope must have the batch, dtype and device of v");
  const Tensor factors = as_contiguous(grad);
  const auto scaled = [&](const Tensor& saved_, double factor) {
    const Tensor saved = as_contiguous(saved_);
    Tensor result = empty(saved, saved.scalar_type(), saved.sizes().data(), saved.dim());
    const int64_t each = saved.numel() == 0 ? 0 : saved.numel() / v.size(0);
    dispatch(saved, [&](auto zero) {
      using T = decltype(zero);
      const T *from = data_of<T>(saved), *of_image = data_of<T>(factors);
      T* const to = result_of<T>(result);
      run_on_device_of(
          saved,
          [&] {
            constexpr int64_t kLine = 64 / sizeof(T), kAhead = 16 * kLine;
            for (int64_t n = 0; n < v.size(0); ++n) {
              const T by = static_cast<T>(factor * of_image[n]);
              parallel_for(n * each, (n + 1) * each, 65536, [&](int64_t begin, int64_t end) {
                for (int64_t i = begin; i < end; i += kLine) {
                  __builtin_prefetch(from + i + kAhead);
                  __builtin_prefetch(to + i + kAhead, 1);
                  for (int64_t k = i; k < std::min(i + kLine, end); ++k) to[k] = by * from[k];
                }
              });
            }
          },
          [&](auto stream) {
            return matting_scale_cuda(from, of_image, factor, v.size(0), each, to, stream);
          });
    });
    return result;
  };
  return {scaled(product, 2), scaled(slope, 1)};
}

Tensor matting_product(const Tensor& v_, const Tensor& image_, double epsilon, int64_t radius) {
  check_image(image_, epsilon, radius);
  check_vectors(v_, image_);
  const Tensor v = as_contiguous(v_), image = as_contiguous(image_);
  Tensor product = empty(v, v.scalar_type(), v.sizes().data(), 4);
  dispatch(v, [&](auto zero) {
    MattingFormParams<decltype(zero)> p;
    p.product = result_of<decltype(zero)>(product);
    run_form(image, p, v, epsilon, radius);
  });
  return product;
}

Tensor matting_slope(const Tensor& u_, const Tensor& v_, const Tensor& image_, double epsilon,
                     int64_t radius) {
  check_image(image_, epsilon, radius);
  check_vectors(v_, image_);
  check_vectors(u_, image_);
  STD_TORCH_CHECK(u_.size(1) == v_.size(1), "u and v must have one shape");
  const Tensor u = as_contiguous(u_), v = as_contiguous(v_), image = as_contiguous(image_);
  Tensor slope = empty(image, image.scalar_type(), image.sizes().data(), 4);
  dispatch(v, [&](auto zero) {
    MattingFormParams<decltype(zero)> p;
    p.u = data_of<decltype(zero)>(u);
    p.slope = result_of<decltype(zero)>(slope);
    run_form(image, p, v, epsilon, radius);
  });
  return slope;
}

Tensor matting_diagonal(const Tensor& image_, double epsilon, int64_t radius) {
  check_image(image_, epsilon, radius);
  STD_TORCH_CHECK(image_.scalar_type() == ScalarType::Double, "expected float64");
  const Tensor image = as_contiguous(image_);
  Tensor diagonal = empty(image, ScalarType::Double, {image.size(0), image.size(2), image.size(3)});
  const MattingDiagonalParams p{image_of<double>(image, epsilon, radius),
                                result_of<double>(diagonal)};
  run_on_device_of(
      image, [&] { matting_diagonal_cpu(p); },
      [&](auto stream) {
        ScratchTensors memory(image);
        return matting_diagonal_cuda(p, memory, stream);
      });
  return diagonal;
}

// `known` (H, W), or empty: none.
std::tuple<Tensor, Tensor, Tensor> matting_matrix(const Tensor& image_, const Tensor& known_,
                                                  double epsilon, int64_t radius) {
  STD_TORCH_CHECK(image_.dim() == 3 && image_.size(0) >= 1, "image must be (D, H, W)");
  check_channels(image_, image_.size(0));
  STD_TORCH_CHECK(image_.scalar_type() == ScalarType::Double, "expected float64");
  const Tensor image = as_contiguous(image_), known = as_contiguous(known_);
  const int64_t height = image.size(1), width = image.size(2);
  check_window(height, width, epsilon, radius);
  STD_TORCH_CHECK(known.scalar_type() == ScalarType::Byte && known.device() == image.device() &&
                      (known.numel() == 0 || has_shape(known, {height, width})),
                  "known must be (H, W) of uint8, or empty");
  const int64_t entries = matting_entries(height, width, radius);
  STD_TORCH_CHECK(entries < int64_t{1} << 31, "the matrix must have less than 2^31 entries");
  Tensor row_start = empty(image, ScalarType::Int, {height * width + 1});
  Tensor column = empty(image, ScalarType::Int, {entries});
  Tensor value = empty(image, ScalarType::Double, {entries});
  prefer_large_pages(result_of<double>(value), sizeof(double) * entries);
  prefer_large_pages(result_of<int32_t>(column), sizeof(int32_t) * entries);
  MattingMatrixParams p;
  p.image = {1, image.size(0), height, width, radius, epsilon, data_of<double>(image)};
  p.known = known.numel() == 0 ? nullptr : data_of<uint8_t>(known);
  p.row_start = result_of<int32_t>(row_start);
  p.column = result_of<int32_t>(column);
  p.value = result_of<double>(value);
  run_on_device_of(
      image, [&] { matting_matrix_cpu(p); },
      [&](auto stream) {
        ScratchTensors memory(image);
        return matting_matrix_cuda(p, memory, stream);
      });
  return {row_start, column, value};
}

// Shapes are those of MattingSolveParams; `known` is uint8.
std::tuple<Tensor, Tensor> matting_solve(const Tensor& rhs_, const Tensor& x_, const Tensor& image_,
                                         const Tensor& diagonal_, const Tensor& known_,
                                         double epsilon, int64_t radius, double tolerance,
                                         int64_t most_iterations) {
  check_image(image_, epsilon, radius);
  check_vectors(rhs_, image_);
  check_vectors(x_, image_);
  const int64_t batch = image_.size(0), height = image_.size(2), width = image_.size(3);
  STD_TORCH_CHECK(image_.scalar_type() == ScalarType::Double, "expected float64");
  STD_TORCH_CHECK(image_.size(1) <= kMostSolverChannels, "image must have at most ",
                  kMostSolverChannels, " channels");
  STD_TORCH_CHECK(rhs_.size(1) == x_.size(1), "rhs and x must have one shape");
  STD_TORCH_CHECK(diagonal_.scalar_type() == ScalarType::Double &&
                      diagonal_.device() == image_.device() &&
                      has_shape(diagonal_, {batch, height, width}),
                  "diagonal must be (B, H, W) of float64 on the device of the image");
  STD_TORCH_CHECK(known_.scalar_type() == ScalarType::Byte && known_.device() == image_.device() &&
                      has_shape(known_, {batch, height, width}),
                  "known must be (B, H, W) of uint8 on the device of the image");
  const Tensor image = as_contiguous(image_), rhs = as_contiguous(rhs_), from = as_contiguous(x_);
  const Tensor diagonal = as_contiguous(diagonal_), known = as_contiguous(known_);
  Tensor x = torch::stable::clone(from);
  // On the host, whatever solves: there it is known, and looked at.
  Tensor report = empty_on_host(ScalarType::Double, {batch, from.size(1), 3});
  std::vector<MattingReport> reports(batch * from.size(1));
  MattingSolveParams p;
  p.image = image_of<double>(image, epsilon, radius);
  p.vectors = from.size(1);
  p.known = data_of<uint8_t>(known);
  p.diagonal = data_of<double>(diagonal);
  p.rhs = data_of<double>(rhs);
  p.x = result_of<double>(x);
  p.tolerance = tolerance;
  p.most_iterations = most_iterations;
  p.reports = reports.data();
  run_on_device_of(
      image, [&] { matting_solve_cpu(p); },
      [&](auto stream) {
        ScratchTensors memory(image);
        return matting_solve_cuda(p, memory, stream);
      });
  double* to = result_of<double>(report);
  for (const MattingReport& each : reports) {
    *to++ = static_cast<double>(each.iterations);
    *to++ = each.residual;
    *to++ = each.converged ? 1 : 0;
  }
  return {x, report};
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(pyfast, m) {
  // Gradients that are not asked for come back empty, (B, 0, 0, 0).
  m.def(
      "matting_energy(Tensor v, Tensor image, float epsilon, int radius, bool of_v, "
      "bool of_image) -> (Tensor, Tensor, Tensor)");
  m.def(
      "matting_energy_backward(Tensor grad, Tensor v, Tensor image, Tensor product, Tensor slope, "
      "float epsilon, int radius) -> (Tensor, Tensor)");
  m.def("matting_product(Tensor v, Tensor image, float epsilon, int radius) -> Tensor");
  m.def("matting_slope(Tensor u, Tensor v, Tensor image, float epsilon, int radius) -> Tensor");
  m.def("matting_diagonal(Tensor image, float epsilon, int radius) -> Tensor");
  m.def(
      "matting_matrix(Tensor image, Tensor known, float epsilon, int radius) "
      "-> (Tensor, Tensor, Tensor)");
  m.def(
      "matting_solve(Tensor rhs, Tensor x, Tensor image, Tensor diagonal, Tensor known, "
      "float epsilon, int radius, float tolerance, int most_iterations) -> (Tensor, Tensor)");
}

#define PF_REGISTER(device)                                                 \
  STABLE_TORCH_LIBRARY_IMPL(pyfast, device, m) {                            \
    m.impl("matting_energy", TORCH_BOX(&matting_energy));                   \
    m.impl("matting_energy_backward", TORCH_BOX(&matting_energy_backward)); \
    m.impl("matting_product", TORCH_BOX(&matting_product));                 \
    m.impl("matting_slope", TORCH_BOX(&matting_slope));                     \
    m.impl("matting_diagonal", TORCH_BOX(&matting_diagonal));               \
    m.impl("matting_matrix", TORCH_BOX(&matting_matrix));                   \
    m.impl("matting_solve", TORCH_BOX(&matting_solve));                     \
  }
PF_REGISTER(CPU)
PF_REGISTER(CUDA)
#undef PF_REGISTER

}  // namespace pyfast
