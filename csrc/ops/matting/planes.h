// A picture as planes, wherever it lies.
#pragma once

#include <cstdint>

namespace pyfast {

// (N, C, H, W); strides in elements, any order, any sign, zero allowed.
template <class T>
struct PlanesView {
  T* data = nullptr;
  int64_t n = 0, c = 0, h = 0, w = 0;  // strides
};

template <class T>
PlanesView<T> planes_view(T* data, const int64_t* strides) {
  return {data, strides[0], strides[1], strides[2], strides[3]};
}

}  // namespace pyfast
