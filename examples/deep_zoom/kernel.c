// One tile of a Mandelbrot deep zoom, as a reactor module (protocol/spec/modules.md).
//
// In:  four little-endian i64s x, y, width, height: a tile of the 1024 x 1024 picture (a `grid` split).
// Out: width * height little-endian u16s, row by row: 8 * iterations, smoothed; 0 where the point never escapes.
//
// Only + - * / and comparisons of f64 are used, no libm, so that reference.py gets the same bytes in pure Python.

#include <stdint.h>
#include <string.h>

#define EXPORT(name) __attribute__((export_name(name)))

enum { PICTURE = 1024, TILE_PIXELS_MAX = 128 * 128, ITERATIONS_MAX = 8000 };

static const double CENTER_X = -0.743643887037158704752191506114774;
static const double CENTER_Y = 0.131825904205311970493132056385139;
static const double WIDTH = 6e-11;

// A point counts as escaped when |z|^2 passes 2^16: so far out, the fraction below is smooth.
static const double ESCAPE = 65536.0;

static int64_t input[4];
static uint16_t output[TILE_PIXELS_MAX];
static const char *error = "";

// log2 of x >= 1: the exponent is exact, the mantissa goes through a parabola that meets log2 at 1 and 2.
static double log2_of(double x) {
    uint64_t bits;
    memcpy(&bits, &x, 8);
    double exponent = (double)((int64_t)(bits >> 52) - 1023);
    bits = (bits & 0x000fffffffffffff) | 0x3ff0000000000000;
    memcpy(&x, &bits, 8);
    return exponent + ((2.0 - x / 3.0) * x - 5.0 / 3.0);
}

// Where the orbit of one point stands.
typedef struct {
    double cx, cy, x, y, xx, yy;
} Orbit;

static inline Orbit start(int64_t column, int64_t row) {
    double step = WIDTH / PICTURE;
    double cx = CENTER_X + ((double)column - PICTURE / 2 + 0.5) * step;
    double cy = CENTER_Y + ((double)row - PICTURE / 2 + 0.5) * step;
    return (Orbit){cx, cy, 0, 0, 0, 0};
}

static inline void iterate(Orbit *z) {
    z->y = (z->x + z->x) * z->y + z->cy;
    z->x = z->xx - z->yy + z->cx;
    z->xx = z->x * z->x;
    z->yy = z->y * z->y;
}

static inline int escaped(const Orbit *z) { return z->xx + z->yy > ESCAPE; }

// Follow one orbit that has been iterated `done` times to its end.
static uint16_t finish(Orbit z, int done) {
    while (!escaped(&z)) {
        if (done++ == ITERATIONS_MAX) return 0;
        iterate(&z);
    }
    // |z|^2 now lies between 2^16 and about 2^32: from there back to the moment it passed 2^16.
    return (uint16_t)(8.0 * (done - log2_of(log2_of(z.xx + z.yy) / 16.0)));
}

// Two neighbours at a time: each multiplication of an orbit waits for the one before it, so a second orbit is free.
static void pair(Orbit a, Orbit b, uint16_t *values) {
    int done = 0;
    while (done < ITERATIONS_MAX && !(escaped(&a) | escaped(&b))) {
        iterate(&a);
        iterate(&b);
        done++;
    }
    values[0] = finish(a, done);
    values[1] = finish(b, done);
}

EXPORT("cc_alloc") void *cc_alloc(int32_t size) { return size <= (int32_t)sizeof input ? input : 0; }

EXPORT("cc_error") uint64_t cc_error(void) { return (uint64_t)(uintptr_t)error << 32 | strlen(error); }

EXPORT("cc_run") uint64_t cc_run(const int64_t *tile, int32_t size) {
    int64_t left = tile[0], top = tile[1], width = tile[2], height = tile[3];
    if (size != sizeof input || width < 1 || height < 1 || width > PICTURE || height > PICTURE ||
        width * height > TILE_PIXELS_MAX) {
        error = "a tile has 4 numbers and at most 16384 pixels";
        return ~0ull;
    }
    uint16_t *next = output;
    for (int64_t row = top; row < top + height; row++) {
        int64_t column = left, end = left + width;
        for (; column + 1 < end; column += 2, next += 2) pair(start(column, row), start(column + 1, row), next);
        if (column < end) *next++ = finish(start(column, row), 0);
    }
    return (uint64_t)(uintptr_t)output << 32 | (uint32_t)(width * height * 2);
}
