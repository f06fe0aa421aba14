// Conjugate gradients on the unknown pixels, preconditioned by MattingHierarchy.
//
// Reference: Hestenes, Stiefel, Methods of Conjugate Gradients for Solving Linear Systems, Journal
// of Research of the National Bureau of Standards 49 (6), 1952.
#include <algorithm>
#include <cmath>
#include <utility>

#include "ops/matting/matting_hierarchy.h"
#include "ops/matting/matting_threads.h"

namespace pyfast {
namespace {

// One image and its right-hand sides.
class Solver {
 public:
  Solver(const MattingSolveParams& p, int64_t n)
      : p_(p),
        n_(n),
        image_(image_of(p, n)),
        known_(p.known == nullptr ? nullptr : p.known + n * p.image.pixels()),
        diagonal_(p.diagonal == nullptr ? nullptr : p.diagonal + n * p.image.pixels()),
        hierarchy_(image_, known_, diagonal_),
        is_singular_(hierarchy_.fine().table.count > 0 && hierarchy_.is_singular()) {}

  void run() {
    for (int64_t k = 0; k < p_.vectors; ++k) {
      const int64_t at = (n_ * p_.vectors + k) * image_.pixels();
      p_.reports[n_ * p_.vectors + k] = solve(p_.rhs == nullptr ? nullptr : p_.rhs + at, p_.x + at);
    }
  }

 private:
  static MattingImage<double> image_of(const MattingSolveParams& p, int64_t n) {
    MattingImage<double> image = p.image;
    image.batch = 1;
    image.data += n * image.channels * image.pixels();
    return image;
  }

  // r = rhs - (L + diag) x in unknown pixels; returns |r|, whose square no double may hold.
  double find_residual(const double* rhs, const double* x) const {
    const Scratch<double> product(image_.pixels());
    MattingFormParams<double> form;
    form.image = image_;
    form.known = known_;
    form.vectors = 1;
    form.v = x;
    form.product = product.data();
    matting_form_cpu(form);
    double* const residual = hierarchy_.vectors().r;
    double largest = 0;
    hierarchy_.for_unknown([&](int64_t pixel, int64_t place) {
      double r = -product.data()[pixel];
      if (rhs != nullptr) r += rhs[pixel];
      if (diagonal_ != nullptr) r -= diagonal_[pixel] * x[pixel];
      residual[place] = r;
      largest = std::max(largest, std::abs(r));
    });
    const double unit = largest > 0 ? largest : 1;
    double sum = 0;  // NaN if one of them is
    hierarchy_.for_unknown([&](int64_t, int64_t place) {
      const double r = residual[place] / unit;
      sum += r * r;
    });
    return unit * std::sqrt(sum);
  }

  // |r| where x is 0 in unknown pixels, what residuals are relative to, and then that of x.
  std::pair<double, double> find_residuals(const double* rhs, const double* x) const {
    double largest = 0;
    hierarchy_.for_unknown(
        [&](int64_t pixel, int64_t) { largest = std::max(largest, std::abs(x[pixel])); });
    if (largest == 0) {
      const double both = find_residual(rhs, x);
      return {both, both};
    }
    const Scratch<double> without(image_.pixels());
    std::copy(x, x + image_.pixels(), without.data());
    hierarchy_.for_unknown([&](int64_t pixel, int64_t) { without.data()[pixel] = 0; });
    const double of_zero = find_residual(rhs, without.data());
    return {of_zero, find_residual(rhs, x)};
  }

  // About 1 / norm, a power of two: numbers times it are the same bits, and floats hold them.
  static double unit_of(double norm) {
    if (!(norm > 0) || !std::isfinite(norm)) return 1;
    return std::ldexp(1.0, -std::clamp(std::ilogb(norm), -1000, 1000));
  }

  MattingReport solve(const double* rhs, double* x) {
    MattingReport report;
    report.converged = true;
    const FineLevel& fine = hierarchy_.fine();
    if (fine.table.count == 0) return report;
    const FineVectors& v = hierarchy_.vectors();
    const auto [of_zero, of_guess] = find_residuals(rhs, x);
    const double unit = unit_of(of_guess);
    // Where x = 0 solves the system, the first residual is what to measure by.
    const double scale = unit * (of_zero > 0 ? of_zero : of_guess);
    std::fill_n(v.p, fine.grid_size(), 0.0);
    std::fill_n(v.q, fine.block_size(), 0.0);
    std::fill_n(v.x, fine.block_size(), 0.0);  // of what is added to the guess
    hierarchy_.for_unknown([&](int64_t, int64_t place) { v.r[place] *= unit; });
    report = iterate(scale, unit);
    hierarchy_.for_unknown([&](int64_t pixel, int64_t place) { x[pixel] += v.x[place] / unit; });
    return report;
  }

  struct State {
    double change = 0;      // the largest one of x in the last iteration
    double before = 0;      // r . M r of the last iteration, or 0: there is none to build on
    bool by_levels = true;  // what M is
    bool is_lost = false;   // rounding has the last word, or what came in was not finite
  };

  // Residuals are `unit` times those of the system, and relative to `scale`.
  MattingReport iterate(double scale, double unit) {
    MattingReport report;
    State state;
    double squares = hierarchy_.advance(0, &state.change);
    ThreadChoice threads;
    for (;; ++report.iterations) {
      report.residual = scale == 0 ? 0 : std::sqrt(squares) / scale;  // NaN of what is not finite
      report.converged = report.residual <= p_.tolerance;
      const MattingProgress& progress = matting_progress();
      const bool stops = progress.report != nullptr && report.iterations > 0 &&
                         progress.report(progress.context, report.iterations, report.residual,
                                         state.change / unit);
      if (report.converged || stops || report.iterations >= p_.most_iterations) break;
      threads.run([&] { squares = step(state, squares); });
      if (state.is_lost) break;
    }
    return report;
  }

  // One iteration; returns r . r.
  double step(State& state, double squares) const {
    if (is_singular_) hierarchy_.remove_mean(hierarchy_.vectors().f);
    const double now = hierarchy_.precondition(state.by_levels);
    if (is_singular_) hierarchy_.remove_mean(hierarchy_.vectors().s);
    hierarchy_.turn(state.before > 0 ? now / state.before : 0);
    state.before = now;
    const double curvature = hierarchy_.multiply();
    if (now > 0 && curvature > 0 && std::isfinite(now / curvature))
      return hierarchy_.advance(now / curvature, &state.change);
    // Where unknown pixels are hardly more than the nodes' unknowns, rounding can cost the levels
    // their definiteness.
    state.is_lost = !state.by_levels;
    state.by_levels = false;
    state.before = 0;
    return squares;
  }

  const MattingSolveParams& p_;
  const int64_t n_;
  const MattingImage<double> image_;
  const uint8_t* known_;
  const double* diagonal_;
  const MattingHierarchy hierarchy_;
  const bool is_singular_;
};

}  // namespace

MattingProgress& matting_progress() {
  thread_local MattingProgress progress;
  return progress;
}

void matting_solve_cpu(const MattingSolveParams& p) {
  for (int64_t n = 0; n < p.image.batch; ++n) Solver(p, n).run();
}

}  // namespace pyfast
