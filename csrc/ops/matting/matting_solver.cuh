// Conjugate gradients on the unknown pixels, preconditioned by a V-cycle of colour-affine
// multigrid: the outer product in double, the cycle in float. All that decides how to go on stays
// on the GPU, so that iterations are the same launches each time; the host reads how far they are
// every few of them. A system that is done keeps its x, so that results do not depend on when the
// host looks.
#pragma once

#include "core/device_graph.cuh"
#include "ops/matting/matting_cycle.cuh"

namespace pyfast {
namespace PF_ISA {

constexpr int kIterationsPerLook = 4;

// What the host looks at.
struct MattingSummary {
  int running;         // systems that are not done
  int most_unknown;    // pixels of an image
  double residual;     // the largest, relative
  double change;       // of x in the last iteration, no pixel's is larger
  int64_t iterations;  // the largest number of them
};

// --- Lists of unknown pixels, ascending ---

constexpr int kListChunk = 8 * kMattingThreads;  // pixels of a block

PF_HD int first_of_chunk(unsigned chunks, unsigned block, int thread) {
  return int(block % chunks) * kListChunk + thread * (kListChunk / kMattingThreads);
}

// How many of the thread's pixels are unknown.
PF_HD int count_unknown(const MattingFine& fine, unsigned image, int first) {
  int count = 0;
  for (int k = 0; k < kListChunk / kMattingThreads; ++k)
    count += first + k < fine.grid.pixels() && fine.is_unknown(image, first + k);
  return count;
}

__global__ void __launch_bounds__(kMattingThreads)
    count_chunks(const MattingFine fine, unsigned chunks, int* of_chunk) {
  const int first = first_of_chunk(chunks, blockIdx.x, int(threadIdx.x));
  int total;
  block_prefix_sum<kMattingThreads>(count_unknown(fine, blockIdx.x / chunks, first), &total);
  if (threadIdx.x == 0) of_chunk[blockIdx.x] = total;
}

// Counts become the places of first pixels. One block for all images.
__global__ void __launch_bounds__(kMattingThreads)
    place_chunks(unsigned chunks, int images, int* of_chunk, int* counts, MattingSummary* summary) {
  int most = 0;
  for (int image = 0; image < images; ++image) {
    int before = 0;
    for (unsigned start = 0; start < chunks; start += kMattingThreads) {
      const unsigned chunk = start + threadIdx.x;
      int* place = of_chunk + int64_t{image} * chunks + chunk;
      int total;
      const int offset = block_prefix_sum<kMattingThreads>(chunk < chunks ? *place : 0, &total);
      if (chunk < chunks) *place = before + offset;
      before += total;
    }
    if (threadIdx.x == 0) counts[image] = before;
    most = most > before ? most : before;
  }
  if (threadIdx.x == 0) summary->most_unknown = most;
}

__global__ void __launch_bounds__(kMattingThreads)
    list_unknown(const MattingFine fine, unsigned chunks, const int* of_chunk, int* list) {
  const unsigned image = blockIdx.x / chunks;
  const int first = first_of_chunk(chunks, blockIdx.x, int(threadIdx.x));
  int total;
  const int offset = block_prefix_sum<kMattingThreads>(count_unknown(fine, image, first), &total);
  int* to = list + int64_t{image} * fine.grid.pixels() + of_chunk[blockIdx.x] + offset;
  for (int k = 0; k < kListChunk / kMattingThreads; ++k)
    if (first + k < fine.grid.pixels() && fine.is_unknown(image, first + k)) *to++ = first + k;
}

// --- Rows of the unknown pixels ---

__global__ void __launch_bounds__(kMattingThreads)
    round_colours(const double* exact, int64_t count, float* rounded) {
  const int64_t k = int64_t{blockIdx.x} * kMattingThreads + threadIdx.x;
  if (k < count) rounded[k] = float(exact[k]);
}

// `blocks`, of as many threads as share rows, have an image.
template <int kD>
__global__ void __launch_bounds__(kMattingThreads, 1)
    keep_rows(const MattingImage<double> image, const MattingPixels pixels, unsigned blocks) {
  PF_DYN_SMEM(double, rows);
  const MattingGrid& grid = pixels.fine.grid;
  const int side = 4 * grid.radius + 1, entries = side * side, threads = int(blockDim.x);
  const unsigned number = blockIdx.x / blocks;
  const int at = int(blockIdx.x % blocks) * threads + int(threadIdx.x);
  double* row = rows + threadIdx.x;
  for (int k = 0; k < entries; ++k) row[k * threads] = 0;
  if (at >= pixels.counts[number]) return;
  MattingPlace place(grid, number * grid.blocks, 0);
  place.pixel = pixels.list[int64_t{number} * grid.pixels() + at];
  place.y = place.pixel / grid.width;
  place.x = place.pixel % grid.width;
  double* centre = row + entries / 2 * threads;
  add_up_row<kD>(image, grid, pixels.fine.fits, place, centre, side * threads, threads);
  int64_t to = int64_t{number} * (entries - 1) * pixels.most + at;
  double sizes = 0;  // of the entries beside the diagonal
  for (int k = 0; k < entries; ++k) {
    if (k == entries / 2) continue;
    sizes += fabs(row[k * threads]);
    pixels.rows[to] = -row[k * threads];
    pixels.rounded[to] = float(-row[k * threads]);
    to += pixels.most;
  }
  double diagonal = *centre;
  if (pixels.fine.diagonal != nullptr)
    diagonal += pixels.fine.diagonal[int64_t{number} * grid.pixels() + place.pixel];
  const double stable = kStableStep / (diagonal + sizes), usual = kPixelDamping / diagonal;
  pixels.inverse[int64_t{number} * pixels.most + at] =
      diagonal > 0 ? float(stable < usual ? stable : usual) : 0.0f;
}

// --- Conjugate gradients ---

__device__ __forceinline__ double product_at(const MattingPixels& pixels,
                                             const UnknownPixel& unknown, const double* x) {
  double product = row_times(pixels, pixels.rows, unknown.image, unknown.number, unknown.pixel,
                             x + unknown.plane);
  if (pixels.fine.diagonal != nullptr) {
    const int64_t size = pixels.fine.grid.pixels();
    product += pixels.fine.diagonal[unknown.image * size + unknown.pixel] *
               x[unknown.plane + unknown.pixel];
  }
  return product;
}

// r = rhs - A x, and its square beside that of x = 0 in unknown pixels. p holds x where known.
__global__ void __launch_bounds__(kMattingThreads)
    first_residual(const MattingPixels pixels, const double* rhs, double* partial_sums) {
  const UnknownPixel unknown(pixels, pixels.vectors);
  Sums<2> sum{};
  if (unknown.number >= 0) {
    const double right = rhs == nullptr ? 0.0 : rhs[unknown.plane + unknown.pixel];
    const double r = right - product_at(pixels, unknown, pixels.x);
    const double of_known = right - product_at(pixels, unknown, pixels.p);
    pixels.r[unknown.compact] = r;
    pixels.ap[unknown.compact] = 0;
    sum.value[0] = r * r;
    sum.value[1] = of_known * of_known;
  }
  write_block_sum<kMattingThreads>(sum, partial_sums + 2 * int64_t{blockIdx.x});
}

__global__ void __launch_bounds__(kMattingThreads)
    keep_known(const MattingPixels pixels, const double* from, double* to) {
  const MattingGrid& grid = pixels.fine.grid;
  const MattingPlace place(grid, blockIdx.x, threadIdx.x);  // `image` is a system
  if (place.pixel >= grid.pixels()) return;
  const int64_t at = int64_t{place.image} * grid.pixels() + place.pixel;
  const bool unknown = pixels.fine.is_unknown(place.image / unsigned(pixels.vectors), place.pixel);
  to[at] = unknown || from == nullptr ? 0.0 : from[at];
}

// The sums that the blocks of this block's system left, in `sum` of every thread.
template <int N>
__device__ __forceinline__ void add_partial_sums_of_system(const double* partial_sums,
                                                           unsigned blocks, double (&sum)[N]) {
  __shared__ double total[N];
  Sums<N> of_thread{};
  const double* first = partial_sums + int64_t{blockIdx.x} * blocks * N;
  for (unsigned k = threadIdx.x; k < blocks; k += kMattingThreads)
    for (int v = 0; v < N; ++v) of_thread.value[v] += first[int64_t{k} * N + v];
  write_block_sum<kMattingThreads>(of_thread, total);
  for (int v = 0; v < N; ++v) sum[v] = total[v];
}

// One block a system, as all that change states.
__global__ void __launch_bounds__(kMattingThreads)
    begin_systems(const double* partial_sums, unsigned blocks, double tolerance,
                  MattingState* states) {
  double sum[2];
  add_partial_sums_of_system(partial_sums, blocks, sum);
  if (threadIdx.x != 0) return;
  MattingState& state = states[blockIdx.x];
  state = {};
  state.rr = sum[0];
  // Where x = 0 solves the system, the first residual is what to measure by.
  state.reference = sum[1] > 0 ? sum[1] : sum[0];
  state.target = tolerance * tolerance * state.reference;
  state.scale = sum[0] > 0 ? 1 / sqrt(sum[0]) : 0;
  state.iterations = -1;  // the first direction is none
}

__global__ void __launch_bounds__(kMattingThreads)
    settle_direction(const double* of_rr, const double* of_rz, unsigned blocks,
                     int64_t most_iterations, MattingState* states) {
  double rr[2], rz[1];
  add_partial_sums_of_system(of_rr, blocks, rr);
  add_partial_sums_of_system(of_rz, blocks, rz);
  if (threadIdx.x != 0) return;
  MattingState& state = states[blockIdx.x];
  if (state.done != 0) return;
  ++state.iterations;
  state.rr = rr[0];
  state.change = sqrt(rr[1]);
  state.beta = state.rz > 0 ? rz[0] / state.rz : 0;
  state.rz = rz[0];
  // Also where something is not a number.
  state.done = !(state.rr > state.target) || state.iterations >= most_iterations;
}

__global__ void __launch_bounds__(kMattingThreads)
    settle_step(const double* of_pap, unsigned blocks, MattingState* states) {
  double pap[1];
  add_partial_sums_of_system(of_pap, blocks, pap);
  if (threadIdx.x != 0) return;
  MattingState& state = states[blockIdx.x];
  state.alpha = 0;
  if (state.done != 0) return;
  if (pap[0] > 0 && state.rz > 0) {
    state.alpha = state.rz / pap[0];
  } else {
    state.done = state.plain;
    state.plain = 1;
    state.rz = 0;  // a new beginning
  }
}

__global__ void __launch_bounds__(kMattingThreads)
    turn_directions(const MattingPixels pixels, const MattingState* states) {
  const UnknownPixel unknown(pixels, pixels.vectors);
  if (unknown.number < 0) return;
  const int64_t at = unknown.plane + unknown.pixel;
  const double beta = states[unknown.system].beta;
  pixels.p[at] = double(pixels.result[at]) + (beta != 0 ? beta * pixels.p[at] : 0.0);
}

__global__ void __launch_bounds__(kMattingThreads)
    multiply_directions(const MattingPixels pixels, double* partial_sums) {
  const UnknownPixel unknown(pixels, pixels.vectors);
  Sums<1> of_p{};
  if (unknown.number >= 0) {
    const double product = product_at(pixels, unknown, pixels.p);
    pixels.ap[unknown.compact] = product;
    of_p.value[0] = product * pixels.p[unknown.plane + unknown.pixel];
  }
  write_block_sum<kMattingThreads>(of_p, partial_sums + blockIdx.x);
}

// A step along p, and the first of the cycle's steps.
__global__ void __launch_bounds__(kMattingThreads)
    step(const MattingPixels pixels, const MattingState* states, double* partial_sums) {
  const UnknownPixel unknown(pixels, pixels.vectors);
  Sums<2> of_r{};  // squares of r and of the change of x
  if (unknown.number >= 0) {
    const MattingState& state = states[unknown.system];
    const int64_t at = unknown.plane + unknown.pixel;
    double r = pixels.r[unknown.compact];
    if (state.alpha != 0) {
      const double change = state.alpha * pixels.p[at];
      pixels.x[at] += change;
      of_r.value[1] = change * change;
      r -= state.alpha * pixels.ap[unknown.compact];
      pixels.r[unknown.compact] = r;
    }
    of_r.value[0] = r * r;
    const float rhs = float(r * state.scale);
    pixels.rhs[at] = rhs;
    pixels.guess[at] = pixels.inverse[int64_t{unknown.image} * pixels.most + unknown.number] * rhs;
  }
  write_block_sum<kMattingThreads>(of_r, partial_sums + 2 * int64_t{blockIdx.x});
}

__device__ __forceinline__ double relative_residual(const MattingState& state) {
  return state.rr == 0 ? 0.0 : sqrt(state.rr / state.reference);
}

// One thread; a call has few systems.
__global__ void summarise(const MattingState* states, int systems, MattingSummary* summary) {
  summary->running = 0;
  summary->residual = 0;
  summary->change = 0;
  summary->iterations = 0;
  for (int k = 0; k < systems; ++k) {
    const double residual = relative_residual(states[k]);
    summary->running += states[k].done == 0;
    if (residual > summary->residual) summary->residual = residual;
    if (states[k].change > summary->change) summary->change = states[k].change;
    if (states[k].iterations > summary->iterations) summary->iterations = states[k].iterations;
  }
}

__global__ void __launch_bounds__(kMattingThreads)
    write_reports(const MattingState* states, int systems, MattingReport* reports) {
  const int k = int(blockIdx.x * kMattingThreads + threadIdx.x);
  if (k >= systems) return;
  reports[k] = {states[k].iterations, relative_residual(states[k]),
                states[k].rr <= states[k].target};
}

// --- The driver ---

class MattingSolver {
 public:
  MattingSolver(const MattingSolveParams& params, const MattingProgress& progress,
                const DeviceMemory& memory, cudaStream_t stream)
      : params_(params),
        progress_(progress),
        memory_(memory),
        stream_(stream),
        batch_(int(params.image.batch)),
        systems_(int(params.image.batch * params.vectors)),
        channels_(int(params.image.channels)),
        fine_{MattingGrid(params.image), params.known,
              params.diagonal,           nullptr,
              params.image.data,         {}} {}

  int run() {
    find_unknown();
    MattingSummary summary{};
    if (const int error = look(&summary)) return error;
    if (summary.most_unknown == 0) return report_nothing();
    pixels_.most = summary.most_unknown;
    pixels_.blocks = unsigned(ceil_div(pixels_.most, kMattingThreads));
    if (int64_t{pixels_.blocks} * systems_ > kMostMattingPixels) return cudaErrorInvalidValue;
    take_memory();
    const int error = with_channels(channels_, [&](auto c) {
      constexpr int kD = decltype(c)::kD;
      if (const int failed = set_up<kD>()) return failed;
      return iterate<kD>();
    });
    return error != cudaSuccess ? error : report();
  }

 private:
  int64_t plane() const { return fine_.grid.pixels(); }
  int unknowns() const { return channels_ + 1; }  // of a node
  int entries() const {
    const int side = 4 * fine_.grid.radius + 1;
    return side * side - 1;
  }

  template <class T>
  void clear(T* data, int64_t count) {
    cudaMemsetAsync(data, 0, size_t(count) * sizeof(T), stream_);
  }

  // Reads the summary, when all that was launched is done.
  int look(MattingSummary* summary) {
    const int error =
        cudaMemcpyAsync(summary, summary_, sizeof(*summary), cudaMemcpyDeviceToHost, stream_);
    return error != cudaSuccess ? error : int(cudaStreamSynchronize(stream_));
  }

  void find_unknown() {
    summary_ = memory_.take<MattingSummary>(1);
    pixels_.list = memory_.take<int>(batch_ * plane());
    pixels_.counts = memory_.take<int>(batch_);
    const unsigned chunks = unsigned(ceil_div(plane(), kListChunk)), blocks = chunks * batch_;
    int* of_chunk = memory_.take<int>(blocks);
    clear(summary_, 1);
    PF_LAUNCH(count_chunks, blocks, kMattingThreads, 0, stream_, fine_, chunks, of_chunk);
    PF_LAUNCH(place_chunks, 1, kMattingThreads, 0, stream_, chunks, batch_, of_chunk,
              pixels_.counts, summary_);
    PF_LAUNCH(list_unknown, blocks, kMattingThreads, 0, stream_, fine_, chunks, of_chunk,
              pixels_.list);
  }

  void take_memory() {
    const int64_t rows = int64_t{batch_} * entries() * pixels_.most;
    const int64_t compact = int64_t{systems_} * pixels_.most, planes = systems_ * plane();
    pixels_.vectors = int(params_.vectors);
    pixels_.x = params_.x;
    pixels_.rows = memory_.take<double>(rows);
    pixels_.rounded = memory_.take<float>(rows);
    pixels_.inverse = memory_.take<float>(int64_t{batch_} * pixels_.most);
    pixels_.r = memory_.take<double>(compact);
    pixels_.ap = memory_.take<double>(compact);
    pixels_.p = memory_.take<double>(planes);
    for (float** vector : {&pixels_.rhs, &pixels_.guess, &pixels_.residual, &pixels_.result}) {
      *vector = memory_.take<float>(planes);
      clear(*vector, planes);
    }
    states_ = memory_.take<MattingState>(systems_);
    const int64_t sums = int64_t{systems_} * pixels_.blocks;
    of_rr_ = memory_.take<double>(2 * sums);
    of_rz_ = memory_.take<double>(sums);

    MattingLevel level;
    level.cells_y = int(ceil_div(fine_.grid.height, fine_.spacing()));
    level.cells_x = int(ceil_div(fine_.grid.width, fine_.spacing()));
    for (count_ = 0;; ++count_) {
      const bool bottom = (level.nodes() * unknowns() <= kMostBottom) || level.cells() == 1;
      take_level(bottom, &level);
      levels_[count_] = level;
      if (bottom) break;
      level.cells_y = (level.cells_y + 1) / 2;
      level.cells_x = (level.cells_x + 1) / 2;
    }
    const int size = levels_[count_].nodes() * unknowns();
    bottom_matrix_ = memory_.take<double>(int64_t{batch_} * size * size);
    bottom_inverse_ = memory_.take<float>(int64_t{batch_} * size * size);
  }

  void take_level(bool bottom, MattingLevel* level) {
    const int m = unknowns();
    const int64_t nodes = int64_t{batch_} * level->nodes();
    const int64_t vector = int64_t{systems_} * level->nodes() * m;
    level->mean = memory_.take<float>(nodes * channels_);
    level->mass = memory_.take<double>(nodes);
    level->elements = memory_.take<double>(batch_ * int64_t{level->cells()} * packed_size(4 * m));
    level->rhs = memory_.take<float>(vector);
    level->result = memory_.take<float>(vector);
    level->rows = level->inverse = level->guess = level->residual = nullptr;
    level->carry = level->exact_rows = nullptr;
    level->rounded_carry = level->kept_rhs = level->kept_result = nullptr;
    if (bottom) return;
    if (count_ == kRepeatedLevel) {
      level->exact_rows = memory_.take<double>(nodes * 9 * m * m);
      level->kept_rhs = memory_.take<float>(vector);
      level->kept_result = memory_.take<float>(vector);
    }
    level->rows = memory_.take<float>(nodes * 9 * m * m);
    level->carry = memory_.take<double>(nodes * 4 * m * m);
    level->rounded_carry = memory_.take<float>(nodes * 4 * m * m);
    level->inverse = memory_.take<float>(nodes * m * m);
    level->guess = memory_.take<float>(vector);
    level->residual = memory_.take<float>(vector);
    clear(level->rhs, vector);
  }

  // Blocks of a thread a node, of an image.
  unsigned blocks_of(const MattingLevel& level) const {
    return unsigned(ceil_div(level.nodes(), kMattingThreads));
  }

  template <int kD>
  int set_up() {
    float* colours = memory_.take<float>(batch_ * channels_ * plane());
    const int64_t count = batch_ * channels_ * plane();
    PF_LAUNCH(round_colours, unsigned(ceil_div(count, kMattingThreads)), kMattingThreads, 0,
              stream_, params_.image.data, count, colours);
    fine_.colours = colours;
    if (const int error = launch_fits(params_.image, params_.known, memory_, stream_, &fine_.fits))
      return error;
    pixels_.fine = fine_;

    const int threads = row_threads(params_.image.radius);
    const unsigned row_blocks = unsigned(ceil_div(pixels_.most, threads));
    const auto rows = keep_rows<kD>;
    PF_LAUNCH(rows, row_blocks * batch_, threads,
              size_t(threads) * (entries() + 1) * sizeof(double), stream_, params_.image, pixels_,
              row_blocks);

    for (int l = 0; l <= count_; ++l) set_up_level<kD>(l);
    const MattingLevel& bottom = levels_[count_];
    PF_LAUNCH(invert_bottom, unsigned(batch_), kBottomThreads, 0, stream_, bottom, unknowns(),
              bottom_matrix_, bottom_inverse_);
    return cudaGetLastError();
  }

  template <int kD>
  void set_up_level(int l) {
    const MattingLevel& level = levels_[l];
    const int m = unknowns();
    const unsigned blocks = blocks_of(level), cells = unsigned(batch_) * level.cells();
    const int tiles = 4 * m * m;  // threads that share an element
    if (l == 0) {
      const auto means = find_means<kD>;
      PF_LAUNCH(means, blocks * batch_, kMattingThreads, 0, stream_, fine_, level, blocks);
      const auto elements = make_elements<kD>;
      PF_LAUNCH(elements, cells, tiles, size_t(kTerms) * (4 * m + 1) * sizeof(double), stream_,
                fine_, level);
    } else {
      const auto means = average_means<kD>;
      PF_LAUNCH(means, blocks * batch_, kMattingThreads, 0, stream_, levels_[l - 1], level,
                channels_, blocks);
      const unsigned of_children = blocks_of(levels_[l - 1]);
      const auto carries = find_carries<kD>;
      for (const bool between_four : {false, true})
        PF_LAUNCH(carries, of_children * batch_, kMattingThreads, 0, stream_, levels_[l - 1], level,
                  channels_, between_four, of_children);
      const auto elements = merge_elements<kD>;
      PF_LAUNCH(elements, cells, tiles, size_t(16 * m * m) * sizeof(double), stream_,
                levels_[l - 1], level, channels_);
    }
    if (l == count_) return;
    const unsigned of_rows = unsigned(ceil_div(int64_t{level.nodes()} * m * m, kMattingThreads));
    PF_LAUNCH(gather_rows, of_rows * 9 * batch_, kMattingThreads, 0, stream_, level, m, of_rows);
    const auto invert = invert_blocks<kD>;
    PF_LAUNCH(invert, blocks * batch_, kMattingThreads, 0, stream_, level, channels_, blocks);
  }

  // From rhs and the first guess to result, on a level of nodes.
  template <int kD>
  void cycle_nodes(int l, cudaStream_t stream) {
    const MattingLevel& level = levels_[l];
    const int k = int(params_.vectors), size = level.nodes() * unknowns();
    if (l == count_) {
      const unsigned of_rows = unsigned(ceil_div(size, 32));
      PF_LAUNCH(solve_bottom, of_rows * systems_, kMattingThreads, 0, stream, level,
                bottom_inverse_, size, k, of_rows);
      return;
    }
    const MattingLevel& next = levels_[l + 1];
    const unsigned nodes = node_blocks(level, channels_), of_next = node_blocks(next, channels_);
    const auto residual = find_node_residual<kD>;
    const auto down = restrict_nodes<kD>;
    const auto up = prolong_nodes<kD>;
    const auto smooth = smooth_nodes<kD>;
    const auto rest = find_rest<kD>;
    for (int number = 0; number < (l == kRepeatedLevel ? kRepeats : 1); ++number) {
      if (number > 0)
        PF_LAUNCH(rest, nodes * systems_, kMattingThreads, 0, stream, level, channels_, k, nodes);
      PF_LAUNCH(residual, nodes * systems_, kMattingThreads, 0, stream, level, channels_, k, nodes);
      PF_LAUNCH(down, of_next * systems_, kMattingThreads, 0, stream, level, next, channels_, k,
                of_next);
      cycle_nodes<kD>(l + 1, stream);
      PF_LAUNCH(up, nodes * systems_, kMattingThreads, 0, stream, next, level, channels_, k, nodes);
      PF_LAUNCH(smooth, nodes * systems_, kMattingThreads, 0, stream, level, channels_, k, nodes);
      if (l == kRepeatedLevel) {
        const int64_t count = int64_t{systems_} * size;
        PF_LAUNCH(add_cycle, unsigned(ceil_div(count, kMattingThreads)), kMattingThreads, 0, stream,
                  level, count, number, kRepeatSteps[number]);
      }
    }
  }

  // From rhs to result, on pixels.
  template <int kD>
  void cycle(cudaStream_t stream) {
    const unsigned blocks = pixels_.blocks * systems_;
    PF_LAUNCH(find_residual, blocks, kMattingThreads, 0, stream, pixels_);
    const unsigned nodes = node_blocks(levels_[0], channels_);
    const auto from_pixels = restrict_pixels<kD>;
    PF_LAUNCH(from_pixels, nodes * systems_, kMattingThreads, 0, stream, pixels_, levels_[0],
              nodes);
    cycle_nodes<kD>(0, stream);
    const auto to_pixels = prolong_pixels<kD>;
    PF_LAUNCH(to_pixels, blocks, kMattingThreads, 0, stream, pixels_, levels_[0]);
    PF_LAUNCH(smooth_pixels, blocks, kMattingThreads, 0, stream, pixels_, states_, of_rz_);
  }

  // The second half of an iteration, which begins the first.
  template <int kD>
  void precondition(cudaStream_t stream) {
    PF_LAUNCH(step, pixels_.blocks * systems_, kMattingThreads, 0, stream, pixels_, states_,
              of_rr_);
    cycle<kD>(stream);
    PF_LAUNCH(settle_direction, unsigned(systems_), kMattingThreads, 0, stream, of_rr_, of_rz_,
              pixels_.blocks, params_.most_iterations, states_);
  }

  template <int kD>
  int iterate() {
    const unsigned blocks = pixels_.blocks * systems_;
    PF_LAUNCH(keep_known, fine_.grid.blocks * systems_, kMattingThreads, 0, stream_, pixels_,
              params_.x, pixels_.p);
    PF_LAUNCH(first_residual, blocks, kMattingThreads, 0, stream_, pixels_, params_.rhs, of_rr_);
    PF_LAUNCH(begin_systems, unsigned(systems_), kMattingThreads, 0, stream_, of_rr_,
              pixels_.blocks, params_.tolerance, states_);
    clear(pixels_.p, systems_ * plane());
    precondition<kD>(stream_);
    const auto iteration = [&](cudaStream_t stream) {
      PF_LAUNCH(turn_directions, blocks, kMattingThreads, 0, stream, pixels_, states_);
      PF_LAUNCH(multiply_directions, blocks, kMattingThreads, 0, stream, pixels_, of_rz_);
      PF_LAUNCH(settle_step, unsigned(systems_), kMattingThreads, 0, stream, of_rz_, pixels_.blocks,
                states_);
      precondition<kD>(stream);
      return int(cudaGetLastError());
    };
    RepeatedLaunches<decltype(iteration)> iterations(iteration);
    for (;;) {
      PF_LAUNCH(summarise, 1, 1, 0, stream_, states_, systems_, summary_);
      MattingSummary summary{};
      if (const int error = cudaGetLastError()) return error;
      if (const int error = look(&summary)) return error;
      const bool asked_to_stop =
          summary.iterations > 0 && progress_.report != nullptr &&
          progress_.report(progress_.context, summary.iterations, summary.residual, summary.change);
      if (summary.running == 0 || asked_to_stop) return cudaSuccess;
      const bool of_each = progress_.report != nullptr && progress_.of_each;
      const int count = of_each ? 1 : kIterationsPerLook;
      for (int k = 0; k < count; ++k)
        if (const int error = iterations.run(stream_)) return error;
    }
  }

  int report() {
    if (params_.reports == nullptr) return cudaSuccess;
    MattingReport* reports = memory_.take<MattingReport>(systems_);
    PF_LAUNCH(write_reports, unsigned(ceil_div(systems_, kMattingThreads)), kMattingThreads, 0,
              stream_, states_, systems_, reports);
    const int error =
        cudaMemcpyAsync(params_.reports, reports, size_t(systems_) * sizeof(MattingReport),
                        cudaMemcpyDeviceToHost, stream_);
    return error != cudaSuccess ? error : int(cudaStreamSynchronize(stream_));
  }

  int report_nothing() {
    for (int k = 0; params_.reports != nullptr && k < systems_; ++k)
      params_.reports[k] = {0, 0, true};
    return cudaSuccess;
  }

  const MattingSolveParams& params_;
  const MattingProgress& progress_;
  const DeviceMemory& memory_;
  const cudaStream_t stream_;
  const int batch_, systems_, channels_;
  MattingFine fine_;
  MattingPixels pixels_;
  MattingLevel levels_[kMostLevels];
  int count_ = 0;  // of levels above the bottom, which is levels_[count_]
  MattingSummary* summary_ = nullptr;
  MattingState* states_ = nullptr;
  double *of_rr_ = nullptr, *of_rz_ = nullptr;  // partial sums
  double* bottom_matrix_ = nullptr;
  float* bottom_inverse_ = nullptr;
};

inline int launch_solve(const MattingSolveParams& p, const MattingProgress& progress,
                        const DeviceMemory& memory, cudaStream_t stream) {
  const int64_t systems = p.image.batch * p.vectors;
  if (!is_valid(p.image) || row_threads(p.image.radius) == 0 ||
      p.image.radius > kMostMattingRadius ||
      systems * ceil_div(p.image.pixels(), kMattingThreads) > kMostMattingPixels)
    return cudaErrorInvalidValue;
  if (is_empty(p.image) || p.vectors == 0) return cudaSuccess;
  return MattingSolver(p, progress, memory, stream).run();
}

}  // namespace PF_ISA
}  // namespace pyfast
