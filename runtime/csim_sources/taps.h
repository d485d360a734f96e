// Beats to and from arrays of 64-bit words, and the tap of the edges between the stages.
extern int64_t *const *fastml_taps;
extern int64_t *fastml_seen;  // beats of each tap so far

template <class T, int N>
void fastml_get_beat(const T (&beat)[N], int64_t *words, int64_t row) {
  const int limbs = (fastml_width(beat[0]) + 63) / 64;
  for (int k = 0; k < N; ++k) fastml_get(beat[k], words + (row * N + k) * limbs);
}

template <class T, int N>
void fastml_put_beat(T (&beat)[N], const int64_t *words, int64_t row) {
  const int limbs = (fastml_width(beat[0]) + 63) / 64;
  for (int k = 0; k < N; ++k) fastml_put(beat[k], words + (row * N + k) * limbs);
}

#define FASTML_TAP(number, array) \
  if (fastml_taps[number] != 0) \
  fastml_get_beat(array, fastml_taps[number], fastml_seen[number]++)
