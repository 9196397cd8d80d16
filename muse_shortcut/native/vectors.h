/* Vectors of floats, as wide as the registers of the instruction set, and the functions of them that a step needs.

   They are the vector extension of GCC and Clang, so that the same source is fast on every processor. */

#include <stddef.h>

#if defined(__AVX512F__)
#define LANES 16
#define WIDEST 4 /* candidates whose sums fit into the registers */
#define EACH_QUAD(i, j, k, l) QUAD(0, i, j, k, l), QUAD(4, i, j, k, l), QUAD(8, i, j, k, l), QUAD(12, i, j, k, l)
#elif defined(__AVX2__)
#define LANES 8
#define WIDEST 2
#define EACH_QUAD(i, j, k, l) QUAD(0, i, j, k, l), QUAD(4, i, j, k, l)
#else
#define LANES 4
#define WIDEST 2
#define EACH_QUAD(i, j, k, l) QUAD(0, i, j, k, l)
#endif
#define QUAD(at, i, j, k, l) at + i, at + j, at + k, at + l

typedef float floats __attribute__((vector_size(4 * LANES)));
typedef int ints __attribute__((vector_size(4 * LANES)));
typedef float quad __attribute__((vector_size(16)));
typedef floats loose_floats __attribute__((aligned(4), may_alias));
typedef quad loose_quad __attribute__((aligned(4), may_alias));

#define INLINE static inline __attribute__((always_inline))

INLINE floats load(const float *x) { return *(const loose_floats *)x; }
INLINE void store(float *x, floats value) { *(loose_floats *)x = value; }
INLINE floats all(float value) { return value - (floats){0}; }
INLINE floats choose(ints mask, floats yes, floats no) { return (floats)((mask & (ints)yes) | (~mask & (ints)no)); }

/* The first `count` lanes of x; the others are `fill`. */
INLINE floats load_part(const float *x, ptrdiff_t count, float fill) {
    floats part = all(fill);
    for (ptrdiff_t i = 0; i < count; i++) part[i] = x[i];
    return part;
}

INLINE void store_part(float *x, floats value, ptrdiff_t count) {
    for (ptrdiff_t i = 0; i < count; i++) x[i] = value[i];
}

/* The sums of the lanes of four vectors: transposed within quads, and the quads are added. */
INLINE quad sums(floats a, floats b, floats c, floats d) {
#define SHUFFLE(x, y, i, j, k, l) __builtin_shufflevector(x, y, EACH_QUAD(i, j, k, l))
    const floats ab = SHUFFLE(a, b, 0, LANES, 1, LANES + 1) + SHUFFLE(a, b, 2, LANES + 2, 3, LANES + 3);
    const floats cd = SHUFFLE(c, d, 0, LANES, 1, LANES + 1) + SHUFFLE(c, d, 2, LANES + 2, 3, LANES + 3);
    const floats abcd = SHUFFLE(ab, cd, 0, 1, LANES, LANES + 1) + SHUFFLE(ab, cd, 2, 3, LANES + 2, LANES + 3);
    quad sum = __builtin_shufflevector(abcd, abcd, 0, 1, 2, 3);
#if LANES >= 8
    sum += __builtin_shufflevector(abcd, abcd, 4, 5, 6, 7);
#endif
#if LANES >= 16
    sum += __builtin_shufflevector(abcd, abcd, 8, 9, 10, 11) + __builtin_shufflevector(abcd, abcd, 12, 13, 14, 15);
#endif
    return sum;
}

INLINE float sum(floats a) { return sums(a, a, a, a)[0]; }

/* exp(x) of x <= 0 within 2 units in the last place; 0 below -87, where it would be denormal. x = n log 2 + r. */
INLINE floats exponential(floats x) {
    const floats large = all(12582912.0f); /* 1.5 * 2^23: adding it rounds to a whole number */
    const ints tiny = x < all(-87.0f);
    x = choose(tiny, all(-87.0f), x);
    const floats n = (x * 1.44269504f + large) - large;
    const floats r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    floats p = r * 1.9875691500e-4f + 1.3981999507e-3f; /* Cephes, expf */
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    const ints power = (__builtin_convertvector(n, ints) + 127) << 23;
    return choose(tiny, all(0.0f), p * (floats)power);
}

/* gelu(x) = x / 2 (1 + erf(x / sqrt 2)), erf within 1.5e-7: Abramowitz and Stegun 1964, 7.1.26. */
INLINE floats gelu(floats x) {
    const ints negative = x < all(0.0f);
    const floats z = choose(negative, -x, x) * 0.70710678f;
    const floats t = 1.0f / (1.0f + 0.3275911f * z);
    const floats p = ((((1.061405429f * t - 1.453152027f) * t + 1.421413741f) * t - 0.284496736f) * t + 0.254829592f) * t;
    const floats rest = p * exponential(-z * z); /* 1 - erf z */
    return 0.5f * x * choose(negative, rest, 2.0f - rest);
}
