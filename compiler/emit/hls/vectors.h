// Vectors of a testbench, from text (integers as the hardware holds them, a beat a line) or
// from .npy files (integers likewise; real numbers are put on the grid of the port).
#ifndef FASTML_VECTORS_H
#define FASTML_VECTORS_H

#include <stdint.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <string>

namespace fastml {

#if FASTML_LIBRARY_IS_AP
template <int W, bool S>
struct Integer {
  typedef ap_uint<W> type;
};
template <int W>
struct Integer<W, true> {
  typedef ap_int<W> type;
};
template <int W>
void set(ap_int<W> &x, const ap_int<W> &bits) { x = bits; }
template <int W>
void set(ap_uint<W> &x, const ap_uint<W> &bits) { x = bits; }
template <int W, int I, class T>
void set(ap_fixed<W, I> &x, const T &bits) { x.range() = bits; }
template <int W, int I, class T>
void set(ap_ufixed<W, I> &x, const T &bits) { x.range() = bits; }
template <int W>
ap_int<W> get(const ap_int<W> &x) { return x; }
template <int W>
ap_uint<W> get(const ap_uint<W> &x) { return x; }
template <int W, int I>
ap_int<W> get(const ap_fixed<W, I> &x) { return ap_int<W>(x.range(W - 1, 0)); }
template <int W, int I>
ap_uint<W> get(const ap_ufixed<W, I> &x) { return ap_uint<W>(x.range(W - 1, 0)); }
#else
template <int W, bool S>
struct Integer {
  typedef ac_int<W, S> type;
};
template <int W, bool S>
void set(ac_int<W, S> &x, const ac_int<W, S> &bits) { x = bits; }
template <int W, int I, bool S>
void set(ac_fixed<W, I, S> &x, const ac_int<W, S> &bits) { x.set_slc(0, bits); }
template <int W, bool S>
ac_int<W, S> get(const ac_int<W, S> &x) { return x; }
template <int W, int I, bool S>
ac_int<W, S> get(const ac_fixed<W, I, S> &x) { return x.template slc<W>(0); }
#endif

inline void fail(const std::string &what) {
  std::cerr << "error: " << what << std::endl;
  std::exit(2);
}

// The vectors of one port, of W bits an element.
template <int W, bool S>
class Vectors {
  typedef typename Integer<W, S>::type Bits;
  typedef typename Integer<(W > 64 ? W : 64) + 6, true>::type Wide;

 public:
  Vectors(const std::string &folder, const std::string &port, int elements, int fraction)
      : port_(port), elements_(elements), fraction_(fraction), row_(new Bits[elements]) {
    const std::string stem = folder + "/" + port;
    text_.open((stem + ".txt").c_str());
    is_text_ = text_.is_open();
    if (is_text_) return;
    binary_.open((stem + ".npy").c_str(), std::ios::binary);
    if (!binary_.is_open()) fail("cannot open " + stem + ".txt or .npy");
    read_header(stem + ".npy");
  }
  ~Vectors() { delete[] row_; }

  // Read the next frame; false at the end.
  bool next() {
    for (int k = 0; k < elements_; ++k) {
      if (!read(row_[k])) {
        if (k) fail("'" + port_ + "' ends within a frame");
        return false;
      }
    }
    ahead_ = true;
    return true;
  }

  template <class T>
  void put(T *beat) {
    for (int k = 0; k < elements_; ++k) set(beat[k], row_[k]);
    ahead_ = false;
  }

  template <class T>
  long compare(const T *beat, long frame) {
    long errors = 0;
    for (int k = 0; k < elements_; ++k) {
      if (get(beat[k]) == row_[k]) continue;
      ++errors;
      if (++shown_ > 10) continue;
      std::cerr << "frame " << frame << ": element " << k << " of '" << port_ << "' differs: "
                << get(beat[k]) << " instead of " << row_[k] << std::endl;
    }
    ahead_ = false;
    return errors;
  }

  // One error if there is more than the other ports have.
  long unread() {
    if (!ahead_ && !next()) return 0;
    std::cerr << "'" << port_ << "' has more frames than another port\n";
    return 1;
  }

 private:
  Vectors(const Vectors &);
  Vectors &operator=(const Vectors &);

  bool read(Bits &to) {
    if (!is_text_) return read_binary(to);
    std::string word;
    if (!(text_ >> word)) return false;
    const bool negative = word[0] == '-';
    Wide value = 0;
    for (std::size_t k = negative; k < word.size(); ++k) {
      if (word[k] < '0' || word[k] > '9') fail("'" + word + "' is not an integer");
      const int digit = word[k] - '0';
      value = value * 10 + (negative ? -digit : digit);
      keep(to, value);
    }
    return true;
  }

  // Keep a value that the element has room for.
  void keep(Bits &to, const Wide &value) {
    to = value;
    if (Wide(to) != value) fail("'" + port_ + "' has a number that its elements cannot hold");
  }

  void read_header(const std::string &path) {
    char magic[8];
    if (!binary_.read(magic, 8) || std::memcmp(magic, "\x93NUMPY", 6)) fail(path + " is no .npy");
    unsigned char size[4] = {0, 0, 0, 0};
    binary_.read(reinterpret_cast<char *>(size), magic[6] == 1 ? 2 : 4);
    const unsigned long length = size[0] | size[1] << 8 | size[2] << 16;
    std::string header(length, ' ');
    binary_.read(&header[0], static_cast<std::streamsize>(length));
    if (header.find("'fortran_order': False") == std::string::npos) fail(path + ": wrong order");
    const std::size_t at = header.find("'descr': '");
    if (!binary_ || at == std::string::npos) fail(path + ": malformed header");
    kind_ = header[at + 11];
    item_ = header[at + 12] - '0';
    const bool known = kind_ == 'f' ? item_ == 4 || item_ == 8 : kind_ == 'i' || kind_ == 'u';
    if (header[at + 10] == '>' || !known || item_ > 8) fail(path + ": wrong element type");
  }

  bool read_binary(Bits &to) {
    unsigned char bytes[8] = {0};
    if (!binary_.read(reinterpret_cast<char *>(bytes), item_)) return false;
    uint64_t word = 0;
    for (int k = 0; k < item_; ++k) word |= static_cast<uint64_t>(bytes[k]) << (8 * k);
    if (kind_ == 'f') {
      keep(to, on_grid(word));
    } else if (kind_ == 'u') {
      keep(to, word);
    } else {
      const int spare = 64 - 8 * item_;
      keep(to, static_cast<int64_t>(word << spare) >> spare);
    }
    return true;
  }

  int64_t on_grid(uint64_t word) {
    double value;
    if (item_ == 4) {
      const uint32_t low = static_cast<uint32_t>(word);
      float single;
      std::memcpy(&single, &low, 4);
      value = single;
    } else {
      std::memcpy(&value, &word, 8);
    }
    value = std::ldexp(value, fraction_);
    if (value != std::floor(value) || std::fabs(value) >= 9007199254740992.0)
      fail("'" + port_ + "' has a number that is not on its grid");
    return static_cast<int64_t>(value);
  }

  std::string port_;
  int elements_, fraction_, shown_ = 0;
  Bits *row_;
  bool is_text_ = false, ahead_ = false;
  char kind_ = 'i';
  int item_ = 8;
  std::ifstream text_, binary_;
};

}  // namespace fastml

#endif
