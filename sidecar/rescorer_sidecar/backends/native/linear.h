/* A linear layer in one of three precisions: its operands, its weights in panels, its results.

   The left side is turned into what the precision asks for: float32 as it is, bfloat16, or 8 bits with one scale a row. */
#ifndef RESCORER_LINEAR_H
#define RESCORER_LINEAR_H

#include "product.h"

#include <math.h>
#include <stdlib.h>

typedef enum { FP32 = 0, BF16 = 1, INT8 = 2 } Precision;
enum { ALIGN = 64, GROUP_ROWS = 48, BLOCK_ROWS = HAS_AMX ? 192 : 96, SPARE_ROWS = 16 };

typedef struct {
    int in, out, panels;
    size_t row_bytes; /* of an operand row, a multiple of ALIGN */
    char *packed;     /* [panels][PANEL / LANES][row_bytes / STEP_BYTES][LANES] steps */
    float *bias, *scale;
    int32_t *offset; /* what 128 times the weights adds to each column, since operands are unsigned */
} Linear;

typedef struct { float *weight, *bias; } Norm;

static size_t rounded(size_t value, size_t unit) { return (value + unit - 1) / unit * unit; }
static void *fresh(size_t bytes) {
    void *found = aligned_alloc(ALIGN, rounded(bytes ? bytes : 1, ALIGN));
    if (found) memset(found, 0, rounded(bytes ? bytes : 1, ALIGN));
    return found;
}

/* ---- operands ---- */

static size_t operand_bytes(Precision precision, int values) {
    return rounded((size_t)values * (precision == FP32 ? 4 : precision == BF16 ? 2 : 1), ALIGN);
}
static uint16_t bf16_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}
INLINE void store_bf16(uint16_t *to, floats v) {
#if HAS_BF16
    __m256bh halves = _mm512_cvtneps_pbh((__m512)v);
    memcpy(to, &halves, sizeof halves);
#else
    for (int i = 0; i < LANES; i++) to[i] = bf16_of(v[i]);
#endif
}
INLINE float of_bf16(uint16_t half) {
    uint32_t bits = (uint32_t)half << 16;
    float value;
    memcpy(&value, &bits, 4);
    return value;
}
INLINE floats load_bf16(const uint16_t *from) {
    typedef uint16_t halves __attribute__((vector_size(LANES * 2)));
    halves v;
    memcpy(&v, from, sizeof v);
    return (floats)(__builtin_convertvector(v, ints) << 16);
}
/* Whether the rows of a linear layer's left side lie tile by tile, each tile in one piece. */
static int lies_in_tiles(Precision precision) { return has_tiles && precision != FP32; }
/* Where a byte of an operand row lies. */
INLINE char *operand_at(int in_tiles, char *rows, size_t row_bytes, size_t row, size_t byte) {
    if (!in_tiles) return rows + row * row_bytes + byte;
    return rows + row / TILE * TILE * row_bytes + byte / 64 * TILE_BYTES + row % TILE * 64 + byte % 64;
}
/* The largest magnitude of a row; as whole numbers, magnitudes of bfloat16 are in the same order. */
INLINE float largest_magnitude(const void *row, int is_short, int values) {
    floats top = {0};
#if HAS_BF16
    if (is_short) {
        __m512i tops = _mm512_setzero_si512(), sign = _mm512_set1_epi16((short)0x8000);
        for (int i = 0; i < values; i += 2 * LANES) /* to the end of the operand row */
            tops = _mm512_max_epu16(tops, _mm512_andnot_si512(sign, _mm512_loadu_si512((const uint16_t *)row + i)));
        top = larger((floats)_mm512_slli_epi32(tops, 16), (floats)_mm512_and_si512(tops, _mm512_set1_epi32(~0xffff)));
        return largest_of(top);
    }
#endif
    (void)is_short; /* never without HAS_BF16 */
    for (int i = 0; i < values; i += LANES) top = larger(top, magnitude(load((const float *)row + i)));
    return largest_of(top);
}
/* A row of values as 8 bits, row `at` of `rows`; returns its scale. */
INLINE float quantised(const void *row, int is_short, int values, char *rows, size_t at) {
#define VALUES(I) (is_short ? load_bf16((const uint16_t *)row + (I)) : load((const float *)row + (I)))
    int length = (int)rounded(values, LANES), in_tiles = lies_in_tiles(INT8);
    size_t row_bytes = operand_bytes(INT8, values);
    float most = largest_magnitude(row, is_short, values), scale = most > 0 ? most / 127 : 1, factor = 1 / scale;
    for (int i = 0; i < length; i += LANES) {
        ints whole_numbers = __builtin_convertvector(VALUES(i) * factor + 128.5f, ints); /* > 0: truncates down */
        uint8_t *to = (uint8_t *)operand_at(in_tiles, rows, row_bytes, at, (size_t)i);
#if defined(__AVX512F__)
        __m128i bytes = _mm512_cvtepi32_epi8((__m512i)whole_numbers);
        memcpy(to, &bytes, sizeof bytes);
#else
        for (int j = 0; j < LANES; j++) to[j] = (uint8_t)whole_numbers[j];
#endif
    }
    return scale;
#undef VALUES
}
/* A row of values as row `at` of operands; returns its scale. Values are a multiple of PANEL long and 0 behind the last. */
static float as_operand(Precision precision, const float *row, int values, char *rows, size_t at) {
    if (precision == INT8) return quantised(row, 0, values, rows, at);
    size_t row_bytes = operand_bytes(precision, values);
    int in_tiles = lies_in_tiles(precision);
    if (precision == FP32) memcpy(rows + at * row_bytes, row, (size_t)values * 4);
    else
        for (int i = 0; i < (int)rounded(values, LANES); i += LANES)
            store_bf16((uint16_t *)operand_at(in_tiles, rows, row_bytes, at, (size_t)2 * i), load(row + i));
    return 1;
}
static Multiply *multiplier(Precision precision) {
#if HAS_AMX
    if (has_tiles && precision != FP32) return precision == BF16 ? multiply_bf16_tiles : multiply_int8_tiles;
#endif
#if HAS_BF16
    if (precision == BF16) return multiply_bf16;
#endif
#if HAS_INT8
    if (precision == INT8) return multiply_int8;
#endif
    (void)precision;
    return multiply_floats;
}

/* ---- linear layers ---- */

static int pack(Linear *made, Precision precision, const float *weight, const float *bias, int out, int in) {
    int panels = (out + PANEL - 1) / PANEL, columns = panels * PANEL;
    size_t row_bytes = operand_bytes(precision, in), steps = row_bytes / STEP_BYTES;
    int per_step = precision == FP32 ? 1 : precision == BF16 ? 2 : 4;
    *made = (Linear){.in = in, .out = out, .panels = panels, .row_bytes = row_bytes};
    made->packed = fresh((size_t)columns * row_bytes);
    made->bias = fresh((size_t)columns * 4);
    made->scale = fresh((size_t)columns * 4);
    made->offset = fresh((size_t)columns * 4);
    if (!made->packed || !made->bias || !made->scale || !made->offset) return 0;
    memcpy(made->bias, bias, (size_t)out * 4);
    for (int column = 0; column < out; column++) {
        const float *row = weight + (size_t)column * in;
        float most = 0;
        for (int k = 0; k < in; k++) most = fabsf(row[k]) > most ? fabsf(row[k]) : most;
        float scale = precision == INT8 && most > 0 ? most / 127 : 1;
        made->scale[column] = scale;
        char *to = made->packed + (size_t)(column / LANES) * steps * VECTOR_BYTES + column % LANES * STEP_BYTES;
        for (int k = 0; k < in; k++) {
            char *step = to + (size_t)(k / per_step) * VECTOR_BYTES;
            if (precision == FP32) memcpy(step, &row[k], 4);
            else if (precision == BF16) ((uint16_t *)step)[k % 2] = bf16_of(row[k]);
            else {
                int value = (int)lrintf(row[k] / scale);
                ((int8_t *)step)[k % 4] = (int8_t)value;
                made->offset[column] += 128 * value;
            }
        }
    }
    return 1;
}
static void unpack(Linear *made) { free(made->packed); free(made->bias); free(made->scale); free(made->offset); }

/* Some of a layer's panels as a layer of its own. */
static Linear panels_of(const Linear *whole, int first, int panels) {
    size_t column = (size_t)first * PANEL;
    return (Linear){.in = whole->in, .out = panels * PANEL, .panels = panels, .row_bytes = whole->row_bytes,
        .packed = whole->packed + column * whole->row_bytes, .bias = whole->bias + column, .scale = whole->scale + column, .offset = whole->offset + column};
}

typedef struct {
    const char *rows; /* operand rows, row_bytes apart */
    const float *scales;
    int count;
} Operand;

/* Rows that are kept as operands of `kept`, as operands of `precision`: 8 bits with their scales go to `to`. */
static Operand as_operands(Precision precision, Precision kept, const char *rows, int values, int count, char *to, float *scales) {
    if (precision == kept) return (Operand){rows, scales, count};
    size_t row_bytes = operand_bytes(kept, values);
    for (int i = 0; i < count; i++) {
        if (kept == BF16) scales[i] = quantised(rows + i * row_bytes, 1, values, to, (size_t)i);
        else scales[i] = quantised(rows + i * row_bytes, 0, values, to, (size_t)i);
    }
    return (Operand){to, scales, count};
}

/* Rows that are multiplied with a panel at a time: two tiles, or what all heights of a product by vectors divide. */
static int group_rows(Precision precision) { return has_tiles && precision != FP32 ? 32 : GROUP_ROWS; }
/* One panel of a linear layer over up to GROUP_ROWS rows, into sums[count][PANEL] as float32, bias not added. */
static void panel_of(const Linear *linear, Precision precision, Operand left, int panel, float *sums) {
    size_t steps = linear->row_bytes / STEP_BYTES;
    multiplier(precision)(&(Product){
        .a = left.rows, .a_stride = linear->row_bytes, .in_tiles = lies_in_tiles(precision),
        .b = linear->packed + (size_t)panel * PANEL * linear->row_bytes, .b_next = steps * VECTOR_BYTES,
        .steps = steps, .rows = left.count, .vectors = PANEL / LANES, .c = sums, .c_stride = PANEL});
}
/* A vector of a panel's result: scaled back, with its bias. */
INLINE floats result(const Linear *linear, int is_int8, Operand left, int column, const float *sums, int row) {
    const float *from = sums + (size_t)row * PANEL + column % PANEL;
    if (!is_int8) return load(from) + load(linear->bias + column);
    ints raw, offset;
    memcpy(&raw, from, sizeof raw);
    memcpy(&offset, linear->offset + column, sizeof offset);
    floats real = __builtin_convertvector(raw - offset, floats);
    return real * (load(linear->scale + column) * left.scales[row]) + load(linear->bias + column);
}
/* What becomes of a vector of results, of a row and from a column on. */
typedef void Finish(const void *to, int row, int column, floats results);

INLINE void apply_in(const Linear *linear, Precision precision, int is_int8, Operand left, float *sums, Finish *finish, const void *to) {
    int group = group_rows(precision);
    for (int panel = 0; panel < linear->panels; panel++)
        for (int from = 0; from < left.count; from += group) {
            int count = left.count - from < group ? left.count - from : group;
            Operand part = {left.rows + (size_t)from * linear->row_bytes, left.scales + from, count};
            panel_of(linear, precision, part, panel, sums);
            for (int i = 0; i < count; i++)
                for (int column = panel * PANEL; column < (panel + 1) * PANEL; column += LANES)
                    finish(to, from + i, column, result(linear, is_int8, part, column, sums, i));
        }
}
/* A linear layer over rows of `left`, a strip of columns after the other, group by group of its rows: each finished
   while it is in the nearest cache, so that the strip stays there too. */
INLINE void apply(const Linear *linear, Precision precision, Operand left, float *sums, Finish *finish, const void *to) {
    if (precision == INT8) apply_in(linear, INT8, 1, left, sums, finish, to);
    else apply_in(linear, precision, 0, left, sums, finish, to);
}

/* The sum of a row's values less `mean`, or of the squares of these; in sums that don't wait for each other. */
INLINE float sum_less(const float *row, int width, float mean, int squared) {
    enum { CHAINS = 4 };
    floats sums[CHAINS] = {{0}};
    float rest = 0;
    int i = 0;
    for (; i + CHAINS * LANES <= width; i += CHAINS * LANES)
        for (int j = 0; j < CHAINS; j++) {
            floats d = load(row + i + j * LANES) - mean;
            sums[j] += squared ? d * d : d;
        }
    for (; i + LANES <= width; i += LANES) {
        floats d = load(row + i) - mean;
        sums[0] += squared ? d * d : d;
    }
    for (; i < width; i++) rest += squared ? (row[i] - mean) * (row[i] - mean) : row[i] - mean;
    return sum_of(sums[0] + sums[1] + (sums[2] + sums[3])) + rest;
}
static void normalise(float *row, int width, const Norm *norm, float epsilon) {
    int full = width / LANES * LANES;
    float mean = sum_less(row, width, 0, 0) / width;
    float factor = 1 / sqrtf(sum_less(row, width, mean, 1) / width + epsilon);
    for (int i = 0; i < full; i += LANES)
        store(row + i, (load(row + i) - mean) * factor * load(norm->weight + i) + load(norm->bias + i));
    for (int i = full; i < width; i++) row[i] = (row[i] - mean) * factor * norm->weight[i] + norm->bias[i];
}

#endif
