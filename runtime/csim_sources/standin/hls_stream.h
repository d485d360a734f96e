// Streams of HLS C++ for a plain C++ compiler, where the tool's own header is not at hand: as
// much of the interface as printed code uses. A stream is an unbounded queue.
#ifndef FASTML_STANDIN_HLS_STREAM_H
#define FASTML_STANDIN_HLS_STREAM_H

#include <cstdio>
#include <deque>

namespace hls {

template <class T, int DEPTH = 0>
class stream {
 public:
  explicit stream(const char *name = "") : name_(name) {}

  bool empty() const { return beats_.empty(); }
  bool full() const { return false; }
  unsigned size() const { return static_cast<unsigned>(beats_.size()); }

  void write(const T &beat) { beats_.push_back(beat); }

  T read() {
    if (beats_.empty()) {
      std::fprintf(stderr, "error: stream '%s' is read while it is empty\n", name_);
      return T();
    }
    const T beat = beats_.front();
    beats_.pop_front();
    return beat;
  }

 private:
  stream(const stream &);
  stream &operator=(const stream &);

  const char *name_;
  std::deque<T> beats_;
};

}  // namespace hls

#endif
