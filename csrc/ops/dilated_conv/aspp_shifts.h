// The shifts of ASPP over a batch: from products of a matrix with all taps to the output, and back.
// Nothing here knows torch.
#pragma once

#include <cstdint>

#include "core/device.h"
#include "core/half.h"

namespace pyfast {

constexpr int64_t kMostAsppTaps = 256;

// The pixel (h + rows[t], w + columns[t]) of the products of tap t goes into pixel (h, w) of the
// output, where it lies inside.
struct AsppShifts {
  int32_t count = 0;
  int32_t rows[kMostAsppTaps], columns[kMostAsppTaps];
};

template <class T>
struct AsppShiftParams {
  int64_t batch = 0, outputs = 0, height = 0, width = 0;
  T* products = nullptr;  // (N, taps, O, H, W)
  T* image = nullptr;     // (N, O, H, W)

  int64_t pixels() const { return height * width; }
};

// dilated_conv.cu, for float, double, Half and BFloat16: the image from the products, and the
// products, zero where nothing comes from, from the image. They return a cudaError_t.
template <class T>
int aspp_add_cuda(const AsppShiftParams<T>& params, const AsppShifts& taps, void* stream);
template <class T>
int aspp_spread_cuda(const AsppShiftParams<T>& params, const AsppShifts& taps, void* stream);

}  // namespace pyfast
