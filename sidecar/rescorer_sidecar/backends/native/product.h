/* Matrix products, panel by panel: C[rows, vectors · LANES] = A[rows, steps] · B[steps, vectors · LANES].

   A is plain rows, or lies tile by tile; B has its columns in vectors, one behind the other, and in each the step that
   belongs to one column in one lane, so that a step of A, repeated in all lanes, meets it. That is the layout of every
   instruction set here (FMA, VNNI, BF16), and of AMX's tiles too. A's memory goes on for TILE_ROWS (16 with AMX) rows
   behind the last. */
#ifndef RESCORER_PRODUCT_H
#define RESCORER_PRODUCT_H

#include "lanes.h"

typedef struct {
    const char *a, *b;
    size_t a_stride, b_next; /* bytes from row to row, from a vector of columns to the next */
    int in_tiles;            /* of A: 16 rows of 64 bytes each, one tile behind the other along the rows */
    size_t steps;
    int rows, vectors; /* vectors <= TILE_VECTORS */
    void *c;           /* float32, or int32 where A and B are 8 bits wide */
    size_t c_stride;   /* in columns */
} Product;

typedef void Multiply(const Product *);

enum { TILE = 16, TILE_BYTES = TILE * TILE * STEP_BYTES };

/* Few vectors leave registers for more rows, which hide the latency of the instruction. */
enum { LOW = TILE_ROWS, HIGH = 2 * TILE_ROWS };

#define EACH_ROW _Pragma("GCC unroll 12") for (int i = 0; i < height; i++)
#define EACH_VECTOR _Pragma("GCC unroll 4") for (int j = 0; j < width; j++)
#define DEFINE_MULTIPLY(NAME, SUM, MULTIPLY_ADD)                                                                      \
    INLINE void NAME##_tile(const Product *p, int row, const int height, const int width) {                           \
        SUM sums[HIGH][TILE_VECTORS];                                                                                 \
        EACH_ROW EACH_VECTOR sums[i][j] = (SUM){0};                                                                   \
        const char *a = p->a + (size_t)row * p->a_stride, *b = p->b;                                                  \
        for (size_t k = 0; k < p->steps; k++, a += STEP_BYTES, b += VECTOR_BYTES) {                                    \
            ints columns[TILE_VECTORS];                                                                               \
            EACH_VECTOR memcpy(&columns[j], b + j * p->b_next, sizeof(ints));                                      \
            EACH_ROW {                                                                                                \
                int32_t step;                                                                                         \
                memcpy(&step, a + (size_t)i * p->a_stride, sizeof step);                                              \
                ints repeated = step - (ints){0};                                                                     \
                EACH_VECTOR sums[i][j] = MULTIPLY_ADD(sums[i][j], repeated, columns[j]);                              \
            }                                                                                                         \
        }                                                                                                             \
        float *c = (float *)p->c + (size_t)row * p->c_stride;                                                         \
        EACH_ROW EACH_VECTOR memcpy(c + (size_t)i * p->c_stride + j * LANES, &sums[i][j], sizeof(SUM));               \
    }                                                                                                                 \
    static void NAME(const Product *p) {                                                                              \
        int high = TILE_VECTORS == 4 && p->vectors <= 2;                                                              \
        for (int row = 0; row < p->rows; row += high ? HIGH : LOW) switch (p->vectors) {                              \
                case 1: NAME##_tile(p, row, TILE_VECTORS == 4 ? HIGH : LOW, 1); break;                                \
                case 2: NAME##_tile(p, row, TILE_VECTORS == 4 ? HIGH : LOW, 2); break;                                \
                case 3: NAME##_tile(p, row, LOW, TILE_VECTORS < 3 ? TILE_VECTORS : 3); break;                         \
                default: NAME##_tile(p, row, LOW, TILE_VECTORS); break;                                               \
            }                                                                                                         \
    }

#define FLOAT_STEP(sum, a, b) ((sum) + (floats)(a) * (floats)(b))
DEFINE_MULTIPLY(multiply_floats, floats, FLOAT_STEP)

#if HAS_BF16
#define BF16_STEP(sum, a, b) ((floats)_mm512_dpbf16_ps((__m512)(sum), (__m512bh)(a), (__m512bh)(b)))
DEFINE_MULTIPLY(multiply_bf16, floats, BF16_STEP)
#endif

#if HAS_INT8 && defined(__AVX512F__)
#define INT8_STEP(sum, a, b) ((ints)_mm512_dpbusd_epi32((__m512i)(sum), (__m512i)(a), (__m512i)(b)))
#elif HAS_INT8
#define INT8_STEP(sum, a, b) ((ints)_mm256_dpbusd_avx_epi32((__m256i)(sum), (__m256i)(a), (__m256i)(b)))
#endif
#if HAS_INT8
DEFINE_MULTIPLY(multiply_int8, ints, INT8_STEP)
#endif

/* AMX: tiles of 16 rows of 16 steps. 0 … 3 hold 32 rows by 32 columns of C, 4 and 5 rows of A, 6 and 7 columns of B.
   Steps are a multiple of 16. Tiles belong to a thread: begin_tiles and end_tiles stand around its products. */
#if HAS_AMX
#define DEFINE_TILES(NAME, MULTIPLY_ADD)                                                                              \
    static void NAME(const Product *p) {                                                                              \
        for (int vector = 0; vector < p->vectors; vector += 2)                                                        \
            for (int row = 0; row < p->rows; row += 2 * TILE) {                                                       \
                const int lower = p->rows - row > TILE, right = p->vectors - vector > 1;                              \
                const char *a = p->a + (size_t)row * p->a_stride, *b = p->b + (size_t)vector * p->b_next;             \
                float *c = (float *)p->c + (size_t)row * p->c_stride + (size_t)vector * TILE;                         \
                const size_t below = TILE * p->a_stride, stride = p->c_stride * 4;                                    \
                const size_t apart = p->in_tiles ? TILE * STEP_BYTES : p->a_stride;                                   \
                const size_t next = p->in_tiles ? TILE_BYTES : TILE * STEP_BYTES;                                     \
                _tile_zero(0);                                                                                        \
                _tile_zero(1);                                                                                        \
                _tile_zero(2);                                                                                        \
                _tile_zero(3);                                                                                        \
                for (size_t k = 0; k < p->steps; k += TILE, a += next, b += TILE * VECTOR_BYTES) {                    \
                    _tile_loadd(4, a, apart);                                                                         \
                    _tile_loadd(6, b, VECTOR_BYTES);                                                                  \
                    MULTIPLY_ADD(0, 4, 6);                                                                            \
                    if (right) {                                                                                      \
                        _tile_loadd(7, b + p->b_next, VECTOR_BYTES);                                                  \
                        MULTIPLY_ADD(1, 4, 7);                                                                        \
                    }                                                                                                 \
                    if (lower) {                                                                                      \
                        _tile_loadd(5, a + below, apart);                                                             \
                        MULTIPLY_ADD(2, 5, 6);                                                                        \
                    }                                                                                                 \
                    if (lower && right) MULTIPLY_ADD(3, 5, 7);                                                        \
                }                                                                                                     \
                _tile_stored(0, c, stride);                                                                           \
                if (right) _tile_stored(1, c + TILE, stride);                                                         \
                if (lower) _tile_stored(2, c + TILE * p->c_stride, stride);                                           \
                if (lower && right) _tile_stored(3, c + TILE * p->c_stride + TILE, stride);                           \
            }                                                                                                         \
    }
DEFINE_TILES(multiply_bf16_tiles, _tile_dpbf16ps)
DEFINE_TILES(multiply_int8_tiles, _tile_dpbusd)

typedef struct {
    uint8_t palette, start, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} TileShapes;
#endif

static int has_tiles; /* set once, by rescorer_begin */

static void begin_tiles(void) {
#if HAS_AMX
    TileShapes shapes = {.palette = 1};
    for (int i = 0; i < 8; i++) shapes.row_bytes[i] = TILE * STEP_BYTES, shapes.rows[i] = TILE;
    if (has_tiles) _tile_loadconfig(&shapes);
#endif
}
static void end_tiles(void) {
#if HAS_AMX
    if (has_tiles) _tile_release();
#endif
}

/* A product of any number of whole vectors of columns. */
static void products(Multiply *multiply, Product whole, int columns) {
    for (int column = 0; column < columns; column += PANEL) {
        Product part = whole;
        int vectors = (columns - column) / LANES;
        part.vectors = vectors < PANEL / LANES ? vectors : PANEL / LANES;
        part.b += (size_t)column / LANES * whole.b_next;
        part.c = (float *)whole.c + column;
        multiply(&part);
    }
}

#endif
