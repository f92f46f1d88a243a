// The Collatz problem over ranges of 72-bit numbers, as a reactor module (protocol/spec/modules.md).
//
// In:  two little-endian i64s first, end: the numbers BASE + first up to, not including, BASE + end (a `range` split).
// Out: little-endian i64 offset and u64 steps of the number with the most steps to 1; the lowest one of several.
//
// A step is n/2 or 3n+1. Eight halvings are taken at once: for n = 256 a + b they lead to a * 3^odd[b] + to[b], having
// tripled odd[b] times, because which of them triple depends on the low eight bits alone (Terras 1976). That is
// 8 + odd[b] steps.

#include <stdint.h>
#include <string.h>

#define EXPORT(name) __attribute__((export_name(name)))

typedef unsigned __int128 u128;

// 3179389980591125407167, which takes 2760 steps: the first of the ranges this example searches.
static const u128 BASE = (u128)172 << 64 | 6549999913082529215;

static uint32_t factor[256], to[256];
static uint8_t odd[256];
static int64_t range[2];
static struct {
    int64_t offset;
    uint64_t steps;
} most;
static const char *error = "";

static void fill_tables(void) {
    for (uint32_t b = 0; b < 256; b++) {
        uint32_t n = b, tripled = 0, power = 1;
        for (int halving = 0; halving < 8; halving++) {
            if (n & 1) {
                n = (3 * n + 1) / 2;
                power *= 3;
                tripled++;
            } else {
                n /= 2;
            }
        }
        factor[b] = power;
        to[b] = n;
        odd[b] = tripled;
    }
}

// Steps from n >= 1 down to 1, or -1 when the way there leaves 128 bits.
static int64_t steps_from(u128 n) {
    int64_t steps = 0;
    while (n >= 256) {
        // 3^8 is below 2^13: n / 256 may have 114 bits here, and 50 bits in the 64-bit loop below.
        if (n >> 122) return -1;
        if (n >> 58) {
            uint8_t b = (uint8_t)n;
            steps += 8 + odd[b];
            n = (n >> 8) * factor[b] + to[b];
            continue;
        }
        uint64_t small = (uint64_t)n;
        while (small >= 256 && !(small >> 58)) {
            uint8_t b = (uint8_t)small;
            steps += 8 + odd[b];
            small = (small >> 8) * factor[b] + to[b];
        }
        n = small;
    }
    uint32_t last = (uint32_t)n;
    while (last != 1) {
        last = last & 1 ? 3 * last + 1 : last / 2;
        steps++;
    }
    return steps;
}

EXPORT("cc_alloc") void *cc_alloc(int32_t size) { return size <= (int32_t)sizeof range ? range : 0; }

EXPORT("cc_error") uint64_t cc_error(void) { return (uint64_t)(uintptr_t)error << 32 | strlen(error); }

EXPORT("cc_run") uint64_t cc_run(const int64_t *input, int32_t size) {
    if (size != sizeof range || input[0] < 0) {
        error = "a range is two numbers, the first not negative";
        return ~0ull;
    }
    fill_tables();
    for (int64_t offset = input[0]; offset < input[1]; offset++) {
        int64_t steps = steps_from(BASE + (u128)offset);
        if (steps < 0) {
            error = "a number leaves 128 bits on its way to 1";
            return ~0ull;
        }
        if ((uint64_t)steps > most.steps) {
            most.offset = offset;
            most.steps = steps;
        }
    }
    return (uint64_t)(uintptr_t)&most << 32 | sizeof most;
}
