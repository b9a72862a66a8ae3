/* The AMX intrinsics that read memory, declared so that GCC knows that they do.
 *
 * `_tile_loadconfig` reads 64 bytes. GCC 12's declares an input of 8, so the stores to the other 56 are
 * removed as dead; the tiles are then never configured, and the first instruction that uses one ends the
 * process by SIGILL. `_tile_loadd` and `_tile_stream_loadd` declare no input at all.
 *
 * Included before everything else in each of llama.cpp's sources, by llama.cmake. Clang's are builtins
 * and right as they are.
 */
#if defined(__AMX_TILE__) && defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)

#include <immintrin.h>

typedef struct __attribute__((__may_alias__)) {
    char bytes[64];
} hedgerow_tile_config;

#undef _tile_loadconfig
#define _tile_loadconfig(config) \
    __asm__ volatile("ldtilecfg\t%X0" ::"m"(*(const hedgerow_tile_config *)(config)) : "memory")

/* Two macros each, so that a tile's number may be a macro itself, as in GCC's own. */
#undef _tile_loadd
#undef _tile_loadd_internal
#define _tile_loadd(tile, base, stride) _tile_loadd_internal(tile, base, stride)
#define _tile_loadd_internal(tile, base, stride) \
    __asm__ volatile("{tileloadd\t(%0,%1,1), %%tmm" #tile "|tileloadd\t%%tmm" #tile ", [%0+%1*1]}" \
                     ::"r"((const void *)(base)), "r"((long)(stride)) \
                     : "memory")

#undef _tile_stream_loadd
#undef _tile_stream_loadd_internal
#define _tile_stream_loadd(tile, base, stride) _tile_stream_loadd_internal(tile, base, stride)
#define _tile_stream_loadd_internal(tile, base, stride) \
    __asm__ volatile("{tileloaddt1\t(%0,%1,1), %%tmm" #tile "|tileloaddt1\t%%tmm" #tile ", [%0+%1*1]}" \
                     ::"r"((const void *)(base)), "r"((long)(stride)) \
                     : "memory")

#endif
