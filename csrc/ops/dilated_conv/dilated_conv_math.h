// Which values a tap of a convolution meets, along one side of an image.
#pragma once

#include "core/device.h"

namespace pyfast {
namespace PF_ISA {

// Position q of the result meets, through tap k, position (up q + base + step k) / down of the
// source, where that is a whole number of [0, size). A convolution has down 1; the gradient of its
// input up 1 and a negative step.
struct TapSide {
  int32_t up, base, step, down, size;

  // of_gradient: of the gradient of the input, whose source is the gradient of the output.
  static TapSide of(int64_t stride, int64_t padding, int64_t dilation, int64_t source,
                    bool of_gradient) {
    if (of_gradient)
      return {1, int32_t(padding), int32_t(-dilation), int32_t(stride), int32_t(source)};
    return {int32_t(stride), int32_t(-padding), int32_t(dilation), 1, int32_t(source)};
  }

  // The source of q, or -1.
  PF_HD int32_t source(int32_t q, int32_t k) const {
    const int32_t at = up * q + base + step * k;
    const int32_t from = down == 1 ? at : at / down;
    return at >= 0 && from < size && from * down == at ? from : -1;
  }

  // Whether some q of [first, last] may have one.
  PF_HD bool meets(int32_t first, int32_t last, int32_t k) const {
    const int32_t shift = base + step * k;
    return up * last + shift >= 0 && up * first + shift <= (size - 1) * down;
  }

  // For down 1: those q of [0, count) that have one, [first, last).
  PF_HD void range(int32_t k, int32_t count, int32_t* first, int32_t* last) const {
    const int32_t before = -(base + step * k), room = size + before;  // up q in [before, room)
    const int32_t begin = before > 0 ? (before + up - 1) / up : 0;
    const int32_t end = room > 0 ? (room + up - 1) / up : 0;
    *last = end < count ? end : count;
    *first = begin < *last ? begin : *last;
  }
};

}  // namespace PF_ISA
}  // namespace pyfast
