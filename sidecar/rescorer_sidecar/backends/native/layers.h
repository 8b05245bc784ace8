/* An encoder's layers over sequences packed end to end, and the embeddings in front of them.

   What a block's norm gives goes into the next block. Beside the blocks go these norms, or, where norms come first, the
   sums that they are made of. */
#ifndef RESCORER_LAYERS_H
#define RESCORER_LAYERS_H

#include "attention.h"

typedef struct {
    Linear qkv, attended, up, down;
    Norm attended_norm, norm;
    Relative relative;
    const float *cosines, *sines; /* float32[positions, half a head], the caller's; NULL where nothing turns */
    int reach;                    /* of attention; -1: the whole sequence */
} Layer;

typedef enum { GELU = 0, GELU_TANH = 1, RELU = 2, SILU = 3, TANH = 4 } Activation;

typedef struct {
    int layers, width, heads, inner, embedded, labels; /* embedded: width of the tables */
    int limit; /* tokens of a sequence at most */
    int is_gated, keeps_sums; /* up has two halves; sums, not their norms, go on beside the blocks */
    float epsilon;
    Precision precision;
    const float *word, *position, *type; /* the caller's, kept by him; position may be NULL */
    Norm norm;
    Linear widened; /* from the tables' width to the layers'; packed is NULL where both are the same */
    Layer *layer;
    Linear dense, out; /* the head, float32 */
    Norm head_norm;    /* weight is NULL where there is none */
    Activation head_activation;
    int head_means; /* the head reads the states' means, not the first states */
} Encoder;

/* ---- memory of one forward ---- */

typedef struct {
    float *states, *sums, *scales, *inner_scales;
    char *context, *operands, *inner, *inner_operands, *qkv;
    Precision kept; /* of context and inner: operands, unless the precision has fewer bits */
    Attention attention;
    size_t bytes;
} Scratch;

static Scratch scratch_of(const Encoder *e, char *memory, int tokens, int longest) {
    Scratch s = {0};
    size_t rows = (size_t)tokens + SPARE_ROWS, block = BLOCK_ROWS + SPARE_ROWS, used = 0;
    size_t width = rounded(e->width, PANEL), inner = rounded(e->inner, PANEL), embedded = rounded(e->embedded, PANEL), length = rounded(longest, 64);
    size_t widest = width > embedded ? width : embedded;
    int is_short = HAS_BF16 && e->precision != FP32;
    int head_width = e->width / e->heads, wide = (int)rounded(head_width, is_short ? 32 : 16);
    s.attention = (Attention){.wide = wide, .is_short = is_short, .value_bytes = is_short ? 2 : 4, .width = (size_t)e->width, .stride = rounded((size_t)3 * e->width, PANEL)};
#define TAKE(FIELD, BYTES) (FIELD = (void *)(memory + used), used += rounded((size_t)(BYTES), ALIGN))
    TAKE(s.states, rows * width * 4);
    s.kept = is_short ? BF16 : FP32;
    TAKE(s.context, rows * operand_bytes(s.kept, e->width));
    size_t narrow_bytes = block * operand_bytes(e->precision, e->embedded), qkv_bytes = ((rows + GROUP_ROWS) * s.attention.stride + PANEL) * s.attention.value_bytes;
    TAKE(s.qkv, qkv_bytes > narrow_bytes ? qkv_bytes : narrow_bytes);
    TAKE(s.operands, rows * operand_bytes(e->precision, e->width));
    TAKE(s.scales, rows * 4);
    TAKE(s.inner, block * (inner > widest ? inner : widest) * 4);
    TAKE(s.inner_operands, block * operand_bytes(INT8, e->inner));
    TAKE(s.inner_scales, block * 4);
    TAKE(s.sums, (block * PANEL > width ? block * PANEL : width) * 4);
    TAKE(s.attention.keys, length * wide * 4);
    TAKE(s.attention.values, length * rounded(head_width, LANES) * 4);
    TAKE(s.attention.queries, (GROUP_ROWS + SPARE_ROWS) * wide * 4);
    TAKE(s.attention.terms, (GROUP_ROWS + SPARE_ROWS) * relative_columns(longest, GROUP_ROWS) * 4);
    TAKE(s.attention.weights, (GROUP_ROWS + SPARE_ROWS) * length * 4);
    TAKE(s.attention.scores, (GROUP_ROWS + SPARE_ROWS) * (length > rounded(head_width, LANES) ? length : rounded(head_width, LANES)) * 4);
#undef TAKE
    s.bytes = used;
    return s;
}

/* ---- the layers ---- */

/* Rows of states, context and qkv are whole panels apart; what stands behind their values is 0. */
INLINE void into_short_qkv(const void *to, int row, int column, floats v) {
    const Scratch *s = to;
    store_bf16((uint16_t *)s->qkv + (size_t)row * s->attention.stride + column, v);
}
INLINE void into_qkv(const void *to, int row, int column, floats v) {
    const Scratch *s = to;
    store((float *)s->qkv + (size_t)row * s->attention.stride + column, v);
}
/* Some panels of qkv, for rows from `from` to before `end`. */
static void project(const Encoder *e, const Linear *qkv, const Scratch *s, int first, int panels, size_t from, size_t end) {
    Linear part = panels_of(qkv, first, panels);
    for (size_t row = from; row < end; row += BLOCK_ROWS) {
        int count = end - row < BLOCK_ROWS ? (int)(end - row) : BLOCK_ROWS;
        Operand left = {s->operands + row * qkv->row_bytes, s->scales + row, count};
        Scratch to = *s;
        to.qkv += (row * s->attention.stride + (size_t)first * PANEL) * s->attention.value_bytes;
        if (s->attention.is_short) apply(&part, e->precision, left, s->sums, into_short_qkv, &to);
        else apply(&part, e->precision, left, s->sums, into_qkv, &to);
    }
}
/* Keys and values of all tokens, queries of each sequence's first one; by tiles, of those in front of it in its tile too. */
static void project_first(const Encoder *e, const Linear *qkv, const Scratch *s, int rows, const int32_t *starts) {
    int queries = e->width / PANEL; /* panels that hold nothing else */
    project(e, qkv, s, queries, qkv->panels - queries, 0, (size_t)starts[rows]);
    for (int row = 0; row < rows && queries; row++) {
        size_t start = (size_t)starts[row];
        project(e, qkv, s, 0, queries, lies_in_tiles(e->precision) ? start / TILE * TILE : start, start + 1);
    }
}

/* Queries and keys of one sequence turned by their positions: values i and i + half of each head. */
INLINE void turn_in(const Encoder *e, const Layer *layer, const Attention *a, char *qkv, int is_short) {
    int half = e->width / e->heads / 2;
    for (int at = 0; at < a->length; at++) {
        const float *cosines = layer->cosines + (size_t)at * half, *sines = layer->sines + (size_t)at * half;
        for (int head = 0; head < 2 * e->heads; head++) {
            char *low = qkv + ((size_t)at * a->stride + (size_t)2 * half * head) * a->value_bytes, *high = low + half * a->value_bytes;
            for (int i = 0; i < half; i++) {
                float x = is_short ? of_bf16(((uint16_t *)low)[i]) : ((float *)low)[i], y = is_short ? of_bf16(((uint16_t *)high)[i]) : ((float *)high)[i];
                float turned_x = x * cosines[i] - y * sines[i], turned_y = y * cosines[i] + x * sines[i];
                if (is_short) ((uint16_t *)low)[i] = bf16_of(turned_x), ((uint16_t *)high)[i] = bf16_of(turned_y);
                else ((float *)low)[i] = turned_x, ((float *)high)[i] = turned_y;
            }
        }
    }
}
static void turn(const Encoder *e, const Layer *layer, const Attention *a, char *qkv) {
    if (a->is_short) turn_in(e, layer, a, qkv, 1);
    else turn_in(e, layer, a, qkv, 0);
}

typedef struct { float *rows; size_t width; int in_tiles; } Rows; /* width: in float32, of a row */

/* states[count] += linear(left), then normalised, in place or with the sums kept, and turned into operands. */
INLINE void onto(const void *to, int row, int column, floats v) {
    const Rows *r = to;
    float *at = r->rows + (size_t)row * r->width + column;
    store(at, load(at) + v);
}
static void add_and_norm(const Encoder *e, const Linear *linear, const Norm *norm, const Scratch *s, Operand left,
                         Rows states, char *operands, float *scales, int keeps_sums) {
    apply(linear, e->precision, left, s->sums, onto, &states);
    for (int i = 0; i < left.count; i++) {
        float *row = states.rows + (size_t)i * states.width;
        if (keeps_sums) row = memcpy(s->sums, row, states.width * 4);
        normalise(row, e->width, norm, e->epsilon);
        scales[i] = as_operand(e->precision, row, e->width, operands, (size_t)i);
    }
}

/* All behind attention, for `count` rows of context and states. */
INLINE void grown_exact(const void *to, int row, int column, floats v) {
    const Rows *r = to;
    if ((size_t)column < r->width) store(r->rows + (size_t)row * r->width + column, gelu_exact(v));
}
INLINE uint16_t *short_at(const Rows *r, int row, int column) {
    return (uint16_t *)operand_at(r->in_tiles, (char *)r->rows, r->width * 4, (size_t)row, (size_t)column * 2);
}
INLINE void grown_short(const void *to, int row, int column, floats v) {
    const Rows *r = to;
    if ((size_t)column < 2 * r->width) store_bf16(short_at(r, row, column), gelu_short(v));
}
/* Of a gated layer's results, a vector of the activated half comes before one of those that it is multiplied with. */
typedef struct { Rows rows; float *activated; } Gated;
INLINE void gated_exact(const void *to, int row, int column, floats v) {
    const Gated *g = to;
    if (column / LANES % 2 == 0) store(g->activated, gelu_exact(v));
    else if ((size_t)(column / 2 / LANES * LANES) < g->rows.width)
        store(g->rows.rows + (size_t)row * g->rows.width + column / 2 / LANES * LANES, load(g->activated) * v);
}
INLINE void gated_short(const void *to, int row, int column, floats v) {
    const Gated *g = to;
    if (column / LANES % 2 == 0) store(g->activated, gelu_short(v));
    else if ((size_t)(column / 2 / LANES * LANES) < 2 * g->rows.width)
        store_bf16(short_at(&g->rows, row, column / 2 / LANES * LANES), load(g->activated) * v);
}
static void feed_forward(const Encoder *e, const Layer *layer, const Scratch *s, int rows) {
    size_t width = rounded(e->width, PANEL), context_bytes = operand_bytes(s->kept, e->width), inner_bytes = operand_bytes(s->kept, e->inner);
    for (int row = 0; row < rows; row += BLOCK_ROWS) {
        int count = rows - row < BLOCK_ROWS ? rows - row : BLOCK_ROWS;
        Rows states = {s->states + (size_t)row * width, width, 0};
        float *scales = s->scales + row;
        char *operands = s->operands + (size_t)row * layer->up.row_bytes;
        Operand left = {operands, scales, count};
        Operand attended = as_operands(e->precision, s->kept, s->context + (size_t)row * context_bytes, e->width, count, operands, scales);
        add_and_norm(e, &layer->attended, &layer->attended_norm, s, attended, states, operands, scales, e->keeps_sums);
        Rows grown = {(float *)s->inner, inner_bytes / 4, e->precision == BF16 && lies_in_tiles(BF16)};
        float activated[LANES] = {0};
        Gated gated = {grown, activated};
        if (e->is_gated && s->kept == BF16) apply(&layer->up, e->precision, left, s->sums, gated_short, &gated);
        else if (e->is_gated) apply(&layer->up, e->precision, left, s->sums, gated_exact, &gated);
        else if (s->kept == BF16) apply(&layer->up, e->precision, left, s->sums, grown_short, &grown);
        else if (e->precision == FP32) apply(&layer->up, FP32, left, s->sums, grown_exact, &grown);
        else apply(&layer->up, INT8, left, s->sums, grown_exact, &grown);
        Operand inner = as_operands(e->precision, s->kept, s->inner, e->inner, count, s->inner_operands, s->inner_scales);
        add_and_norm(e, &layer->down, &layer->norm, s, inner, states, operands, scales, e->keeps_sums && layer != &e->layer[e->layers - 1]);
    }
}

/* Tokens `from` to `to` of a sequence that begins at `start`: their tables' rows added and normalised, and as operands. */
static void embed(const Encoder *e, int start, int from, int to, const int32_t *ids, const int32_t *types, Rows states,
                  char *operands, size_t first, float *scales) {
    int width = e->embedded;
    for (int at = from; at < to; at++) {
        const float *word = e->word + (size_t)ids[at] * width, *type = e->type + (size_t)types[at] * width;
        float *row = states.rows + (size_t)(at - from) * states.width;
        for (int i = 0; i < width; i++) row[i] = word[i] + type[i];
        if (e->position)
            for (int i = 0; i < width; i++) row[i] += e->position[(size_t)(at - start) * width + i];
        memset(row + width, 0, (states.width - width) * 4);
        normalise(row, width, &e->norm, e->epsilon);
        scales[at - from] = as_operand(e->precision, row, width, operands, first + (size_t)(at - from));
    }
}
INLINE void into_rows(const void *to, int row, int column, floats v) {
    const Rows *r = to;
    store(r->rows + (size_t)row * r->width + column, v);
}
/* The same, brought from the tables' width to the layers', block by block. */
static void embed_widened(const Encoder *e, const Scratch *s, int start, int end, const int32_t *ids, const int32_t *types) {
    size_t width = rounded(e->width, PANEL);
    memset(s->qkv, 0, (BLOCK_ROWS + SPARE_ROWS) * e->widened.row_bytes); /* which no layer has filled yet */
    for (int from = start; from < end; from += BLOCK_ROWS) {
        int to = from + BLOCK_ROWS < end ? from + BLOCK_ROWS : end;
        float *scales = s->scales + from;
        Rows states = {s->states + (size_t)from * width, width, 0};
        embed(e, start, from, to, ids, types, (Rows){(float *)s->inner, rounded(e->embedded, PANEL), 0}, s->qkv, 0, scales);
        apply(&e->widened, e->precision, (Operand){s->qkv, scales, to - from}, s->sums, into_rows, &states);
        for (int at = from; at < to; at++)
            s->scales[at] = as_operand(e->precision, s->states + (size_t)at * width, e->width, s->operands, (size_t)at);
    }
}

#endif
