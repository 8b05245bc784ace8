/* Compares products by AMX's tiles, made of plain C, with products by vectors. */
#include "emulated_tiles.h"

#include <math.h>
#include <stdio.h>

#include "linear.h"

enum { MOST_ROWS = 64 + 16, STEPS = 48 };
static char a[MOST_ROWS * STEPS * 4], laid[sizeof a], b[STEPS * PANEL * 4];
static float by_vectors[MOST_ROWS * PANEL], by_tiles[MOST_ROWS * PANEL];

static float largest_difference(Multiply *vectors, Multiply *tiled, int is_int8) {
    float most = 0;
    for (size_t i = 0; i < sizeof a; i += 64) memcpy(operand_at(1, laid, STEPS * 4, i / (STEPS * 4), i % (STEPS * 4)), a + i, 64);
    for (int rows = 1; rows <= 64; rows++)
        for (int count = 1; count <= PANEL / LANES; count++) {
            Product p = {a, b, STEPS * 4, STEPS * VECTOR_BYTES, 0, STEPS, rows, count, by_vectors, PANEL};
            vectors(&p);
            p.c = by_tiles;
            for (p.in_tiles = 0; p.in_tiles < 2; p.in_tiles++) {
                p.a = p.in_tiles ? laid : a;
                tiled(&p);
                for (int i = 0; i < rows * PANEL; i++) {
                    if (i % PANEL >= count * LANES) continue;
                    float x = is_int8 ? ((int32_t *)by_vectors)[i] : by_vectors[i];
                    float y = is_int8 ? ((int32_t *)by_tiles)[i] : by_tiles[i];
                    most = fmaxf(most, fabsf(x - y));
                }
            }
        }
    return most;
}

int main(void) {
    for (size_t i = 0; i < sizeof a; i++) a[i] = (char)(i * 7 % 251);
    for (size_t i = 0; i < sizeof b; i++) b[i] = (char)(i * 11 % 241);
    printf("int8: %s\n", largest_difference(multiply_int8, multiply_int8_tiles, 1) == 0 ? "the same" : "different");
    for (size_t i = 0; i < sizeof a / 2; i++) ((uint16_t *)a)[i] = 0x3f80 + i * 13 % 97; /* 1 and a bit */
    for (size_t i = 0; i < sizeof b / 2; i++) ((uint16_t *)b)[i] = (i % 3 ? 0x3f80 : 0xbf80) + i * 17 % 89;
    float most = largest_difference(multiply_bf16, multiply_bf16_tiles, 0);
    printf("bf16: %s\n", most < 1e-3f ? "the same within rounding" : "different");
    return 0;
}
