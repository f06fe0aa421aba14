// A sum of convolutions with several dilations as one matrix product with all taps' weights, after
// which every tap's result is shifted to its place and added: what one call works on, and the
// kernels that each instruction set exports. Nothing here knows torch.
#pragma once

#include <cstdint>

#include "core/device.h"

namespace pyfast {

// Taps are in the order of their rows. The input pixel (h + rows[t], w + columns[t]) goes through
// tap t into the output pixel (h, w).
struct AsppTaps {
  int64_t count = 0;
  const int64_t *rows = nullptr, *columns = nullptr;
};

template <class Real>
struct AsppParams {
  int64_t outputs = 0, height = 0, width = 0;
  AsppTaps taps;
  Real* products = nullptr;  // (taps, O, H, W): of a picture, before they are shifted
  Real* image = nullptr;     // (O, H, W)
};

template <class Real>
struct AsppKernels {
  // image[o] = the sum of its products; what is outside of a picture is left out.
  void (*add)(const AsppParams<Real>&, int64_t o);
  // products[t, o] = image[o], shifted back; in the rows of products that `add` reads.
  void (*spread)(const AsppParams<Real>&, int64_t plane);
};

// Rows of the input and the taps through which they go into the output, one after another. Every
// row goes through some tap, as the tap at the centre takes them all.
struct AsppBand {
  int64_t top, bottom, first_tap, last_tap;  // [top, bottom), [first_tap, last_tap)
};

// The next band below `top`: as long as the taps stay the same.
inline AsppBand next_band(const AsppTaps& taps, int64_t height, int64_t top) {
  // A row h takes part where 0 <= h - row < height: taps with rows in (h - height, h].
  AsppBand band{top, height, 0, taps.count};
  while (band.first_tap < taps.count && taps.rows[band.first_tap] <= top - height) ++band.first_tap;
  while (band.last_tap > 0 && taps.rows[band.last_tap - 1] > top) --band.last_tap;
  for (int64_t t = 0; t < taps.count; ++t) {
    const int64_t enters = taps.rows[t], leaves = taps.rows[t] + height;
    if (enters > top && enters < band.bottom) band.bottom = enters;
    if (leaves > top && leaves < band.bottom) band.bottom = leaves;
  }
  return band;
}

// aspp_driver.cpp, for float and double. Same bits for any number of threads.
template <class Real>
void aspp_add_cpu(const AsppParams<Real>& params);
template <class Real>
void aspp_spread_cpu(const AsppParams<Real>& params);

#define PF_DECLARE(level)                  \
  namespace level {                        \
  template <class Real>                    \
  const AsppKernels<Real>& aspp_kernels(); \
  }
PF_DECLARE(baseline)
PF_DECLARE(avx2)
PF_DECLARE(avx512)
#undef PF_DECLARE

}  // namespace pyfast
