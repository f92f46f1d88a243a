// A part of a blurred picture, made sharp, as a reactor module (protocol/spec/modules.md): Richardson-Lucy deconvolution.
//
// In:  little-endian u32 width, height of the part; left, top, width, height of the tile within it; rounds; radius of the
//      blur; then (2 radius + 1)^2 f64, the blur; then the part's pixels, row by row, three bytes each.
// Out: the tile's pixels.
//
// A round looks 2 radius pixels far, so a tile is exact when the part reaches 2 radius x rounds beyond it, or as far as
// the picture does: outside of the picture there is black.

#include <stdint.h>
#include <string.h>

#define EXPORT(name) __attribute__((export_name(name)))

enum { SIDE_MAX = 320, RADIUS_MAX = 7, TAPS_MAX = (2 * RADIUS_MAX + 1) * (2 * RADIUS_MAX + 1) };
enum { STRIDE = SIDE_MAX + 2 * RADIUS_MAX, INPUT_MAX = 32 + 8 * TAPS_MAX + 3 * SIDE_MAX * SIDE_MAX };

static struct {
    uint32_t width, height, left, top, tile_width, tile_height, rounds, radius;
    uint8_t rest[INPUT_MAX - 32];
} input;
static double blur[TAPS_MAX], mirrored[TAPS_MAX];
// With a border of zeros, so that nothing has to be asked inside of the loops.
static double seen[STRIDE * STRIDE], guess[STRIDE * STRIDE], ratio[STRIDE * STRIDE];
static double line[SIDE_MAX];
static uint8_t output[3 * SIDE_MAX * SIDE_MAX];
static const char *error = "";

static double *row_of(double *plane, uint32_t row) { return plane + (row + input.radius) * STRIDE + input.radius; }

// One row of `plane`, blurred by `taps`: always added up in the same order.
static void convolve(double *plane, const double *taps, uint32_t row) {
    int32_t radius = input.radius, size = 2 * radius + 1;
    memset(line, 0, sizeof line);
    for (int32_t y = 0; y < size; y++)
        for (int32_t x = 0; x < size; x++) {
            double tap = taps[y * size + x];
            const double *from = row_of(plane, row) - (y - radius) * STRIDE - (x - radius);
            for (uint32_t at = 0; at < input.width; at++) line[at] += tap * from[at];
        }
}

static void restore(void) {
    for (uint32_t row = 0; row < input.height; row++)
        for (uint32_t at = 0; at < input.width; at++) row_of(guess, row)[at] = 0.5;
    for (uint32_t round = 0; round < input.rounds; round++) {
        for (uint32_t row = 0; row < input.height; row++) {
            convolve(guess, blur, row);
            for (uint32_t at = 0; at < input.width; at++)
                row_of(ratio, row)[at] = row_of(seen, row)[at] / (line[at] + 1e-12);
        }
        for (uint32_t row = 0; row < input.height; row++) {
            convolve(ratio, mirrored, row);
            for (uint32_t at = 0; at < input.width; at++) row_of(guess, row)[at] *= line[at];
        }
    }
}

static uint8_t byte_of(double light) { return light >= 1 ? 255 : light > 0 ? (uint8_t)(255 * light + 0.5) : 0; }

EXPORT("cc_alloc") void *cc_alloc(int32_t size) { return size >= 0 && size <= (int32_t)sizeof input ? &input : 0; }

EXPORT("cc_error") uint64_t cc_error(void) { return (uint64_t)(uintptr_t)error << 32 | strlen(error); }

EXPORT("cc_run") uint64_t cc_run(const void *start, int32_t size) {
    error = "a part has at most 320 x 320 pixels, a blur a radius of at most 7, and the tile lies in the part";
    if (size < 32 || input.width > SIDE_MAX || input.height > SIDE_MAX || input.radius > RADIUS_MAX) return ~0ull;
    if (input.left > input.width || input.tile_width > input.width - input.left) return ~0ull;
    if (input.top > input.height || input.tile_height > input.height - input.top) return ~0ull;
    uint32_t taps = (2 * input.radius + 1) * (2 * input.radius + 1);
    if ((uint32_t)size != 32 + 8 * taps + 3 * input.width * input.height) return ~0ull;
    memcpy(blur, input.rest, 8 * taps);
    for (uint32_t tap = 0; tap < taps; tap++) mirrored[tap] = blur[taps - 1 - tap];
    const uint8_t *pixels = input.rest + 8 * taps;
    for (uint32_t colour = 0; colour < 3; colour++) {
        for (uint32_t row = 0; row < input.height; row++)
            for (uint32_t at = 0; at < input.width; at++)
                row_of(seen, row)[at] = pixels[3 * (row * input.width + at) + colour] / 255.0;
        restore();
        for (uint32_t row = 0; row < input.tile_height; row++)
            for (uint32_t at = 0; at < input.tile_width; at++)
                output[3 * (row * input.tile_width + at) + colour] =
                    byte_of(row_of(guess, input.top + row)[input.left + at]);
    }
    return (uint64_t)(uintptr_t)output << 32 | 3 * input.tile_width * input.tile_height;
}
