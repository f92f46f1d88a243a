// Ten days of a market, many times over, as a reactor module (protocol/spec/modules.md): a circular block bootstrap.
//
// In:  little-endian u64 first path, u32 paths, u32 days, u32 days of a block, u32 count, then `count` f64 log returns.
// Out: one i32 for each path: the log return over all its days, in ten-millionths, rounded down.
//
// A path is made of blocks of days that did follow each other; where they begin is random, and depends on the path's
// number alone. So it does not matter how the paths are cut into chunks.

#include <stdint.h>
#include <string.h>

#define EXPORT(name) __attribute__((export_name(name)))

enum { RETURNS_MAX = 16384, PATHS_MAX = 65536 };

typedef struct {
    uint64_t first;
    uint32_t paths, days, block, count;
    double returns[RETURNS_MAX];
} Input;

static Input input;
static int32_t output[PATHS_MAX];
static const char *error = "";

static uint64_t mixed(uint64_t z) {
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

static int32_t path(uint64_t number) {
    double sum = 0;
    uint32_t at = 0;
    for (uint32_t day = 0; day < input.days; day++) {
        if (day % input.block == 0) {
            uint64_t draw = mixed((number * 64 + day / input.block + 1) * 0x9e3779b97f4a7c15);
            at = (uint32_t)((draw >> 32) * input.count >> 32);
        }
        sum += input.returns[at];
        if (++at == input.count) at = 0;
    }
    double tens = sum * 1e7;
    int32_t whole = (int32_t)tens;
    return whole - (whole > tens);
}

EXPORT("cc_alloc") void *cc_alloc(int32_t size) { return size <= (int32_t)sizeof input ? &input : 0; }

EXPORT("cc_error") uint64_t cc_error(void) { return (uint64_t)(uintptr_t)error << 32 | strlen(error); }

EXPORT("cc_run") uint64_t cc_run(const uint8_t *given, int32_t size) {
    (void)given;
    if (size < 24 || input.count < 1 || input.count > RETURNS_MAX || size != 24 + 8 * (int32_t)input.count) {
        error = "the input is 24 bytes and as many returns as they say";
        return ~0ull;
    }
    if (input.paths > PATHS_MAX || input.block < 1 || input.days > 64 * input.block) {
        error = "too many paths or days";
        return ~0ull;
    }
    for (uint32_t i = 0; i < input.paths; i++) output[i] = path(input.first + i);
    return (uint64_t)(uintptr_t)output << 32 | input.paths * 4;
}
