// The level of pixels: its matrix, products with it and updates of vectors, compiled once for every
// instruction set.
#include <cmath>

#include "ops/matting/matting_blocks.h"
#include "ops/matting/matting_weights.h"

namespace pyfast {
namespace PF_ISA {
namespace {

// --- the matrix ---

// Takes complete rows of weights into blocks.
template <class Sweep>
class BlockRows {
 public:
  BlockRows(const FineLevel& level, const uint8_t* known, const double* diagonal,
            const Sweep& sweep, Memory& memory)
      : level_(level),
        known_(known),
        diagonal_(diagonal),
        sweep_(sweep),
        unknown_(memory, 2 * level.reach() + 1, 1, level.image.width + kPixels) {}

  // Row y of what is unknown, 1 or 0. To be called in order, `reach` rows before `write`.
  void read(int64_t y) const {
    unknown_.clear(y);
    const int64_t width = level_.image.width;
    double* row = unknown_.row(y, 0);
    for (int64_t x = 0; x < width; ++x)
      row[x] = known_ == nullptr || known_[y * width + x] == 0 ? 1.0 : 0.0;
  }
  void read_none(int64_t y) const { unknown_.clear(y); }

  void write(int64_t y) const {
    for (int32_t b = level_.table.first[y]; b < level_.table.first[y + 1]; ++b)
      write_block(y, b, level_.table.block[b] * kPixels);
  }

 private:
  void write_block(int64_t y, int64_t b, int64_t x) const {
    const int64_t reach = level_.reach(), width = level_.image.width;
    const double* here = unknown_.row(y, 0) + x;
    double excess[kPixels] = {}, sum[kPixels] = {}, sizes[kPixels] = {};
    float* weight = level_.weight + b * level_.half * kPixels;
    double* exact = level_.exact + b * level_.half * kPixels;
    int64_t offset = 0;
    for (int64_t dy = 0; dy <= reach; ++dy)
      for (int64_t dx = dy == 0 ? 1 : -reach; dx <= reach; ++dx, ++offset) {
        const double* own = sweep_.row(y, offset) + x;
        const double* after = unknown_.row(y + dy, 0) + x + dx;
        for (int l = 0; l < kPixels; ++l) {
          const double used = own[l] * here[l], both = used * after[l];
          sum[l] += used;
          sizes[l] += std::abs(used);
          excess[l] += used - both;
          exact[offset * kPixels + l] = both;
          weight[offset * kPixels + l] = static_cast<float>(both);
        }
        if (dy > y) continue;
        const double* mirrored = sweep_.row(y - dy, offset) + x - dx;
        const double* before = unknown_.row(y - dy, 0) + x - dx;
        for (int l = 0; l < kPixels; ++l) {
          const double used = mirrored[l] * here[l];
          sum[l] += used;
          sizes[l] += std::abs(used);
          excess[l] += used * (1.0 - before[l]);
        }
      }
    for (int l = 0; l < kPixels; ++l) {
      const bool inside = x + l < width && here[l] != 0;
      const double extra = inside && diagonal_ != nullptr ? diagonal_[y * width + x + l] : 0;
      level_.excess[b * kPixels + l] = inside ? excess[l] + extra : 0;
      const double total = sum[l] + extra;
      const double usual = kPixelDamping / total, stable = kStableStep / (total + sizes[l]);
      const double damped = stable < usual ? stable : usual;
      level_.inverse[b * kPixels + l] = inside && total > 0 ? static_cast<float>(damped) : 0.0f;
    }
  }

  const FineLevel& level_;
  const uint8_t* known_;
  const double* diagonal_;
  const Sweep& sweep_;
  const RowRing unknown_;
};

void weights(const FineLevel& level, const uint8_t* known, const double* diagonal, int64_t top,
             int64_t bottom, double* memory) {
  if (level.table.first[top] == level.table.first[bottom]) return;
  const MattingImage<double>& image = level.image;
  with_shape(image.channels, image.radius, [&](const auto& shape) {
    using Sweep = WeightSweep<std::decay_t<decltype(shape)>>;
    Memory rest(memory);
    Sweep sweep(shape, image, image.data, known, rest);
    const BlockRows<Sweep> rows(level, known, diagonal, sweep, rest);
    const int64_t reach = level.reach(), height = image.height;
    const auto read = [&](int64_t y) { y < height ? rows.read(y) : rows.read_none(y); };
    for (int64_t y = top > reach ? top - reach : 0; y < top + reach; ++y) read(y);
    sweep.run(top, bottom, [&](int64_t y) {
      read(y + reach);
      rows.write(y);
    });
  });
}

void colours(const FineLevel& level, int64_t top, int64_t bottom) {
  const int64_t d = level.image.channels, width = level.image.width, stride = level.stride();
  for (int64_t y = top; y < bottom; ++y)
    for (int64_t c = 0; c < d; ++c) {
      const double* from = level.image.data + (c * level.image.height + y) * width;
      float* to = level.colours + ((y + level.table.pad) * d + c) * stride;
      std::memset(to, 0, sizeof(float) * stride);
#pragma omp simd
      for (int64_t x = 0; x < width; ++x) to[kPixels + x] = static_cast<float>(from[x] - 0.5);
    }
}

// --- products ---

// A z with rounded weights, of one block.
template <int kRadius>
inline Floats rounded_product(const PixelBlock& b, int64_t index, const float* z) {
  const float* from = z + b.at;
  const Floats here = load<kPixels>(from);
  const double* excess = b.level.excess + index * kPixels;
  Floats sum = __builtin_convertvector(load<kPixels>(excess), Floats) * here;
  b.fetch_ahead(b.level.weight);
  for_offsets<kRadius>(b.level, [&](const auto& offset) {
    const float* weight = b.level.weight;
    sum += offset.own(b, weight) * (here - load<kPixels>(from + offset.distance));
    sum += offset.mirrored(b, weight) * (here - load<kPixels>(from - offset.distance));
  });
  return sum;
}

template <int kRadius>
inline Doubles16 exact_product(const PixelBlock& b, int64_t index, const double* p) {
  const double* from = p + b.at;
  const Doubles16 here = load<kPixels>(from);
  Doubles16 sum = load<kPixels>(b.level.excess + index * kPixels) * here;
  b.fetch_ahead(b.level.exact);
  for_offsets<kRadius>(b.level, [&](const auto& offset) {
    const double* weight = b.level.exact;
    sum += offset.own(b, weight) * (here - load<kPixels>(from + offset.distance));
    sum += offset.mirrored(b, weight) * (here - load<kPixels>(from - offset.distance));
  });
  return sum;
}

double outer(const FineLevel& level, const FineVectors& v, int64_t begin, int64_t end) {
  return with_radius(level, [&](auto radius) {
    Doubles16 dot{};
    for (int64_t i = begin; i < end; ++i) {
      const PixelBlock b(level, i);
      const Doubles16 product = exact_product<decltype(radius)::value>(b, i, v.p);
      dot += product * load<kPixels>(v.p + b.at);
      store(v.q + i * kPixels, product);
    }
    return add_lanes<double, kPixels>(dot);
  });
}

void residual(const FineLevel& level, const FineVectors& v, int64_t begin, int64_t end) {
  with_radius(level, [&](auto radius) {
    for (int64_t i = begin; i < end; ++i) {
      const PixelBlock b(level, i);
      store(v.t + b.at,
            load<kPixels>(v.f + i * kPixels) - rounded_product<decltype(radius)::value>(b, i, v.z));
    }
    return 0;
  });
}

double smooth(const FineLevel& level, const FineVectors& v, int64_t begin, int64_t end) {
  return with_radius(level, [&](auto radius) {
    HalfDoubles dot{};
    for (int64_t i = begin; i < end; ++i) {
      const PixelBlock b(level, i);
      const Floats left =
          load<kPixels>(v.f + i * kPixels) - rounded_product<decltype(radius)::value>(b, i, v.z);
      const Floats s =
          load<kPixels>(v.z + b.at) + load<kPixels>(level.inverse + i * kPixels) * left;
      store(v.s + i * kPixels, s);
      for (int h = 0; h < 2; ++h) dot += widened(s, h) * load<kHalf>(v.r + i * kPixels + h * kHalf);
    }
    return add_lanes<double, kHalf>(dot);
  });
}

// --- vectors ---

double advance(const FineLevel& level, const FineVectors& v, double step, int64_t begin,
               int64_t end, double* largest) {
  constexpr int64_t kAhead = 8 * kPixels;
  HalfDoubles dot{}, most{};
  for (int64_t i = begin; i < end; ++i) {
    const PixelBlock b(level, i);
    for (int h = 0; h < 2; ++h) {
      const int64_t at = i * kPixels + h * kHalf;
      __builtin_prefetch(v.r + at + kAhead);
      __builtin_prefetch(v.q + at + kAhead);
      __builtin_prefetch(v.x + at + kAhead);
      const HalfDoubles change = step * load<kHalf>(v.p + b.at + h * kHalf);
      const HalfDoubles size = change < 0.0 ? -change : change;
      most = size > most ? size : most;
      const HalfDoubles r = load<kHalf>(v.r + at) - step * load<kHalf>(v.q + at);
      store(v.x + at, load<kHalf>(v.x + at) + change);
      store(v.r + at, r);
      dot += r * r;
      const HalfFloats f = __builtin_convertvector(r, HalfFloats);
      store(v.f + at, f);
      store(v.z + b.at + h * kHalf, f * load<kHalf>(level.inverse + at));
    }
  }
  for (int l = 0; l < kHalf; ++l) *largest = most[l] > *largest ? most[l] : *largest;
  return add_lanes<double, kHalf>(dot);
}

void direction(const FineLevel& level, const FineVectors& v, double factor, int64_t begin,
               int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    const PixelBlock b(level, i);
    const Floats s = load<kPixels>(v.s + i * kPixels);
    for (int h = 0; h < 2; ++h) {
      double* p = v.p + b.at + h * kHalf;
      store(p, widened(s, h) + factor * load<kHalf>(p));
    }
  }
}

const MattingFineKernels kKernels = {weights, colours, outer, advance, residual, smooth, direction};

}  // namespace

const MattingFineKernels& matting_fine_kernels() { return kKernels; }

}  // namespace PF_ISA
}  // namespace pyfast
