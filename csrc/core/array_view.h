// An array of any library, as the array doors of an operator see it, and the checks that doors
// make. Nothing here knows Python or torch. Errors name the argument; whoever catches them adds the
// name of the function.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <vector>

namespace pyfast {

// Becomes a TypeError in Python, where std::invalid_argument becomes a ValueError.
struct TypeMismatch : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

enum class DType { kFloat32, kFloat64 };

constexpr int kCpu = -1;
constexpr int64_t kAny = -1;

struct ArrayView {
  std::string name;  // of the argument
  void* data = nullptr;
  DType dtype = DType::kFloat32;
  int device = kCpu;  // else the number of the CUDA device
  bool writable = false;
  std::vector<int64_t> shape, strides;  // strides in elements, any order, any sign, zero allowed

  template <class Real>
  Real* as() const {
    return static_cast<Real*>(data);
  }
  int64_t item_size() const { return dtype == DType::kFloat32 ? 4 : 8; }
  // kAny stands for any size.
  bool has_shape(std::initializer_list<int64_t> wanted) const;
  bool is_empty() const;
  bool is_contiguous() const;
  // Some element lies where an element of the other lies, or between two of them.
  bool overlaps(const ArrayView& other) const;
};

std::string to_text(const std::vector<int64_t>& shape);  // (2, 3)
const char* to_text(DType dtype);
std::string device_text(int device);  // cpu, cuda:0

std::invalid_argument shape_error(const ArrayView& array, const std::string& wanted);

// Same dtype, same device as `leader`.
void expect_alike(const ArrayView& array, const ArrayView& leader);

// For `array` that will be written.
void expect_result(const ArrayView& array, const ArrayView& like,
                   const std::vector<int64_t>& shape);
void expect_contiguous(const ArrayView& array);

// The elements in C order: where they are, or in `copy`, which has to outlive the pointer.
template <class Real>
const Real* contiguous(const ArrayView& array, std::vector<Real>& copy) {
  if (array.is_contiguous()) return array.as<const Real>();
  if (array.device != kCpu) expect_contiguous(array);
  int64_t count = 1;
  for (int64_t size : array.shape) count *= size;
  copy.resize(count);
  for (int64_t i = 0; i < count; ++i) {
    int64_t rest = i, offset = 0;
    for (size_t d = array.shape.size(); d-- > 0; rest /= array.shape[d])
      offset += rest % array.shape[d] * array.strides[d];
    copy[i] = array.as<const Real>()[offset];
  }
  return copy.data();
}

// Raises unless no element, in any order, is NaN or infinite; for arrays on the CPU.
void expect_finite(const ArrayView& array);

// body(float{}) or body(double{})
template <class Body>
void dispatch(DType dtype, const Body& body) {
  dtype == DType::kFloat32 ? body(float{}) : body(double{});
}

}  // namespace pyfast
