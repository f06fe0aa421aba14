#include "core/cpu_dispatch.h"

#if defined(PF_HAS_AVX2)
#include <cpuid.h>
#endif

#include <atomic>
#include <cstdlib>
#include <cstring>

namespace pyfast {
namespace {

constexpr const char* kNames[] = {"baseline", "avx2", "avx512"};

bool available(CpuLevel level) {
  if (level == CpuLevel::kBaseline) return true;
#if defined(PF_HAS_AVX2)
  if (level == CpuLevel::kAvx2)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
#if defined(PF_HAS_AVX512)
  if (level == CpuLevel::kAvx512)
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
#endif
  return false;
}

bool find(const char* name, CpuLevel* level) {
  for (int i = 0; i < 3; ++i)
    if (std::strcmp(name, kNames[i]) == 0) {
      *level = static_cast<CpuLevel>(i);
      return available(*level);
    }
  return false;
}

CpuLevel detect() {
  CpuLevel level;
  const char* wanted = std::getenv("PYFAST_CPU_CAPABILITY");
  if (wanted != nullptr && find(wanted, &level)) return level;
  if (available(CpuLevel::kAvx512)) return CpuLevel::kAvx512;
  return available(CpuLevel::kAvx2) ? CpuLevel::kAvx2 : CpuLevel::kBaseline;
}

// Intel's from the first generation on whose gathers leak no data and need no slow remedy; that is
// also the first one with AVX-VNNI. AMD's read one value after another.
bool has_fast_gathers() {
#if defined(PF_HAS_AVX2)
  unsigned int a, b, c, d;
  constexpr unsigned int kAvxVnni = 1u << 4;
  return __builtin_cpu_is("intel") && __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 &&
         (a & kAvxVnni) != 0;
#else
  return false;
#endif
}

std::atomic<CpuLevel>& current() {
  static std::atomic<CpuLevel> level{detect()};
  return level;
}

bool wants_gathers() {
  const char* wanted = std::getenv("PYFAST_GATHERS");
  return wanted != nullptr ? std::strcmp(wanted, "1") == 0 : has_fast_gathers();
}

std::atomic<bool>& gathers() {
  static std::atomic<bool> use{wants_gathers()};
  return use;
}

}  // namespace

CpuLevel cpu_level() { return current().load(std::memory_order_relaxed); }

const char* cpu_level_name(CpuLevel level) { return kNames[static_cast<int>(level)]; }

bool has_cpu_level(const char* name) {
  CpuLevel level;
  return find(name, &level);
}

bool use_gathers() {
  return gathers().load(std::memory_order_relaxed) && cpu_level() != CpuLevel::kBaseline;
}

void set_gathers(bool use) { gathers().store(use, std::memory_order_relaxed); }

bool set_cpu_level(const char* name) {
  CpuLevel level;
  if (!find(name, &level)) return false;
  current().store(level, std::memory_order_relaxed);
  return true;
}

}  // namespace pyfast
