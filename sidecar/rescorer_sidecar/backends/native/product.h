/* Matrix products, panel by panel: C[rows, vectors · LANES] = A[rows, steps] · B[steps, vectors · LANES].

   A is plain rows; B has the step that belongs to one column in one lane, so that a step of A, repeated in all lanes,
   meets it. That is the layout of every instruction set here (FMA, VNNI, BF16), and of AMX's tiles too. A's memory
   goes on for TILE_ROWS (16 with AMX) rows behind the last. */
#ifndef RESCORER_PRODUCT_H
#define RESCORER_PRODUCT_H

#include "lanes.h"

typedef struct {
    const char *a, *b;
    size_t a_stride, b_stride; /* bytes from row to row, from step to step */
    size_t steps;
    int rows, vectors; /* vectors <= TILE_VECTORS */
    void *c;           /* float32, or int32 where A and B are 8 bits wide */
    size_t c_stride;   /* in columns */
} Product;

typedef void Multiply(const Product *);

#define DEFINE_TILE(NAME, SUM, MULTIPLY_ADD)                                                                          \
    INLINE void NAME##_tile(const Product *p, int row, const int height, const int width) {                           \
        SUM sums[TILE_ROWS][TILE_VECTORS];                                                                            \
        _Pragma("GCC unroll 8") for (int i = 0; i < height; i++)                                                      \
            _Pragma("GCC unroll 8") for (int j = 0; j < width; j++) sums[i][j] = (SUM){0};                            \
        const char *a = p->a + (size_t)row * p->a_stride, *b = p->b;                                                  \
        for (size_t k = 0; k < p->steps; k++, a += STEP_BYTES, b += p->b_stride) {                                    \
            ints columns[TILE_VECTORS];                                                                               \
            _Pragma("GCC unroll 8") for (int j = 0; j < width; j++)                                                   \
                memcpy(&columns[j], b + j * sizeof(ints), sizeof(ints));                                              \
            _Pragma("GCC unroll 8") for (int i = 0; i < height; i++) {                                                \
                int32_t step;                                                                                         \
                memcpy(&step, a + (size_t)i * p->a_stride, sizeof step);                                              \
                ints repeated = step - (ints){0};                                                                     \
                _Pragma("GCC unroll 8") for (int j = 0; j < width; j++)                                               \
                    sums[i][j] = MULTIPLY_ADD(sums[i][j], repeated, columns[j]);                                      \
            }                                                                                                         \
        }                                                                                                             \
        _Pragma("GCC unroll 8") for (int i = 0; i < height; i++)                                                      \
            _Pragma("GCC unroll 8") for (int j = 0; j < width; j++)                                                   \
                memcpy((float *)p->c + (size_t)(row + i) * p->c_stride + j * LANES, &sums[i][j], sizeof(SUM));        \
    }                                                                                                                 \
    static void NAME(const Product *p) {                                                                              \
        for (int row = 0; row < p->rows; row += TILE_ROWS) switch (p->vectors) {                                      \
                case 1: NAME##_tile(p, row, TILE_ROWS, 1); break;                                                     \
                case 2: NAME##_tile(p, row, TILE_ROWS, 2); break;                                                     \
                case 3: NAME##_tile(p, row, TILE_ROWS, TILE_VECTORS < 3 ? TILE_VECTORS : 3); break;                   \
                default: NAME##_tile(p, row, TILE_ROWS, TILE_VECTORS); break;                                         \
            }                                                                                                         \
    }

#define FLOAT_STEP(sum, a, b) ((sum) + (floats)(a) * (floats)(b))
DEFINE_TILE(multiply_floats, floats, FLOAT_STEP)

#if HAS_BF16
#define BF16_STEP(sum, a, b) ((floats)_mm512_dpbf16_ps((__m512)(sum), (__m512bh)(a), (__m512bh)(b)))
DEFINE_TILE(multiply_bf16, floats, BF16_STEP)
#endif

#if HAS_INT8 && defined(__AVX512F__)
#define INT8_STEP(sum, a, b) ((ints)_mm512_dpbusd_epi32((__m512i)(sum), (__m512i)(a), (__m512i)(b)))
#elif HAS_INT8
#define INT8_STEP(sum, a, b) ((ints)_mm256_dpbusd_avx_epi32((__m256i)(sum), (__m256i)(a), (__m256i)(b)))
#endif
#if HAS_INT8
DEFINE_TILE(multiply_int8, ints, INT8_STEP)
#endif

#endif
