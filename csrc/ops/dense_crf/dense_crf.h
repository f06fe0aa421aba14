// The dense CRF: Gaussian filtering in feature space and mean field on top of it. What one call
// works on, and the entry points of the CPU and CUDA kernels. Nothing here knows torch.
#pragma once

#include <cstdint>

#include "core/device.h"
#include "core/device_memory.h"
#include "core/half.h"

namespace pyfast {

constexpr int kMostFeatures = 32;  // d
constexpr int kMostKernels = 16;   // pairwise terms of one mean field
// Corners of all points, B * N * (d + 1): what 32-bit indices can tell apart.
constexpr int64_t kMostCorners = (int64_t{1} << 31) - 64;

// K~ of a kernel K with row sums r = K 1.
enum class Normalization : int32_t {
  kNone,       // K
  kBefore,     // K diag(1/r)
  kAfter,      // diag(1/r) K
  kSymmetric,  // diag(r^-1/2) K diag(r^-1/2)
};

enum class FilterMethod : int32_t { kLattice, kClosed, kExact };

// --- the lattice ---

// A permutohedral lattice is one block of 32-bit words, a header and arrays; whoever holds it need
// not know what is inside. `lattice_view` finds the arrays.
enum LatticeWord : int32_t {
  kWordDims,      // d
  kWordBatch,     // B
  kWordPoints,    // N, of one image
  kWordVertices,  // M
  kWordUsed,      // U
  kWordSlabs,     // S
  kWordReal,      // bytes of a weight, 4 or 8
  kLatticeHeader = 16,
};

// On the CPU vertices are sorted by image, then by the difference of their last and their first
// coordinate, then by the others, so that those with one difference (or a few neighbouring ones)
// form a slab. Axes 0 and d lead from a slab to the one before or after it, and all others stay
// inside: the vertices along these are listed as chains. Values are put in and taken out at the U
// vertices that points use; in a closed lattice they are numbered apart. On CUDA vertices come in
// another order and have no slabs.
template <class Real>
struct LatticeView {
  int dims = 0;  // d
  int64_t batch = 0, points = 0, vertices = 0, used = 0, slabs = 0;
  int32_t* corners = nullptr;  // (B * N, d + 1): used vertex of each corner of each point's simplex
  Real* weights = nullptr;     // (B * N, d + 1): barycentric
  int32_t* starts = nullptr;   // (U + 1,): where the list of a used vertex starts
  int32_t* list_points = nullptr;  // (B * N * (d + 1),): points of a vertex, ascending
  Real* list_weights = nullptr;    // (B * N * (d + 1),): their weights
  // Neighbours along -axis and +axis, M where there is none: (2, M, 2), of the axes 0 and d, or on
  // CUDA (d + 1, M, 2), of all.
  int32_t* neighbours = nullptr;
  // (d - 1, M + S): of axes 1 to d - 1, one slab after another, its vertices with a neighbour, one
  // chain after another, the last of a chain as ~v, and ~M behind the last of a slab.
  int32_t* chains = nullptr;
  int32_t* slab_starts = nullptr;  // (S + 1,)
  int32_t* used_starts = nullptr;  // (S + 1,), by used vertices
  // Of a closed lattice on the CPU, else null:
  int32_t* vertex_of = nullptr;  // (U,), of used vertices
  int32_t* used_of = nullptr;    // (M + 1,), of vertices; U for those that are not used, and for M
  Real* mass = nullptr;          // (B * N,): K 1, of the raw kernel, see `raw_slice_scale`

  PF_HD int64_t corner_count() const { return batch * points * (dims + 1); }
};

struct LatticeSizes {
  int64_t dims, batch, points, vertices, used, slabs, real;

  PF_HD int64_t neighbour_words() const { return 2 * (slabs > 0 ? 2 : dims + 1) * vertices; }
  PF_HD int64_t chain_words() const { return slabs > 0 ? (dims - 1) * (vertices + slabs) : 0; }
  PF_HD bool is_numbered_apart() const { return used < vertices; }
  bool operator==(const LatticeSizes& o) const {
    return dims == o.dims && batch == o.batch && points == o.points && vertices == o.vertices &&
           used == o.used && slabs == o.slabs && real == o.real;
  }
};

// Words of a lattice: its arrays one after another, each from a multiple of so many words on.
constexpr int64_t kLatticeGrain = 16;

inline int64_t lattice_words(const LatticeSizes& s) {
  const auto padded = [](int64_t words) {
    return (words + kLatticeGrain - 1) / kLatticeGrain * kLatticeGrain;
  };
  const int64_t corners = s.batch * s.points * (s.dims + 1), width = s.real / 4;
  return kLatticeHeader + 2 * padded(corners) + 2 * padded(corners * width) + padded(s.used + 1) +
         padded(s.neighbour_words()) + padded(s.chain_words()) + padded(s.slabs + 1) +
         padded(s.batch * s.points * width) +
         (s.is_numbered_apart() ? padded(s.slabs + 1) + padded(s.used) + padded(s.vertices + 1)
                                : 0);
}

// Where the arrays are, by the sizes in `s`; on any device.
template <class Real>
LatticeView<Real> lattice_view(int32_t* words, const LatticeSizes& s) {
  LatticeView<Real> v;
  v.dims = static_cast<int>(s.dims);
  v.batch = s.batch, v.points = s.points, v.vertices = s.vertices, v.used = s.used,
  v.slabs = s.slabs;
  int32_t* next = words + kLatticeHeader;
  const auto take = [&next](int64_t count) {
    int32_t* here = next;
    next += (count + kLatticeGrain - 1) / kLatticeGrain * kLatticeGrain;
    return here;
  };
  const int64_t width = sizeof(Real) / 4;
  v.corners = take(v.corner_count());
  v.weights = reinterpret_cast<Real*>(take(v.corner_count() * width));
  v.starts = take(s.used + 1);
  v.list_points = take(v.corner_count());
  v.list_weights = reinterpret_cast<Real*>(take(v.corner_count() * width));
  v.neighbours = take(s.neighbour_words());
  v.chains = take(s.chain_words());
  v.slab_starts = take(s.slabs + 1);
  v.mass = reinterpret_cast<Real*>(take(s.batch * s.points * width));
  v.used_starts = v.slab_starts;
  if (s.is_numbered_apart()) {
    v.used_starts = take(s.slabs + 1);
    v.vertex_of = take(s.used);
    v.used_of = take(s.vertices + 1);
  }
  return v;
}

// The same for a lattice whose header the CPU can read.
inline LatticeSizes lattice_sizes(const int32_t* header) {
  return {header[kWordDims], header[kWordBatch], header[kWordPoints], header[kWordVertices],
          header[kWordUsed], header[kWordSlabs], header[kWordReal]};
}

template <class Real>
struct LatticeParams {
  int dims = 0;
  int64_t batch = 0, points = 0;
  const Real* features = nullptr;  // (B, d, N), contiguous, finite
  bool closed = false;             // make all neighbours of the vertices that points use
};

// Gives memory for a lattice when its size is known.
struct LatticeMemory {
  virtual int32_t* allocate(int64_t words) = 0;

 protected:
  ~LatticeMemory() = default;
};

// What came of a build.
enum class LatticeError : int32_t {
  kNone,
  kNotFinite,      // a feature is NaN or infinite
  kTooFar,         // features spread over more than 2^28 lattice cells
  kTooManyPoints,  // more than kMostCorners corners
};

// --- filtering ---

// output = K values, or the transpose, with the raw kernel of the lattice: what the sum over a
// Gaussian is up to a factor.
template <class Real>
struct FilterParams {
  const int32_t* lattice = nullptr;
  int64_t channels = 0;          // C
  const Real* values = nullptr;  // (B, C, N), contiguous
  Real* output = nullptr;        // (B, C, N), contiguous
  bool transposed = false;       // axes in reverse order: blurs along two axes do not commute where
                                 // vertices are missing
};

// Gradient of <grad, K values> in the features, by the barycentric weights.
template <class Real>
struct FilterGradientParams {
  const int32_t* lattice = nullptr;
  int64_t channels = 0;
  const Real* features = nullptr;  // (B, d, N), those of the lattice
  const Real* values = nullptr;    // (B, C, N)
  const Real* grad = nullptr;      // (B, C, N)
  Real* grad_features = nullptr;   // (B, d, N), overwritten
};

// output_i = sum_j exp(-|f_i - f_j|^2 / 2) values_j, pairs beyond `cutoff` left out.
template <class Real>
struct ExactParams {
  int dims = 0;
  int64_t batch = 0, points = 0, channels = 0;
  const Real* features = nullptr;  // (B, d, N)
  const Real* values = nullptr;    // (B, C, N)
  bool gradient = false;           // asks for that in the features
  const Real* grad = nullptr;      // (B, C, N), for the gradient
  Real* output = nullptr;          // (B, C, N), or for the gradient (B, d, N)
  double cutoff = 0;               // a distance, 0: none
};

// output = K~ values for a Gaussian on the pixel grid.
template <class Real>
struct GridParams {
  int64_t planes = 0, height = 0, width = 0;
  double sigma_x = 0, sigma_y = 0;
  Normalization normalization = Normalization::kNone;
  Real factor = 1;               // multiplies all
  const Real* values = nullptr;  // (planes, H, W)
  Real* output = nullptr;        // the same
};

// --- mean field ---

// One pairwise term: energies cost * (K~ Q) are added to the unary ones.
template <class Real>
struct CrfKernel {
  const int32_t* lattice = nullptr;  // of B x N points; null: a Gaussian on the pixel grid
  double sigma_x = 0, sigma_y = 0;   // of that Gaussian, in pixels
  Normalization normalization = Normalization::kSymmetric;
  double scale = 1;            // multiplies K, before it is normalised
  const Real* cost = nullptr;  // (L, L), symmetric
};

// Q <- softmax(-unary - sum_m cost_m (K~_m Q)), `iterations` times. N = height * width; points
// without a grid have height 1.
template <class Real>
struct MeanFieldParams {
  int64_t batch = 0, labels = 0, height = 0, width = 0;
  int64_t iterations = 0;
  const Real* unary = nullptr;  // (B, L, N), contiguous
  const Real* start = nullptr;  // (B, L, N): the first Q; null: softmax(-unary)
  Real* marginals = nullptr;    // (B, L, N)
  Real* history = nullptr;      // (T, B, L, N): the Q that each iteration starts from, or null
  int64_t history_step = 0;     // values from one of them to the next; 0: B * L * N
  int kernel_count = 0;
  CrfKernel<Real> kernels[kMostKernels];

  int64_t points() const { return height * width; }
};

// --- entry points, CPU: dense_crf_driver.cpp, for float and double; same bits for any number of
// threads ---

template <class Real>
LatticeError build_lattice_cpu(const LatticeParams<Real>& params, LatticeMemory& memory);
// An upper bound for `words`.
template <class Real>
int64_t most_lattice_words(const LatticeParams<Real>& params);
// Whether `length` words that came from outside are a lattice that kernels can work on.
template <class Real>
bool is_lattice(const int32_t* words, int64_t length);
template <class Real>
void filter_cpu(const FilterParams<Real>& params);
template <class Real>
void filter_gradient_cpu(const FilterGradientParams<Real>& params);
template <class Real>
void exact_filter_cpu(const ExactParams<Real>& params);
template <class Real>
void grid_filter_cpu(const GridParams<Real>& params);
template <class Real>
void mean_field_cpu(const MeanFieldParams<Real>& params);

// --- entry points, CUDA: dense_crf.cu, for float and double; each returns a cudaError_t ---

// The header of a lattice on a GPU is on the GPU too: what works on it is told `sizes`, so that
// nobody has to wait for it. Building it waits twice, for the range of the features and for the
// number of vertices.
template <class Real>
int build_lattice_cuda(const LatticeParams<Real>& params, LatticeMemory& result,
                       DeviceMemory memory, void* stream, LatticeError* failure);
template <class Real>
int filter_cuda(const FilterParams<Real>& params, const LatticeSizes& sizes, DeviceMemory memory,
                void* stream);
template <class Real>
int filter_gradient_cuda(const FilterGradientParams<Real>& params, const LatticeSizes& sizes,
                         DeviceMemory memory, void* stream);
template <class Real>
int exact_filter_cuda(const ExactParams<Real>& params, DeviceMemory memory, void* stream,
                      LatticeError* failure);
// sizes: one for each kernel.
template <class Real>
int mean_field_cuda(const MeanFieldParams<Real>& params, const LatticeSizes* sizes,
                    DeviceMemory memory, void* stream);

// dense_crf for images that share sigmas, weights and compatibility; all pointers are to the GPU.
// Waits once more, for the last sigma.
template <class Real>
struct ImageCrfParams {
  int64_t batch = 0, labels = 0, channels = 0, height = 0, width = 0;
  int64_t iterations = 0;
  Normalization normalization = Normalization::kSymmetric;
  bool closed = false;
  const Real* unary = nullptr;          // (B, L, H, W)
  const Real* image = nullptr;          // (B, C, H, W)
  const Real* sigmas = nullptr;         // (3,): bilateral in space and colour, on the grid
  const Real* weights = nullptr;        // (2,): bilateral, on the grid
  const Real* compatibility = nullptr;  // (L, L), symmetric costs
  Real* marginals = nullptr;            // (B, L, H, W)
};
template <class Real>
int image_crf_cuda(const ImageCrfParams<Real>& params, DeviceMemory memory, void* stream,
                   LatticeError* failure);

}  // namespace pyfast
