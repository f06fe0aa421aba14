// Scratch memory of one thread: a stack of bytes that is kept between calls, so that a large
// buffer is not mapped and faulted in afresh at every call.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pyfast {

// What `Scratch` below is made of: bytes, aligned to a cache line, until the end of the scope.
// Scopes of one thread nest like the calls that open them.
class ScratchBytes {
 public:
  explicit ScratchBytes(size_t bytes);
  ~ScratchBytes();
  ScratchBytes(const ScratchBytes&) = delete;
  ScratchBytes& operator=(const ScratchBytes&) = delete;
  void* data() const { return data_; }

 private:
  void* data_;
};

// Memory for `count` items of T, not initialised, until the end of the scope.
template <class T>
class Scratch {
 public:
  explicit Scratch(int64_t count) : bytes_(static_cast<size_t>(count) * sizeof(T)) {}
  T* data() const { return static_cast<T*>(bytes_.data()); }

 private:
  ScratchBytes bytes_;
};

// Asks the system for large pages where memory of some megabytes will be written for the first
// time: page by page of 4 KiB that takes longer than to fill it.
void prefer_large_pages(void* data, size_t bytes);

// Frees what idle threads keep; returns the number of bytes freed.
size_t clear_scratch();

}  // namespace pyfast
