/* What stands behind the layers: means of states, and the classifier in float32. */
#ifndef RESCORER_HEAD_H
#define RESCORER_HEAD_H

#include "layers.h"

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

#endif
