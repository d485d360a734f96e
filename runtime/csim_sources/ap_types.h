// Words of 64 bits to and from the types of ap_types.
#pragma once
#include <ap_fixed.h>
#include <ap_int.h>
#include <stdint.h>

template <int W, bool S>
void fastml_get(const ap_int_base<W, S> &x, int64_t *to) {
  for (int k = 0; k < (W + 63) / 64; ++k) to[k] = ap_int_base<W, S>(x >> (64 * k)).to_int64();
}

template <int W, bool S>
void fastml_put(ap_int_base<W, S> &x, const int64_t *from) {
  const int limbs = (W + 63) / 64;
  ap_int_base<W, S> value(from[limbs - 1]);
  for (int k = limbs - 2; k >= 0; --k) {
    value <<= 64;
    value |= ap_int_base<W, S>(ap_int_base<64, false>((uint64_t)from[k]));  // of one width
  }
  x = value;
}

template <int W, int I, bool S, ap_q_mode Q, ap_o_mode O, int N>
void fastml_get(const ap_fixed_base<W, I, S, Q, O, N> &x, int64_t *to) {
  ap_int_base<W, S> bits;
  bits = x.range(W - 1, 0);
  fastml_get(bits, to);
}

template <int W, int I, bool S, ap_q_mode Q, ap_o_mode O, int N>
void fastml_put(ap_fixed_base<W, I, S, Q, O, N> &x, const int64_t *from) {
  ap_int_base<W, S> bits;
  fastml_put(bits, from);
  x.range() = bits;
}

template <int W, bool S>
constexpr int fastml_width(const ap_int_base<W, S> &) {
  return W;
}

template <int W, int I, bool S, ap_q_mode Q, ap_o_mode O, int N>
constexpr int fastml_width(const ap_fixed_base<W, I, S, Q, O, N> &) {
  return W;
}

