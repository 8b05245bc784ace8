/* The forward pass of an encoder over sequences packed end to end: no padding, one thread, no allocation.

   Activations are float32 between the products. Attention runs in bfloat16 where the machine has it and the precision is
   not float32. In the last layer only the rows that are read are computed. */
#include "head.h"

#include <time.h>
#if HAS_AMX
#include <sys/syscall.h>
#include <unistd.h>
#endif

/* Asks the system for AMX's tiles, and uses them only if a product by tiles is what it is without them. Once, first. */
void rescorer_begin(void) {
#if HAS_AMX
    enum { ASK_FOR = 0x1023, TILE_DATA = 18, ROWS = 40, BYTES = 192, VECTORS = PANEL / LANES }; /* arch_prctl(ARCH_REQ_XCOMP_PERM) */
    if (syscall(SYS_arch_prctl, ASK_FOR, TILE_DATA)) return;
    static char a[(ROWS + SPARE_ROWS) * BYTES], b[BYTES * PANEL];
    static int32_t plain[(ROWS + SPARE_ROWS) * PANEL], tiled[(ROWS + SPARE_ROWS) * PANEL];
    for (size_t i = 0; i < sizeof a; i++) a[i] = (char)(i * 7 % 251);
    for (size_t i = 0; i < sizeof b; i++) b[i] = (char)(i * 11 % 241);
    Product p = {a, b, BYTES, BYTES * LANES, 0, BYTES / STEP_BYTES, ROWS, VECTORS, plain, PANEL};
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
/* Sequences go through all layers together as long as they have no more tokens than this, so that what one layer writes
   is still in the shared cache when the next one reads it; that pays for reading the weights once more. */
enum { TOGETHER_TOKENS = 1024 };

size_t rescorer_scratch_bytes(const Encoder *e, int tokens, int longest) {
    int most = longest > TOGETHER_TOKENS ? longest : TOGETHER_TOKENS;
    return scratch_of(e, 0, tokens < most ? tokens : most, longest).bytes;
}

typedef enum { LOGITS = 0, FIRST = 1, MEAN = 2 } Wanted;

/* What rescorer_forward does, of sequences that go through the layers together; starts[0] is 0. */
static void forward_together(const Encoder *e, int rows, const int32_t *starts, const int32_t *ids, const int32_t *types,
                             Wanted wanted, void *memory, float *out) {
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
    for (int row = 0; row < rows; row++) {
        int start = starts[row];
        if (e->widened.packed) embed_widened(e, &s, start, starts[row + 1], ids, types);
        else embed(e, start, start, starts[row + 1], ids, types, (Rows){s.states + (size_t)start * width, width, 0},
                   s.operands, (size_t)start, s.scales + start);
    }
    for (int place = 0; place < e->layers; place++) {
        const Layer *layer = &e->layer[place];
        int only_first = place == e->layers - 1 && !means;
        if (only_first) project_first(e, &layer->qkv, &s, rows, starts);
        else project(e, &layer->qkv, &s, 0, layer->qkv.panels, 0, (size_t)tokens);
        s.attention.reach = layer->reach;
        s.attention.relative = &layer->relative;
        for (int row = 0; row < rows; row++) {
            s.attention.length = starts[row + 1] - starts[row];
            size_t first = starts[row], to = only_first ? (size_t)row : first;
            if (layer->cosines) turn(e, layer, &s.attention, s.qkv + first * s.attention.stride * s.attention.value_bytes);
            for (int head = 0; head < e->heads; head++)
                attend(&s.attention, s.qkv + first * s.attention.stride * s.attention.value_bytes, head, head_width,
                       only_first ? 1 : s.attention.length, (Context){s.context, context_bytes, to, e->precision == BF16 && lies_in_tiles(BF16)});
            if (only_first) memmove(s.states + to * width, s.states + first * width, width * 4);
        }
        feed_forward(e, layer, &s, only_first ? rows : tokens);
    }
    if (means) average(e, &s, rows, starts);
    if (wanted == LOGITS) { classify(e, &s, rows, out); return; }
    for (int row = 0; row < rows; row++) memcpy(out + (size_t)row * e->width, s.states + (size_t)row * width, (size_t)e->width * 4);
}
/* `rows` sequences, sequence i at starts[i] … starts[i + 1] of ids and types. out: float32[rows, labels], or
   float32[rows, width] of first tokens' states or of the states' means. memory: rescorer_scratch_bytes, aligned to 64. */
void rescorer_forward(const Encoder *e, int rows, const int32_t *starts, const int32_t *ids, const int32_t *types,
                      int wanted, void *memory, float *out) {
    int columns = wanted == LOGITS ? e->labels : e->width;
    int32_t here[TOGETHER_TOKENS + 1]; /* a sequence has a token at least */
    begin_tiles();
    for (int row = 0, count; row < rows; row += count) {
        for (count = 1; row + count < rows && starts[row + count + 1] - starts[row] <= TOGETHER_TOKENS; count++) {}
        for (int i = 0; i <= count; i++) here[i] = starts[row + i] - starts[row];
        forward_together(e, count, here, ids + starts[row], types + starts[row], (Wanted)wanted, memory, out + (size_t)row * columns);
    }
    end_tiles();
}

/* Operations a second (a multiply and an add are two) of this thread's products of a block of rows with matrices of
   the shapes of a 384 wide layer, one after the other: the limit that a benchmark prints beside a forward. 0 without memory. */
double rescorer_rate(int precision) {
    static const int shapes[4][2] = {{384, 1152}, {384, 384}, {384, 1536}, {1536, 384}};
    Linear linear[4] = {0};
    float *weight = fresh((size_t)384 * 1536 * 4), *bias = fresh(1536 * 4), *sums = fresh((BLOCK_ROWS + SPARE_ROWS) * PANEL * 4);
    char *rows = fresh((BLOCK_ROWS + SPARE_ROWS) * operand_bytes((Precision)precision, 1536));
    int fits = weight && bias && sums && rows;
    double work = 0, best = 0;
    int group = group_rows((Precision)precision);
    for (size_t i = 0; weight && i < (size_t)384 * 1536; i++) weight[i] = (float)(i * 7919 % 1009) / 1009 - 0.5f; /* zeros are faster */
    for (size_t i = 0; rows && i < (size_t)BLOCK_ROWS * 1536; i++) rows[i] = (char)(i % 2 ? 0x3f : i * 31); /* small in any format */
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
                for (int row = 0; row < BLOCK_ROWS; row += group)
                    panel_of(&linear[i], (Precision)precision, (Operand){rows + row * linear[i].row_bytes, NULL, group}, panel, sums);
        clock_gettime(CLOCK_MONOTONIC, &to);
        double rate = work / ((double)(to.tv_sec - from.tv_sec) + 1e-9 * (double)(to.tv_nsec - from.tv_nsec));
        best = rate > best ? rate : best;
    }
    end_tiles();
    for (int i = 0; i < 4; i++) unpack(&linear[i]);
    free(weight); free(bias); free(sums); free(rows);
    return best;
}
