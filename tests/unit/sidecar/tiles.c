/* Compares products by AMX's tiles, made of plain C here, with products by vectors. */
#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbf16ps
#undef _tile_dpbusd
#undef _tile_loadconfig
#undef _tile_release

#define _tile_test 1
static uint8_t tiles[8][1024];
#define _tile_zero(T) memset(tiles[T], 0, 1024)
#define _tile_loadd(T, FROM, STRIDE) \
    for (int r = 0; r < 16; r++) memcpy(tiles[T] + 64 * r, (const char *)(FROM) + (size_t)r * (STRIDE), 64)
#define _tile_stored(T, TO, STRIDE) \
    for (int r = 0; r < 16; r++) memcpy((char *)(TO) + (size_t)r * (STRIDE), tiles[T] + 64 * r, 64)
#define _tile_dpbusd tile_int8
#define _tile_dpbf16ps tile_bf16
#define _tile_loadconfig(SHAPES) ((void)(SHAPES))
#define _tile_release() ((void)0)

static float widened(const uint8_t *half) {
    uint32_t bits = (uint32_t)(half[0] | half[1] << 8) << 16;
    float value;
    memcpy(&value, &bits, 4);
    return value;
}
static void tile_int8(int c, int a, int b) {
    for (int m = 0; m < 16; m++)
        for (int n = 0; n < 16; n++)
            for (int k = 0; k < 64; k++)
                ((int32_t *)tiles[c])[m * 16 + n] += tiles[a][m * 64 + k] * (int8_t)tiles[b][k / 4 * 64 + n * 4 + k % 4];
}
static void tile_bf16(int c, int a, int b) {
    for (int m = 0; m < 16; m++)
        for (int n = 0; n < 16; n++)
            for (int k = 0; k < 32; k++)
                ((float *)tiles[c])[m * 16 + n] +=
                    widened(tiles[a] + m * 64 + k * 2) * widened(tiles[b] + k / 2 * 64 + n * 4 + k % 2 * 2);
}

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
