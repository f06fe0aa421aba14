// The guided filter: what one call works on, the kernels that each instruction set exports, and the
// entry point. Nothing here knows torch.
//
// Reference: He, Sun, Tang, Guided Image Filtering, IEEE TPAMI 35 (6), 2013, equations 11 to 16.
#pragma once

#include <cstdint>

#include "core/device.h"
#include "ops/matting/planes.h"

namespace pyfast {

constexpr int64_t kMostGuideChannels = 4;
// Of the mean square of a channel of the guide: more than rounding leaves of its variance. So much
// is added at least, or a matrix of rounding is solved with.
constexpr double kGuideRounding = 1e-13;

template <class Real>
struct GuidedFilterParams {
  int64_t batch = 0, guide_channels = 0, channels = 0, height = 0, width = 0;
  int64_t radius = 0;
  double epsilon = 0;            // added to the variances of the guide
  PlanesView<const Real> guide;  // (N, G, H, W), G from 1 to kMostGuideChannels
  PlanesView<const Real> input;  // (N, C, H, W)
  PlanesView<Real> output;       // (N, C, H, W), overwritten

  // Sums over a window: of the guide, of its products, of the inputs, of their products with it.
  int64_t moments() const {
    const int64_t pairs = guide_channels * (guide_channels + 1) / 2;
    return guide_channels + pairs + channels * (guide_channels + 1);
  }
  // Coefficients of the fit at a pixel: a slope for each channel of the guide and a constant.
  int64_t coefficients() const { return channels * (guide_channels + 1); }
};

// Rows of a picture that are filtered one after another, with running sums over the windows.
struct GuidedFilterBand {
  int64_t n, top, bottom;  // picture; rows [top, bottom)
};

// Memory of one band: sums of columns, sums of windows, and the last coefficients; 1 / the columns
// of the window around each pixel.
template <class Real>
struct GuidedFilterScratch {
  double *columns, *windows;    // (moments, W) each
  double* coefficient_columns;  // (coefficients, W)
  double* pixels;               // (2, G + C, W): rows of guide and input
  double* shares;               // (W)
  Real* ring;                   // (2 radius + 1, coefficients, W)
};

template <class Real>
struct GuidedFilterKernels {
  void (*band)(const GuidedFilterParams<Real>&, const GuidedFilterBand&,
               const GuidedFilterScratch<Real>&);
};

// guided_filter_driver.cpp, for float and double. Same bits for any number of threads.
template <class Real>
void guided_filter_cpu(const GuidedFilterParams<Real>& params);

#define PF_DECLARE(level)                                   \
  namespace level {                                         \
  template <class Real>                                     \
  const GuidedFilterKernels<Real>& guided_filter_kernels(); \
  }
PF_DECLARE(baseline)
PF_DECLARE(avx2)
PF_DECLARE(avx512)
#undef PF_DECLARE

}  // namespace pyfast
