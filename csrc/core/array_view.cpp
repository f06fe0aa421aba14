#include "core/array_view.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace pyfast {
namespace {

using Bytes = std::pair<intptr_t, intptr_t>;  // begin, end; equal for an empty array

Bytes bytes_of(const ArrayView& a) {
  intptr_t begin = reinterpret_cast<intptr_t>(a.data), end = begin + a.item_size();
  for (size_t d = 0; d < a.shape.size(); ++d) {
    if (a.shape[d] == 0) return {0, 0};
    const intptr_t reach = (a.shape[d] - 1) * a.strides[d] * a.item_size();
    (reach < 0 ? begin : end) += reach;
  }
  return {begin, end};
}

template <class Real>
bool is_finite(const ArrayView& a, size_t dimension, const Real* at) {
  if (dimension == a.shape.size()) return std::isfinite(*at);
  for (int64_t i = 0; i < a.shape[dimension]; ++i)
    if (!is_finite(a, dimension + 1, at + i * a.strides[dimension])) return false;
  return true;
}

}  // namespace

bool ArrayView::has_shape(std::initializer_list<int64_t> wanted) const {
  return std::equal(wanted.begin(), wanted.end(), shape.begin(), shape.end(),
                    [](int64_t want, int64_t size) { return want == kAny || want == size; });
}

bool ArrayView::is_empty() const { return std::find(shape.begin(), shape.end(), 0) != shape.end(); }

bool ArrayView::is_contiguous() const {
  int64_t expected = 1;
  bool dense = true;
  for (size_t d = shape.size(); d-- > 0; expected *= shape[d]) {
    if (shape[d] == 0) return true;
    dense = dense && (shape[d] == 1 || strides[d] == expected);
  }
  return dense;
}

bool ArrayView::overlaps(const ArrayView& other) const {
  const Bytes mine = bytes_of(*this), theirs = bytes_of(other);
  return device == other.device && mine.first < theirs.second && theirs.first < mine.second;
}

std::string to_text(const std::vector<int64_t>& shape) {
  std::string text = "(";
  for (size_t d = 0; d < shape.size(); ++d) {
    if (d > 0) text += ", ";
    text += std::to_string(shape[d]);
  }
  return text + (shape.size() == 1 ? ",)" : ")");
}

const char* to_text(DType dtype) { return dtype == DType::kFloat32 ? "float32" : "float64"; }

std::string device_text(int device) {
  return device == kCpu ? "cpu" : "cuda:" + std::to_string(device);
}

std::invalid_argument shape_error(const ArrayView& array, const std::string& wanted) {
  return std::invalid_argument("expected " + array.name + " of shape " + wanted + ", got " +
                               to_text(array.shape));
}

void expect_alike(const ArrayView& array, const ArrayView& leader) {
  if (array.dtype != leader.dtype)
    throw TypeMismatch("expected " + array.name + " of the dtype of " + leader.name + ", " +
                       to_text(leader.dtype) + ", got " + to_text(array.dtype));
  if (array.device != leader.device)
    throw std::invalid_argument("expected " + array.name + " on the device of " + leader.name +
                                ", " + device_text(leader.device) + ", got " +
                                device_text(array.device));
}

void expect_result(const ArrayView& array, const ArrayView& like,
                   const std::vector<int64_t>& shape) {
  expect_alike(array, like);
  if (array.shape != shape) throw shape_error(array, to_text(shape));
  if (!array.writable)
    throw std::invalid_argument("expected " + array.name + " to be writable, got read-only memory");
  for (size_t d = 0; d < shape.size() && !array.is_empty(); ++d)
    if (shape[d] > 1 && array.strides[d] == 0)
      throw std::invalid_argument("expected " + array.name +
                                  " to have memory for every element, got a broadcast array");
}

void expect_contiguous(const ArrayView& array) {
  if (!array.is_contiguous())
    throw std::invalid_argument("expected " + array.name + " to be C-contiguous, got strides " +
                                to_text(array.strides) + " for shape " + to_text(array.shape));
}

void expect_finite(const ArrayView& array) {
  dispatch(array.dtype, [&](auto real) {
    if (!is_finite(array, 0, array.as<const decltype(real)>()))
      throw std::invalid_argument("expected " + array.name + " to be finite, got NaN or infinity");
  });
}

}  // namespace pyfast
