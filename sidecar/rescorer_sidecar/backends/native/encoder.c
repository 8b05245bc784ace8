/* The forward pass of an encoder over sequences packed end to end: no padding, one thread, no allocation.

   Activations are float32 between the products. Attention runs in bfloat16 where the machine has it and the precision is
   not float32. In the last layer only the rows that are read are computed. */
#include "attention.h"

#include <time.h>
#if HAS_AMX
#include <sys/syscall.h>
#include <unistd.h>
#endif

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
static void project(const Encoder *e, const Linear *qkv, const Scratch *s, int tokens) {
    for (int row = 0; row < tokens; row += BLOCK_ROWS) {
        int count = tokens - row < BLOCK_ROWS ? tokens - row : BLOCK_ROWS;
        Operand left = {s->operands + (size_t)row * qkv->row_bytes, s->scales + row, count};
        Scratch to = *s;
        to.qkv += (size_t)row * s->attention.stride * s->attention.value_bytes;
        if (s->attention.is_short) apply(qkv, e->precision, left, s->sums, into_short_qkv, &to);
        else apply(qkv, e->precision, left, s->sums, into_qkv, &to);
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

typedef struct { float *rows; size_t width; } Rows; /* width: in float32, from row to row */

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
        scales[i] = as_operand(e->precision, row, e->width, operands + (size_t)i * operand_bytes(e->precision, e->width));
    }
}

/* All behind attention, for `count` rows of context and states. */
INLINE void grown_exact(const void *to, int row, int column, floats v) {
    const Rows *r = to;
    if ((size_t)column < r->width) store(r->rows + (size_t)row * r->width + column, gelu_exact(v));
}
INLINE void grown_short(const void *to, int row, int column, floats v) {
    const Rows *r = to;
    if ((size_t)column < 2 * r->width) store_bf16((uint16_t *)(r->rows + (size_t)row * r->width) + column, gelu_short(v));
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
        store_bf16((uint16_t *)(g->rows.rows + (size_t)row * g->rows.width) + column / 2 / LANES * LANES, load(g->activated) * v);
}
static void feed_forward(const Encoder *e, const Layer *layer, const Scratch *s, int rows) {
    size_t width = rounded(e->width, PANEL), context_bytes = operand_bytes(s->kept, e->width), inner_bytes = operand_bytes(s->kept, e->inner);
    for (int row = 0; row < rows; row += BLOCK_ROWS) {
        int count = rows - row < BLOCK_ROWS ? rows - row : BLOCK_ROWS;
        Rows states = {s->states + (size_t)row * width, width};
        float *scales = s->scales + row;
        char *operands = s->operands + (size_t)row * layer->up.row_bytes;
        Operand left = {operands, scales, count};
        Operand attended = as_operands(e->precision, s->kept, s->context + (size_t)row * context_bytes, e->width, count, operands, scales);
        add_and_norm(e, &layer->attended, &layer->attended_norm, s, attended, states, operands, scales, e->keeps_sums);
        Rows grown = {(float *)s->inner, inner_bytes / 4};
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
                  char *operands, float *scales) {
    int width = e->embedded;
    for (int at = from; at < to; at++) {
        const float *word = e->word + (size_t)ids[at] * width, *type = e->type + (size_t)types[at] * width;
        float *row = states.rows + (size_t)(at - from) * states.width;
        for (int i = 0; i < width; i++) row[i] = word[i] + type[i];
        if (e->position)
            for (int i = 0; i < width; i++) row[i] += e->position[(size_t)(at - start) * width + i];
        memset(row + width, 0, (states.width - width) * 4);
        normalise(row, width, &e->norm, e->epsilon);
        scales[at - from] = as_operand(e->precision, row, width, operands + (size_t)(at - from) * operand_bytes(e->precision, width));
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
        Rows states = {s->states + (size_t)from * width, width};
        embed(e, start, from, to, ids, types, (Rows){(float *)s->inner, rounded(e->embedded, PANEL)}, s->qkv, scales);
        apply(&e->widened, e->precision, (Operand){s->qkv, scales, to - from}, s->sums, into_rows, &states);
        for (int at = from; at < to; at++)
            s->scales[at] = as_operand(e->precision, s->states + (size_t)at * width, e->width, s->operands + (size_t)at * operand_bytes(e->precision, e->width));
    }
}

/* ---- what Python calls ---- */

/* Asks the system for AMX's tiles, and uses them only if a product by tiles is what it is without them. Once, first. */
void rescorer_begin(void) {
#if HAS_AMX
    enum { ASK_FOR = 0x1023, TILE_DATA = 18, ROWS = 40, BYTES = 192, VECTORS = PANEL / LANES }; /* arch_prctl(ARCH_REQ_XCOMP_PERM) */
    if (syscall(SYS_arch_prctl, ASK_FOR, TILE_DATA)) return;
    static char a[(ROWS + SPARE_ROWS) * BYTES], b[BYTES * PANEL];
    static int32_t plain[(ROWS + SPARE_ROWS) * PANEL], tiled[(ROWS + SPARE_ROWS) * PANEL];
    for (size_t i = 0; i < sizeof a; i++) a[i] = (char)(i * 7 % 251);
    for (size_t i = 0; i < sizeof b; i++) b[i] = (char)(i * 11 % 241);
    Product p = {a, b, BYTES, BYTES * LANES, BYTES / STEP_BYTES, ROWS, VECTORS, plain, PANEL};
    multiply_int8(&p);
    has_tiles = 1;
    begin_tiles();
    p.c = tiled;
    multiply_int8_tiles(&p);
    end_tiles();
    for (int row = 0; row < ROWS; row++)
        if (memcmp(plain + row * PANEL, tiled + row * PANEL, VECTORS * LANES * 4)) has_tiles = 0;
#endif
}

int rescorer_supports(int precision) {
    return precision == FP32 || (precision == BF16 && HAS_BF16) || (precision == INT8 && HAS_INT8);
}
const char *rescorer_instructions(void) {
    return has_tiles ? "AMX" : HAS_BF16 ? "AVX-512 BF16" : HAS_INT8 ? "VNNI" : LANES == 16 ? "AVX-512" : LANES == 8 ? "AVX2" : "plain vectors";
}
void rescorer_free(Encoder *e) {
    if (!e) return;
    for (int i = 0; e->layer && i < e->layers; i++) {
        Layer *l = &e->layer[i];
        unpack(&l->qkv); unpack(&l->attended); unpack(&l->up); unpack(&l->down);
        free(l->relative.keys); free(l->relative.queries);
        free(l->attended_norm.weight); free(l->attended_norm.bias); free(l->norm.weight); free(l->norm.bias);
    }
    unpack(&e->widened); unpack(&e->dense); unpack(&e->out);
    free(e->norm.weight); free(e->norm.bias); free(e->head_norm.weight); free(e->head_norm.bias); free(e->layer);
    free(e);
}
/* sizes: precision, layers, width, heads, inner, embedded, is_gated, keeps_sums, limit. NULL where memory or the precision lacks. */
Encoder *rescorer_new(const int32_t *sizes, float epsilon) {
    Encoder *e = rescorer_supports(sizes[0]) ? fresh(sizeof *e) : NULL;
    if (!e) return NULL;
    e->precision = (Precision)sizes[0];
    e->layers = sizes[1]; e->width = sizes[2]; e->heads = sizes[3]; e->inner = sizes[4]; e->embedded = sizes[5];
    e->is_gated = sizes[6]; e->keeps_sums = sizes[7]; e->limit = sizes[8];
    e->epsilon = epsilon;
    e->layer = fresh((size_t)e->layers * sizeof(Layer));
    if (!e->layer) { rescorer_free(e); return NULL; }
    return e;
}
static int copied(Norm *norm, const float *weight, const float *bias, int width) {
    norm->weight = fresh((size_t)width * 4);
    norm->bias = fresh((size_t)width * 4);
    if (!norm->weight || !norm->bias) return 0;
    memcpy(norm->weight, weight, (size_t)width * 4);
    memcpy(norm->bias, bias, (size_t)width * 4);
    return 1;
}
/* given: words, positions (or NULL), types, weight and bias of the norm, and of what widens them (or NULL). The three
   tables stay the caller's; the rest is copied. */
int rescorer_set_embeddings(Encoder *e, const float *const *given) {
    e->word = given[0]; e->position = given[1]; e->type = given[2];
    if (given[5] && !pack(&e->widened, e->precision, given[5], given[6], e->width, e->embedded)) return 0;
    return copied(&e->norm, given[3], given[4], e->embedded);
}
/* A gated layer's two halves: a vector of columns of the first, then one of the second. */
static int pack_gated(Linear *made, Precision precision, const float *weight, const float *bias, int out, int in) {
    int columns = 2 * (int)rounded(out, ALIGN / 2); /* fills operand rows of bfloat16 and float32 to their ends */
    float *both = fresh((size_t)columns * in * 4), *both_bias = fresh((size_t)columns * 4);
    int fits = both && both_bias;
    for (int i = 0; fits && i < 2 * out; i++) {
        int column = (2 * (i % out / LANES) + i / out) * LANES + i % out % LANES;
        memcpy(both + (size_t)column * in, weight + (size_t)i * in, (size_t)in * 4);
        both_bias[column] = bias[i];
    }
    fits = fits && pack(made, precision, both, both_bias, columns, in);
    free(both);
    free(both_bias);
    return fits;
}
/* given: weight and bias of qkv, attended, its norm, up, down, norm; cosines and sines, the caller's (or NULL); the
   tables of keys and of queries by distance (or NULL). Queries are scaled so that scores are powers of 2. */
int rescorer_set_layer(Encoder *e, int place, int reach, const float *const *given) {
    Layer *l = &e->layer[place];
    l->reach = reach; l->cosines = given[12]; l->sines = given[13];
    int w = e->width;
    int terms = 1 + !!given[14] + !!given[15];
    float factor = 1.4426950408889634f / sqrtf((float)(w / e->heads * terms));
    float *weight = malloc((size_t)3 * w * w * 4), *bias = malloc((size_t)3 * w * 4);
    int fits = weight && bias;
    if (fits) {
        for (size_t i = 0; i < (size_t)3 * w * w; i++) weight[i] = given[0][i] * (i < (size_t)w * w ? factor : 1);
        for (int i = 0; i < 3 * w; i++) bias[i] = given[1][i] * (i < w ? factor : 1);
        fits = pack(&l->qkv, e->precision, weight, bias, 3 * w, w) && pack(&l->attended, e->precision, given[2], given[3], w, w)
            && copied(&l->attended_norm, given[4], given[5], w)
            && (e->is_gated ? pack_gated : pack)(&l->up, e->precision, given[6], given[7], e->inner, w)
            && pack(&l->down, e->precision, given[8], given[9], w, e->inner) && copied(&l->norm, given[10], given[11], w);
    }
    free(weight);
    free(bias);
    RelativeShape shape = {e->limit, e->heads, w / e->heads, HAS_BF16 && e->precision != FP32};
    return fits && (!given[14] || (l->relative.keys = pack_table(&l->relative, shape, given[14], 1)))
        && (!given[15] || (l->relative.queries = pack_table(&l->relative, shape, given[15], factor)));
}
/* The head runs in float32. given: weight and bias of dense and out, and of the norm between them (or NULL). */
int rescorer_set_head(Encoder *e, int labels, int activation, int means, const float *const *given) {
    e->labels = labels; e->head_activation = (Activation)activation; e->head_means = means;
    return pack(&e->dense, FP32, given[0], given[1], e->width, e->width) && pack(&e->out, FP32, given[2], given[3], labels, e->width)
        && (!given[4] || copied(&e->head_norm, given[4], given[5], e->width));
}
size_t rescorer_scratch_bytes(const Encoder *e, int tokens, int longest) { return scratch_of(e, 0, tokens, longest).bytes; }

static float activated(Activation kind, float x) {
    switch (kind) {
        case GELU: return x / 2 * (1 + erff(x * 0.70710678f));
        case GELU_TANH: return x / 2 * (1 + tanhf(0.79788456f * (x + 0.044715f * x * x * x)));
        case RELU: return x > 0 ? x : 0;
        case SILU: return x / (1 + expf(-x));
        default: return tanhf(x);
    }
}
/* float32[rows, labels] logits of the first `rows` states, which are overwritten. */
static void classify(const Encoder *e, const Scratch *s, int rows, float *logits) {
    size_t width = rounded(e->width, PANEL);
    for (int row = 0; row < rows; row += BLOCK_ROWS) {
        int count = rows - row < BLOCK_ROWS ? rows - row : BLOCK_ROWS;
        for (int stage = 0; stage < 2; stage++) {
            const Linear *linear = stage ? &e->out : &e->dense;
            for (int i = 0; i < count; i++) {
                char *operand = s->inner + (size_t)i * linear->row_bytes;
                memset(operand, 0, linear->row_bytes);
                memcpy(operand, s->states + (size_t)(row + i) * width, (size_t)e->width * 4);
            }
            Operand left = {s->inner, NULL, count};
            for (int panel = 0; panel < linear->panels; panel++) {
                panel_of(linear, FP32, left, panel, s->sums);
                for (int i = 0; i < count; i++)
                    for (int j = 0; j < PANEL && panel * PANEL + j < linear->out; j++) {
                        float value = s->sums[(size_t)i * PANEL + j] + linear->bias[panel * PANEL + j];
                        if (stage) logits[(size_t)(row + i) * e->labels + panel * PANEL + j] = value;
                        else s->states[(size_t)(row + i) * width + panel * PANEL + j] = activated(e->head_activation, value);
                    }
            }
            for (int i = 0; i < count && !stage && e->head_norm.weight; i++)
                normalise(s->states + (size_t)(row + i) * width, e->width, &e->head_norm, e->epsilon);
        }
    }
}

/* The means of each sequence's states become the first `rows` states. */
static void average(const Encoder *e, const Scratch *s, int rows, const int32_t *starts) {
    size_t width = rounded(e->width, PANEL);
    for (int row = 0; row < rows; row++) {
        const float *from = s->states + (size_t)starts[row] * width;
        float *to = s->states + (size_t)row * width;
        int count = starts[row + 1] - starts[row];
        memmove(to, from, width * 4);
        for (int token = 1; token < count; token++)
            for (int i = 0; i < e->width; i++) to[i] += from[(size_t)token * width + i];
        for (int i = 0; i < e->width; i++) to[i] /= count;
    }
}

typedef enum { LOGITS = 0, FIRST = 1, MEAN = 2 } Wanted;

/* `rows` sequences, sequence i at starts[i] … starts[i + 1] of ids and types. out: float32[rows, labels], or
   float32[rows, width] of first tokens' states or of the states' means. memory: rescorer_scratch_bytes, aligned to 64. */
void rescorer_forward(const Encoder *e, int rows, const int32_t *starts, const int32_t *ids, const int32_t *types,
                      int wanted, void *memory, float *out) {
    int tokens = starts[rows], longest = 1;
    for (int i = 0; i < rows; i++) longest = starts[i + 1] - starts[i] > longest ? starts[i + 1] - starts[i] : longest;
    Scratch s = scratch_of(e, memory, tokens, longest);
    size_t width = rounded(e->width, PANEL);
    int head_width = e->width / e->heads;
    size_t context_bytes = operand_bytes(s.kept, e->width);
    memset(s.context, 0, ((size_t)tokens + SPARE_ROWS) * context_bytes);
    memset(s.operands, 0, ((size_t)tokens + SPARE_ROWS) * operand_bytes(e->precision, e->width));
    memset(s.inner_operands, 0, (BLOCK_ROWS + SPARE_ROWS) * operand_bytes(INT8, e->inner));
    memset(s.attention.queries, 0, (size_t)(GROUP_ROWS + SPARE_ROWS) * s.attention.wide * 4);
    int means = wanted == MEAN || (wanted == LOGITS && e->head_means);
    begin_tiles();
    for (int row = 0; row < rows; row++) {
        int start = starts[row];
        if (e->widened.packed) embed_widened(e, &s, start, starts[row + 1], ids, types);
        else embed(e, start, start, starts[row + 1], ids, types, (Rows){s.states + (size_t)start * width, width},
                   s.operands + (size_t)start * operand_bytes(e->precision, e->width), s.scales + start);
    }
    for (int place = 0; place < e->layers; place++) {
        const Layer *layer = &e->layer[place];
        int only_first = place == e->layers - 1 && !means;
        project(e, &layer->qkv, &s, tokens);
        s.attention.reach = layer->reach;
        s.attention.relative = &layer->relative;
        for (int row = 0; row < rows; row++) {
            s.attention.length = starts[row + 1] - starts[row];
            size_t first = starts[row], to = only_first ? (size_t)row : first;
            if (layer->cosines) turn(e, layer, &s.attention, s.qkv + first * s.attention.stride * s.attention.value_bytes);
            for (int head = 0; head < e->heads; head++)
                attend(&s.attention, s.qkv + first * s.attention.stride * s.attention.value_bytes, head, head_width,
                       only_first ? 1 : s.attention.length, s.context + to * context_bytes, context_bytes);
            if (only_first) memmove(s.states + to * width, s.states + first * width, width * 4);
        }
        feed_forward(e, layer, &s, only_first ? rows : tokens);
    }
    end_tiles();
    if (means) average(e, &s, rows, starts);
    if (wanted == LOGITS) { classify(e, &s, rows, out); return; }
    for (int row = 0; row < rows; row++) memcpy(out + (size_t)row * e->width, s.states + (size_t)row * width, (size_t)e->width * 4);
}

/* Operations a second (a multiply and an add are two) of this thread's products of 48 or 64 rows with matrices of the
   shapes of a 384 wide layer, one after the other: the limit that a benchmark prints beside a forward. 0 without memory. */
double rescorer_rate(int precision) {
    static const int shapes[4][2] = {{384, 1152}, {384, 384}, {384, 1536}, {1536, 384}};
    Linear linear[4] = {0};
    float *weight = fresh((size_t)384 * 1536 * 4), *bias = fresh(1536 * 4), *sums = fresh((BLOCK_ROWS + SPARE_ROWS) * PANEL * 4);
    char *rows = fresh((BLOCK_ROWS + SPARE_ROWS) * operand_bytes((Precision)precision, 1536));
    int fits = weight && bias && sums && rows;
    double work = 0, best = 0;
    for (int i = 0; i < 4; i++) {
        fits = fits && pack(&linear[i], (Precision)precision, weight, bias, shapes[i][1], shapes[i][0]);
        work += 2.0 * BLOCK_ROWS * shapes[i][0] * shapes[i][1];
    }
    begin_tiles();
    for (int trial = 0; fits && trial < 100; trial++) {
        struct timespec from, to;
        clock_gettime(CLOCK_MONOTONIC, &from);
        for (int i = 0; i < 4; i++)
            for (int panel = 0; panel < linear[i].panels; panel++)
                for (int row = 0; row < BLOCK_ROWS; row += GROUP_ROWS)
                    panel_of(&linear[i], (Precision)precision, (Operand){rows + row * linear[i].row_bytes, NULL, GROUP_ROWS}, panel, sums);
        clock_gettime(CLOCK_MONOTONIC, &to);
        double rate = work / ((double)(to.tv_sec - from.tv_sec) + 1e-9 * (double)(to.tv_nsec - from.tv_nsec));
        best = rate > best ? rate : best;
    }
    end_tiles();
    for (int i = 0; i < 4; i++) unpack(&linear[i]);
    free(weight); free(bias); free(sums); free(rows);
    return best;
}
