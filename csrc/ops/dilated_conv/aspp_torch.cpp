// ASPP into few outputs for torch: matrix products by torch's library, band by band of the input,
// so that rows which padding would multiply by zero are left out; shifts by ours.
#include "core/torch_matrix.h"
#include "ops/dilated_conv/aspp.h"

namespace pyfast {
namespace {

// Pictures of channels, (N, C, H, W), as matrices (C, H * W).
template <class Real>
struct Pictures {
  Tensor tensor;  // contiguous or channels_last
  explicit Pictures(const Tensor& t) : tensor(is_channels_last(t) ? t : as_contiguous(t)) {}
  int64_t channels() const { return tensor.size(1); }
  Matrix rows(int64_t n, int64_t top, int64_t bottom) const {
    const int64_t width = tensor.size(3), pixels = tensor.size(2) * width, c = channels();
    const bool last = is_channels_last(tensor);
    const auto* data = data_of<Real>(tensor) + n * c * pixels;
    return {data + top * width * (last ? c : 1), c, (bottom - top) * width, last ? 1 : pixels,
            last ? c : 1};
  }
};

// A call on tensors of one dtype: the taps, and memory for the products of one picture.
template <class Real>
struct Call {
  AsppParams<Real> p;
  Tensor products;
  Call(const Tensor& pictures, int64_t outputs, const std::vector<int64_t>& rows,
       const std::vector<int64_t>& columns)
      : products(empty(pictures, pictures.scalar_type(),
                       {int64_t(rows.size()), outputs, pictures.size(2), pictures.size(3)})) {
    p.outputs = outputs;
    p.height = pictures.size(2);
    p.width = pictures.size(3);
    p.taps = {int64_t(rows.size()), rows.data(), columns.data()};
    p.products = result_of<Real>(products);
  }

  // The products of a band.
  Matrix of(const AsppBand& band) const {
    const int64_t pixels = p.height * p.width;
    return {p.products + band.first_tap * p.outputs * pixels + band.top * p.width,
            (band.last_tap - band.first_tap) * p.outputs, (band.bottom - band.top) * p.width,
            pixels, 1};
  }

  // Rows of the weights, (T * O, C), or of their gradient.
  Matrix weights(const Tensor& weight, const AsppBand& band) const {
    const int64_t c = weight.size(2);
    return {data_of<Real>(weight) + band.first_tap * p.outputs * c,
            (band.last_tap - band.first_tap) * p.outputs, c, c, 1};
  }

  Matrix transposed_weights(const Tensor& weight, const AsppBand& band) const {
    const int64_t c = weight.size(2);
    return {data_of<Real>(weight) + band.first_tap * p.outputs * c, c,
            (band.last_tap - band.first_tap) * p.outputs, 1, c};
  }

  template <class Body>
  void for_bands(const Body& body) const {
    for (int64_t top = 0; top < p.height;) {
      const AsppBand band = next_band(p.taps, p.height, top);
      body(band);
      top = band.bottom;
    }
  }

  // products = those of gradient n, shifted back.
  void spread(const Tensor& grad, int64_t n) {
    p.image = const_cast<Real*>(data_of<Real>(grad)) + n * p.outputs * p.height * p.width;
    aspp_spread_cpu(p);
  }
};

void check(const Tensor& pictures, const Tensor& other, const std::vector<int64_t>& rows,
           const std::vector<int64_t>& columns) {
  STD_TORCH_CHECK(pictures.dim() == 4, "expected pictures (N, C, H, W)");
  STD_TORCH_CHECK(pictures.scalar_type() == other.scalar_type(), "dtypes differ");
  STD_TORCH_CHECK(
      pictures.scalar_type() == ScalarType::Float || pictures.scalar_type() == ScalarType::Double,
      "expected float32 or float64");
  STD_TORCH_CHECK(rows.size() == columns.size(), "as many rows as columns of taps");
  bool centre = false;
  for (size_t t = 0; t < rows.size(); ++t) {
    STD_TORCH_CHECK(t == 0 || rows[t - 1] <= rows[t], "taps must be in the order of their rows");
    centre = centre || rows[t] == 0;
  }
  STD_TORCH_CHECK(centre, "a tap must be in the row of the output");
}

void check_weight(const Tensor& weight, int64_t channels, size_t taps) {
  STD_TORCH_CHECK(weight.dim() == 3 && weight.size(0) == int64_t(taps),
                  "expected weight (T, O, C)");
  STD_TORCH_CHECK(channels < 0 || weight.size(2) == channels, "channels differ");
}

template <class Real>
Tensor forward(const Tensor& input, const Tensor& weight, const std::vector<int64_t>& rows,
               const std::vector<int64_t>& columns) {
  const Pictures<Real> pictures(input);
  const Tensor w = as_contiguous(weight);
  Call<Real> call(input, weight.size(1), rows, columns);
  Tensor out = empty(input, input.scalar_type(),
                     {input.size(0), weight.size(1), input.size(2), input.size(3)});
  for (int64_t n = 0; n < input.size(0) && out.numel() > 0; ++n) {
    call.for_bands([&](const AsppBand& band) {
      multiply(call.weights(w, band), pictures.rows(n, band.top, band.bottom), call.of(band));
    });
    call.p.image = result_of<Real>(out) + n * call.p.outputs * call.p.height * call.p.width;
    aspp_add_cpu(call.p);
  }
  return out;
}

template <class Real>
Tensor input_gradient(const Tensor& grad, const Tensor& weight, const std::vector<int64_t>& rows,
                      const std::vector<int64_t>& columns) {
  const Tensor g = as_contiguous(grad), w = as_contiguous(weight);
  Call<Real> call(grad, weight.size(1), rows, columns);
  Tensor out =
      empty(grad, grad.scalar_type(), {grad.size(0), weight.size(2), grad.size(2), grad.size(3)});
  const Pictures<Real> pictures(out);
  for (int64_t n = 0; n < grad.size(0) && out.numel() > 0; ++n) {
    call.spread(g, n);
    call.for_bands([&](const AsppBand& band) {
      multiply(call.transposed_weights(w, band), call.of(band),
               pictures.rows(n, band.top, band.bottom));
    });
  }
  return out;
}

template <class Real>
Tensor weight_gradient(const Tensor& grad, const Tensor& input, const std::vector<int64_t>& rows,
                       const std::vector<int64_t>& columns) {
  const Tensor g = as_contiguous(grad);
  const Pictures<Real> pictures(input);
  Call<Real> call(grad, grad.size(1), rows, columns);
  Tensor out = empty(grad, grad.scalar_type(), {int64_t(rows.size()), grad.size(1), input.size(1)});
  torch::stable::zero_(out);
  for (int64_t n = 0; n < grad.size(0) && grad.numel() > 0; ++n) {
    call.spread(g, n);
    call.for_bands([&](const AsppBand& band) {
      const Matrix sum = call.weights(out, band), pixels = pictures.rows(n, band.top, band.bottom);
      Tensor transposed = torch::stable::transpose(pixels.tensor, 0, 1);
      STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_cpu_addmm_out(
          sum.get(), sum.get(), call.of(band).get(), transposed.get(), 1.0, 1.0));
    });
  }
  return out;
}

Tensor aspp_sum(const Tensor& input, const Tensor& weight, std::vector<int64_t> rows,
                std::vector<int64_t> columns) {
  check(input, weight, rows, columns);
  check_weight(weight, input.size(1), rows.size());
  return input.scalar_type() == ScalarType::Float ? forward<float>(input, weight, rows, columns)
                                                  : forward<double>(input, weight, rows, columns);
}

Tensor aspp_sum_input_gradient(const Tensor& grad, const Tensor& weight, std::vector<int64_t> rows,
                               std::vector<int64_t> columns) {
  check(grad, weight, rows, columns);
  check_weight(weight, -1, rows.size());
  STD_TORCH_CHECK(grad.size(1) == weight.size(1), "outputs differ");
  return grad.scalar_type() == ScalarType::Float
             ? input_gradient<float>(grad, weight, rows, columns)
             : input_gradient<double>(grad, weight, rows, columns);
}

Tensor aspp_sum_weight_gradient(const Tensor& grad, const Tensor& input, std::vector<int64_t> rows,
                                std::vector<int64_t> columns) {
  check(grad, input, rows, columns);
  STD_TORCH_CHECK(input.dim() == 4 && input.size(0) == grad.size(0) &&
                      input.size(2) == grad.size(2) && input.size(3) == grad.size(3),
                  "grad and input differ in size");
  return grad.scalar_type() == ScalarType::Float
             ? weight_gradient<float>(grad, input, rows, columns)
             : weight_gradient<double>(grad, input, rows, columns);
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(pyfast, m) {
  m.def("aspp_sum(Tensor input, Tensor weight, int[] rows, int[] columns) -> Tensor");
  m.def("aspp_sum_input_gradient(Tensor grad, Tensor weight, int[] rows, int[] columns) -> Tensor");
  m.def("aspp_sum_weight_gradient(Tensor grad, Tensor input, int[] rows, int[] columns) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(pyfast, CPU, m) {
  m.impl("aspp_sum", TORCH_BOX(&aspp_sum));
  m.impl("aspp_sum_input_gradient", TORCH_BOX(&aspp_sum_input_gradient));
  m.impl("aspp_sum_weight_gradient", TORCH_BOX(&aspp_sum_weight_gradient));
}

}  // namespace pyfast
