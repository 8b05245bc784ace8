/* Attention of one head of one sequence, block by block of its queries, so that scores stay in the nearest caches. */
#ifndef RESCORER_ATTENTION_H
#define RESCORER_ATTENTION_H

#include "relative.h"

typedef struct {
    int length, wide;      /* of a sequence; of a head, rounded up to whole operand rows of 16 steps */
    int reach;             /* how many tokens to either side a token sees; -1: its whole sequence */
    int is_short;          /* bfloat16 instead of float32 */
    size_t value_bytes;    /* 2 or 4 */
    size_t width, stride;  /* of queries, keys or values; from token to token in qkv; both in values */
    char *keys, *values, *queries, *weights;
    float *scores;
    const Relative *relative; /* the layer's */
    float *terms;             /* of distances, float32[GROUP_ROWS + SPARE_ROWS, relative_columns] */
} Attention;

/* Keys as the right side of a product: lane = token, step = a piece of the head. */
static void pack_keys(const Attention *a, const char *from, int head_width) {
    int steps = a->wide * (int)a->value_bytes / STEP_BYTES, filled = head_width * (int)a->value_bytes / STEP_BYTES;
    ints *to = (ints *)a->keys;
    for (int token = 0; token < a->length; token += LANES)
        for (int step = 0; step < steps; step += LANES) {
            ints rows[LANES];
            for (int i = 0; i < LANES; i++) {
                if (token + i < a->length && step < filled)
                    memcpy(&rows[i], from + (size_t)(token + i) * a->stride * a->value_bytes + (size_t)step * STEP_BYTES, sizeof(ints));
                else rows[i] = (ints){0};
            }
            transpose(rows);
            for (int i = 0; i < LANES; i++) *to++ = step + i < filled ? rows[i] : (ints){0};
        }
}
/* Values as the right side: lane = piece of the head, step = one token, or a pair of them. Lanes behind the head hold
   its neighbour, and nobody reads them. */
static void pack_values(const Attention *a, const char *from, int columns, int padded) {
    ints *to = (ints *)a->values;
    for (int column = 0; column < columns; column += LANES) {
        if (!a->is_short) {
            for (int token = 0; token < padded; token++, to++) {
                if (token < a->length) memcpy(to, (const float *)from + (size_t)token * a->stride + column, sizeof *to);
                else *to = (ints){0};
            }
            continue;
        }
        typedef uint16_t halves __attribute__((vector_size(LANES * 2)));
        for (int token = 0; token < padded; token += 2) {
            const uint16_t *row = (const uint16_t *)from + (size_t)token * a->stride + column;
            halves even = {0}, odd = {0};
            if (token < a->length) memcpy(&even, row, sizeof even);
            if (token + 1 < a->length) memcpy(&odd, row + a->stride, sizeof odd);
            *to++ = __builtin_convertvector(even, ints) | __builtin_convertvector(odd, ints) << 16;
        }
    }
}
/* Scores of one query row to unscaled weights, largest 1, 0 from `length` to `padded`; returns their sum. */
INLINE float soften(const Attention *a, float *scores, int length, void *weights, int padded) {
    int rest = length % LANES, full = length - rest, i = 0;
    const floats least = all(-1e30f);
    floats top = least, total = {0};
    for (; i < full; i += LANES) top = larger(top, load(scores + i));
    if (rest) top = larger(top, first_lanes(load(scores + i), rest, least));
    floats most = all(largest_of(top));
    for (i = 0; i < padded; i += LANES) {
        floats weight = {0};
        if (i < length) weight = a->is_short ? exp2_short(load(scores + i) - most) : exp2_exact(load(scores + i) - most);
        if (i == full) weight = first_lanes(weight, rest, (floats){0});
        if (a->is_short) store_bf16((uint16_t *)weights + i, weight);
        else store((float *)weights + i, weight);
        total += weight;
    }
    return sum_of(total);
}
/* Of a row's scores those in front of `first` and from `end` on, whose keys are out of reach, become next to nothing. */
static void hide(float *scores, int first, int end, int length) {
    for (int i = 0; i < first; i++) scores[i] = -1e30f;
    for (int i = end; i < length; i++) scores[i] = -1e30f;
}
typedef struct { char *rows; size_t row_bytes, first; int in_tiles; } Context; /* first: which row is the first query's */

/* One head of one sequence: the first `rows` queries' results into context. */
static void attend(const Attention *a, const char *qkv, int head, int head_width, int rows, Context context) {
    int value_columns = (int)rounded(head_width, LANES), unit = a->is_short ? 32 : 16, reach = a->reach < 0 ? a->length : a->reach;
    int all_steps = (int)rounded(a->length, unit) * (int)a->value_bytes / STEP_BYTES;
    size_t head_bytes = (size_t)head_width * a->value_bytes, row_bytes = (size_t)a->wide * a->value_bytes;
    qkv += (size_t)head * head_bytes;
    size_t token_bytes = a->stride * a->value_bytes, key_steps = row_bytes / STEP_BYTES;
    int is_whole = head_bytes == row_bytes, group = group_rows(a->is_short ? BF16 : FP32);
    Multiply *multiply = multiplier(a->is_short ? BF16 : FP32);
    pack_keys(a, qkv + a->width * a->value_bytes, head_width);
    pack_values(a, qkv + 2 * a->width * a->value_bytes, value_columns, (int)rounded(a->length, unit));
    for (int row = 0; row < rows; row += group) {
        int count = rows - row < group ? rows - row : group;
        int first = row > reach ? (row - reach) / unit * unit : 0, last = a->length - row - count > reach ? row + count + reach : a->length;
        int length = last - first, key_columns = (int)rounded(length, LANES), padded = (int)rounded(length, unit);
        int by_tiles = lies_in_tiles(a->is_short ? BF16 : FP32); /* which are whole; vectors go on to the last token's step */
        size_t value_steps = (by_tiles ? (size_t)padded : rounded(length, STEP_BYTES / a->value_bytes)) * a->value_bytes / STEP_BYTES, steps_before = (size_t)first * a->value_bytes / STEP_BYTES;
        for (int i = 0; i < count && !is_whole; i++)
            memcpy(a->queries + i * row_bytes, qkv + (size_t)(row + i) * token_bytes, head_bytes);
        Product met = {.a = is_whole ? qkv + (size_t)row * token_bytes : a->queries, .a_stride = is_whole ? token_bytes : row_bytes,
            .b = a->keys + (size_t)first / LANES * key_steps * VECTOR_BYTES, .b_next = key_steps * VECTOR_BYTES, .steps = key_steps, .rows = count, .c = a->scores, .c_stride = key_columns};
        products(multiply, met, key_columns);
        add_relative(a->relative, &(Meeting){met, qkv + a->width * a->value_bytes, token_bytes, row, group, a->length, a->terms}, multiply, head);
        float sums[GROUP_ROWS];
        for (int i = 0; i < count && length > reach; i++)
            hide(a->scores + (size_t)i * key_columns, row + i - reach - first, row + i + reach + 1 - first, length);
        for (int i = 0; i < count; i++)
            sums[i] = soften(a, a->scores + (size_t)i * key_columns, length, a->weights + (size_t)i * padded * a->value_bytes, padded);
        float *results = a->scores;
        products(multiply, (Product){.a = a->weights, .a_stride = (size_t)padded * a->value_bytes, .b = a->values + steps_before * VECTOR_BYTES,
            .b_next = (size_t)all_steps * VECTOR_BYTES, .steps = value_steps, .rows = count, .c = results, .c_stride = value_columns}, value_columns);
        for (int i = 0; i < count; i++) {
            float factor = 1 / sums[i];
            int j = 0, fits = !context.in_tiles || head_bytes % (LANES * 2) == 0; /* no vector goes from a tile to the next */
#define AT(J) operand_at(context.in_tiles, context.rows, context.row_bytes, context.first + (size_t)(row + i), (size_t)head * head_bytes + (size_t)(J) * a->value_bytes)
            for (; fits && j + LANES <= head_width; j += LANES) {
                floats v = load(results + (size_t)i * value_columns + j) * factor;
                if (a->is_short) store_bf16((uint16_t *)AT(j), v);
                else store((float *)AT(j), v);
            }
            for (; j < head_width; j++) {
                float v = results[(size_t)i * value_columns + j] * factor;
                if (a->is_short) *(uint16_t *)AT(j) = bf16_of(v);
                else *(float *)AT(j) = v;
            }
#undef AT
        }
    }
}

#endif
