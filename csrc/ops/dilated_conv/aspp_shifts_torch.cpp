// The shifts of ASPP for torch: schema, checks, allocation, registration.
#include <type_traits>
#include <vector>

#include "core/torch_glue.h"
#include "ops/dilated_conv/aspp.h"
#include "ops/dilated_conv/aspp_shifts.h"

namespace pyfast {
namespace {

constexpr int64_t kFurthest = int64_t{1} << 29;

// body(T{}) for the type of an image. Those of 16 bits are for CUDA alone.
template <class Body>
void dispatch(const Tensor& image, const Body& body) {
  switch (image.scalar_type()) {
    case ScalarType::Float:
      return body(float{});
    case ScalarType::Double:
      return body(double{});
    case ScalarType::Half:
      return body(Half{});
    default:
      STD_TORCH_CHECK(image.scalar_type() == ScalarType::BFloat16, "expected floats");
      return body(BFloat16{});
  }
}

AsppShifts shifts_of(const std::vector<int64_t>& rows, const std::vector<int64_t>& columns) {
  STD_TORCH_CHECK(rows.size() == columns.size() && rows.size() <= kMostAsppTaps,
                  "expected as many rows as columns of taps, at most ", kMostAsppTaps);
  AsppShifts taps;
  for (size_t t = 0; t < rows.size(); ++t) {
    STD_TORCH_CHECK(rows[t] > -kFurthest && rows[t] < kFurthest && columns[t] > -kFurthest &&
                        columns[t] < kFurthest,
                    "a tap lies too far away");
    taps.rows[taps.count] = int32_t(rows[t]);
    taps.columns[taps.count++] = int32_t(columns[t]);
  }
  return taps;
}

// One picture after another; 16 bits never arrive here.
template <class T>
void on_cpu(const AsppShiftParams<T>& p, const std::vector<int64_t>& rows,
            const std::vector<int64_t>& columns, bool spread) {
  if constexpr (std::is_same_v<T, Accumulator<T>>) {
    AsppParams<T> of_picture;
    of_picture.outputs = p.outputs;
    of_picture.height = p.height;
    of_picture.width = p.width;
    of_picture.taps = {int64_t(rows.size()), rows.data(), columns.data()};
    const int64_t each = p.outputs * p.pixels();
    for (int64_t n = 0; n < p.batch; ++n) {
      of_picture.products = p.products + n * int64_t(rows.size()) * each;
      of_picture.image = p.image + n * each;
      spread ? aspp_spread_cpu(of_picture) : aspp_add_cpu(of_picture);
    }
  } else {
    STD_TORCH_CHECK(false, "expected float32 or float64 on the CPU");
  }
}

void shift(const Tensor& products, const Tensor& image, const std::vector<int64_t>& rows,
           const std::vector<int64_t>& columns, bool spread) {
  const AsppShifts taps = shifts_of(rows, columns);
  dispatch(image, [&](auto zero) {
    using T = decltype(zero);
    AsppShiftParams<T> p;
    p.batch = image.size(0);
    p.outputs = image.size(1);
    p.height = image.size(2);
    p.width = image.size(3);
    const auto data = [](const Tensor& t, bool written) {
      return written ? result_of<T>(t) : const_cast<T*>(data_of<T>(t));
    };
    p.products = data(products, spread);
    p.image = data(image, !spread);
    run_on_device_of(
        image, [&] { on_cpu(p, rows, columns, spread); },
        [&](auto stream) {
          return spread ? aspp_spread_cuda(p, taps, stream) : aspp_add_cuda(p, taps, stream);
        });
  });
}

Tensor aspp_add(const Tensor& products, std::vector<int64_t> rows, std::vector<int64_t> columns) {
  STD_TORCH_CHECK(products.dim() == 5 && products.size(1) == int64_t(rows.size()),
                  "expected products (N, taps, O, H, W)");
  Tensor image = empty(products, products.scalar_type(),
                       {products.size(0), products.size(2), products.size(3), products.size(4)});
  shift(as_contiguous(products), image, rows, columns, false);
  return image;
}

Tensor aspp_spread(const Tensor& image, std::vector<int64_t> rows, std::vector<int64_t> columns) {
  STD_TORCH_CHECK(image.dim() == 4, "expected an image (N, O, H, W)");
  Tensor products =
      empty(image, image.scalar_type(),
            {image.size(0), int64_t(rows.size()), image.size(1), image.size(2), image.size(3)});
  if (image.is_cpu()) torch::stable::zero_(products);  // rows that no pixel goes to stay unwritten
  shift(products, as_contiguous(image), rows, columns, true);
  return products;
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(pyfast, m) {
  m.def("aspp_add(Tensor products, int[] rows, int[] columns) -> Tensor");
  m.def("aspp_spread(Tensor image, int[] rows, int[] columns) -> Tensor");
}

#define PF_REGISTER(device)                         \
  STABLE_TORCH_LIBRARY_IMPL(pyfast, device, m) {    \
    m.impl("aspp_add", TORCH_BOX(&aspp_add));       \
    m.impl("aspp_spread", TORCH_BOX(&aspp_spread)); \
  }
PF_REGISTER(CPU)
PF_REGISTER(CUDA)
#undef PF_REGISTER

}  // namespace pyfast
