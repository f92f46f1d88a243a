// What kernel.wgsl computes, as a module for peers without a GPU (protocol/spec/gpu.md, "Fallback").
//
// In:  two little-endian i64s first, end: the numbers from first up to, not including, end (a `range` split).
// Out: for each 16 numbers u32 offset and u32 steps of the one with the most steps to 1, the lowest one of several;
//      then 16 u32s, how many numbers take 0 to 63 steps, 64 to 127, and so on, the last one all that take more.

#include <stdint.h>
#include <string.h>

#define EXPORT(name) __attribute__((export_name(name)))

enum { GROUP = 16, BUCKETS = 16, STEPS_A_BUCKET = 64, NUMBERS_MAX = 1 << 20 };

static int64_t range[2];
static uint32_t result[2 * NUMBERS_MAX / GROUP + BUCKETS];
static const char *error = "";

// Steps from n down to 1; 0 when the way there leaves 64 bits.
static uint32_t steps_from(uint64_t n) {
    uint32_t steps = 0;
    while (n > 1) {
        if (n & 1) {
            if (n > (UINT64_MAX - 1) / 3) return 0;
            n = 3 * n + 1;
        } else {
            n /= 2;
        }
        steps++;
    }
    return steps;
}

EXPORT("cc_alloc") void *cc_alloc(int32_t size) { return size <= (int32_t)sizeof range ? range : 0; }

EXPORT("cc_error") uint64_t cc_error(void) { return (uint64_t)(uintptr_t)error << 32 | strlen(error); }

EXPORT("cc_run") uint64_t cc_run(const int64_t *input, int32_t size) {
    int64_t count = input[1] - input[0];
    if (size != sizeof range || count < 1 || count > NUMBERS_MAX) {
        error = "a range is two numbers, the second one at most 1048576 above the first";
        return ~0ull;
    }
    uint32_t groups = (uint32_t)((count + GROUP - 1) / GROUP);
    uint32_t *histogram = result + 2 * groups;
    for (uint32_t offset = 0; offset < (uint32_t)count; offset++) {
        uint32_t steps = steps_from((uint64_t)input[0] + offset);
        uint32_t *most = result + 2 * (offset / GROUP);
        if (offset % GROUP == 0) most[0] = offset;
        if (steps > most[1]) {
            most[0] = offset;
            most[1] = steps;
        }
        uint32_t bucket = steps / STEPS_A_BUCKET;
        histogram[bucket < BUCKETS ? bucket : BUCKETS - 1]++;
    }
    return (uint64_t)(uintptr_t)result << 32 | (2 * groups + BUCKETS) * sizeof *result;
}
