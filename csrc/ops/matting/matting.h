// The matting Laplacian L of an image: what calls work on, and the entry points of the CPU kernels
// and the solver. Nothing here knows torch.
//
// L sums over all windows of (2 radius + 1)^2 pixels that fit the image; matting_math.h has the
// window's part. Pixels are numbered row by row. Everything is contiguous.
//
// Reference: Levin, Lischinski, Weiss, A Closed-Form Solution to Natural Image Matting, IEEE TPAMI
// 30 (2), 2008, equation 12.
#pragma once

#include <cstdint>

#include "core/device.h"
#include "core/device_memory.h"

namespace pyfast {

// Of epsilon: its share of a window, and the inverse root of that, are normal numbers.
constexpr double kLeastMattingEpsilon = 1e-300, kMostMattingEpsilon = 1e300;

// Added to the diagonal of a system: the preconditioner's floats hold it, and sums of it.
constexpr double kMostMattingWeight = 1e30;

// Of windows; kernels keep as many rows, and more.
constexpr int64_t kMostMattingRadius = 8;

// Jacobi's steps are of omega D^-1, D being the diagonal of A, and stable where omega times the
// largest eigenvalue of D^-1 A is below 2: kStableStep keeps a distance. On pixels omega is at most
// kPixelDamping, and less where the sizes of a row's entries say that the eigenvalue may be large
// (Gershgorin). On nodes D has blocks, and as A is a sum of elements of four nodes, the eigenvalue
// is 4 at most.
constexpr double kStableStep = 1.9, kPixelDamping = 0.85, kNodeDamping = kStableStep / 4;
// Of the trace of a node's block: what its diagonal has at least where colours do not vary, more
// than rounding. With less, the eigenvalue of such a node is anything.
constexpr double kNodeFloor = 1e-9;
// The cycle of the solver's multigrid. Through the levels of nodes from this one on (0 is next to
// the pixels), which are cheap, it goes several times, by Chebyshev's polynomial for eigenvalues
// between a = 0.1 and b = 1: a third fewer iterations. What is left between these cycles is found
// in double: where functions vary slowly it is a small difference of large numbers.
constexpr int kRepeatedLevel = 2;
constexpr int kRepeats = 3;
// 2 / (b + a + (b - a) cos((2 k + 1) pi / 6))
constexpr float kRepeatSteps[kRepeats] = {1.0642f, 1.8182f, 6.2386f};

// Colours of an image that kernels hold where the compiler does not know their number.
constexpr int kMostMattingChannels = 7;

// Of an image whose systems are solved.
constexpr int64_t kMostSolverChannels = 16;

// Which matrix. T is float or double; all statistics of windows are double.
template <class T>
struct MattingImage {
  int64_t batch = 0, channels = 0, height = 0, width = 0;
  int64_t radius = 1;
  double epsilon = 1e-7;
  const T* data = nullptr;  // (batch, channels, height, width)

  int64_t side() const { return 2 * radius + 1; }
  int64_t pixels() const { return height * width; }
};

// The bilinear form u^T L v and its gradients: dE/dv = L u, dE/du = L v, and by the envelope
// theorem dE/dI_i = - sum over windows that contain i of (rho_i^u a^v + rho_i^v a^u).
// Null pointers are parts not asked for.
template <class T>
struct MattingFormParams {
  MattingImage<T> image;
  // (batch, height, width), or null. Windows whose pixels are all known (nonzero) may be left out:
  // products stay exact in other pixels alone.
  const uint8_t* known = nullptr;
  int64_t vectors = 0;       // for each image
  const T* u = nullptr;      // (batch, vectors, height, width); null: u = v
  const T* v = nullptr;      // the same
  double* energy = nullptr;  // (batch, vectors): u^T L v, overwritten
  T* product = nullptr;      // L v, shaped as v, overwritten
  T* slope = nullptr;        // dE/dI of E = sum over vectors, (batch, channels, height, width)
};

// The diagonal of L, of each image.
struct MattingDiagonalParams {
  MattingImage<double> image;
  double* diagonal = nullptr;  // (batch, height, width), overwritten
};

// L as compressed rows with ascending columns and no entry that the pattern does not have.
// `known` leaves out windows whose pixels are all known (nonzero): rows of other pixels stay exact.
struct MattingMatrixParams {
  MattingImage<double> image;      // batch 1
  const uint8_t* known = nullptr;  // (height, width), or null
  int32_t* row_start = nullptr;    // (height * width + 1)
  int32_t* column = nullptr;       // (matting_entries(...))
  double* value = nullptr;         // the same
};

// Entries of L: pairs of pixels that lie at most 2 radius apart in rows and in columns, and, on
// sides of less than 4 radius + 1 pixels, all that have a window in common.
int64_t matting_entries(int64_t height, int64_t width, int64_t radius);

// How one system was solved.
struct MattingReport {
  int64_t iterations = 0;
  double residual = 0;  // |b - A x| / |b|
  bool converged = false;
};

// Called after each iteration of a solve on the thread that called it, with the largest change of x
// in it; true ends the solve.
struct MattingProgress {
  bool (*report)(void* context, int64_t iteration, double residual, double change) = nullptr;
  void* context = nullptr;  // `report` null: nobody asks
  bool of_each = true;      // false: to hear of some iterations is enough
};
// Whom solves of this thread report to.
MattingProgress& matting_progress();

// (L + diag(diagonal)) x = rhs in the pixels that are not known; x is held in those that are.
struct MattingSolveParams {
  MattingImage<double> image;
  int64_t vectors = 0;               // right-hand sides for each image
  const uint8_t* known = nullptr;    // (batch, height, width), or null: no pixel is known
  const double* diagonal = nullptr;  // (batch, height, width), at least 0, or null: zeros
  const double* rhs = nullptr;       // (batch, vectors, height, width), or null: zeros
  double* x = nullptr;               // the same: in, values of known pixels and first guess; out
  // Of the residual, relative to that of x = 0 in unknown pixels, or to the first where that is 0.
  double tolerance = 1e-7;
  int64_t most_iterations = 1000;
  MattingReport* reports = nullptr;  // (batch, vectors)
};

// CPU: matting_driver.cpp. Same bits for any number of threads.
template <class T>
void matting_form_cpu(const MattingFormParams<T>& params);
void matting_diagonal_cpu(const MattingDiagonalParams& params);
void matting_matrix_cpu(const MattingMatrixParams& params);
void matting_solve_cpu(const MattingSolveParams& params);

// CUDA: matting.cu, parts of builds with CUDA only. The same on memory of the device, except for
// `reports`, which is the host's. Each returns a cudaError_t; scratch memory is from `memory`.
template <class T>
int matting_form_cuda(const MattingFormParams<T>& params, const DeviceMemory& memory, void* stream);
// totals (batch): sums of energies (batch, vectors).
template <class T>
int matting_totals_cuda(const double* energies, int64_t batch, int64_t vectors, T* totals,
                        void* stream);
// to = by * factors * from: (batch, each), factors (batch), or null: ones.
template <class T>
int matting_scale_cuda(const T* from, const T* factors, double by, int64_t batch, int64_t each,
                       T* to, void* stream);
int matting_diagonal_cuda(const MattingDiagonalParams& params, const DeviceMemory& memory,
                          void* stream);
int matting_matrix_cuda(const MattingMatrixParams& params, const DeviceMemory& memory,
                        void* stream);
// Waits for the stream: reads how many pixels are unknown, and the residuals every few iterations.
int matting_solve_cuda(const MattingSolveParams& params, const DeviceMemory& memory, void* stream);

}  // namespace pyfast
