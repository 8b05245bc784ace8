/* Attention of one head of one sequence, block by block of its queries, so that scores stay in the nearest caches. */
#ifndef RESCORER_ATTENTION_H
#define RESCORER_ATTENTION_H

#include "linear.h"

typedef struct {
    int length, wide;      /* of a sequence; of a head, rounded up to whole operand rows of 16 steps */
    int is_short;          /* bfloat16 instead of float32 */
    size_t value_bytes;    /* 2 or 4 */
    size_t width, stride;  /* of queries, keys or values; from token to token in qkv; both in values */
    char *keys, *values, *queries, *weights;
    float *scores;
} Attention;

/* Keys as the right side of a product: lane = token, step = a piece of the head. */
static void pack_keys(const Attention *a, const char *from, int head_width, int columns) {
    size_t steps = (size_t)a->wide * a->value_bytes / STEP_BYTES, filled = (size_t)head_width * a->value_bytes / STEP_BYTES;
    memset(a->keys, 0, steps * columns * STEP_BYTES);
    int32_t *to = (int32_t *)a->keys;
    for (int token = 0; token < a->length; token++) {
        const char *row = from + (size_t)token * a->stride * a->value_bytes;
        for (size_t k = 0; k < filled; k++) memcpy(&to[k * columns + token], row + k * STEP_BYTES, STEP_BYTES);
    }
}
/* Values as the right side: lane = piece of the head, step = one token, or a pair of them. */
static void pack_values(const Attention *a, const char *from, int head_width, int columns) {
    if (!a->is_short) {
        memset(a->values, 0, (size_t)rounded(a->length, 16) * columns * 4);
        for (int token = 0; token < a->length; token++)
            memcpy(a->values + (size_t)token * columns * 4, from + (size_t)token * a->stride * 4, (size_t)head_width * 4);
        return;
    }
    typedef uint16_t halves __attribute__((vector_size(LANES * 2)));
    typedef uint32_t pairs __attribute__((vector_size(LANES * 4)));
    uint16_t nothing[LANES] = {0};
    for (int token = 0; token < (int)rounded(a->length, 32); token += 2) {
        const uint16_t *row = (const uint16_t *)from + (size_t)token * a->stride;
        for (int i = 0; i < columns; i += LANES) { /* lanes behind the head hold its neighbour, and nobody reads them */
            halves even, odd;
            memcpy(&even, token < a->length ? row + i : nothing, sizeof even);
            memcpy(&odd, token + 1 < a->length ? row + a->stride + i : nothing, sizeof odd);
            pairs both = __builtin_convertvector(even, pairs) | __builtin_convertvector(odd, pairs) << 16;
            memcpy((uint32_t *)a->values + (size_t)token / 2 * columns + i, &both, sizeof both);
        }
    }
}
/* Scores of one query row to unscaled weights, largest 1; returns their sum. */
static float soften(const Attention *a, float *scores, void *weights, int padded) {
    int length = a->length;
    for (int i = length; i < (int)rounded(length, LANES); i++) scores[i] = -1e30f;
    floats top = load(scores);
    for (int i = LANES; i < length; i += LANES) top = larger(top, load(scores + i));
    float most = largest_of(top);
    floats total = {0};
    int i = 0;
    for (; i < length; i += LANES) {
        floats weight;
        if (a->is_short) store_bf16((uint16_t *)weights + i, weight = exp2_short(load(scores + i) - most));
        else store((float *)weights + i, weight = exp2_exact(load(scores + i) - most));
        total += weight;
    }
    for (int j = length; j < (int)rounded(length, LANES); j++) { /* 2^-126 is not quite nothing */
        if (a->is_short) ((uint16_t *)weights)[j] = 0;
        else ((float *)weights)[j] = 0;
    }
    memset((char *)weights + (size_t)i * a->value_bytes, 0, (size_t)(padded - i) * a->value_bytes);
    return sum_of(total);
}
static void products(Multiply *multiply, Product whole, int columns) {
    for (int column = 0; column < columns; column += PANEL) {
        Product part = whole;
        int vectors = (columns - column) / LANES;
        part.vectors = vectors < TILE_VECTORS ? vectors : TILE_VECTORS;
        part.b += (size_t)column * STEP_BYTES;
        part.c = (float *)whole.c + column;
        multiply(&part);
    }
}
/* One head of one sequence: the first `rows` queries' results into context[row · width]. */
static void attend(const Attention *a, const char *qkv, int width, int head_width, int rows, float *context) {
    int key_columns = (int)rounded(a->length, LANES), value_columns = (int)rounded(head_width, LANES);
    int padded = (int)rounded(a->length, a->is_short ? 32 : 16);
    size_t head_bytes = (size_t)head_width * a->value_bytes, row_bytes = (size_t)a->wide * a->value_bytes;
    size_t token_bytes = a->stride * a->value_bytes;
    Multiply *multiply = multiplier(a->is_short ? BF16 : FP32);
    pack_keys(a, qkv + a->width * a->value_bytes, head_width, key_columns);
    pack_values(a, qkv + 2 * a->width * a->value_bytes, head_width, value_columns);
    for (int row = 0; row < rows; row += BLOCK_ROWS) {
        int count = rows - row < BLOCK_ROWS ? rows - row : BLOCK_ROWS;
        for (int i = 0; i < count; i++)
            memcpy(a->queries + i * row_bytes, qkv + (size_t)(row + i) * token_bytes, head_bytes);
        products(multiply, (Product){.a = a->queries, .a_stride = row_bytes, .b = a->keys,
            .b_stride = (size_t)key_columns * STEP_BYTES, .steps = row_bytes / STEP_BYTES, .rows = count,
            .c = a->scores, .c_stride = key_columns}, key_columns);
        float sums[BLOCK_ROWS];
        for (int i = 0; i < count; i++)
            sums[i] = soften(a, a->scores + (size_t)i * key_columns, a->weights + (size_t)i * padded * a->value_bytes, padded);
        float *results = a->scores;
        products(multiply, (Product){.a = a->weights, .a_stride = (size_t)padded * a->value_bytes, .b = a->values,
            .b_stride = (size_t)value_columns * STEP_BYTES, .steps = (size_t)padded * a->value_bytes / STEP_BYTES,
            .rows = count, .c = results, .c_stride = value_columns}, value_columns);
        for (int i = 0; i < count; i++) {
            float factor = 1 / sums[i], *to = context + (size_t)(row + i) * width;
            int j = 0;
            for (; j + LANES <= head_width; j += LANES) store(to + j, load(results + (size_t)i * value_columns + j) * factor);
            for (; j < head_width; j++) to[j] = results[(size_t)i * value_columns + j] * factor;
        }
    }
}

#endif
