// Words of 64 bits to and from the types of ac_types.
#pragma once
#include <ac_fixed.h>
#include <ac_int.h>
#include <stdint.h>

template <int W, bool S>
void fastml_get(const ac_int<W, S> &x, int64_t *to) {
  for (int k = 0; k < (W + 63) / 64; ++k) to[k] = (x >> (64 * k)).to_int64();
}

template <int W, bool S>
void fastml_put(ac_int<W, S> &x, const int64_t *from) {
  const int limbs = (W + 63) / 64;
  ac_int<W, S> value = from[limbs - 1];
  for (int k = limbs - 2; k >= 0; --k) {
    value <<= 64;
    value |= ac_int<64, false>((uint64_t)from[k]);
  }
  x = value;
}

template <int W, int I, bool S, ac_q_mode Q, ac_o_mode O>
void fastml_get(const ac_fixed<W, I, S, Q, O> &x, int64_t *to) {
  const ac_int<W, S> bits = x.template slc<W>(0);
  fastml_get(bits, to);
}

template <int W, int I, bool S, ac_q_mode Q, ac_o_mode O>
void fastml_put(ac_fixed<W, I, S, Q, O> &x, const int64_t *from) {
  ac_int<W, S> bits;
  fastml_put(bits, from);
  x.set_slc(0, bits);
}

template <int W, bool S>
constexpr int fastml_width(const ac_int<W, S> &) {
  return W;
}

template <int W, int I, bool S, ac_q_mode Q, ac_o_mode O>
constexpr int fastml_width(const ac_fixed<W, I, S, Q, O> &) {
  return W;
}

