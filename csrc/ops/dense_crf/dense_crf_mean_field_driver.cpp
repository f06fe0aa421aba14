// The mean field: prepares its terms, then sweeps and updates. Weights, normalisers and scales go
// into the weights of splat and slice beforehand, so that an iteration does nothing but sums.
#include <algorithm>
#include <cmath>
#include <deque>
#include <optional>
#include <type_traits>

#include "core/cpu_dispatch.h"
#include "core/parallel.h"
#include "core/workspace.h"
#include "ops/dense_crf/dense_crf_math.h"
#include "ops/dense_crf/dense_crf_update.h"

namespace pyfast {
namespace {

constexpr int64_t kGrain = 4096;  // points or vertices for one thread

// Beyond so many standard deviations a Gaussian counts as 0.
constexpr double kTapReach = 3.8, kTapReachDouble = 9;

// The sigma, in steps, from which on a wide Gaussian passes through every step-th pixel only: what
// a component that these cannot tell from another one has left of it then is
// exp(-(pi sigma / step)^2 / 2), 6e-5.
constexpr double kShrunkSigma = 1.4;
constexpr double kRootOfPi = 1.7724538509055160;

// Powers of two that a lonely point can lose in half precision and still count.
constexpr int kQuickShift = 8;

// The part of K~ that comes before K, or after it.
template <class Real>
Real normalizer(Normalization kind, bool before, Real mass) {
  if (kind == Normalization::kSymmetric)
    return 1 / std::sqrt(std::max(mass, static_cast<Real>(1e-20)));
  const bool applies = kind == (before ? Normalization::kBefore : Normalization::kAfter);
  return applies ? 1 / mass : Real(1);
}

// Of a cost matrix a on the diagonal and b off it: Q falls by (a - b) (K Q), all else changes
// nothing.
template <class Real>
std::optional<Real> potts_weight(const Real* cost, int64_t labels) {
  const Real own = cost[0], other = labels > 1 ? cost[1] : Real(0);
  for (int64_t i = 0; i < labels; ++i)
    for (int64_t j = 0; j < labels; ++j)
      if (cost[i * labels + j] != (i == j ? own : other)) return std::nullopt;
  return other - own;
}

// A term of the update with the memory that it points to.
template <class S>
class Term {
 public:
  using Real = Accumulator<S>;

  Term(const MeanFieldParams<Real>& p, const CrfKernel<Real>& kernel, const LabelGroups& groups,
       Real largest)
      : p_(p), kernel_(kernel), groups_(groups) {
    weight_ = potts_weight(kernel.cost, p.labels);
    if (!weight_) copy_cost();
    kernel.lattice != nullptr ? prepare_lattice(largest) : prepare_grid();
  }

  // What has to be done with all that `from` holds before the update: the sweep through a lattice,
  // or the first half of a wide Gaussian.
  void prepare(const S* from) { kernel_.lattice != nullptr ? sweep(from) : shrink(from); }

  const UpdateTerm<Real, S>& term() const { return term_; }

 private:
  void sweep(const S* from) {
    const int64_t points = p_.batch * p_.points();
    for (int g = 0; g < groups_.count; ++g) {
      const int64_t first = int64_t{g} * kGroupChannels;
      run_sweep(Sweep<S>{view_, list_weights_->data(), false, groups_.blocks(g),
                         from + first * points, lattice_->data() + first * (view_.used + 1),
                         aside_->data()});
    }
  }

  void shrink(const S* from) {
    if (!shrunk_) return;
    const int64_t rows = term_.y.places, points = p_.points(), places = rows * term_.x.places;
    for (int g = 0; g < groups_.count; ++g) {
      const int64_t first = int64_t{g} * kGroupChannels * p_.batch;
      const int blocks = groups_.blocks(g);
      const int64_t row = row_size(blocks);
      const int64_t grain = std::max<int64_t>(1, kGrain / (p_.width * term_.y.step));
      for (int64_t b = 0; b < p_.batch; ++b)
        parallel_for(0, rows, grain, [&](int64_t begin, int64_t end) {
          const Scratch<Real> line(p_.width * row);
          PF_PICK_CPU(update_kernels<S>)
              .shrink(term_, blocks, from + first * points + b * points * row, begin, end,
                      line.data(), shrunk_->data() + first * places + b * places * row);
        });
    }
  }

  void copy_cost() {
    const int64_t channels = groups_.channels();
    cost_.emplace(p_.labels * channels);
    for (int64_t i = 0; i < p_.labels; ++i)
      for (int64_t c = 0; c < channels; ++c)
        cost_->data()[i * channels + c] = c < p_.labels ? kernel_.cost[i * p_.labels + c] : Real(0);
    term_.cost = cost_->data();
  }

  Real factor() const {
    const double scale = kernel_.normalization == Normalization::kNone ? kernel_.scale : 1;
    return static_cast<Real>(scale) * weight_.value_or(1);
  }

  void prepare_lattice(Real largest) {
    view_ = view_of<Real>(kernel_.lattice);
    const int64_t points = view_.batch * view_.points, corners = view_.corner_count();
    list_weights_.emplace(corners);
    post_.emplace(points);
    lattice_.emplace((view_.used + 1) * groups_.channels());
    aside_.emplace((view_.vertices + 1) * row_size(groups_.blocks(0)));
    Real* folded = list_weights_->data();
    const Real* mass = view_.mass;
    const Normalization kind = kernel_.normalization;
    const int64_t parts = (view_.used + kGrain - 1) / kGrain;
    Scratch<Real> most(parts), before(points);
    parallel_for(0, points, 4 * kGrain, [&](int64_t begin, int64_t end) {
      for (int64_t n = begin; n < end; ++n) before.data()[n] = normalizer(kind, true, mass[n]);
    });
    parallel_for(0, parts, 1, [&](int64_t begin, int64_t end) {
      for (int64_t part = begin; part < end; ++part) {
        Real best = 0;
        for (int64_t v = part * kGrain; v < std::min(view_.used, (part + 1) * kGrain); ++v) {
          Real sum = 0;
          for (int64_t e = view_.starts[v]; e < view_.starts[v + 1]; ++e) {
            folded[e] = view_.list_weights[e] * before.data()[view_.list_points[e]];
            sum += folded[e];
          }
          best = std::max(best, sum);
        }
        most.data()[part] = best;
      }
    });
    int shift = 0;
    if constexpr (std::is_same_v<S, Half>) {
      // Each blur at most doubles what a vertex holds.
      const Real sum = *std::max_element(most.data(), most.data() + parts);
      shift = shift_for(largest * std::ldexp(sum, view_.dims + 1));
      // Along many axes that is far from the truth, and nothing would be left of lonely points.
      if (shift > kQuickShift) shift = shift_for(largest * largest_of_ones());
    }
    const Real down = std::ldexp(Real(1), -shift);
    const Real up =
        std::ldexp(factor(), shift) * static_cast<Real>(baseline::raw_slice_scale(view_.dims));
    if (shift != 0)
      parallel_for(0, corners, 4 * kGrain, [&](int64_t begin, int64_t end) {
        for (int64_t e = begin; e < end; ++e) folded[e] *= down;
      });
    parallel_for(0, points, 4 * kGrain, [&](int64_t begin, int64_t end) {
      for (int64_t n = begin; n < end; ++n)
        post_->data()[n] = up * normalizer(kind, false, mass[n]);
    });
    term_.lattice = lattice_->data();
    term_.vertices = view_.used;
    term_.corner_count = view_.dims + 1;
    term_.corners = view_.corners, term_.weights = view_.weights;
    term_.post = post_->data();
  }

  // By how many powers of two values up to `bound` have to be scaled down for half precision, which
  // ends at 65504.
  static int shift_for(Real bound) { return bound > 32768 ? std::ilogb(bound / 32768) + 1 : 0; }

  // What no value of a sweep exceeds where every point has 1.
  Real largest_of_ones() const {
    Scratch<Real> used(view_.used + 1), all(view_.vertices + 1);
    run_sweep(
        Sweep<Real>{view_, list_weights_->data(), false, 0, nullptr, used.data(), all.data()});
    return std::max(*std::max_element(used.data(), used.data() + view_.used),
                    *std::max_element(all.data(), all.data() + view_.vertices));
  }

  void prepare_grid() {
    const int64_t values = measure_axis(kernel_.sigma_x, p_.width, term_.x) +
                           measure_axis(kernel_.sigma_y, p_.height, term_.y);
    grid_.emplace(values);
    Real* next = grid_->data();
    prepare_axis(kernel_.sigma_x, factor(), next, term_.x);
    prepare_axis(kernel_.sigma_y, Real(1), next, term_.y);
    if (term_.x.step == 1 && term_.y.step == 1) return;
    shrunk_.emplace(p_.batch * term_.y.places * term_.x.places * groups_.channels());
    term_.shrunk = shrunk_->data();
  }

  // So much wider than the image a Gaussian is 1.
  static double effective_sigma(double sigma, int64_t length) {
    return std::min(sigma, 100.0 * length);
  }

  // Finds the sizes of an axis; returns how many values it points to.
  int64_t measure_axis(double sigma, int64_t length, GridAxis<Real>& axis) const {
    sigma = effective_sigma(sigma, length);
    axis.length = axis.places = length;
    // One channel, and double precision, go by taps alone.
    if (sizeof(Real) == 4 && groups_.last_blocks > 0)
      axis.step = std::max<int64_t>(1, static_cast<int64_t>(sigma / kShrunkSigma));
    if (axis.step > 1) {
      axis.radius = static_cast<int64_t>(std::ceil(kTapReach * sigma * std::sqrt(0.5)));
      axis.radius_before = axis.radius;
      axis.margin = axis.radius / axis.step;
      axis.places = (length - 1 + axis.radius) / axis.step + axis.margin + 1;
    } else {
      const double reach = (sizeof(Real) == 4 ? kTapReach : kTapReachDouble) * sigma;
      axis.radius = std::min<int64_t>(static_cast<int64_t>(std::ceil(reach)), length - 1);
    }
    return (2 * axis.radius + 1) + 1 + 2 * length;
  }

  // The row sums of a separable Gaussian are a product too.
  void prepare_axis(double sigma, Real factor, Real*& next, GridAxis<Real>& axis) const {
    const int64_t length = axis.length;
    sigma = effective_sigma(sigma, length);
    double height = 1;
    if (axis.step > 1) {
      sigma *= std::sqrt(0.5);
      height = std::sqrt(axis.step / (sigma * kRootOfPi));
    }
    Real *tap = next, *one = tap + 2 * axis.radius + 1, *pre = one + 1, *post = pre + length;
    next = post + length;
    for (int64_t k = -axis.radius; k <= axis.radius; ++k)
      tap[k + axis.radius] = static_cast<Real>(height * std::exp(-0.5 * (k / sigma) * (k / sigma)));
    *one = 1;
    axis.taps = tap, axis.taps_before = axis.step > 1 ? tap : one;
    axis.pre = pre, axis.post = post;
    Scratch<double> sums(axis.places);  // what a place gets from pixels of 1
    for (int64_t place = 0; place < axis.places; ++place) {
      const int64_t here = axis.pixel(place), radius = axis.radius_before;
      sums.data()[place] = 0;
      for (int64_t x = std::max<int64_t>(0, here - radius);
           x <= std::min(length - 1, here + radius); ++x)
        sums.data()[place] += axis.taps_before[x - here + radius];
    }
    for (int64_t x = 0; x < length; ++x) {
      double mass = 0;
      for (int64_t place = axis.first(x); place <= axis.last(x); ++place)
        mass += tap[axis.pixel(place) - x + axis.radius] * sums.data()[place];
      pre[x] = normalizer(kernel_.normalization, true, static_cast<Real>(mass));
      post[x] = factor * normalizer(kernel_.normalization, false, static_cast<Real>(mass));
    }
  }

  const MeanFieldParams<Real>& p_;
  const CrfKernel<Real>& kernel_;
  const LabelGroups groups_;
  std::optional<Real> weight_;  // of Potts
  LatticeView<Real> view_;
  UpdateTerm<Real, S> term_;
  std::optional<Scratch<Real>> cost_, list_weights_, post_, grid_, shrunk_;
  std::optional<Scratch<S>> lattice_, aside_;
};

// Two labels under Potts need one channel only.
template <class Real>
bool is_pair(const MeanFieldParams<Real>& p) {
  bool potts = p.labels == 2 && p.start == nullptr;
  for (int k = 0; k < p.kernel_count; ++k)
    potts = potts && potts_weight(p.kernels[k].cost, p.labels);
  return potts;
}

template <class S>
class MeanField {
 public:
  using Real = Accumulator<S>;

  explicit MeanField(const MeanFieldParams<Real>& p)
      : p_(p),
        groups_(is_pair(p) ? LabelGroups::of_difference() : LabelGroups(p.labels)),
        points_(p.batch * p.points()),
        unknown_(points_),
        rows_(p.iterations > 0 ? 2 * points_ * groups_.channels() : 0),
        logits_(keeps_logits() ? points_ * groups_.channels() : 0) {}

  void run() {
    S* from = rows_.data();
    S* to = from + (p_.iterations > 0 ? points_ * groups_.channels() : 0);
    const int64_t step = p_.history_step > 0 ? p_.history_step : points_ * p_.labels;
    find_unknown();
    begin(from);
    std::deque<Term<S>> terms;  // stays where it is
    Update<S> update = plain();
    update.known_logits = keeps_logits();
    if (p_.iterations > 0)
      for (int k = 0; k < p_.kernel_count; ++k) {
        terms.emplace_back(p_, p_.kernels[k], groups_, largest_);
        update.term[update.terms++] = terms.back().term();
      }
    for (int64_t t = 0; t < p_.iterations; ++t) {
      const bool is_last = t + 1 == p_.iterations;
      for (Term<S>& term : terms) term.prepare(from);
      update.from = from;
      update.to = is_last ? nullptr : to;
      update.planes = is_last                 ? p_.marginals
                      : p_.history != nullptr ? p_.history + (t + 1) * step
                                              : nullptr;
      run_update(update);
      std::swap(from, to);
    }
    while (!terms.empty()) terms.pop_back();  // scratch memory is a stack
  }

 private:
  const UpdateKernels<S>& kernels() const { return PF_PICK_CPU(update_kernels<S>); }

  // Energies are read faster by rows than by planes; of very many labels that takes too much
  // memory.
  bool keeps_logits() const {
    return p_.iterations > 1 && p_.start == nullptr && groups_.channels() <= 64;
  }

  // Without one, rows may be as short as suits threads, which share them.
  bool has_grid() const {
    return std::any_of(p_.kernels, p_.kernels + p_.kernel_count,
                       [](const auto& kernel) { return kernel.lattice == nullptr; });
  }

  Update<S> plain() const {
    Update<S> update;
    update.batch = p_.batch, update.labels = p_.labels;
    update.points = p_.points();
    update.width = has_grid() ? p_.width : kTile;
    update.height = (update.points + update.width - 1) / update.width;
    update.unary = p_.unary, update.unknown = unknown_.data();
    if (keeps_logits()) update.logits = logits_.data();
    return update;
  }

  void find_unknown() const {
    for (int64_t b = 0; b < p_.batch; ++b)
      parallel_for(0, p_.points(), kGrain, [&](int64_t begin, int64_t end) {
        kernels().find_unknown(p_.unary + b * p_.labels * p_.points(), p_.labels, p_.points(),
                               begin, end, unknown_.data() + b * p_.points());
      });
  }

  // The first Q.
  void begin(S* rows) {
    Real* const planes = p_.iterations == 0 ? p_.marginals : p_.history;
    if (p_.start == nullptr) {
      Update<S> update = plain();
      update.to = p_.iterations == 0 ? nullptr : rows;
      update.planes = planes;
      run_update(update);
      return;
    }
    const int64_t size = points_ * p_.labels;
    if (planes != nullptr) std::copy_n(p_.start, size, planes);
    for (int64_t i = 0; i < size; ++i) largest_ = std::max(largest_, std::abs(p_.start[i]));
    for (int64_t b = 0; b < p_.batch && p_.iterations > 0; ++b)
      for (int g = 0; g < groups_.count; ++g) {
        const int64_t first = int64_t{g} * kGroupChannels, row = row_size(groups_.blocks(g));
        const auto channels = static_cast<int>(std::min<int64_t>(p_.labels - first, row));
        parallel_for(0, p_.points(), kGrain, [&](int64_t begin, int64_t end) {
          PF_PICK_CPU(filter_kernels<S>)
              .pack(p_.start + (b * p_.labels + first) * p_.points(), p_.points(), channels,
                    groups_.blocks(g), begin, end, nullptr,
                    rows + first * points_ + b * p_.points() * row);
        });
      }
  }

  void run_update(const Update<S>& update) const {
    const int64_t rows = p_.batch * update.height;
    const int64_t grain = std::max<int64_t>(1, kGrain / update.width);
    parallel_for(0, rows, grain, [&](int64_t begin, int64_t end) {
      const Scratch<Real> scratch(update_scratch(update));
      const auto run = groups_.last_blocks == 0 ? kernels().update_pair : kernels().update;
      run(update, begin, end, scratch.data());
    });
  }

  const MeanFieldParams<Real>& p_;
  const LabelGroups groups_;
  const int64_t points_;
  const Scratch<uint8_t> unknown_;
  const Scratch<S> rows_;
  const Scratch<Real> logits_;
  Real largest_ = 1;
};

}  // namespace

template <class Real>
void mean_field_cpu(const MeanFieldParams<Real>& p) {
  if (p.batch * p.points() * p.labels == 0) return;
  // Rows of half floats are half the traffic, where the processor widens them by itself. What is
  // not normalised may sum up to hundreds, which halves would round by as much as probabilities
  // feel.
  if constexpr (std::is_same_v<Real, float>) {
    const bool normalised = std::all_of(p.kernels, p.kernels + p.kernel_count, [](const auto& k) {
      return k.normalization != Normalization::kNone;
    });
    // What a caller starts from may be anything.
    const bool starts_small =
        p.start == nullptr || std::all_of(p.start, p.start + p.batch * p.points() * p.labels,
                                          [](Real x) { return std::abs(x) <= 2; });
    if (normalised && starts_small && cpu_level() != CpuLevel::kBaseline && !is_pair(p))
      return MeanField<Half>(p).run();
  }
  MeanField<Real>(p).run();
}

template <class Real>
void grid_filter_cpu(const GridParams<Real>& p) {
  if (p.planes * p.height * p.width == 0) return;
  MeanFieldParams<Real> shape;
  shape.labels = 1, shape.height = p.height, shape.width = p.width;
  const Real none = -p.factor;  // Potts of one label
  CrfKernel<Real> kernel;
  kernel.sigma_x = p.sigma_x, kernel.sigma_y = p.sigma_y, kernel.cost = &none;
  kernel.normalization = p.normalization;
  const Term<Real> term(shape, kernel, LabelGroups::of_difference(), 1);
  const auto& grid = PF_PICK_CPU(update_kernels<Real>).grid;
  parallel_for(0, p.planes * p.height, std::max<int64_t>(1, kGrain / p.width),
               [&](int64_t begin, int64_t end) {
                 const Scratch<Real> line(p.width + 2 * term.term().x.radius);
                 grid(term.term(), p.height, p.width, p.values, begin, end, line.data(), p.output);
               });
}

template void grid_filter_cpu(const GridParams<float>&);
template void grid_filter_cpu(const GridParams<double>&);
template void mean_field_cpu(const MeanFieldParams<float>&);
template void mean_field_cpu(const MeanFieldParams<double>&);

}  // namespace pyfast
