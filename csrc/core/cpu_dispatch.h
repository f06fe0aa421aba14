// Which of the three compilations of a CPU kernel runs: decided at the first call, until
// set_cpu_level decides otherwise.
#pragma once

namespace pyfast {

enum class CpuLevel { kBaseline, kAvx2, kAvx512 };

// The best level that this build has and this processor can run, or the one named by the
// environment variable PYFAST_CPU_CAPABILITY (baseline, avx2, avx512) if it can run.
CpuLevel cpu_level();
const char* cpu_level_name(CpuLevel level);

// Whether this build has the level of that name and this processor can run it.
bool has_cpu_level(const char* name);

// Whether kernels read values from many places by gathers: where this processor does it faster than
// one by one, until set_gathers or the environment variable PYFAST_GATHERS (0, 1) decides
// otherwise. The baseline has none.
bool use_gathers();
void set_gathers(bool use);

// Overrides the choice for the whole process; false where there is no such level.
bool set_cpu_level(const char* name);

}  // namespace pyfast

// Every kernel file exports one table of function pointers from its own namespace;
// PF_PICK_CPU(f) calls the `f()` of the level in force.
#if defined(PF_HAS_AVX512) && defined(PF_HAS_AVX2)
#define PF_PICK_CPU(function)                                                \
  (::pyfast::cpu_level() == ::pyfast::CpuLevel::kAvx512 ? avx512::function() \
   : ::pyfast::cpu_level() == ::pyfast::CpuLevel::kAvx2 ? avx2::function()   \
                                                        : baseline::function())
#elif defined(PF_HAS_AVX2)
#define PF_PICK_CPU(function) \
  (::pyfast::cpu_level() == ::pyfast::CpuLevel::kAvx2 ? avx2::function() : baseline::function())
#else
#define PF_PICK_CPU(function) (baseline::function())
#endif
