// Between pixels and the nodes of the next level, compiled once for every instruction set.
//
// A pixel's share of node n is w_n (b_n + a_n . (I - 1/2)); the nodes' kernels change that basis
// into the one that is centred at mu_n.
#include "ops/matting/matting_blocks.h"

namespace pyfast {
namespace PF_ISA {
namespace {

// Weights of the pixels of a cell at the node on their left (or above); the other node has the
// rest.
struct Ramp {
  static constexpr int64_t kMost = 4 * kMostMattingRadius;
  int64_t spacing, reach;  // pixels beyond `reach` of a node have no weight there
  float weight[kMost];

  explicit Ramp(const FineLevel& level)
      : spacing(level.spacing), reach(level.spacing - level.image.radius) {
    for (int64_t t = 0; t < spacing; ++t)
      weight[t] = static_cast<float>(node_weight(t, spacing, level.image.radius));
  }
};

// --- restriction ---

void restrict_pixels(const FineLevel& level, const FineVectors& v, const NodeLevel& nodes,
                     int64_t begin, int64_t end) {
  const Ramp ramp(level);
  const int64_t d = nodes.unknowns - 1, stride = level.stride(), height = level.image.height;
  // From the first pixel of a block's first node to the last one of its last.
  constexpr int64_t kMostColumns = (kNodes + 1) * Ramp::kMost;
  const int64_t span = (kNodes - 1) * ramp.spacing + 2 * ramp.reach;
  float sums_of[kMostUnknowns][kMostColumns];
  for (int64_t ny = begin; ny < end; ++ny) {
    const int64_t top = ny * ramp.spacing - ramp.reach, bottom = ny * ramp.spacing + ramp.reach;
    for (int32_t b = nodes.table.first[ny]; b < nodes.table.first[ny + 1]; ++b) {
      const int64_t nx = int64_t{nodes.table.block[b]} * kNodes;
      // Pixels of the nodes, in whole blocks of the grid.
      const int64_t most = level.table.blocks * kPixels;
      const int64_t start = nx * ramp.spacing - ramp.reach, end_x = start + span;
      const int64_t left = start < 0 ? 0 : start, right = end_x < most ? end_x : most;
      const int64_t count = right > left ? right - left : 0;
      float* columns[kMostUnknowns];
      for (int64_t c = 0; c <= d; ++c) {
        std::memset(sums_of[c], 0, sizeof(float) * span);
        columns[c] = sums_of[c] + left - start;
      }
      for (int64_t y = top < 0 ? 0 : top; y < (bottom < height ? bottom : height); ++y) {
        const int64_t away = y - ny * ramp.spacing;
        const float weight = ramp.weight[away >= 0 ? away : -1 - away];
        const float* t = v.t + level.at(y, left);
        const float* colour = level.colours + (y + level.table.pad) * d * stride + kPixels + left;
        fetch_lines(t + kNodes * ramp.spacing, count);  // of the next block
        for (int64_t c = 0; c < d; ++c)
          fetch_lines(colour + c * stride + kNodes * ramp.spacing, count);
        if (d == 3) {
#pragma omp simd
          for (int64_t x = 0; x < count; ++x) {
            const float value = weight * t[x];
            columns[0][x] += value;
            columns[1][x] += value * colour[x];
            columns[2][x] += value * colour[x + stride];
            columns[3][x] += value * colour[x + 2 * stride];
          }
        } else {
#pragma omp simd
          for (int64_t x = 0; x < count; ++x) columns[0][x] += weight * t[x];
          for (int64_t c = 0; c < d; ++c)
#pragma omp simd
            for (int64_t x = 0; x < count; ++x)
              columns[c + 1][x] += weight * t[x] * colour[c * stride + x];
        }
      }
      float sums[kMostUnknowns][kNodes] = {};
      for (int64_t c = 0; c <= d; ++c)
        for (int64_t k = 0; k < kNodes; ++k) {
          const float* node = sums_of[c] + ramp.reach + k * ramp.spacing;
          for (int64_t i = 0; i < ramp.reach; ++i)
            sums[c][k] += ramp.weight[i] * (node[i] + node[-1 - i]);
        }
      // Centred: a's part is of I - mu.
      for (int64_t k = 0; k < kNodes; ++k) nodes.f[nodes.at(d + 1, 0, ny, nx + k)] = sums[0][k];
      for (int64_t c = 0; c < d; ++c)
        for (int64_t k = 0; k < kNodes; ++k)
          nodes.f[nodes.at(d + 1, c + 1, ny, nx + k)] =
              sums[c + 1][k] - nodes.mean[nodes.at(d, c, ny, nx + k)] * sums[0][k];
    }
  }
}

// --- prolongation ---

template <int... I>
inline Floats spread_four(const Vec<float, 8>& nodes, Numbers<I...>) {
  return __builtin_shufflevector(nodes, nodes, (I / 4)...);
}
template <int... I>
inline Floats spread_next(const Vec<float, 8>& nodes, Numbers<I...>) {
  return __builtin_shufflevector(nodes, nodes, (I / 4 + 1)...);
}

// Nodes 4 pixels apart: a block of 16 pixels has five of them.
void prolong_fours(const FineLevel& level, const FineVectors& v, const NodeLevel& nodes,
                   int64_t begin, int64_t end) {
  const auto lanes = FirstNumbers<kPixels>{};
  const Ramp ramp(level);
  const int64_t m = nodes.unknowns, d = m - 1, stride = level.stride();
  Floats left;
  for (int l = 0; l < kPixels; ++l) left[l] = ramp.weight[l % 4];
  const Floats right = 1.0f - left;
  for (int64_t i = begin; i < end; ++i) {
    const PixelBlock b(level, i);
    const int64_t cell = b.y / 4;
    const float above = ramp.weight[b.y % 4], below = 1 - above;
    const float* first = nodes.t + nodes.at(m, 0, cell, b.block * 4);
    const float* second = nodes.t + nodes.at(m, 0, cell + 1, b.block * 4);
    Floats sum{};
    for (int64_t c = 0; c < m; ++c) {
      const Vec<float, 8> value = above * load<8>(first + c * nodes.stride()) +
                                  below * load<8>(second + c * nodes.stride());
      const Floats each = left * spread_four(value, lanes) + right * spread_next(value, lanes);
      const float* colour =
          level.colours + ((b.y + level.table.pad) * d + c - 1) * stride + kPixels;
      sum += c == 0 ? each : each * load<kPixels>(colour + b.block * kPixels);
    }
    float* z = v.z + b.at;
    const Floats is_unknown = load<kPixels>(level.inverse + i * kPixels);
    store(z, load<kPixels>(z) + (is_unknown != 0.0f ? sum : Floats{}));
  }
}

void prolong_any(const FineLevel& level, const FineVectors& v, const NodeLevel& nodes,
                 int64_t begin, int64_t end) {
  const Ramp ramp(level);
  const int64_t m = nodes.unknowns, d = m - 1, stride = level.stride();
  for (int64_t i = begin; i < end; ++i) {
    const PixelBlock b(level, i);
    const int64_t cell = b.y / ramp.spacing;
    const float above = ramp.weight[b.y % ramp.spacing], below = 1 - above;
    for (int l = 0; l < kPixels; ++l) {
      if (level.inverse[i * kPixels + l] == 0) continue;
      const int64_t x = b.block * kPixels + l, nx = x / ramp.spacing;
      const float left = ramp.weight[x % ramp.spacing], right = 1 - left;
      float sum = 0;
      for (int64_t c = 0; c < m; ++c) {
        const float* first = nodes.t + nodes.at(m, c, cell, nx);
        const float* second = nodes.t + nodes.at(m, c, cell + 1, nx);
        const float value = above * (left * first[0] + right * first[1]) +
                            below * (left * second[0] + right * second[1]);
        const int64_t at = ((b.y + level.table.pad) * d + c - 1) * stride + kPixels + x;
        sum += c == 0 ? value : value * level.colours[at];
      }
      v.z[b.at + l] += sum;
    }
  }
}

void prolong_pixels(const FineLevel& level, const FineVectors& v, const NodeLevel& nodes,
                    int64_t begin, int64_t end) {
  (level.spacing == 4 ? prolong_fours : prolong_any)(level, v, nodes, begin, end);
}

// --- the Galerkin product ---

// The rows of a block's matrix in double: weights with all neighbours, for 16 pixels.
struct MatrixRow {
  static constexpr int64_t kMostSpan = 4 * kMostMattingRadius + 1;
  double weight[kMostSpan * kMostSpan][kPixels];
};

template <int kRadius>
inline void fill_rows(const PixelBlock& b, int64_t reach, MatrixRow* rows) {
  const int64_t span = 2 * reach + 1, centre = reach * span + reach;
  for (int l = 0; l < kPixels; ++l) rows->weight[centre][l] = 0;
  int64_t dy = 0, dx = 1;
  for_offsets<kRadius>(b.level, [&](const auto& offset) {
    const int64_t away = dy * span + dx;
    store(rows->weight[centre + away], offset.own(b, b.level.exact));
    store(rows->weight[centre - away], offset.mirrored(b, b.level.exact));
    if (++dx > reach) {
      ++dy;
      dx = -reach;
    }
  });
}

// A pixel's place in a row (or column): its cell and its weights at the cell's two nodes.
struct Place {
  int64_t cell;
  double weight[2];
};

// Of the pixel number `inside` of a cell, or of one beside it: cell -1, 0 or 1.
constexpr Place place_of(int64_t inside, int64_t spacing, int64_t radius) {
  const int64_t cell = inside < 0 ? -1 : inside < spacing ? 0 : 1;
  const double w = node_weight(inside - cell * spacing, spacing, radius);
  return {cell, {w, 1 - w}};
}

// kM is the number of unknowns, kReach that of pixels, or 0: the levels say them.
template <int kM, int kReach>
class Galerkin {
 public:
  Galerkin(const FineLevel& level, const NodeLevel& nodes, int64_t begin, int64_t end)
      : level_(level),
        nodes_(nodes),
        begin_(begin),
        end_(end),
        unknowns_(nodes.unknowns),
        reach_(level.reach()) {}

  void run(int64_t top, int64_t bottom) const {
    Patch patch;
    for (int64_t i = level_.table.first[top]; i < level_.table.first[bottom]; ++i) {
      const PixelBlock b(level_, i);
      fill_rows<kReach / 2>(b, reach(), &patch.rows);
      read_basis(b.y, b.block * kPixels, &patch);
      // Cell by cell; a block may begin and end within one.
      for (int64_t first = 0; first < kPixels;) {
        const int64_t x = b.block * kPixels + first, left = spacing() - x % spacing();
        const int64_t last = first + left < kPixels ? first + left : kPixels;
        add_cell(b, first, last, patch);
        first = last;
      }
    }
  }

 private:
  static constexpr int kWide = kM > 0 ? kM : 32;  // holds kMostUnknowns
  using Functions = Vec<double, kWide>;           // phi = (1, I - 1/2), and what is made of it
  static constexpr int64_t kMostSide = 2 * (2 * kMostMattingRadius) + 1;
  static constexpr int64_t kMostCell = kReach > 0 ? 2 * kReach : 4 * kMostMattingRadius;

  // What surrounds a block of pixels.
  struct Patch {
    MatrixRow rows;
    Functions phi[kMostSide][kMostSide + kPixels];
  };

  int64_t m() const { return kM > 0 ? kM : unknowns_; }
  int64_t reach() const { return kReach > 0 ? kReach : reach_; }
  int64_t side() const { return 2 * reach() + 1; }
  int64_t spacing() const { return 2 * reach(); }

  void read_basis(int64_t y, int64_t x, Patch* patch) const {
    const MattingImage<double>& image = level_.image;
    for (int64_t dy = -reach(); dy <= reach(); ++dy)
      for (int64_t k = 0; k < kPixels + 2 * reach(); ++k) {
        const int64_t jy = y + dy, jx = x + k - reach();
        Functions phi{};
        if (jy >= 0 && jy < image.height && jx >= 0 && jx < image.width) {
          phi[0] = 1;
          for (int64_t c = 0; c + 1 < m(); ++c)
            phi[c + 1] = image.data[(c * image.height + jy) * image.width + jx] - 0.5;
        }
        patch->phi[dy + reach()][k] = phi;
      }
  }

  // Row `lane` of A P, at the 4 x 4 nodes around its cell. kInside is its number in the cell, or
  // -1.
  template <int kInside>
  void multiply(const PixelBlock& b, int64_t lane, const Patch& patch,
                Functions (&product)[4][4]) const {
    const int64_t inside = kInside >= 0 ? kInside : (b.block * kPixels + lane) % spacing();
    const int64_t inside_y = b.y % spacing(), radius = reach() / 2;
    double diagonal = level_.excess[b.index * kPixels + lane];
    for (int64_t k = 0; k < side() * side(); ++k) diagonal += patch.rows.weight[k][lane];
    for (auto& row : product)
      for (Functions& node : row) node = Functions{};
    for (int64_t dy = -reach(); dy <= reach(); ++dy) {
      Functions line[4] = {};
      const auto add = [&](int64_t dx) {
        const double w = dy == 0 && dx == 0
                             ? -diagonal
                             : patch.rows.weight[(dy + reach()) * side() + dx + reach()][lane];
        const Functions part = w * patch.phi[dy + reach()][lane + dx + reach()];
        const Place place = place_of(inside + dx, spacing(), radius);
        for (int64_t i = 0; i < 2; ++i) line[place.cell + 1 + i] -= place.weight[i] * part;
      };
      if constexpr (kInside >= 0) {  // places the compiler knows
        add(-2), add(-1), add(0), add(1), add(2);
      } else {
        for (int64_t dx = -reach(); dx <= reach(); ++dx) add(dx);
      }
      const Place place = place_of(inside_y + dy, spacing(), radius);
      for (int64_t i = 0; i < 2; ++i)
        for (int64_t n = 0; n < 4; ++n) product[place.cell + 1 + i][n] += place.weight[i] * line[n];
    }
  }

  // Pixels [first, last) of a block lie in one cell.
  void add_cell(const PixelBlock& b, int64_t first, int64_t last, const Patch& patch) const {
    Functions product[kMostCell][4][4], own[kMostCell];
    double weights[kMostCell][2];
    const int64_t cy = b.y / spacing(), cx = (b.block * kPixels + first) / spacing();
    int64_t count = 0;
    for (int64_t lane = first; lane < last; ++lane) {
      if (level_.inverse[b.index * kPixels + lane] == 0) continue;
      const int64_t inside = b.block * kPixels + lane - cx * spacing();
      if (kReach == 2 && inside == 0)
        multiply<0>(b, lane, patch, product[count]);
      else if (kReach == 2 && inside == 1)
        multiply<1>(b, lane, patch, product[count]);
      else if (kReach == 2 && inside == 2)
        multiply<2>(b, lane, patch, product[count]);
      else if (kReach == 2)
        multiply<3>(b, lane, patch, product[count]);
      else
        multiply<-1>(b, lane, patch, product[count]);
      const Place place = place_of(inside, spacing(), level_.image.radius);
      for (int i = 0; i < 2; ++i) weights[count][i] = place.weight[i];
      own[count++] = patch.phi[reach()][lane + reach()];
    }
    const Place py = place_of(b.y % spacing(), spacing(), level_.image.radius);
    for (int64_t i = 0; i < 2 && count > 0; ++i)
      for (int64_t n = 0; n < 2; ++n)
        if (py.weight[i] != 0 && cy + i >= begin_ && cy + i < end_) {
          Functions mine[kMostCell];
          for (int64_t k = 0; k < count; ++k) mine[k] = py.weight[i] * weights[k][n] * own[k];
          add_node(cy + i, cx + n, count, mine, product, i + 1, n + 1);
        }
  }

  void add_node(int64_t ny, int64_t nx, int64_t count, const Functions* own,
                const Functions (*product)[4][4], int64_t i, int64_t n) const {
    const int64_t slot = *nodes_.table.at(ny, nx / kNodes) * int64_t{kNodes} + nx % kNodes;
    double* mass = nodes_.mass + slot * m();
    for (int64_t k = 0; k < count; ++k)
      for (int64_t c = 0; c < m(); ++c) mass[c] += own[k][c];
    double* blocks = nodes_.product + slot * kNeighbours * m() * m();
    for (int64_t ey = -1; ey <= 1; ++ey)
      for (int64_t ex = -1; ex <= 1; ++ex, blocks += m() * m())
        for (int64_t a = 0; a < m(); ++a) {
          Functions sum{};
          for (int64_t k = 0; k < count; ++k) sum += own[k][a] * product[k][i + ey][n + ex];
          for (int64_t c = 0; c < m(); ++c) blocks[a * m() + c] += sum[c];
        }
  }

  const FineLevel& level_;
  const NodeLevel& nodes_;
  const int64_t begin_, end_, unknowns_, reach_;
};

void galerkin_pixels(const FineLevel& level, const NodeLevel& nodes, int64_t begin, int64_t end) {
  const int64_t m = nodes.unknowns, height = level.image.height;
  const int64_t first = nodes.table.first[begin], last = nodes.table.first[end];
  std::memset(nodes.mass + first * kNodes * m, 0, sizeof(double) * (last - first) * kNodes * m);
  std::memset(nodes.product + first * kNodes * kNeighbours * m * m, 0,
              sizeof(double) * (last - first) * kNodes * kNeighbours * m * m);
  const int64_t reach = level.spacing - level.image.radius;
  const int64_t from = begin * level.spacing - reach, to = (end - 1) * level.spacing + reach;
  const int64_t top = from < 0 ? 0 : from, bottom = to < height ? to : height;
  if (top >= bottom) return;
  if (m == 4 && level.image.radius == 1) {
    Galerkin<4, 2>(level, nodes, begin, end).run(top, bottom);
  } else if (m == 2 && level.image.radius == 1) {
    Galerkin<2, 2>(level, nodes, begin, end).run(top, bottom);
  } else if (m == 4) {
    Galerkin<4, 0>(level, nodes, begin, end).run(top, bottom);
  } else {
    Galerkin<0, 0>(level, nodes, begin, end).run(top, bottom);
  }
}

const MattingTransferKernels kKernels = {restrict_pixels, prolong_pixels, galerkin_pixels};

}  // namespace

const MattingTransferKernels& matting_transfer_kernels() { return kKernels; }

}  // namespace PF_ISA
}  // namespace pyfast
