// Shifts and adds of ASPP: rows of pixels, the lanes of which are neighbours.
#include "ops/dilated_conv/aspp.h"

namespace pyfast {
namespace PF_ISA {
namespace {

// Output pixels whose input pixel lies inside, along one side.
struct Inside {
  int64_t begin, end;
  Inside(int64_t shift, int64_t size)
      : begin(shift < 0 ? -shift : 0), end(shift > 0 ? size - shift : size) {}
};

template <class Real>
void add(const AsppParams<Real>& p, int64_t o) {
  const int64_t pixels = p.height * p.width;
  Real* image = p.image + o * pixels;
  for (int64_t i = 0; i < pixels; ++i) image[i] = 0;
  for (int64_t t = 0; t < p.taps.count; ++t) {
    const int64_t row = p.taps.rows[t], column = p.taps.columns[t];
    const Real* products = p.products + (t * p.outputs + o) * pixels;
    const Inside rows(row, p.height), columns(column, p.width);
    for (int64_t h = rows.begin; h < rows.end; ++h) {
      Real* to = image + h * p.width;
      const Real* from = products + (h + row) * p.width + column;
#pragma omp simd
      for (int64_t w = columns.begin; w < columns.end; ++w) to[w] += from[w];
    }
  }
}

template <class Real>
void spread(const AsppParams<Real>& p, int64_t plane) {
  const int64_t pixels = p.height * p.width, t = plane / p.outputs;
  const int64_t row = p.taps.rows[t], column = p.taps.columns[t];
  const Real* image = p.image + plane % p.outputs * pixels;
  Real* products = p.products + plane * pixels;
  const Inside rows(row, p.height), columns(column, p.width);
  for (int64_t h = rows.begin; h < rows.end; ++h) {
    Real* to = products + (h + row) * p.width;
    for (int64_t w = 0; w < p.width; ++w) to[w] = 0;
    const Real* from = image + h * p.width;
    to += column;
#pragma omp simd
    for (int64_t w = columns.begin; w < columns.end; ++w) to[w] = from[w];
  }
}

template <class Real>
const AsppKernels<Real> kKernels = {add<Real>, spread<Real>};

}  // namespace

template <>
const AsppKernels<float>& aspp_kernels<float>() {
  return kKernels<float>;
}
template <>
const AsppKernels<double>& aspp_kernels<double>() {
  return kKernels<double>;
}

}  // namespace PF_ISA
}  // namespace pyfast
