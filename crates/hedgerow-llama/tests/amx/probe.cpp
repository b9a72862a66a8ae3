// Uses the AMX intrinsics in the two ways of llama.cpp's kernels: a tile configuration and a tile are written to
// the stack, and only the intrinsic reads them.
#include <immintrin.h>

#include <cstdint>

struct tile_config {
    uint8_t palette = 0;
    uint8_t start_row = 0;
    uint8_t reserved[14] = {0};
    uint16_t bytes_per_row[16] = {0};
    uint8_t rows[16] = {0};
};

#define FIRST_TILE 0

extern "C" void configure() {
    alignas(64) tile_config config = {};
    config.palette = 1;
    for (int tile = 0; tile < 8; ++tile) {
        config.rows[tile] = 8 + tile;
        config.bytes_per_row[tile] = 16 + 4 * tile;
    }
    _tile_loadconfig(&config);
}

extern "C" void load(int first) {
    alignas(64) uint8_t tile[16 * 64];
    for (int index = 0; index < 16 * 64; ++index) {
        tile[index] = uint8_t(first + index);
    }
    _tile_loadd(FIRST_TILE, tile, 64);
}
