// Options of sampling as words, for torch and for the array doors.
#pragma once

#include <stdexcept>
#include <string>

#include "ops/sampling/sampling.h"

namespace pyfast {

inline Interpolation parse_mode(const std::string& mode) {
  if (mode == "bilinear") return Interpolation::kBilinear;
  if (mode == "nearest") return Interpolation::kNearest;
  throw std::invalid_argument("expected mode to be one of bilinear, nearest, got '" + mode + "'");
}

inline Padding parse_padding(const std::string& padding) {
  if (padding == "zeros") return Padding::kZeros;
  if (padding == "border") return Padding::kBorder;
  if (padding == "reflection") return Padding::kReflection;
  throw std::invalid_argument(
      "expected padding_mode to be one of zeros, border, reflection, got '" + padding + "'");
}

}  // namespace pyfast
