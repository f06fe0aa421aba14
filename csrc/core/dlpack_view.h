// The binary interface of DLPack, version 1, as far as it is read here
// (https://dmlc.github.io/dlpack/latest/c_api.html). The names are ours, the layout is DLPack's.
#pragma once

#include <cstdint>

namespace pyfast::dlpack {

enum DeviceType : int32_t { kCpuDevice = 1, kCudaDevice = 2, kCudaHost = 3, kCudaManaged = 13 };
constexpr uint8_t kFloatCode = 2;
constexpr uint64_t kReadOnlyFlag = 1;
constexpr int kMajorVersion = 1;

// Names of the capsules that `__dlpack__` returns.
constexpr const char* kCapsule = "dltensor";
constexpr const char* kVersionedCapsule = "dltensor_versioned";

struct Tensor {
  void* data;
  int32_t device_type;
  int32_t device_id;
  int32_t ndim;
  uint8_t type_code;
  uint8_t type_bits;
  uint16_t type_lanes;
  int64_t* shape;
  int64_t* strides;  // in elements; null: C order
  uint64_t byte_offset;
};

// What a capsule points to begins like this. Until version 1 it was the bare Tensor.
struct VersionedTensor {
  uint32_t major, minor;
  void* manager;
  void (*deleter)(VersionedTensor*);
  uint64_t flags;
  Tensor tensor;
};

}  // namespace pyfast::dlpack
