/* What disentangled attention adds to the scores of one head: products of its queries with a table of keys, and of its
   keys with a table of queries, both read by how far the two tokens are apart (backends/encoder/relative.py).

   Tables lie by distance: the term of a pair whose key is one token on is the next value, or stands one row on and one
   value back. */
#ifndef RESCORER_RELATIVE_H
#define RESCORER_RELATIVE_H

#include "linear.h"

typedef struct {
    char *keys, *queries; /* each head's right side of products, head_bytes long; NULL where the model has no such term */
    int middle;           /* the column of distance 0, the last lane of a vector */
    size_t head_bytes;
} Relative;

/* A group of a head's queries, the keys that they meet, and their scores. */
typedef struct {
    Product queries;  /* with the keys: rows of queries as the left side, scores as the result */
    const char *keys; /* as a left side, key_bytes from row to row */
    size_t key_bytes;
    int first, group, length; /* first query, queries at most, keys */
    float *found;             /* float32[group + SPARE_ROWS, relative_columns] */
} Meeting;

static size_t relative_columns(int length, int group) { return rounded(length, LANES) + 2 * (size_t)group; }

static Product by_distance(const Meeting *m, const char *table, int from, int columns) {
    Product made = m->queries;
    made.b_next = made.steps * VECTOR_BYTES;
    made.b = table + (size_t)from / LANES * made.b_next;
    made.c = m->found;
    made.c_stride = columns;
    return made;
}
static void add_keys(const Relative *r, const Meeting *m, Multiply *multiply, int head) {
    int columns = (int)rounded(m->length + m->group - 1, LANES);
    const char *table = r->keys + head * r->head_bytes;
    Product terms = by_distance(m, table, r->middle + 1 - m->first - m->group, columns);
    products(multiply, terms, columns);
    for (int i = 0; i < terms.rows; i++)
        for (int j = 0; j < m->length; j += LANES) {
            float *to = (float *)m->queries.c + i * m->queries.c_stride + j;
            store(to, load(to) + load(m->found + (size_t)i * columns + m->group - 1 - i + j));
        }
}
static void add_queries(const Relative *r, const Meeting *m, Multiply *multiply, int head) {
    int columns = (int)rounded(m->queries.rows + m->group - 1, LANES);
    const char *table = r->queries + head * r->head_bytes;
    for (int key = 0; key < m->length; key += m->group) {
        Product terms = by_distance(m, table, r->middle + 1 + m->first - key - m->group, columns);
        terms.a = m->keys + (size_t)key * m->key_bytes;
        terms.a_stride = m->key_bytes;
        terms.rows = m->length - key < m->group ? m->length - key : m->group;
        products(multiply, terms, columns);
        for (int i = 0; i < m->queries.rows; i += LANES)
            for (int j = 0; j < terms.rows; j += LANES) {
                ints rows[LANES];
                for (int k = 0; k < LANES; k++)
                    memcpy(&rows[k], m->found + (size_t)(j + k) * columns + i + m->group - 1 - j - k, sizeof rows[k]);
                transpose(rows);
                for (int k = 0; k < LANES && i + k < m->queries.rows; k++) {
                    float *to = (float *)m->queries.c + (i + k) * m->queries.c_stride + key + j;
                    store(to, load(to) + (floats)rows[k]);
                }
            }
    }
}
/* Adds what both tables say to the scores of one head. */
static void add_relative(const Relative *r, const Meeting *m, Multiply *multiply, int head) {
    if (r->keys) add_keys(r, m, multiply, head);
    if (r->queries) add_queries(r, m, multiply, head);
}

typedef struct { int limit, heads, head_width, is_short; } RelativeShape;

/* table: float32[2 · limit - 1, heads · head_width], times factor, to right sides as long as a head's left sides. */
static char *pack_table(Relative *r, RelativeShape shape, const float *table, float factor) {
    int value_bytes = shape.is_short ? 2 : 4, per_step = STEP_BYTES / value_bytes;
    int steps = (int)rounded(shape.head_width, 16 * per_step) / per_step, limit = shape.limit;
    r->middle = (int)rounded(limit + GROUP_ROWS, LANES) - 1;
    r->head_bytes = (size_t)2 * (r->middle + 1) * steps * STEP_BYTES;
    char *made = fresh(shape.heads * r->head_bytes);
    for (int row = 0; made && row < 2 * limit - 1; row++) {
        int column = r->middle - (limit - 1) + row;
        for (int i = 0; i < shape.heads * shape.head_width; i++, table++) {
            int head = i / shape.head_width, k = i % shape.head_width;
            char *to = made + head * r->head_bytes + (size_t)(column / LANES) * steps * VECTOR_BYTES + column % LANES * STEP_BYTES;
            to += (size_t)(k / per_step) * VECTOR_BYTES + k % per_step * value_bytes;
            if (shape.is_short) *(uint16_t *)to = bf16_of(*table * factor);
            else *(float *)to = *table * factor;
        }
    }
    return made;
}

#endif
