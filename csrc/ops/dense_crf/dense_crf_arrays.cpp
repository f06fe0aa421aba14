#include "ops/dense_crf/dense_crf_arrays.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <string>

#include "ops/dense_crf/dense_crf_memory.h"

namespace pyfast::arrays {
namespace {

void expect_cpu(const ArrayView& array) {
  if (array.device != kCpu)
    throw std::invalid_argument("expected " + array.name + " on the CPU, got " +
                                device_text(array.device));
}

void expect_features(const ArrayView& features) {
  if (features.shape.size() != 3 || features.shape[1] < 1 || features.shape[1] > kMostFeatures)
    throw shape_error(features, "(B, d, N) with d from 1 to " + std::to_string(kMostFeatures));
  expect_cpu(features);
}

// `values` are all of the array.
template <class Real>
void expect_finite(const ArrayView& array, const Real* values) {
  int64_t count = 1;
  for (const int64_t side : array.shape) count *= side;
  if (!std::all_of(values, values + count, [](Real x) { return std::isfinite(x); }))
    throw std::invalid_argument("expected finite " + array.name + ", got NaN or infinite values");
}

void expect_built(const ArrayView& features, LatticeError error) {
  if (error == LatticeError::kNotFinite)
    throw std::invalid_argument("expected finite " + features.name +
                                ", got NaN or infinite values");
  if (error == LatticeError::kTooFar)
    throw std::invalid_argument("expected " + features.name +
                                " within 2**28 lattice cells of 0; is a sigma too small?");
  if (error == LatticeError::kTooManyPoints)
    throw std::invalid_argument("expected B * N * (d + 1) below 2**31, got " + features.name +
                                " of shape " + to_text(features.shape));
}

template <class Real>
const int32_t* words_of(const ArrayView& array, int64_t first) {
  return reinterpret_cast<const int32_t*>(array.as<const Real>() + first);
}

// The sizes of what a caller says is a lattice.
template <class Real>
LatticeSizes checked_lattice(const ArrayView& array, int64_t first, int64_t length) {
  const int32_t* words = words_of<Real>(array, first);
  if (is_lattice<Real>(words, length * static_cast<int64_t>(sizeof(Real) / 4)))
    return lattice_sizes(words);
  throw std::invalid_argument("expected " + array.name +
                              " to be what gaussian_lattice returned, for this dtype");
}

void expect_points(const ArrayView& array, const LatticeSizes& sizes, int64_t batch,
                   int64_t points) {
  if (sizes.batch != batch || sizes.points != points)
    throw std::invalid_argument("expected " + array.name + " of " + std::to_string(batch) + " x " +
                                std::to_string(points) + " points, got one of " +
                                std::to_string(sizes.batch) + " x " + std::to_string(sizes.points));
}

void expect_lattice_array(const ArrayView& lattice, const ArrayView& values) {
  expect_alike(lattice, values);
  if (lattice.shape.size() != 1) throw shape_error(lattice, "(words,)");
  expect_contiguous(lattice);
}

void expect_size(const std::vector<int64_t>& size, int64_t points) {
  if (size.size() != 2 || size[0] < 0 || size[1] < 0 ||
      (size[0] > 0 && size[1] > points / size[0]) || size[0] * size[1] != points)
    throw std::invalid_argument("expected size (H, W) with H * W = " + std::to_string(points) +
                                ", got " + to_text(size));
}

void expect_sigmas(double x, double y, const std::string& name) {
  if (!(x > 0 && std::isfinite(x) && y > 0 && std::isfinite(y)))
    throw std::invalid_argument("expected " + name + " of positive, finite sigmas, got " +
                                std::to_string(x) + " and " + std::to_string(y));
}

}  // namespace

void gaussian_lattice(ArrayCall& call, const ArrayView& features, bool closed) {
  expect_features(features);
  dispatch(features.dtype, [&](auto real) {
    using Real = decltype(real);
    std::vector<Real> copy;
    LatticeParams<Real> p;
    p.batch = features.shape[0], p.dims = static_cast<int>(features.shape[1]);
    p.points = features.shape[2], p.closed = closed;
    if (p.batch * p.points > kMostCorners / (p.dims + 1))
      expect_built(features, LatticeError::kTooManyPoints);
    p.features = contiguous(features, copy);
    HeapLattice memory;
    expect_built(features, build_lattice_cpu(p, memory));
    const int64_t items = memory.words * 4 / static_cast<int64_t>(sizeof(Real));
    const ArrayView lattice = call.result(features, {items});
    expect_contiguous(lattice);
    std::memcpy(lattice.data, memory.memory.get(), static_cast<size_t>(memory.words) * 4);
  });
}

void gaussian_filter(ArrayCall& call, const ArrayView& values, const ArrayView& lattice,
                     bool transposed) {
  if (values.shape.size() != 3) throw shape_error(values, "(B, C, N)");
  expect_cpu(values);
  expect_lattice_array(lattice, values);
  const ArrayView output = call.result(values, values.shape);
  expect_contiguous(output);
  dispatch(values.dtype, [&](auto real) {
    using Real = decltype(real);
    const auto sizes = checked_lattice<Real>(lattice, 0, lattice.shape[0]);
    expect_points(lattice, sizes, values.shape[0], values.shape[2]);
    std::vector<Real> copy;
    FilterParams<Real> p;
    p.lattice = words_of<Real>(lattice, 0);
    p.channels = values.shape[1], p.values = contiguous(values, copy);
    p.output = output.as<Real>(), p.transposed = transposed;
    filter_cpu(p);
  });
}

void gaussian_exact(ArrayCall& call, const ArrayView& values, const ArrayView& features) {
  if (values.shape.size() != 3) throw shape_error(values, "(B, C, N)");
  expect_features(features);
  expect_alike(values, features);
  if (values.shape[0] != features.shape[0] || values.shape[2] != features.shape[2])
    throw shape_error(values, "(" + std::to_string(features.shape[0]) + ", C, " +
                                  std::to_string(features.shape[2]) + ")");
  const ArrayView output = call.result(values, values.shape);
  expect_contiguous(output);
  dispatch(values.dtype, [&](auto real) {
    using Real = decltype(real);
    std::vector<Real> values_copy, features_copy;
    ExactParams<Real> p;
    p.batch = values.shape[0], p.channels = values.shape[1], p.points = values.shape[2];
    p.dims = static_cast<int>(features.shape[1]);
    p.values = contiguous(values, values_copy);
    p.features = contiguous(features, features_copy);
    expect_finite(features, p.features);
    p.output = output.as<Real>();
    exact_filter_cpu(p);
  });
}

void gaussian_grid(ArrayCall& call, const ArrayView& values, const ArrayView& grid,
                   const std::vector<int64_t>& size) {
  if (values.shape.size() != 3) throw shape_error(values, "(B, C, N)");
  expect_cpu(values);
  expect_alike(grid, values);
  if (!grid.has_shape({3})) throw shape_error(grid, "(3,)");
  expect_size(size, values.shape[2]);
  const ArrayView output = call.result(values, values.shape);
  expect_contiguous(output);
  dispatch(values.dtype, [&](auto real) {
    using Real = decltype(real);
    std::vector<Real> values_copy, grid_copy;
    const Real* numbers = contiguous(grid, grid_copy);
    expect_sigmas(numbers[0], numbers[1], grid.name);
    expect_finite(grid, numbers);
    GridParams<Real> p;
    p.planes = values.shape[0] * values.shape[1], p.height = size[0], p.width = size[1];
    p.sigma_x = numbers[0], p.sigma_y = numbers[1], p.factor = numbers[2];
    p.values = contiguous(values, values_copy), p.output = output.as<Real>();
    grid_filter_cpu(p);
  });
}

void mean_field(ArrayCall& call, const ArrayView& unary, const ArrayView& start,
                const ArrayView& lattices, const ArrayView& grids, const ArrayView& costs,
                const std::vector<int64_t>& lengths, const std::vector<int64_t>& normalizations,
                const std::vector<int64_t>& size, int64_t iterations) {
  if (unary.shape.size() != 3 || unary.shape[1] < 1)
    throw shape_error(unary, "(B, L, N) with L at least 1");
  expect_cpu(unary);
  const int64_t batch = unary.shape[0], labels = unary.shape[1], points = unary.shape[2];
  const auto count = static_cast<int64_t>(lengths.size());
  if (count > kMostKernels)
    throw std::invalid_argument("expected at most " + std::to_string(kMostKernels) +
                                " kernels, got " + std::to_string(count));
  if (static_cast<int64_t>(normalizations.size()) != count)
    throw std::invalid_argument("expected as many normalizations as lengths, got " +
                                std::to_string(normalizations.size()));
  for (const ArrayView* array : {&start, &grids, &costs}) expect_alike(*array, unary);
  expect_lattice_array(lattices, unary);
  const bool has_start = start.shape == unary.shape;
  if (!has_start && std::find(start.shape.begin(), start.shape.end(), 0) == start.shape.end())
    throw shape_error(start, to_text(unary.shape) + " or empty");
  if (!grids.has_shape({count, 3})) throw shape_error(grids, "(" + std::to_string(count) + ", 3)");
  if (!costs.has_shape({count, labels, labels}))
    throw shape_error(costs, to_text({count, labels, labels}));
  expect_size(size, points);
  if (iterations < 0)
    throw std::invalid_argument("expected iterations not to be negative, got " +
                                std::to_string(iterations));
  const ArrayView marginals = call.result(unary, unary.shape);
  expect_contiguous(marginals);
  dispatch(unary.dtype, [&](auto real) {
    using Real = decltype(real);
    std::vector<Real> unary_copy, start_copy, grids_copy, costs_copy;
    MeanFieldParams<Real> p;
    p.batch = batch, p.labels = labels, p.height = size[0], p.width = size[1];
    p.iterations = iterations;
    p.unary = contiguous(unary, unary_copy);
    p.start = has_start ? contiguous(start, start_copy) : nullptr;
    p.marginals = marginals.as<Real>();
    p.kernel_count = static_cast<int>(count);
    const Real* grid = contiguous(grids, grids_copy);
    const Real* cost = contiguous(costs, costs_copy);
    if (has_start) expect_finite(start, p.start);
    expect_finite(grids, grid);
    expect_finite(costs, cost);
    int64_t first = 0;
    for (int64_t m = 0; m < count; ++m) {
      CrfKernel<Real>& kernel = p.kernels[m];
      if (normalizations[m] < 0 || normalizations[m] > 3)
        throw std::invalid_argument("expected normalizations from 0 to 3, got " +
                                    to_text(normalizations));
      kernel.normalization = static_cast<Normalization>(normalizations[m]);
      kernel.sigma_x = grid[3 * m], kernel.sigma_y = grid[3 * m + 1],
      kernel.scale = grid[3 * m + 2];
      kernel.cost = cost + m * labels * labels;
      if (lengths[m] < 0 || lengths[m] > lattices.shape[0] - first)
        throw std::invalid_argument("expected lengths of at most all lattices, got " +
                                    to_text(lengths));
      if (lengths[m] > 0) {
        expect_points(lattices, checked_lattice<Real>(lattices, first, lengths[m]), batch, points);
        kernel.lattice = words_of<Real>(lattices, first);
        first += lengths[m];
      } else {
        expect_sigmas(kernel.sigma_x, kernel.sigma_y, grids.name);
      }
    }
    mean_field_cpu(p);
  });
}

}  // namespace pyfast::arrays
