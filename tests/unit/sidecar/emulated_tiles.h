/* AMX's tiles in plain C, for a processor without them. Stands in front of the kernels. */
#include <immintrin.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

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
#define syscall(...) 0 /* asked for tiles, the system grants them */
