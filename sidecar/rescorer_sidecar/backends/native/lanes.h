/* Vectors of this machine, and the little that their lanes compute: everything is chosen by what -march=native defines.

   The widest vectors are used; on a machine without any of the named instruction sets the compiler makes of them what
   it can. A "step" is four bytes of a row: one float32, two bfloat16 or four 8-bit integers. */
#ifndef RESCORER_LANES_H
#define RESCORER_LANES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
enum { LANES = 16, TILE_ROWS = 6, TILE_VECTORS = 4 };
#elif defined(__AVX2__)
enum { LANES = 8, TILE_ROWS = 6, TILE_VECTORS = 2 };
#else
enum { LANES = 4, TILE_ROWS = 6, TILE_VECTORS = 4 };
#endif

enum { STEP_BYTES = 4, VECTOR_BYTES = LANES * STEP_BYTES };

typedef float floats __attribute__((vector_size(LANES * 4)));
typedef int32_t ints __attribute__((vector_size(LANES * 4)));

#if defined(__AVX512BF16__) && defined(__AVX512DQ__)
#define HAS_BF16 1
#else
#define HAS_BF16 0
#endif
#if (defined(__AVX512VNNI__) && defined(__AVX512F__)) || (defined(__AVXVNNI__) && !defined(__AVX512F__))
#define HAS_INT8 1
#else
#define HAS_INT8 0
#endif
#if HAS_BF16 && HAS_INT8 && ((defined(__AMX_TILE__) && defined(__AMX_BF16__) && defined(__AMX_INT8__)) || defined(_tile_test))
#define HAS_AMX 1 /* _tile_test: a test brings tiles made of plain C */
#else
#define HAS_AMX 0
#endif

/* Columns of a linear layer that are multiplied at a time. By tiles, a 384 wide strip of them is half of the nearest cache. */
enum { PANEL = HAS_AMX ? 2 * LANES : LANES * TILE_VECTORS };

#define INLINE static inline __attribute__((always_inline))

INLINE floats load(const float *from) { floats v; memcpy(&v, from, sizeof v); return v; }
INLINE void store(float *to, floats v) { memcpy(to, &v, sizeof v); }
INLINE floats all(float value) { return value - (floats){0}; }
INLINE floats larger(floats a, floats b) {
#if defined(__AVX512F__)
    return (floats)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
    return (floats)_mm256_max_ps((__m256)a, (__m256)b);
#else
    ints pick = a > b;
    return (floats)(((ints)a & pick) | ((ints)b & ~pick));
#endif
}
INLINE floats smaller(floats a, floats b) {
#if defined(__AVX512F__)
    return (floats)_mm512_min_ps((__m512)a, (__m512)b);
#else
    return -larger(-a, -b);
#endif
}
INLINE floats magnitude(floats a) { return (floats)((ints)a & 0x7fffffff); }

INLINE float sum_of(floats v) {
#if defined(__AVX512F__)
    return _mm512_reduce_add_ps((__m512)v);
#else
    float total = 0;
    for (int i = 0; i < LANES; i++) total += v[i];
    return total;
#endif
}
INLINE float largest_of(floats v) {
#if defined(__AVX512F__)
    return _mm512_reduce_max_ps((__m512)v);
#else
    float top = v[0];
    for (int i = 1; i < LANES; i++) top = v[i] > top ? v[i] : top;
    return top;
#endif
}

/* The lanes from `count` on become what `other` has there. */
INLINE floats first_lanes(floats v, int count, floats other) {
    ints place;
    for (int i = 0; i < LANES; i++) place[i] = i;
    ints keep = place < count;
    return (floats)(((ints)v & keep) | ((ints)other & ~keep));
}
/* LANES rows of LANES steps, turned. */
INLINE void transpose(ints rows[LANES]) {
#if defined(__AVX512F__)
    ints lane;
    for (int i = 0; i < LANES; i++) lane[i] = i;
    _Pragma("GCC unroll 4") for (int apart = LANES / 2; apart; apart /= 2) {
        ints right = (lane & apart) != 0, top = lane + (right & (LANES - apart)), bottom = lane + (right & LANES) + (~right & apart);
        _Pragma("GCC unroll 16") for (int i = 0; i < LANES; i++) {
            if (i & apart) continue;
            __m512i a = (__m512i)rows[i], b = (__m512i)rows[i + apart];
            rows[i] = (ints)_mm512_permutex2var_epi32(a, (__m512i)top, b);
            rows[i + apart] = (ints)_mm512_permutex2var_epi32(a, (__m512i)bottom, b);
        }
    }
#else
    for (int i = 0; i < LANES; i++)
        for (int j = 0; j < i; j++) {
            int32_t kept = rows[i][j];
            rows[i][j] = rows[j][i];
            rows[j][i] = kept;
        }
#endif
}

/* Round to the nearest whole number, |x| < 2^22: adding 1.5 · 2^23 leaves no room for a fraction. */
INLINE floats whole(floats x) { const floats magic = all(12582912.0f); return (x + magic) - magic; }

/* p · 2^n for whole n in -126 … 127. */
INLINE floats scaled(floats p, floats n) {
#if defined(__AVX512F__)
    return (floats)_mm512_scalef_ps((__m512)p, (__m512)n);
#else
    return p * (floats)((__builtin_convertvector(n, ints) + 127) << 23);
#endif
}

/* 2^x for x <= 0, a polynomial for 2^r, fitted for the least largest relative error. Exact: 8e-8, for |r| <= 1/2; below
   -126 it is 2^-126, which nothing sees beside a maximum of 1. Short, which goes with bfloat16: 7e-5, a fiftieth of its
   rounding, for 0 <= r < 1, since one instruction takes x apart there and another puts it together. */
INLINE floats exp2_exact(floats x) {
    x = larger(x, all(-126.0f));
    floats n = whole(x), r = x - n;
    floats p = all(1.3276471992e-3f);
    p = p * r + 9.6755413307e-3f;
    p = p * r + 5.5507132750e-2f;
    p = p * r + 2.4022119724e-1f;
    p = p * r + 6.9314696706e-1f;
    p = p * r + 1.0000000717f;
    return scaled(p, n);
}
INLINE floats exp2_short(floats x) {
#if HAS_BF16
    floats r = (floats)_mm512_reduce_ps((__m512)x, _MM_FROUND_TO_NEG_INF);
    floats p = all(7.8024588891e-2f);
    p = p * r + 2.2606722506e-1f;
    p = p * r + 6.9583341258e-1f;
    p = p * r + 9.9992522569e-1f;
    return (floats)_mm512_scalef_ps((__m512)p, (__m512)x);
#else
    return exp2_exact(x);
#endif
}

/* GELU, x · Phi(x). Exact: erf by Abramowitz and Stegun's formula 7.1.26 (absolute error 1.5e-7). Short: Phi by an odd
   polynomial on |x| <= 4, fitted likewise, absolute error of the GELU 2e-4; beyond, a line that has left 0 … 1 by then. */
INLINE floats gelu_exact(floats x) {
    floats z = magnitude(x) * 0.70710678118654752f;
    floats t = 1.0f / (z * 0.3275911f + 1.0f);
    floats p = all(1.061405429f);
    p = p * t - 1.453152027f;
    p = p * t + 1.421413741f;
    p = p * t - 0.284496736f;
    p = p * t + 0.254829592f;
    floats half_rest = 0.5f * p * t * exp2_exact(z * z * -1.4426950408889634f); /* (1 - erf z) / 2 */
    ints negative = x < 0.0f;
    floats below = x * half_rest, above = x - below;
    return (floats)(((ints)below & negative) | ((ints)above & ~negative));
}
INLINE floats gelu_short(floats x) {
    floats t = smaller(x * x, all(16.0f));
    floats q = all(2.303435276e-8f);
    q = q * t - 1.613118182e-6f;
    q = q * t + 4.828439917e-5f;
    q = q * t - 8.177318634e-4f;
    q = q * t + 8.794074698e-3f;
    q = q * t - 6.463337374e-2f;
    q = q * t + 3.979429105e-1f;
    return x * smaller(larger(x * q + 0.5f, all(0.0f)), all(1.0f));
}
#endif
