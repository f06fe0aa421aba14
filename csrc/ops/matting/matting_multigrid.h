// The system of unknown pixels and its hierarchy: layouts, and the table of kernels that each
// instruction set exports.
//
// Fine level. Pixels lie in blocks of 16 side by side; only blocks with an unknown pixel are
// stored, numbered row by row from 1, and block 0 is full of zeros. With weights w_ij = -L_ij the
// system is (A x)_i = e_i x_i + sum over unknown j of w_ij (x_i - x_j): e_i has the diagonal's
// extra and the weights to known pixels. In this form rows sum up exactly, in any precision. A
// weight is kept twice, in double and rounded to float for the preconditioner. Known pixels of a
// block have weights of zero, and so drop out of everything.
//
// Nodes. Each node of the next level carries an affine function of colour, b + a . (I - mu), with
// mu its mean colour: to such functions the matrix is nearly blind, and Jacobi steps with it. Nodes
// are `spacing` = 4 radius pixels apart; a pixel's weights at the two nodes beside it are a ramp
// with flat ends that keeps the Galerkin product to 3 x 3 blocks. Further levels have every
// second node; matting_interpolation.h says how those between follow.
#pragma once

#include <cstdint>

#include "ops/matting/matting_cpu.h"

namespace pyfast {

constexpr int kPixels = 16;  // in a block
constexpr int kNodes = 8;    // in a block of nodes
constexpr int kNeighbours = 9;
constexpr int kMostUnknowns = 17;  // of a node: channels + 1

// Which blocks of a grid are stored.
struct BlockTable {
  int64_t rows = 0, blocks = 0;  // of the grid; a row is padded with a block on either side
  int64_t pad = 0;               // rows above and below
  int64_t count = 0;             // stored blocks
  int32_t* index = nullptr;      // (rows + 2 pad, blocks + 2)
  int32_t* row = nullptr;        // (count + 1)
  int32_t* block = nullptr;      // (count + 1)
  int32_t* first = nullptr;      // (rows + 1): the first stored block of each row or of later ones

  int64_t width() const { return blocks + 2; }
  int32_t* at(int64_t y, int64_t block_of_row) const {
    return index + (y + pad) * width() + block_of_row + 1;
  }
};

struct FineLevel {
  MattingImage<double> image;  // batch 1
  int64_t half = 0;            // offsets
  int64_t spacing = 0;
  BlockTable table;
  float* colours = nullptr;  // (rows + 2 pad, D, stride): I - 1/2
  double* exact = nullptr;   // (count + 1, half, 16): weights
  float* weight = nullptr;   // the same
  double* excess = nullptr;  // (count + 1, 16)
  float* inverse = nullptr;  // (count + 1, 16): damping / diagonal

  int64_t reach() const { return 2 * image.radius; }
  int64_t stride() const { return (table.blocks + 2) * kPixels; }
  int64_t grid_size() const { return (table.rows + 2 * table.pad) * stride(); }
  int64_t block_size() const { return (table.count + 1) * kPixels; }
  int64_t at(int64_t y, int64_t x) const { return (y + table.pad) * stride() + kPixels + x; }
};

// Memory of `weights`, in doubles.
inline int64_t solver_weights_memory(const FineLevel& level) {
  return matrix_memory(level.image) +
         (2 * level.reach() + 1) * matting_stride(level.image.width + kPixels);
}

// Vectors of the fine level. On the grid, with zeros around stored blocks: p, z, t; by block:
// the others.
struct FineVectors {
  double *p = nullptr, *q = nullptr, *x = nullptr, *r = nullptr;
  float *z = nullptr, *t = nullptr;  // a step of the preconditioner, its residual
  float *f = nullptr, *s = nullptr;  // r in float, the preconditioned r
};

// Nodes (rows, columns), each with M unknowns.
struct NodeLevel {
  int64_t rows = 0, columns = 0, unknowns = 0;
  BlockTable table;
  double* product = nullptr;  // Galerkin: (count + 1, 8 nodes, 9, M, M), of b + a . (I - 1/2)
  float* matrix = nullptr;    // (count + 1, 9, M, M, 8), of b + a . (I - mu)
  float* inverse = nullptr;   // (count + 1, M, M, 8): damped, of the diagonal blocks
  double* mass = nullptr;  // (count + 1, 8 nodes, M): sums of weights, and of weights times colour
  // Of the four nodes of the next level around each, row by row: their part in its unknowns.
  double* carry = nullptr;         // (count + 1, 8 nodes, 4, M, M), of b + a . (I - 1/2)
  float* centred_carry = nullptr;  // (count + 1, 4, M, M, 8), of b + a . (I - mu)
  float* mean = nullptr;           // mu, a vector of M - 1 planes
  float *f = nullptr, *x = nullptr, *t = nullptr;  // vectors of M planes

  int64_t stride() const { return (table.blocks + 2) * kNodes; }
  int64_t at(int64_t planes, int64_t plane, int64_t y, int64_t x_) const {
    return ((y + 1) * planes + plane) * stride() + kNodes + x_;
  }
  // With room for kernels that read two blocks from a place on.
  int64_t vector_size(int64_t planes) const { return (rows + 2) * planes * stride() + 2 * kNodes; }
};

// Weight of the node below pixel t of a cell at that node's side; the other side has the rest.
constexpr double node_weight(int64_t t, int64_t spacing, int64_t radius) {
  const double w =
      static_cast<double>(spacing - radius - t) / static_cast<double>(spacing - 2 * radius + 1);
  return w < 0 ? 0 : w > 1 ? 1 : w;
}

// Ranges are of stored blocks, which count from 1, or of rows where it says so.

struct MattingFineKernels {
  // Weights, excess and damping / diagonal of the blocks of rows [top, bottom); the images'
  // colours.
  void (*weights)(const FineLevel&, const uint8_t* known, const double* diagonal, int64_t top,
                  int64_t bottom, double* memory);
  void (*colours)(const FineLevel&, int64_t top, int64_t bottom);
  // q = A p; returns p . q
  double (*outer)(const FineLevel&, const FineVectors&, int64_t begin, int64_t end);
  // x += step p, r -= step q, f = r, z = inverse f; returns r . r and raises `largest` to the
  // largest |step p|.
  double (*advance)(const FineLevel&, const FineVectors&, double step, int64_t begin, int64_t end,
                    double* largest);
  // t = f - A z
  void (*residual)(const FineLevel&, const FineVectors&, int64_t begin, int64_t end);
  // s = z + inverse (f - A z); returns r . s
  double (*smooth)(const FineLevel&, const FineVectors&, int64_t begin, int64_t end);
  // p = s + factor p
  void (*direction)(const FineLevel&, const FineVectors&, double factor, int64_t begin,
                    int64_t end);
};

struct MattingTransferKernels {
  // nodes.f of t, for rows of nodes.
  void (*restrict_pixels)(const FineLevel&, const FineVectors&, const NodeLevel&, int64_t begin,
                          int64_t end);
  // z += of nodes.t, for blocks of pixels.
  void (*prolong_pixels)(const FineLevel&, const FineVectors&, const NodeLevel&, int64_t begin,
                         int64_t end);
  // The Galerkin product and masses of rows of nodes.
  void (*galerkin_pixels)(const FineLevel&, const NodeLevel&, int64_t begin, int64_t end);
};

struct MattingNodeKernels {
  void (*means)(const NodeLevel&, int64_t begin, int64_t end);
  // The matrix and the damped inverses of its diagonal blocks.
  void (*centre)(const NodeLevel&, int64_t begin, int64_t end);
  void (*start)(const NodeLevel&, int64_t begin, int64_t end);     // x = inverse f
  void (*residual)(const NodeLevel&, int64_t begin, int64_t end);  // t = f - A x
  void (*smooth)(const NodeLevel&, int64_t begin, int64_t end);    // t = x + inverse (f - A x)
  // f = rhs - A x, by the Galerkin product in double.
  void (*exact_residual)(const NodeLevel&, const float* rhs, const float* x, int64_t begin,
                         int64_t end);
  // From b + a . (I - mu) to b + a . (I - 1/2), t in place.
  void (*uncentre)(const NodeLevel&, int64_t begin, int64_t end);
};

struct MattingCoarseningKernels {
  // `carry`: first of the nodes that do not lie between four of the next level, then of these.
  void (*interpolate)(const NodeLevel&, bool between_four, int64_t begin, int64_t end);
  // The Galerkin product and masses of rows of coarse nodes.
  void (*galerkin)(const NodeLevel& fine, const NodeLevel& coarse, int64_t begin, int64_t end);
  void (*centre_carries)(const NodeLevel& fine, const NodeLevel& coarse, int64_t begin,
                         int64_t end);
  // coarse.f of fine.t, for rows of coarse nodes.
  void (*restrict_nodes)(const NodeLevel& fine, const NodeLevel& coarse, int64_t begin,
                         int64_t end);
  // fine.x += of coarse.t, for blocks of fine nodes.
  void (*prolong_nodes)(const NodeLevel& coarse, const NodeLevel& fine, int64_t begin, int64_t end);
};

#define PF_DECLARE(level)                                       \
  namespace level {                                             \
  const MattingFineKernels& matting_fine_kernels();             \
  const MattingTransferKernels& matting_transfer_kernels();     \
  const MattingNodeKernels& matting_node_kernels();             \
  const MattingCoarseningKernels& matting_coarsening_kernels(); \
  }
PF_DECLARE(baseline)
PF_DECLARE(avx2)
PF_DECLARE(avx512)
#undef PF_DECLARE

}  // namespace pyfast
