// The dense CRF for torch: schema, checks, allocation, registration.
// pyfast/ops/_dense_crf_checks.py says in words what is wrong with a call that the checks here
// refuse.
#include <cstring>
#include <string>

#include "core/torch_glue.h"
#include "core/workspace.h"
#include "ops/dense_crf/dense_crf.h"

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

template <class Real>
const Real* data(const Tensor& t) {
  return static_cast<const Real*>(t.const_data_ptr());
}
template <class Real>
Real* result(const Tensor& t) {
  return static_cast<Real*>(t.mutable_data_ptr());
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

struct ScratchLattice final : LatticeMemory {
  explicit ScratchLattice(int64_t most) : memory(most) {}
  int32_t* allocate(int64_t count) override {
    words = count;
    return memory.data();
  }
  Scratch<int32_t> memory;
  int64_t words = 0;
};

struct TensorLattice final : LatticeMemory {
  explicit TensorLattice(const Tensor& like) : like(like), tensor(like) {}
  int32_t* allocate(int64_t words) override {
    tensor = empty(like, ScalarType::Int, {words});
    int32_t* memory = result<int32_t>(tensor);
    if (!tensor.is_cpu()) return memory;
    // Between the arrays lie a few words that nobody writes; equal lattices have equal words.
    std::memset(memory, 0, static_cast<size_t>(words) * sizeof(int32_t));
    return memory;
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
    p.points = features.size(2), p.features = data<Real>(dense), p.closed = closed;
    TensorLattice lattice(features);
    LatticeError error = LatticeError::kNone;
    run_on_device_of(
        features, [&] { error = build_lattice_cpu(p, lattice); },
        [&](auto stream) {
          TorchMemory scratch(features);
          return build_lattice_cuda(p, lattice, scratch.memory(), stream, &error);
        });
    check(error);
    return lattice.tensor;
  });
}

// --- filtering ---

void check_values(const Tensor& values) {
  STD_TORCH_CHECK(values.dim() == 3, "values must be (B, C, N)");
}

// What a lattice is known by without a look at its memory.
LatticeSizes checked_lattice(const Tensor& lattice, const Tensor& values, int64_t dims,
                             int64_t vertices, int64_t slabs, int64_t reach) {
  STD_TORCH_CHECK(lattice.dim() == 1 && lattice.scalar_type() == ScalarType::Int &&
                      lattice.is_contiguous() && lattice.device() == values.device(),
                  "lattice must be what gaussian_lattice returned");
  const LatticeSizes sizes{dims,           values.size(0),
                           values.size(2), vertices,
                           slabs,          values.scalar_type() == ScalarType::Double ? 8 : 4};
  STD_TORCH_CHECK(dims >= 1 && dims <= kMostFeatures && vertices >= 0 && slabs >= 0 && reach >= 1 &&
                      lattice.size(0) == lattice_words(sizes),
                  "lattice and values must have the same batch, points and dtype");
  if (lattice.is_cpu()) {
    const int32_t* header = data<int32_t>(lattice);
    STD_TORCH_CHECK(header[kWordDims] == dims && header[kWordBatch] == sizes.batch &&
                        header[kWordPoints] == sizes.points && header[kWordVertices] == vertices &&
                        header[kWordSlabs] == slabs && header[kWordReal] == sizes.real &&
                        header[kWordReach] == reach,
                    "lattice and values must have the same batch, points and dtype");
  }
  return sizes;
}

// The features are there to get a gradient.
Tensor gaussian_filter(const Tensor& values, const Tensor& features, const Tensor& lattice,
                       int64_t dims, int64_t vertices, int64_t slabs, int64_t reach,
                       bool transposed) {
  check_values(values);
  check_alike(features, values);
  STD_TORCH_CHECK(has_shape(features, {values.size(0), dims, values.size(2)}),
                  "features must fit values");
  const LatticeSizes sizes = checked_lattice(lattice, values, dims, vertices, slabs, reach);
  const Tensor dense = as_contiguous(values);
  return dispatch_real(values, [&](auto zero) {
    using Real = decltype(zero);
    Tensor output =
        empty(values, values.scalar_type(), {values.size(0), values.size(1), values.size(2)});
    FilterParams<Real> p;
    p.lattice = data<int32_t>(lattice), p.channels = values.size(1);
    p.values = data<Real>(dense), p.output = result<Real>(output), p.transposed = transposed;
    run_on_device_of(
        values, [&] { filter_cpu(p); },
        [&](auto stream) {
          TorchMemory scratch(values);
          return filter_cuda(p, sizes, scratch.memory(), stream);
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
    p.values = data<Real>(dense_values), p.features = data<Real>(dense_features);
    p.gradient = grad != nullptr, p.grad = data<Real>(dense_grad);
    p.output = result<Real>(output);
    LatticeError error = LatticeError::kNone;
    run_on_device_of(
        values, [&] { exact_filter_cpu(p); },
        [&](auto stream) {
          TorchMemory scratch(values);
          return exact_filter_cuda(p, scratch.memory(), stream, &error);
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
                                const Tensor& lattice, int64_t dims, int64_t vertices,
                                int64_t slabs, int64_t reach) {
  check_values(values);
  check_features(features);
  check_alike(features, values);
  check_alike(grad, values);
  const LatticeSizes sizes = checked_lattice(lattice, values, dims, vertices, slabs, reach);
  STD_TORCH_CHECK(has_shape(grad, {values.size(0), values.size(1), values.size(2)}) &&
                      has_shape(features, {values.size(0), dims, values.size(2)}),
                  "grad and features must fit values");
  const Tensor dense_values = as_contiguous(values), dense_features = as_contiguous(features);
  const Tensor dense_grad = as_contiguous(grad);
  return dispatch_real(values, [&](auto zero) {
    using Real = decltype(zero);
    Tensor output = empty(values, values.scalar_type(), {values.size(0), dims, values.size(2)});
    FilterGradientParams<Real> p;
    p.lattice = data<int32_t>(lattice), p.channels = values.size(1);
    p.features = data<Real>(dense_features), p.values = data<Real>(dense_values);
    p.grad = data<Real>(dense_grad), p.grad_features = result<Real>(output);
    run_on_device_of(
        values, [&] { filter_gradient_cpu(p); },
        [&](auto stream) {
          TorchMemory scratch(values);
          return filter_gradient_cuda(p, sizes, scratch.memory(), stream);
        });
    return output;
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(pyfast, m) {
  m.def("gaussian_lattice(Tensor features, bool closed) -> Tensor");
  m.def(
      "gaussian_filter(Tensor values, Tensor features, Tensor lattice, int dims, int vertices, int "
      "slabs, int "
      "reach, "
      "bool transposed) -> Tensor");
  m.def(
      "gaussian_filter_backward(Tensor grad, Tensor values, Tensor features, Tensor lattice, int "
      "dims, int vertices, int slabs, int reach) -> Tensor");
  m.def("gaussian_exact(Tensor values, Tensor features, float cutoff) -> Tensor");
  m.def(
      "gaussian_exact_backward(Tensor grad, Tensor values, Tensor features, float cutoff) -> "
      "Tensor");
}

#define PF_REGISTER(device)                                                   \
  STABLE_TORCH_LIBRARY_IMPL(pyfast, device, m) {                              \
    m.impl("gaussian_lattice", TORCH_BOX(&gaussian_lattice));                 \
    m.impl("gaussian_filter", TORCH_BOX(&gaussian_filter));                   \
    m.impl("gaussian_filter_backward", TORCH_BOX(&gaussian_filter_backward)); \
    m.impl("gaussian_exact", TORCH_BOX(&gaussian_exact));                     \
    m.impl("gaussian_exact_backward", TORCH_BOX(&gaussian_exact_backward));   \
  }
PF_REGISTER(CPU)
PF_REGISTER(CUDA)
#undef PF_REGISTER

}  // namespace pyfast
