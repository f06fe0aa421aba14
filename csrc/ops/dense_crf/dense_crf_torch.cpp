// The dense CRF for torch: schema, checks, allocation, registration.
// pyfast/ops/_dense_crf_checks.py says in words what is wrong with a call that the checks here
// refuse.
#include <string>

#include "core/parallel.h"
#include "core/torch_glue.h"
#include "core/workspace.h"
#include "ops/dense_crf/dense_crf.h"
#include "ops/dense_crf/dense_crf_memory.h"

namespace pyfast {
namespace {

// body(float{}) or body(double{})
template <class Body>
auto dispatch_real(const Tensor& leader, const Body& body) {
  const ScalarType dtype = leader.scalar_type();
  STD_TORCH_CHECK(dtype == ScalarType::Float || dtype == ScalarType::Double,
                  "expected float32 or float64");
  return dtype == ScalarType::Float ? body(float{}) : body(double{});
}

void check_alike(const Tensor& a, const Tensor& leader) {
  STD_TORCH_CHECK(a.scalar_type() == leader.scalar_type(), "all tensors must have one dtype");
  STD_TORCH_CHECK(a.device() == leader.device(), "all tensors must be on one device");
}

void check_features(const Tensor& features) {
  STD_TORCH_CHECK(features.dim() == 3, "features must be (B, d, N)");
  STD_TORCH_CHECK(features.size(1) >= 1 && features.size(1) <= kMostFeatures,
                  "d must be from 1 to ", kMostFeatures);
}

void check(LatticeError error) {
  STD_TORCH_CHECK(error != LatticeError::kNotFinite, "features must be finite");
  STD_TORCH_CHECK(error != LatticeError::kTooFar,
                  "features spread over more lattice cells than can be numbered");
  STD_TORCH_CHECK(error != LatticeError::kTooManyPoints,
                  "too many points: B * N * (d + 1) must be "
                  "below 2^31");
}

// --- the lattice ---

struct TensorLattice final : LatticeMemory {
  explicit TensorLattice(const Tensor& like) : like(like), tensor(like) {}
  int32_t* allocate(int64_t words) override {
    tensor = empty(like, ScalarType::Int, {words});
    return result_of<int32_t>(tensor);
  }
  const Tensor& like;
  Tensor tensor;
};

Tensor gaussian_lattice(const Tensor& features, bool closed) {
  check_features(features);
  const Tensor dense = as_contiguous(features);
  return dispatch_real(features, [&](auto zero) {
    using Real = decltype(zero);
    LatticeParams<Real> p;
    p.batch = features.size(0), p.dims = static_cast<int>(features.size(1));
    p.points = features.size(2), p.features = data_of<Real>(dense), p.closed = closed;
    TensorLattice lattice(features);
    LatticeError error = LatticeError::kNone;
    run_on_device_of(
        features, [&] { error = build_lattice_cpu(p, lattice); },
        [&](auto stream) {
          ScratchTensors scratch(features);
          return build_lattice_cuda(p, lattice, scratch, stream, &error);
        });
    check(error);
    return lattice.tensor;
  });
}

// --- filtering ---

void check_values(const Tensor& values) {
  STD_TORCH_CHECK(values.dim() == 3, "values must be (B, C, N)");
}

// Raises unless a lattice on the CPU is whole, and one of `sizes`.
void expect_lattice(const Tensor& lattice, const LatticeSizes& sizes) {
  const int32_t* words = data_of<int32_t>(lattice);
  STD_TORCH_CHECK(sizes.real == 8 ? is_lattice<double>(words, lattice.size(0))
                                  : is_lattice<float>(words, lattice.size(0)),
                  "lattice must be what gaussian_lattice returned, unedited");
  STD_TORCH_CHECK(lattice_sizes(words) == sizes,
                  "lattice and values must have the same batch, points and dtype");
}

// What a lattice says of itself; on a GPU this waits for it.
LatticeSizes read_sizes(Tensor lattice) {
  STD_TORCH_CHECK(lattice.size(0) >= kLatticeHeader,
                  "lattice must be what gaussian_lattice returned");
  if (lattice.is_cpu()) return lattice_sizes(data_of<int32_t>(lattice));
  Tensor words = empty_on_host(ScalarType::Int, {kLatticeHeader});
  torch::stable::copy_(words, torch::stable::narrow(lattice, 0, 0, kLatticeHeader));
  return lattice_sizes(data_of<int32_t>(words));
}

// What a lattice is known by without a look at its memory, unless a number is negative, as in calls
// that were traced; on the CPU its memory is looked at too.
LatticeSizes checked_lattice(const Tensor& lattice, const Tensor& values, int64_t dims,
                             int64_t vertices, int64_t used, int64_t slabs) {
  STD_TORCH_CHECK(lattice.dim() == 1 && lattice.scalar_type() == ScalarType::Int &&
                      lattice.is_contiguous() && lattice.device() == values.device(),
                  "lattice must be what gaussian_lattice returned");
  if (vertices < 0) {
    const LatticeSizes found = read_sizes(lattice);
    vertices = found.vertices, used = found.used, slabs = found.slabs;
  }
  const LatticeSizes sizes{dims,
                           values.size(0),
                           values.size(2),
                           vertices,
                           used,
                           slabs,
                           values.scalar_type() == ScalarType::Double ? 8 : 4};
  STD_TORCH_CHECK(lattice.is_cpu() || (slabs == 0 && used == vertices),
                  "a lattice can be used only where it was made: that of a CPU has slabs");
  STD_TORCH_CHECK(dims >= 1 && dims <= kMostFeatures && vertices >= 0 && used >= 0 && slabs >= 0 &&
                      lattice.size(0) == lattice_words(sizes),
                  "lattice and values must have the same batch, points and dtype");
  if (lattice.is_cpu()) expect_lattice(lattice, sizes);
  return sizes;
}

// The features are there to get a gradient.
Tensor gaussian_filter(const Tensor& values, const Tensor& features, const Tensor& lattice,
                       int64_t dims, int64_t vertices, int64_t used, int64_t slabs,
                       bool transposed) {
  check_values(values);
  check_alike(features, values);
  STD_TORCH_CHECK(has_shape(features, {values.size(0), dims, values.size(2)}),
                  "features must fit values");
  const LatticeSizes sizes = checked_lattice(lattice, values, dims, vertices, used, slabs);
  const Tensor dense = as_contiguous(values);
  return dispatch_real(values, [&](auto zero) {
    using Real = decltype(zero);
    Tensor output =
        empty(values, values.scalar_type(), {values.size(0), values.size(1), values.size(2)});
    FilterParams<Real> p;
    p.lattice = data_of<int32_t>(lattice), p.channels = values.size(1);
    p.values = data_of<Real>(dense), p.output = result_of<Real>(output), p.transposed = transposed;
    run_on_device_of(
        values, [&] { filter_cpu(p); },
        [&](auto stream) {
          ScratchTensors scratch(values);
          return filter_cuda(p, sizes, scratch, stream);
        });
    return output;
  });
}

// With `grad`, the gradient in the features.
Tensor exact(const Tensor& values, const Tensor& features, const Tensor* grad, double cutoff) {
  check_values(values);
  check_features(features);
  check_alike(features, values);
  STD_TORCH_CHECK(values.size(0) == features.size(0) && values.size(2) == features.size(2),
                  "values and features must have the same batch and points");
  STD_TORCH_CHECK(cutoff >= 0, "cutoff must not be negative");
  const int64_t batch = values.size(0), points = values.size(2);
  STD_TORCH_CHECK(points < kMostCorners, "too many points");
  const Tensor dense_values = as_contiguous(values), dense_features = as_contiguous(features);
  const Tensor dense_grad = grad == nullptr ? dense_values : as_contiguous(*grad);
  return dispatch_real(values, [&](auto zero) {
    using Real = decltype(zero);
    Tensor output = empty(values, values.scalar_type(),
                          {batch, grad == nullptr ? values.size(1) : features.size(1), points});
    ExactParams<Real> p;
    p.dims = static_cast<int>(features.size(1)), p.batch = batch, p.points = points;
    p.channels = values.size(1), p.cutoff = cutoff;
    p.values = data_of<Real>(dense_values), p.features = data_of<Real>(dense_features);
    p.gradient = grad != nullptr, p.grad = data_of<Real>(dense_grad);
    p.output = result_of<Real>(output);
    LatticeError error = LatticeError::kNone;
    run_on_device_of(
        values, [&] { exact_filter_cpu(p); },
        [&](auto stream) {
          ScratchTensors scratch(values);
          return exact_filter_cuda(p, scratch, stream, &error);
        });
    check(error);
    return output;
  });
}

Tensor gaussian_exact(const Tensor& values, const Tensor& features, double cutoff) {
  return exact(values, features, nullptr, cutoff);
}

Tensor gaussian_exact_backward(const Tensor& grad, const Tensor& values, const Tensor& features,
                               double cutoff) {
  check_alike(grad, values);
  STD_TORCH_CHECK(has_shape(grad, {values.size(0), values.size(1), values.size(2)}),
                  "grad must have the shape of values");
  return exact(values, features, &grad, cutoff);
}

Tensor gaussian_filter_backward(const Tensor& grad, const Tensor& values, const Tensor& features,
                                const Tensor& lattice, int64_t dims, int64_t vertices, int64_t used,
                                int64_t slabs) {
  check_values(values);
  check_features(features);
  check_alike(features, values);
  check_alike(grad, values);
  const LatticeSizes sizes = checked_lattice(lattice, values, dims, vertices, used, slabs);
  STD_TORCH_CHECK(has_shape(grad, {values.size(0), values.size(1), values.size(2)}) &&
                      has_shape(features, {values.size(0), dims, values.size(2)}),
                  "grad and features must fit values");
  const Tensor dense_values = as_contiguous(values), dense_features = as_contiguous(features);
  const Tensor dense_grad = as_contiguous(grad);
  return dispatch_real(values, [&](auto zero) {
    using Real = decltype(zero);
    Tensor output = empty(values, values.scalar_type(), {values.size(0), dims, values.size(2)});
    FilterGradientParams<Real> p;
    p.lattice = data_of<int32_t>(lattice), p.channels = values.size(1);
    p.features = data_of<Real>(dense_features), p.values = data_of<Real>(dense_values);
    p.grad = data_of<Real>(dense_grad), p.grad_features = result_of<Real>(output);
    run_on_device_of(
        values, [&] { filter_gradient_cpu(p); },
        [&](auto stream) {
          ScratchTensors scratch(values);
          return filter_gradient_cuda(p, sizes, scratch, stream);
        });
    return output;
  });
}

// --- mean field ---

// What differs from image to image, by its number; one of them serves all.
template <class Real>
const Real* of_image(const Tensor& t, int64_t image) {
  return data_of<Real>(t) + (t.size(0) == 1 ? 0 : image * (t.numel() / t.size(0)));
}

// One call of dense_crf; sigmas, weights and compatibility are contiguous.
struct CrfRequest {
  Tensor unary, image, sigmas, weights, compatibility;
  int64_t iterations;
  Normalization normalization;
  bool closed;

  int64_t batch() const { return unary.size(0); }
  int64_t labels() const { return unary.size(1); }
  int64_t height() const { return unary.size(2); }
  int64_t width() const { return unary.size(3); }
  int64_t points() const { return height() * width(); }
  int64_t dims() const { return image.size(1) + 2; }
};

CrfRequest checked_crf(const Tensor& unary, const Tensor& image, const Tensor& sigmas,
                       const Tensor& weights, const Tensor& compatibility, int64_t iterations,
                       int64_t normalization, int64_t method) {
  STD_TORCH_CHECK(unary.dim() == 4 && unary.size(1) >= 1, "unary must be (B, L, H, W)");
  const int64_t batch = unary.size(0), labels = unary.size(1);
  STD_TORCH_CHECK(image.dim() == 4 && image.size(1) >= 1 && image.size(1) + 2 <= kMostFeatures &&
                      has_shape(image, {batch, image.size(1), unary.size(2), unary.size(3)}),
                  "image must be (B, C, H, W) and fit unary");
  const auto of_images = [&](const Tensor& t, int64_t a) {
    return t.dim() == 2 && (t.size(0) == 1 || t.size(0) == batch) && t.size(1) == a;
  };
  STD_TORCH_CHECK(of_images(sigmas, 3), "sigmas must be (B or 1, 3)");
  STD_TORCH_CHECK(of_images(weights, 2), "weights must be (B or 1, 2)");
  STD_TORCH_CHECK(compatibility.dim() == 3 &&
                      (compatibility.size(0) == 1 || compatibility.size(0) == batch) &&
                      compatibility.size(1) == labels && compatibility.size(2) == labels,
                  "compatibility must be (B or 1, L, L)");
  for (const Tensor* t : {&image, &sigmas, &weights, &compatibility}) check_alike(*t, unary);
  STD_TORCH_CHECK(iterations >= 0 && normalization >= 0 && normalization < 4, "wrong options");
  STD_TORCH_CHECK(method == 0 || method == 1, "method must be 0 (lattice) or 1 (closed)");
  return {as_contiguous(unary),
          as_contiguous(image),
          as_contiguous(sigmas),
          as_contiguous(weights),
          as_contiguous(compatibility),
          iterations,
          static_cast<Normalization>(normalization),
          method == 1};
}

// Features (d, N) of one image: x, y, then the channels, over their sigmas.
template <class Real>
void write_features(const CrfRequest& r, int64_t image, Real* features) {
  const Real* sigmas = of_image<Real>(r.sigmas, image);
  const int64_t points = r.points(), width = r.width();
  const Real* pixels = data_of<Real>(r.image) + image * r.image.size(1) * points;
  parallel_for(0, r.dims() * r.height(), 16, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t feature = row / r.height(), y = row % r.height();
      Real* out = features + feature * points + y * width;
      const Real* in = pixels + (feature - 2) * points + y * width;
      for (int64_t x = 0; x < width; ++x)
        out[x] = feature == 0   ? static_cast<Real>(x) / sigmas[0]
                 : feature == 1 ? static_cast<Real>(y) / sigmas[0]
                                : in[x] / sigmas[1];
    }
  });
}

// The two terms of an image, with memory for their costs.
template <class Real>
struct CrfTerms {
  CrfTerms(const CrfRequest& r, int64_t image, const int32_t* lattice)
      : costs(2 * r.labels() * r.labels()) {
    const int64_t count = r.labels() * r.labels();
    const Real* weights = of_image<Real>(r.weights, image);
    const Real* compatibility = of_image<Real>(r.compatibility, image);
    for (int m = 0; m < 2; ++m) {
      Real* cost = costs.data() + m * count;
      for (int64_t i = 0; i < count; ++i) cost[i] = weights[m] * compatibility[i];
      kernels[m].normalization = r.normalization;
      kernels[m].cost = cost;
    }
    kernels[0].lattice = lattice;
    kernels[1].sigma_x = kernels[1].sigma_y = of_image<Real>(r.sigmas, image)[2];
  }
  Scratch<Real> costs;
  CrfKernel<Real> kernels[2];
};

// Images [image, image + count): one with a lattice of its own, or all with the one that is given.
template <class Real>
MeanFieldParams<Real> mean_field_params(const CrfRequest& r, int64_t image, int64_t count,
                                        const CrfTerms<Real>& terms, Real* marginals,
                                        Real* history) {
  const int64_t first = image * r.labels() * r.points();
  MeanFieldParams<Real> p;
  p.batch = count, p.labels = r.labels(), p.height = r.height(), p.width = r.width();
  p.iterations = r.iterations;
  p.unary = data_of<Real>(r.unary) + first;
  p.marginals = marginals + first;
  if (history != nullptr) p.history = history + first;
  p.history_step = r.unary.numel();
  p.kernel_count = 2;
  p.kernels[0] = terms.kernels[0], p.kernels[1] = terms.kernels[1];
  return p;
}

template <class Real>
void run_image(const CrfRequest& r, int64_t image, Real* marginals, Real* history) {
  LatticeParams<Real> lattice;
  lattice.dims = static_cast<int>(r.dims()), lattice.batch = 1, lattice.points = r.points();
  lattice.closed = r.closed;
  const Scratch<Real> features(r.dims() * r.points());
  write_features(r, image, features.data());
  lattice.features = features.data();
  const auto run = [&](const int32_t* words) {
    const CrfTerms<Real> terms(r, image, words);
    mean_field_cpu(mean_field_params(r, image, 1, terms, marginals, history));
  };
  if (r.closed) {
    HeapLattice memory;
    check(build_lattice_cpu(lattice, memory));
    run(memory.memory.get());
  } else {
    ScratchLattice memory(most_lattice_words(lattice));
    check(build_lattice_cpu(lattice, memory));
    run(memory.memory.data());
  }
}

// On a GPU: all at once, or one after another where they differ in more than their pixels.
template <class Real>
int run_images(const CrfRequest& r, Real* marginals, void* stream, LatticeError* error) {
  const bool alike =
      r.sigmas.size(0) == 1 && r.weights.size(0) == 1 && r.compatibility.size(0) == 1;
  ImageCrfParams<Real> p;
  p.batch = alike ? r.batch() : 1, p.labels = r.labels(), p.channels = r.image.size(1);
  p.height = r.height(), p.width = r.width();
  p.iterations = r.iterations, p.normalization = r.normalization, p.closed = r.closed;
  for (int64_t b = 0; b < r.batch(); b += p.batch) {
    p.unary = data_of<Real>(r.unary) + b * p.labels * r.points();
    p.image = data_of<Real>(r.image) + b * p.channels * r.points();
    p.sigmas = of_image<Real>(r.sigmas, b), p.weights = of_image<Real>(r.weights, b);
    p.compatibility = of_image<Real>(r.compatibility, b);
    p.marginals = marginals + b * p.labels * r.points();
    ScratchTensors scratch(r.unary);
    const int failed = image_crf_cuda(p, scratch, stream, error);
    if (failed != 0 || *error != LatticeError::kNone) return failed;
  }
  return 0;
}

Tensor dense_crf(const Tensor& unary, const Tensor& image, const Tensor& sigmas,
                 const Tensor& weights, const Tensor& compatibility, int64_t iterations,
                 int64_t normalization, int64_t method) {
  const CrfRequest r =
      checked_crf(unary, image, sigmas, weights, compatibility, iterations, normalization, method);
  return dispatch_real(unary, [&](auto zero) {
    using Real = decltype(zero);
    Tensor marginals =
        empty(unary, unary.scalar_type(), {r.batch(), r.labels(), r.height(), r.width()});
    if (marginals.numel() == 0) return marginals;
    LatticeError error = LatticeError::kNone;
    run_on_device_of(
        unary,
        [&] {
          for (int64_t b = 0; b < r.batch(); ++b)
            run_image<Real>(r, b, result_of<Real>(marginals), nullptr);
        },
        [&](auto stream) { return run_images(r, result_of<Real>(marginals), stream, &error); });
    check(error);
    return marginals;
  });
}

// The same with what each iteration starts from, (T, B, L, H, W), for the gradient. `lattice` is of
// all images, or empty: each makes its own.
std::tuple<Tensor, Tensor> dense_crf_steps(const Tensor& unary, const Tensor& image,
                                           const Tensor& sigmas, const Tensor& weights,
                                           const Tensor& compatibility, const Tensor& lattice,
                                           int64_t iterations, int64_t normalization,
                                           int64_t method) {
  const CrfRequest r =
      checked_crf(unary, image, sigmas, weights, compatibility, iterations, normalization, method);
  const bool is_given = lattice.numel() > 0;
  STD_TORCH_CHECK(
      lattice.dim() == 1 && lattice.scalar_type() == ScalarType::Int && lattice.is_contiguous(),
      "lattice must be what gaussian_lattice returned, or empty");
  STD_TORCH_CHECK(unary.is_cpu() && lattice.is_cpu(), "dense_crf_steps runs on the CPU");
  STD_TORCH_CHECK(
      !is_given || (weights.size(0) == 1 && sigmas.size(0) == 1 && compatibility.size(0) == 1),
      "with a lattice all images have the same parameters");
  return dispatch_real(unary, [&](auto zero) {
    using Real = decltype(zero);
    const auto dtype = unary.scalar_type();
    Tensor marginals = empty(unary, dtype, {r.batch(), r.labels(), r.height(), r.width()});
    Tensor history =
        empty(unary, dtype, {iterations, r.batch(), r.labels(), r.height(), r.width()});
    if (marginals.numel() == 0) return std::make_tuple(marginals, history);
    Real *to = result_of<Real>(marginals), *steps = result_of<Real>(history);
    if (!is_given) {
      for (int64_t b = 0; b < r.batch(); ++b) run_image<Real>(r, b, to, steps);
      return std::make_tuple(marginals, history);
    }
    STD_TORCH_CHECK(lattice.size(0) >= kLatticeHeader, "lattice must be that of these images");
    const int32_t* words = data_of<int32_t>(lattice);
    const LatticeSizes found = lattice_sizes(words);
    expect_lattice(lattice, {r.dims(), r.batch(), r.points(), found.vertices, found.used,
                             found.slabs, sizeof(Real)});
    const CrfTerms<Real> terms(r, 0, words);
    mean_field_cpu(mean_field_params(r, 0, r.batch(), terms, to, steps));
    return std::make_tuple(marginals, history);
  });
}

// K~ values (B, C, H, W) for a Gaussian on the pixel grid.
Tensor gaussian_grid(const Tensor& values, const Tensor& sigma, int64_t normalization) {
  STD_TORCH_CHECK(values.dim() == 4 && values.is_cpu(), "values must be (B, C, H, W) on the CPU");
  check_alike(sigma, values);
  STD_TORCH_CHECK(sigma.numel() == 1 && normalization >= 0 && normalization < 4, "wrong options");
  const Tensor dense = as_contiguous(values), one = as_contiguous(sigma);
  return dispatch_real(values, [&](auto zero) {
    using Real = decltype(zero);
    Tensor output = empty(values, values.scalar_type(),
                          {values.size(0), values.size(1), values.size(2), values.size(3)});
    GridParams<Real> p;
    p.planes = values.size(0) * values.size(1), p.height = values.size(2), p.width = values.size(3);
    p.sigma_x = p.sigma_y = *data_of<Real>(one);
    STD_TORCH_CHECK(p.sigma_x > 0 && p.sigma_x < 1e30, "sigma must be positive and finite");
    p.normalization = static_cast<Normalization>(normalization);
    p.values = data_of<Real>(dense), p.output = result_of<Real>(output);
    grid_filter_cpu(p);
    return output;
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(pyfast, m) {
  m.def("gaussian_lattice(Tensor features, bool closed) -> Tensor");
  m.def(
      "gaussian_filter(Tensor values, Tensor features, Tensor lattice, int dims, int vertices, int "
      "used, int slabs, bool transposed) -> Tensor");
  m.def(
      "gaussian_filter_backward(Tensor grad, Tensor values, Tensor features, Tensor lattice, int "
      "dims, int vertices, int used, int slabs) -> Tensor");
  m.def(
      "dense_crf(Tensor unary, Tensor image, Tensor sigmas, Tensor weights, Tensor compatibility, "
      "int iterations, int normalization, int method) -> Tensor");
  m.def(
      "dense_crf_steps(Tensor unary, Tensor image, Tensor sigmas, Tensor weights, Tensor "
      "compatibility, Tensor lattice, int iterations, int normalization, int method) -> (Tensor, "
      "Tensor)");
  m.def("gaussian_grid(Tensor values, Tensor sigma, int normalization) -> Tensor");
  m.def("gaussian_exact(Tensor values, Tensor features, float cutoff) -> Tensor");
  m.def(
      "gaussian_exact_backward(Tensor grad, Tensor values, Tensor features, float cutoff) -> "
      "Tensor");
}

#define PF_REGISTER(device)                                                   \
  STABLE_TORCH_LIBRARY_IMPL(pyfast, device, m) {                              \
    m.impl("gaussian_lattice", TORCH_BOX(&gaussian_lattice));                 \
    m.impl("dense_crf", TORCH_BOX(&dense_crf));                               \
    m.impl("gaussian_filter", TORCH_BOX(&gaussian_filter));                   \
    m.impl("gaussian_filter_backward", TORCH_BOX(&gaussian_filter_backward)); \
    m.impl("gaussian_exact", TORCH_BOX(&gaussian_exact));                     \
    m.impl("gaussian_exact_backward", TORCH_BOX(&gaussian_exact_backward));   \
  }
PF_REGISTER(CPU)
PF_REGISTER(CUDA)
#undef PF_REGISTER
STABLE_TORCH_LIBRARY_IMPL(pyfast, CPU, m) {
  m.impl("dense_crf_steps", TORCH_BOX(&dense_crf_steps));
  m.impl("gaussian_grid", TORCH_BOX(&gaussian_grid));
}

}  // namespace pyfast
