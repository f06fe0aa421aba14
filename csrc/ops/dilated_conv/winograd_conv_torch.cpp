// Winograd convolution for torch: schema, checks, allocation; matrix products by torch's library.
#include <algorithm>
#include <optional>

#include "core/torch_matrix.h"
#include "ops/dilated_conv/winograd_conv.h"

namespace pyfast {
namespace {

// What a call takes beside its result, transformed weights and copies included; patches and
// products of a chunk of tiles get what is left, but no less than kLeastBytes.
constexpr int64_t kScratchBytes = int64_t{48} << 20, kMostBytes = int64_t{16} << 20,
                  kLeastBytes = int64_t{8} << 20;

// Between the matrices of two taps: lines of neighbouring taps fall into different sets of a cache.
constexpr int64_t kPage = 1024, kSkew = 32;

int64_t skewed(int64_t count) { return (count + kPage - 1) / kPage * kPage + kSkew; }

bool is_supported(ScalarType dtype) {
  return dtype == ScalarType::Float || dtype == ScalarType::Double;
}

template <class Real>
void transform(const Tensor& weight, bool turned, int64_t tile, bool adjoint, Tensor* out) {
  WinogradWeightParams<Real> p;
  p.outputs = weight.size(adjoint ? 1 : 0);
  p.channels = weight.size(adjoint ? 0 : 1);
  p.tile = tile;
  p.turned = turned;
  p.weight = data_of<Real>(weight);
  p.output_stride = weight.stride(adjoint ? 1 : 0);
  p.channel_stride = weight.stride(adjoint ? 0 : 1);
  p.transformed = result_of<Real>(*out);
  winograd_weight_cpu(p);
}

// ((tile + 2)^2, C, O). The adjoint convolution has turned taps and changes outputs for channels.
Tensor winograd_weight(const Tensor& weight, int64_t tile, bool adjoint) {
  STD_TORCH_CHECK(weight.dim() == 4 && weight.size(2) == 3 && weight.size(3) == 3,
                  "expected weight of shape (O, C, 3, 3)");
  STD_TORCH_CHECK(is_supported(weight.scalar_type()), "expected float32 or float64");
  STD_TORCH_CHECK(tile == 2 || tile == 4, "expected tiles of 2 or 4");
  const Tensor taps = as_contiguous(weight);
  Tensor out =
      empty(weight, weight.scalar_type(),
            {(tile + 2) * (tile + 2), weight.size(adjoint ? 0 : 1), weight.size(adjoint ? 1 : 0)});
  weight.scalar_type() == ScalarType::Float ? transform<float>(taps, adjoint, tile, adjoint, &out)
                                            : transform<double>(taps, adjoint, tile, adjoint, &out);
  return out;
}

// `copied`: bytes of what is there a second time, in another layout.
template <class Real>
void convolve(const Tensor& image, const Tensor& weight, const Real* bias, Tensor* output,
              int64_t copied, WinogradConvParams<Real> p) {
  p.channels = image.size(1);
  p.outputs = output->size(1);
  p.in_h = image.size(2);
  p.in_w = image.size(3);
  p.out_h = output->size(2);
  p.out_w = output->size(3);
  p.input = data_of<Real>(image);
  p.bias = bias;
  p.output = result_of<Real>(*output);
  const int64_t all = image.size(0) * p.tiles_of_image();
  const int64_t of_tile = p.taps() * (p.channels + p.outputs) * int64_t(sizeof(Real));
  const int64_t left = kScratchBytes - copied - weight.numel() * int64_t(sizeof(Real));
  const int64_t bytes = std::max(kLeastBytes, std::min(kMostBytes, left));
  // Chunks of one size, so that no product is a thin rest.
  const int64_t chunks = (all + bytes / of_tile) / std::max<int64_t>(1, bytes / of_tile);
  const int64_t chunk = (all + chunks - 1) / chunks;
  p.patch_stride = skewed(chunk * p.channels);
  p.product_stride = skewed(chunk * p.outputs);
  Tensor scratch = empty(image, image.scalar_type(), {p.taps(), p.patch_stride + p.product_stride});
  p.patches = result_of<Real>(scratch);
  p.products = p.patches + p.taps() * p.patch_stride;
  const Real* taps = data_of<Real>(weight);
  for (p.first_tile = 0; p.first_tile < all; p.first_tile += p.tiles) {
    p.tiles = std::min(chunk, all - p.first_tile);
    winograd_gather_cpu(p);
    for (int64_t k = 0; k < p.taps(); ++k)
      multiply(Matrix(p.patches + k * p.patch_stride, p.tiles, p.channels, p.channels, 1),
               Matrix(taps + k * p.channels * p.outputs, p.channels, p.outputs, p.outputs, 1),
               Matrix(p.products + k * p.product_stride, p.tiles, p.outputs, p.outputs, 1));
    winograd_scatter_cpu(p);
  }
}

template <class Real>
Tensor forward(const Tensor& input, const Tensor& weight, const std::optional<Tensor>& bias,
               const WinogradConvParams<Real>& p) {
  const bool last = is_channels_last(input);
  const int64_t out_h = input.size(2) + 2 * (p.padding_h - p.dilation_h),
                out_w = input.size(3) + 2 * (p.padding_w - p.dilation_w);
  STD_TORCH_CHECK(out_h >= 0 && out_w >= 0, "the kernel is larger than the padded input");
  const int64_t sizes[4] = {input.size(0), weight.size(2), out_h, out_w};
  Tensor output = empty(input, input.scalar_type(), sizes, 4, true);
  if (output.numel() > 0) {
    const Tensor image = as_channels_last(input), w = as_contiguous(weight);
    std::optional<Tensor> values;
    if (bias.has_value()) values = as_contiguous(*bias);
    const Real* bias_data = values.has_value() ? data_of<Real>(*values) : nullptr;
    const int64_t copied = last ? 0 : (image.numel() + output.numel()) * int64_t(sizeof(Real));
    convolve<Real>(image, w, bias_data, &output, copied, p);
  }
  return last || output.numel() == 0 ? output : as_planes(output);
}

template <class Real>
WinogradConvParams<Real> params_of(int64_t padding_h, int64_t padding_w, int64_t dilation_h,
                                   int64_t dilation_w, int64_t tile) {
  WinogradConvParams<Real> p;
  p.padding_h = padding_h;
  p.padding_w = padding_w;
  p.dilation_h = dilation_h;
  p.dilation_w = dilation_w;
  p.tile = tile;
  return p;
}

Tensor winograd_conv2d(const Tensor& input, const Tensor& weight, std::optional<Tensor> bias,
                       std::optional<Tensor> transformed, int64_t tile, int64_t padding_h,
                       int64_t padding_w, int64_t dilation_h, int64_t dilation_w, bool adjoint) {
  STD_TORCH_CHECK(input.dim() == 4 && weight.dim() == 4, "expected 4-D input and weight");
  STD_TORCH_CHECK(is_supported(input.scalar_type()), "expected float32 or float64");
  STD_TORCH_CHECK(weight.scalar_type() == input.scalar_type(), "input and weight differ in dtype");
  STD_TORCH_CHECK(weight.size(adjoint ? 0 : 1) == input.size(1), "channels differ");
  STD_TORCH_CHECK(padding_h >= 0 && padding_w >= 0, "padding must not be negative");
  STD_TORCH_CHECK(dilation_h >= 1 && dilation_w >= 1, "dilation must be positive");
  const int64_t outputs = weight.size(adjoint ? 1 : 0);
  if (bias.has_value())
    STD_TORCH_CHECK(has_shape(*bias, {outputs}) && bias->scalar_type() == input.scalar_type(),
                    "expected bias of shape (outputs), of the dtype of input");
  if (transformed.has_value())
    STD_TORCH_CHECK(has_shape(*transformed, {(tile + 2) * (tile + 2), input.size(1), outputs}) &&
                        transformed->scalar_type() == input.scalar_type() &&
                        (tile == 2 || tile == 4),
                    "transformed weights of another convolution");
  const Tensor taps =
      transformed.has_value() ? *transformed : winograd_weight(weight, tile, adjoint);
  if (input.scalar_type() == ScalarType::Float)
    return forward(input, taps, bias,
                   params_of<float>(padding_h, padding_w, dilation_h, dilation_w, tile));
  return forward(input, taps, bias,
                 params_of<double>(padding_h, padding_w, dilation_h, dilation_w, tile));
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(pyfast, m) {
  m.def("winograd_weight(Tensor weight, int tile, bool adjoint) -> Tensor");
  m.def(
      "winograd_conv2d(Tensor input, Tensor weight, Tensor? bias, Tensor? transformed, "
      "int tile, int padding_h, int padding_w, int dilation_h, int dilation_w, bool adjoint) "
      "-> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(pyfast, CPU, m) {
  m.impl("winograd_weight", TORCH_BOX(&winograd_weight));
  m.impl("winograd_conv2d", TORCH_BOX(&winograd_conv2d));
}

}  // namespace pyfast
