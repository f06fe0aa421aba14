// Depthwise convolution on the CPU, compiled once for every instruction set.
//
// Planes: a plane is copied between frames of zeros, so that no column needs a comparison, and rows
// of taps outside the image are skipped; where rows of the output share rows of the image, these
// are read as they lie, and the lanes at their ends that lie outside are left out.
// Channels last: lanes run over channels, and the taps of each pixel that lie outside the image are
// skipped; pixels that meet the same taps share their weights. Sums for the weights are kept in
// registers over a row and in double over the images.
#include <cstring>

#include "core/vectors.h"
#include "ops/dilated_conv/depthwise_conv.h"
#include "ops/dilated_conv/depthwise_conv_rows.h"

namespace pyfast {
namespace PF_ISA {
namespace {

// Copies every kStride-th value, or every stride-th where kStride is 0.
template <int kStride, class Real>
inline void copy_phase(const Real* from, int64_t stride, int64_t count, Real* to) {
  const int64_t step = kStride > 0 ? kStride : stride;
  for (int64_t q = 0; q < count; ++q) to[q] = from[q * step];
}

// For rows of some registers, where a call of memcpy would count.
template <class Real>
inline void copy_row(const Real* from, int64_t count, Real* to) {
  constexpr int kStep = kNative<Real>;
  if (count < kStep) {
    std::memcpy(to, from, sizeof(Real) * count);
    return;
  }
  int64_t q = 0;
  for (; q + kStep <= count; q += kStep) store(to + q, load<kStep>(from + q));
  store(to + count - kStep, load<kStep>(from + count - kStep));
}

// Copies plane `plane` into rows with zeros on both sides, a phase after the other.
template <class Real>
void frame_plane(const DepthwiseConvParams<Real>& p, int64_t plane, Real* framed) {
  const int64_t stride = p.stride_w, width = p.phase_width(), in_w = p.in_w;
  const Real* from = p.input + plane * p.in_h * in_w;
  for (int64_t phase = 0; phase < stride; ++phase, framed += width) {
    // Value q of a phase is column q * stride + phase - padding_w of the image.
    const int64_t left = p.padding_w > phase ? (p.padding_w - phase + stride - 1) / stride : 0;
    const int64_t first = left * stride + phase - p.padding_w;
    if (left >= width || first >= in_w) continue;
    // A frame that is wider than what is read cuts off the image.
    const int64_t there = (in_w - first + stride - 1) / stride, room = width - left;
    const int64_t count = there < room ? there : room;
    for (int64_t y = 0; y < p.in_h; ++y) {
      const Real* row = from + y * in_w + first;
      Real* to = framed + y * width * stride + left;
      if (stride == 1) {
        copy_row(row, count, to);
      } else if (stride == 2) {
        copy_phase<2>(row, 2, count, to);
      } else {
        copy_phase<0>(row, stride, count, to);
      }
    }
  }
}

// Where a framed row holds what the taps meet for output 0.
template <class Real>
void find_columns(const DepthwiseConvParams<Real>& p, int64_t* columns) {
  const int64_t width = p.phase_width();
  for (int64_t j = 0; j < p.kernel_w; ++j) {
    const int64_t at = j * p.dilation_w;
    columns[j] = at % p.stride_w * width + at / p.stride_w;
  }
}

// What the outputs of a row share.
template <class Real>
struct Row {
  const Real* const* rows;
  const Real* const* weights;
  int64_t count;  // of rows of taps
  const int64_t* columns;
  int64_t taps;  // of a row
  Real bias;
};

// Outputs of one row at once, in registers: few enough that sums and pixels fit.
constexpr int64_t kMostSteps = 6;

// kSteps registers of a row of the output, from x on.
template <int kSteps, class Real>
inline void blend(const Row<Real>& r, int64_t x, Real* out) {
  constexpr int kStep = kNative<Real>;
  Vec<Real, kStep> sum[kSteps];
  for (int s = 0; s < kSteps; ++s) sum[s] = Vec<Real, kStep>{} + r.bias;
  for (int64_t i = 0; i < r.count; ++i)
    for (int64_t j = 0; j < r.taps; ++j) {
      const Real *from = r.rows[i] + r.columns[j] + x, weight = r.weights[i][j];
      for (int s = 0; s < kSteps; ++s) sum[s] += load<kStep>(from + s * kStep) * weight;
    }
  for (int s = 0; s < kSteps; ++s) store(out + s * kStep, sum[s]);
}

// `steps` registers, the last of which may reach behind the row.
template <int kSteps, class Real>
void blend_some(int64_t steps, const Row<Real>& r, int64_t x, int64_t width, Real* out) {
  if constexpr (kSteps > 1) {
    if (steps < kSteps) return blend_some<kSteps - 1>(steps, r, x, width, out);
  }
  constexpr int64_t kWide = kSteps * kNative<Real>;
  if (x + kWide <= width) return blend<kSteps>(r, x, out + x);
  Real rest[kWide];
  blend<kSteps>(r, x, rest);
  std::memcpy(out + x, rest, sizeof(Real) * (width - x));
}

// Whether most rows have others that meet the same rows of the image: not where dilation leaves
// few of a kind, and many taps outside the image to be skipped.
template <class Real>
bool rows_share(const DepthwiseConvParams<Real>& p) {
  return p.kernel_h == 3 && p.kernel_w == 3 && p.stride_h == 1 && p.stride_w == 1 &&
         p.out_w >= kNative<Real> && p.out_h >= 2 * kSharingRows * p.dilation_h;
}

template <class Real>
void sharing_planes(const DepthwiseConvParams<Real>& p, int64_t begin, int64_t end, Real* zeros) {
  std::memset(zeros, 0, sizeof(Real) * p.in_w);
  for (int64_t plane = begin; plane < end; ++plane) {
    const int64_t c = plane % p.channels;
    blend_sharing_plane(p, p.input + plane * p.in_h * p.in_w, zeros, p.weight + c * p.taps(),
                        p.bias != nullptr ? p.bias[c] : Real(0),
                        p.output + plane * p.out_h * p.out_w);
  }
}

template <class Real>
void planes(const DepthwiseConvParams<Real>& p, int64_t begin, int64_t end, Real* framed,
            int64_t* columns) {
  if (rows_share(p)) return sharing_planes(p, begin, end, framed);
  const int64_t width = p.framed_width(), out_w = p.out_w;
  const int64_t steps = (out_w + kNative<Real> - 1) / kNative<Real>;
  const int64_t blocks = (steps + kMostSteps - 1) / kMostSteps;
  std::memset(framed, 0, sizeof(Real) * p.framed_size());
  find_columns(p, columns);
  for (int64_t plane = begin; plane < end; ++plane) {
    const int64_t c = plane % p.channels;
    const Real* weight = p.weight + c * p.taps();
    frame_plane(p, plane, framed);
    const Real *rows[kMostTapRows], *weights[kMostTapRows];
    Row<Real> row{rows, weights, 0, columns, p.kernel_w, p.bias != nullptr ? p.bias[c] : Real(0)};
    for (int64_t y = 0; y < p.out_h; ++y) {
      int64_t first, last;
      p.tap_rows(y, &first, &last);
      for (int64_t i = first; i < last; ++i) {
        rows[i - first] = framed + (y * p.stride_h + i * p.dilation_h - p.padding_h) * width;
        weights[i - first] = weight + i * p.kernel_w;
      }
      row.count = last - first;
      Real* out = p.output + (plane * p.out_h + y) * out_w;
      for (int64_t b = 0; b < blocks; ++b) {
        const int64_t from = steps * b / blocks, to = steps * (b + 1) / blocks;
        blend_some<kMostSteps>(to - from, row, from * kNative<Real>, out_w, out);
      }
    }
  }
}

// Pixels that share a load of the weights.
constexpr int kPixels = 4;

// kLanes channels of kCount pixels side by side that meet the same taps.
template <int kLanes, int kCount, class Real>
inline void blend_channels(const DepthwiseConvParams<Real>& p, const Real* pixel, int64_t c,
                           const int64_t range[4], Real* out) {
  const int64_t channels = p.channels, step = p.stride_w * channels;
  Vec<Real, kLanes> sum[kCount] = {};
  if (p.bias != nullptr)
    for (int k = 0; k < kCount; ++k) sum[k] = load<kLanes>(p.bias + c);
  for (int64_t i = range[0]; i < range[1]; ++i) {
    const Real* line = pixel + i * p.dilation_h * p.in_w * channels + c;
    const Real* weights = p.weight + i * p.kernel_w * channels + c;
    for (int64_t j = range[2]; j < range[3]; ++j) {
      const auto weight = load<kLanes>(weights + j * channels);
      const Real* from = line + j * p.dilation_w * channels;
      for (int k = 0; k < kCount; ++k) sum[k] += load<kLanes>(from + k * step) * weight;
    }
  }
  for (int k = 0; k < kCount; ++k) store(out + k * channels + c, sum[k]);
}

template <int kCount, class Real>
void blend_pixels(const DepthwiseConvParams<Real>& p, const Real* pixel, const int64_t range[4],
                  Real* out) {
  constexpr int kStep = kNative<Real>;
  const int64_t channels = p.channels;
  int64_t c = 0;
  for (; c + kStep <= channels; c += kStep) blend_channels<kStep, kCount>(p, pixel, c, range, out);
  for (; c + 4 <= channels; c += 4) blend_channels<4, kCount>(p, pixel, c, range, out);
  for (; c < channels; ++c) blend_channels<1, kCount>(p, pixel, c, range, out);
}

template <class Real>
void rows(const DepthwiseConvParams<Real>& p, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const int64_t n = row / p.out_h, y = row % p.out_h;
    const Real* line = p.input + (n * p.in_h + y * p.stride_h - p.padding_h) * p.in_w * p.channels;
    int64_t range[4], of_last[2];
    p.tap_rows(y, &range[0], &range[1]);
    for (int64_t x = 0; x < p.out_w;) {
      p.tap_columns(x, &range[2], &range[3]);
      p.tap_columns(x + kPixels - 1, &of_last[0], &of_last[1]);
      const Real* pixel = line + (x * p.stride_w - p.padding_w) * p.channels;
      Real* out = p.output + (row * p.out_w + x) * p.channels;
      if (x + kPixels <= p.out_w && of_last[0] == range[2] && of_last[1] == range[3]) {
        blend_pixels<kPixels>(p, pixel, range, out);
        x += kPixels;
      } else {
        blend_pixels<1>(p, pixel, range, out);
        x += 1;
      }
    }
  }
}

// Sums of a row of grad_output times rows of the input, kTaps columns of taps at once.
template <int kTaps, class Real>
inline void multiply_rows(const Real* grad, const Real* row, const int64_t* columns, int64_t count,
                          Real* out) {
  constexpr int kStep = kNative<Real>;
  Vec<Real, kStep> sum[kTaps] = {};
  int64_t x = 0;
  for (; x + kStep <= count; x += kStep) {
    const auto g = load<kStep>(grad + x);
    for (int t = 0; t < kTaps; ++t) sum[t] += g * load<kStep>(row + columns[t] + x);
  }
  for (int t = 0; t < kTaps; ++t) {
    out[t] = add_lanes<Real, kStep>(sum[t]);
    for (int64_t k = x; k < count; ++k) out[t] += grad[k] * row[columns[t] + k];
  }
}

template <class Real>
void weight_planes(const DepthwiseConvParams<Real>& p, int64_t begin, int64_t end, Real* framed,
                   int64_t* columns) {
  const int64_t width = p.framed_width();
  std::memset(framed, 0, sizeof(Real) * p.framed_size());
  find_columns(p, columns);
  for (int64_t c = begin; c < end; ++c) {
    Real* to = p.grad_weight + c * p.taps();
    for (int64_t t = 0; t < p.taps(); ++t) to[t] = 0;
    for (int64_t n = 0; n < p.batch; ++n) {
      const int64_t plane = n * p.channels + c;
      frame_plane(p, plane, framed);
      for (int64_t i = 0; i < p.kernel_h; ++i)
        for (int64_t j = 0; j < p.kernel_w;) {
          const int64_t step = p.kernel_w - j >= 3 ? 3 : 1;
          double total[3] = {};
          for (int64_t y = 0; y < p.out_h; ++y) {
            const int64_t from = y * p.stride_h + i * p.dilation_h - p.padding_h;
            if (from < 0 || from >= p.in_h) continue;
            const Real* grad = p.grad_output + (plane * p.out_h + y) * p.out_w;
            const Real* row = framed + from * width;
            Real sum[3] = {};
            if (step == 3) {
              multiply_rows<3>(grad, row, columns + j, p.out_w, sum);
            } else {
              multiply_rows<1>(grad, row, columns + j, p.out_w, sum);
            }
            for (int64_t t = 0; t < step; ++t) total[t] += static_cast<double>(sum[t]);
          }
          for (int64_t t = 0; t < step; ++t)
            to[i * p.kernel_w + j + t] += static_cast<Real>(total[t]);
          j += step;
        }
    }
  }
}

// One tap of kLanes channels.
template <int kLanes, class Real>
inline void multiply_channels(const DepthwiseConvParams<Real>& p, int64_t i, int64_t j, int64_t c) {
  const int64_t channels = p.channels, stride = p.stride_w;
  const int64_t shift = j * p.dilation_w - p.padding_w;
  const int64_t left = shift < 0 ? (-shift + stride - 1) / stride : 0;
  const int64_t inside = shift < p.in_w ? (p.in_w - shift + stride - 1) / stride : 0;
  const int64_t right = inside < p.out_w ? inside : p.out_w;
  double total[kLanes] = {};
  for (int64_t n = 0; n < p.batch; ++n)
    for (int64_t y = 0; y < p.out_h; ++y) {
      const int64_t from = y * p.stride_h + i * p.dilation_h - p.padding_h;
      if (from < 0 || from >= p.in_h) continue;
      const Real* grad = p.grad_output + (n * p.out_h + y) * p.out_w * channels + c;
      const Real* line = p.input + ((n * p.in_h + from) * p.in_w + shift) * channels + c;
      Vec<Real, kLanes> sum{};
      for (int64_t x = left; x < right; ++x)
        sum += load<kLanes>(grad + x * channels) * load<kLanes>(line + x * stride * channels);
      for (int l = 0; l < kLanes; ++l) total[l] += static_cast<double>(sum[l]);
    }
  Real* to = p.grad_weight + c * p.taps() + i * p.kernel_w + j;
  for (int l = 0; l < kLanes; ++l) to[l * p.taps()] = static_cast<Real>(total[l]);
}

template <class Real>
void weight_channels(const DepthwiseConvParams<Real>& p, int64_t begin, int64_t end) {
  constexpr int kStep = kNative<Real>;
  const auto for_each_tap = [&](const auto& body) {
    for (int64_t i = 0; i < p.kernel_h; ++i)
      for (int64_t j = 0; j < p.kernel_w; ++j) body(i, j);
  };
  int64_t c = begin;
  for (; c + kStep <= end; c += kStep)
    for_each_tap([&](int64_t i, int64_t j) { multiply_channels<kStep>(p, i, j, c); });
  for (; c < end; ++c)
    for_each_tap([&](int64_t i, int64_t j) { multiply_channels<1>(p, i, j, c); });
}

template <class Real>
const DepthwiseConvKernels<Real> kKernels = {planes<Real>, rows<Real>, weight_planes<Real>,
                                             weight_channels<Real>};

}  // namespace

template <>
const DepthwiseConvKernels<float>& depthwise_conv_kernels<float>() {
  return kKernels<float>;
}
template <>
const DepthwiseConvKernels<double>& depthwise_conv_kernels<double>() {
  return kKernels<double>;
}

}  // namespace PF_ISA
}  // namespace pyfast
