// One tile of a path-traced picture, as a reactor module (protocol/spec/modules.md).
//
// In:  four little-endian i64s x, y, width, height: a tile of the 480 x 360 picture (a `grid` split).
// Out: width * height pixels of three bytes, red, green, blue, row by row.
//
// Light is followed backwards, from the eye through each pixel and from sphere to sphere, SAMPLES times a pixel. Only
// + - * / and sqrt of f64 are used, and random numbers that depend on the pixel and the sample alone: so reference.py
// gets the same bytes in pure Python, and every machine the same as every other.

#include <stdint.h>
#include <string.h>

#define EXPORT(name) __attribute__((export_name(name)))

enum { WIDTH = 480, HEIGHT = 360, TILE_PIXELS_MAX = 60 * 60, SAMPLES = 400, BOUNCES = 6 };

typedef struct {
    double x, y, z;
} V;

typedef struct {
    V centre;
    double radius;
    V colour;    // what a surface gives back
    double glow; // what it shines by itself
    int mirror;
} Sphere;

static const Sphere SPHERES[] = {
    {{0, -1000, 0}, 1000, {0.78, 0.76, 0.72}, 0, 0}, // the floor
    {{0, 1, 0}, 1, {0.95, 0.95, 0.95}, 0, 1},
    {{-2.2, 0.8, 0.6}, 0.8, {0.85, 0.25, 0.2}, 0, 0},
    {{2.1, 0.7, 0.9}, 0.7, {0.2, 0.45, 0.85}, 0, 0},
    {{0.9, 0.35, 2.1}, 0.35, {0.95, 0.8, 0.3}, 0, 1},
    {{-0.8, 0.3, 2.3}, 0.3, {0.3, 0.75, 0.35}, 0, 0},
    {{-1.6, 0.22, 2.9}, 0.22, {0.8, 0.4, 0.8}, 0, 0},
    {{-4, 7, 5}, 2, {0, 0, 0}, 9, 0}, // a lamp
};
enum { COUNT = sizeof SPHERES / sizeof *SPHERES };

static int64_t input[4];
static uint8_t output[TILE_PIXELS_MAX * 3];
static const char *error = "";
static uint64_t state;

static V add(V a, V b) { return (V){a.x + b.x, a.y + b.y, a.z + b.z}; }
static V sub(V a, V b) { return (V){a.x - b.x, a.y - b.y, a.z - b.z}; }
static V scale(V a, double k) { return (V){a.x * k, a.y * k, a.z * k}; }
static double dot(V a, V b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
static V unit(V a) { return scale(a, 1 / __builtin_sqrt(dot(a, a))); }

// splitmix64: a number in [0, 1) of 53 bits.
static double chance(void) {
    uint64_t z = state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return (double)((z ^ z >> 31) >> 11) * 0x1p-53;
}

static V inside_unit_sphere(void) {
    for (;;) {
        V p = {2 * chance() - 1, 2 * chance() - 1, 2 * chance() - 1};
        double size = dot(p, p);
        if (size < 1 && size > 1e-12) return p;
    }
}

// Where a ray of unit direction first meets a sphere; -1 if nowhere.
static double meets(const Sphere *sphere, V from, V along) {
    V to = sub(from, sphere->centre);
    double half = dot(to, along);
    double under = half * half - (dot(to, to) - sphere->radius * sphere->radius);
    if (under < 0) return -1;
    double root = __builtin_sqrt(under);
    if (-half - root > 1e-6) return -half - root;
    return -half + root > 1e-6 ? -half + root : -1;
}

static V light_along(V from, V along) {
    V found = {0, 0, 0}, through = {1, 1, 1};
    for (int bounce = 0; bounce < BOUNCES; bounce++) {
        double nearest = 0;
        int hit = -1;
        for (int i = 0; i < COUNT; i++) {
            double distance = meets(&SPHERES[i], from, along);
            if (distance > 0 && (hit < 0 || distance < nearest)) nearest = distance, hit = i;
        }
        if (hit < 0) {
            // The sky, brighter towards the zenith.
            double up = 0.5 * (along.y + 1);
            V sky = {0.35 * (0.55 + 0.25 * up), 0.35 * (0.6 + 0.4 * up), 0.35 * (0.7 + 0.6 * up)};
            return add(found, (V){through.x * sky.x, through.y * sky.y, through.z * sky.z});
        }
        const Sphere *sphere = &SPHERES[hit];
        V at = add(from, scale(along, nearest));
        V normal = scale(sub(at, sphere->centre), 1 / sphere->radius);
        found = add(found, scale(through, sphere->glow));
        through = (V){through.x * sphere->colour.x, through.y * sphere->colour.y, through.z * sphere->colour.z};
        if (sphere->mirror) {
            along = unit(sub(along, scale(normal, 2 * dot(along, normal))));
        } else {
            V way = add(normal, unit(inside_unit_sphere()));
            along = dot(way, way) > 1e-12 ? unit(way) : normal;
        }
        from = at;
    }
    return found;
}

// Brightness to a byte, with the square root for a gamma curve.
static uint8_t byte_of(double light) {
    double value = __builtin_sqrt(light > 0 ? light : 0);
    return (uint8_t)(255 * (value < 1 ? value : 1) + 0.5);
}

static void pixel(int64_t column, int64_t row, uint8_t *to) {
    static const V eye = {0, 1.9, 7.2};
    V sum = {0, 0, 0};
    for (int sample = 0; sample < SAMPLES; sample++) {
        state = (uint64_t)((row * WIDTH + column) * SAMPLES + sample) * 0x9e3779b97f4a7c15 ^ 0x5ca1ab1e;
        double right = ((double)column + chance() - WIDTH / 2) / HEIGHT;
        double up = (HEIGHT / 2 - (double)row - chance()) / HEIGHT;
        V along = unit((V){right, up - 0.14, -1.25});
        sum = add(sum, light_along(eye, along));
    }
    to[0] = byte_of(sum.x / SAMPLES);
    to[1] = byte_of(sum.y / SAMPLES);
    to[2] = byte_of(sum.z / SAMPLES);
}

EXPORT("cc_alloc") void *cc_alloc(int32_t size) { return size <= (int32_t)sizeof input ? input : 0; }

EXPORT("cc_error") uint64_t cc_error(void) { return (uint64_t)(uintptr_t)error << 32 | strlen(error); }

EXPORT("cc_run") uint64_t cc_run(const int64_t *tile, int32_t size) {
    int64_t left = tile[0], top = tile[1], width = tile[2], height = tile[3];
    if (size != sizeof input || width < 1 || height < 1 || width > WIDTH || height > HEIGHT ||
        width * height > TILE_PIXELS_MAX) {
        error = "a tile has 4 numbers and at most 3600 pixels";
        return ~0ull;
    }
    uint8_t *next = output;
    for (int64_t row = top; row < top + height; row++)
        for (int64_t column = left; column < left + width; column++, next += 3) pixel(column, row, next);
    return (uint64_t)(uintptr_t)output << 32 | (uint32_t)(width * height * 3);
}
