// Depthwise convolution on the CPU, compiled once for every instruction set.
//
// Planes: a plane is copied between frames of zeros, so that no column needs a comparison; rows of
// taps outside the image are skipped. Channels last: lanes run over channels, and the taps of each
// pixel that lie outside the image are skipped. Sums for the weights are kept in registers over a
// row and in double over the images.
#include <cstring>

#include "core/vectors.h"
#include "ops/dilated_conv/depthwise_conv.h"

namespace pyfast {
namespace PF_ISA {
namespace {

// Copies plane `plane` into rows with zeros on both sides.
template <class Real>
void frame_plane(const DepthwiseConvParams<Real>& p, int64_t plane, int64_t width, Real* framed) {
  const Real* from = p.input + plane * p.in_h * p.in_w;
  // A frame that is wider than what is read cuts off the image.
  const int64_t room = width - p.padding_w;
  const int64_t count = room < p.in_w ? (room > 0 ? room : 0) : p.in_w;
  if (count == 0) return;
  for (int64_t y = 0; y < p.in_h; ++y)
    std::memcpy(framed + y * width + p.padding_w, from + y * p.in_w, sizeof(Real) * count);
}

// kSteps registers of a row of the output.
template <int kSteps, class Real>
inline void blend(const Real* const* rows, const Real* const* weights, int64_t count, int64_t taps,
                  int64_t step, Real bias, int64_t x, Real* out) {
  constexpr int kStep = kNative<Real>;
  Vec<Real, kStep> sum[kSteps];
  for (int s = 0; s < kSteps; ++s) sum[s] = Vec<Real, kStep>{} + bias;
  for (int64_t i = 0; i < count; ++i) {
    const Real *from = rows[i] + x, *weight = weights[i];
    for (int64_t j = 0; j < taps; ++j, from += step)
      for (int s = 0; s < kSteps; ++s) sum[s] += load<kStep>(from + s * kStep) * weight[j];
  }
  for (int s = 0; s < kSteps; ++s) store(out + s * kStep, sum[s]);
}

template <class Real>
void planes(const DepthwiseConvParams<Real>& p, int64_t begin, int64_t end, Real* framed) {
  constexpr int kStep = kNative<Real>;
  const int64_t width = p.framed_width(kMostLanes), out_w = p.out_w;
  std::memset(framed, 0, sizeof(Real) * width * p.in_h);
  for (int64_t plane = begin; plane < end; ++plane) {
    const int64_t c = plane % p.channels;
    const Real* weight = p.weight + c * p.taps();
    const Real bias = p.bias != nullptr ? p.bias[c] : Real(0);
    frame_plane(p, plane, width, framed);
    for (int64_t y = 0; y < p.out_h; ++y) {
      int64_t first, last;
      p.tap_rows(y, &first, &last);
      const Real *rows[kMostTapRows], *weights[kMostTapRows];
      for (int64_t i = first; i < last; ++i) {
        rows[i - first] = framed + (y + i * p.dilation_h - p.padding_h) * width;
        weights[i - first] = weight + i * p.kernel_w;
      }
      Real* out = p.output + (plane * p.out_h + y) * out_w;
      const int64_t count = last - first;
      int64_t x = 0;
      for (; x + 4 * kStep <= out_w; x += 4 * kStep)
        blend<4>(rows, weights, count, p.kernel_w, p.dilation_w, bias, x, out + x);
      for (; x + kStep <= out_w; x += kStep)
        blend<1>(rows, weights, count, p.kernel_w, p.dilation_w, bias, x, out + x);
      if (x < out_w) {
        Real rest[kStep];
        blend<1>(rows, weights, count, p.kernel_w, p.dilation_w, bias, x, rest);
        std::memcpy(out + x, rest, sizeof(Real) * (out_w - x));
      }
    }
  }
}

// kLanes channels of a pixel.
template <int kLanes, class Real>
inline void blend_channels(const DepthwiseConvParams<Real>& p, const Real* pixel, int64_t c,
                           const int64_t range[4], Real* out) {
  Vec<Real, kLanes> sum{};
  if (p.bias != nullptr) sum = load<kLanes>(p.bias + c);
  for (int64_t i = range[0]; i < range[1]; ++i) {
    const Real* line = pixel + i * p.dilation_h * p.in_w * p.channels + c;
    const Real* weight = p.weight + i * p.kernel_w * p.channels + c;
    for (int64_t j = range[2]; j < range[3]; ++j)
      sum += load<kLanes>(line + j * p.dilation_w * p.channels) *
             load<kLanes>(weight + j * p.channels);
  }
  store(out + c, sum);
}

template <class Real>
void rows(const DepthwiseConvParams<Real>& p, int64_t begin, int64_t end) {
  constexpr int kStep = kNative<Real>;
  const int64_t channels = p.channels;
  for (int64_t row = begin; row < end; ++row) {
    const int64_t n = row / p.out_h, y = row % p.out_h;
    int64_t range[4];
    p.tap_rows(y, &range[0], &range[1]);
    for (int64_t x = 0; x < p.out_w; ++x) {
      p.tap_columns(x, &range[2], &range[3]);
      const Real* pixel =
          p.input + ((n * p.in_h + y - p.padding_h) * p.in_w + x - p.padding_w) * channels;
      Real* out = p.output + (row * p.out_w + x) * channels;
      int64_t c = 0;
      for (; c + kStep <= channels; c += kStep) blend_channels<kStep>(p, pixel, c, range, out);
      for (; c + 4 <= channels; c += 4) blend_channels<4>(p, pixel, c, range, out);
      for (; c < channels; ++c) blend_channels<1>(p, pixel, c, range, out);
    }
  }
}

// Sums of a row of grad_output times rows of the input, kTaps columns of taps at once.
template <int kTaps, class Real>
inline void multiply_rows(const Real* grad, const Real* row, int64_t step, int64_t count,
                          Real* out) {
  constexpr int kStep = kNative<Real>;
  Vec<Real, kStep> sum[kTaps] = {};
  int64_t x = 0;
  for (; x + kStep <= count; x += kStep) {
    const auto g = load<kStep>(grad + x);
    for (int t = 0; t < kTaps; ++t) sum[t] += g * load<kStep>(row + t * step + x);
  }
  for (int t = 0; t < kTaps; ++t) {
    out[t] = add_lanes<Real, kStep>(sum[t]);
    for (int64_t k = x; k < count; ++k) out[t] += grad[k] * row[t * step + k];
  }
}

template <class Real>
void weight_planes(const DepthwiseConvParams<Real>& p, int64_t begin, int64_t end, Real* framed) {
  const int64_t width = p.framed_width(kMostLanes);
  std::memset(framed, 0, sizeof(Real) * width * p.in_h);
  for (int64_t c = begin; c < end; ++c) {
    Real* to = p.grad_weight + c * p.taps();
    for (int64_t t = 0; t < p.taps(); ++t) to[t] = 0;
    for (int64_t n = 0; n < p.batch; ++n) {
      const int64_t plane = n * p.channels + c;
      frame_plane(p, plane, width, framed);
      for (int64_t i = 0; i < p.kernel_h; ++i)
        for (int64_t j = 0; j < p.kernel_w;) {
          const int64_t step = p.kernel_w - j >= 3 ? 3 : 1;
          double total[3] = {};
          for (int64_t y = 0; y < p.out_h; ++y) {
            const int64_t from = y + i * p.dilation_h - p.padding_h;
            if (from < 0 || from >= p.in_h) continue;
            const Real* grad = p.grad_output + (plane * p.out_h + y) * p.out_w;
            const Real* row = framed + from * width + j * p.dilation_w;
            Real sum[3] = {};
            if (step == 3) {
              multiply_rows<3>(grad, row, p.dilation_w, p.out_w, sum);
            } else {
              multiply_rows<1>(grad, row, p.dilation_w, p.out_w, sum);
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
  const int64_t channels = p.channels, shift = j * p.dilation_w - p.padding_w;
  const int64_t left = shift < 0 ? -shift : 0;
  const int64_t right = p.in_w - shift < p.out_w ? p.in_w - shift : p.out_w;
  double total[kLanes] = {};
  for (int64_t n = 0; n < p.batch; ++n)
    for (int64_t y = 0; y < p.out_h; ++y) {
      const int64_t from = y + i * p.dilation_h - p.padding_h;
      if (from < 0 || from >= p.in_h) continue;
      const Real* grad = p.grad_output + (n * p.out_h + y) * p.out_w * channels + c;
      const Real* line = p.input + ((n * p.in_h + from) * p.in_w + shift) * channels + c;
      Vec<Real, kLanes> sum{};
      for (int64_t x = left; x < right; ++x)
        sum += load<kLanes>(grad + x * channels) * load<kLanes>(line + x * channels);
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
