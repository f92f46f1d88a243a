// What kernel.wgsl computes, as a module for peers without a GPU (protocol/spec/gpu.md, "Fallback").
//
// The same random numbers, and the same floats in the same order; a GPU may round some of them otherwise.

#include <stdint.h>
#include <string.h>

#define EXPORT(name) __attribute__((export_name(name)))

enum { WIDTH = 192, HEIGHT = 128, SAMPLES = 64, BOUNCES = 5, TILE_PIXELS_MAX = 16 * 16 };
enum { SPHERES = 6, FLOOR = 6, NOTHING = 7 };

typedef struct {
    float x, y, z;
} V;

typedef struct {
    V colour; // what a surface gives back
    int mirror;
    V centre;
    float radius;
} Surface;

static const Surface SURFACES[] = {
    {{0.95f, 0.95f, 0.95f}, 1, {0, 1, 0}, 1},
    {{0.85f, 0.25f, 0.2f}, 0, {-2.2f, 0.8f, 0.6f}, 0.8f},
    {{0.2f, 0.45f, 0.85f}, 0, {2.1f, 0.7f, 0.9f}, 0.7f},
    {{0.95f, 0.8f, 0.3f}, 1, {0.9f, 0.35f, 2.1f}, 0.35f},
    {{0.3f, 0.75f, 0.35f}, 0, {-0.8f, 0.3f, 2.3f}, 0.3f},
    {{0.8f, 0.4f, 0.8f}, 0, {-1.6f, 0.22f, 2.9f}, 0.22f},
    {{0.78f, 0.76f, 0.72f}, 0, {0, 0, 0}, 0}, // the floor
};
static const float FAR = 1e9f, NEAR = 1e-3f;

static int64_t input[4];
static float output[TILE_PIXELS_MAX * 3];
static const char *error = "";
static uint32_t seed;

static V add(V a, V b) { return (V){a.x + b.x, a.y + b.y, a.z + b.z}; }
static V sub(V a, V b) { return (V){a.x - b.x, a.y - b.y, a.z - b.z}; }
static V scale(V a, float k) { return (V){a.x * k, a.y * k, a.z * k}; }
static V times(V a, V b) { return (V){a.x * b.x, a.y * b.y, a.z * b.z}; }
static float dot(V a, V b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
static V unit(V a) { return scale(a, 1 / __builtin_sqrtf(dot(a, a))); }

// From 0 to 1, with 24 bits.
static float chance(void) {
    seed = seed * 747796405u + 2891336453u;
    uint32_t word = ((seed >> ((seed >> 28) + 4)) ^ seed) * 277803737u;
    return (float)(((word >> 22) ^ word) >> 8) * 0x1p-24f;
}

// How far it is to a sphere along a ray; FAR if it is nowhere.
static float distance_to(const Surface *sphere, V from, V along) {
    V to = sub(from, sphere->centre);
    float half = dot(to, along);
    float under = half * half - (dot(to, to) - sphere->radius * sphere->radius);
    if (under < 0) return FAR;
    float root = __builtin_sqrtf(under);
    if (-half - root > NEAR) return -half - root;
    return root - half > NEAR ? root - half : FAR;
}

// Follow a ray to what it meets, and say which way that one looks.
static int meet(V *from, V along, V *normal) {
    float nearest = FAR;
    int found = NOTHING;
    for (int i = 0; i < SPHERES; i++) {
        float away = distance_to(&SURFACES[i], *from, along);
        if (away < nearest) nearest = away, found = i;
    }
    if (along.y < 0 && from->y > NEAR && from->y < -along.y * nearest) nearest = -from->y / along.y, found = FLOOR;
    if (found == NOTHING) return NOTHING;
    *from = add(*from, scale(along, nearest));
    if (found == FLOOR) {
        *normal = (V){0, 1, 0};
        from->y = 0;
        return FLOOR;
    }
    V out = sub(*from, SURFACES[found].centre);
    float radius = SURFACES[found].radius;
    *normal = (V){out.x / radius, out.y / radius, out.z / radius};
    return found;
}

static V bounced(const Surface *surface, V along, V normal) {
    if (surface->mirror) return unit(sub(along, scale(normal, 2 * dot(along, normal))));
    V way;
    float size;
    do {
        float a = chance(), b = chance(), c = chance();
        way = (V){2 * a - 1, 2 * b - 1, 2 * c - 1};
        size = dot(way, way);
    } while (size >= 1 || size < 1e-4f);
    way = add(scale(way, 1 / __builtin_sqrtf(size)), normal);
    return dot(way, way) < 1e-4f ? unit(normal) : unit(way);
}

// The light that one path finds.
static V follow(V from, V along) {
    V through = {1, 1, 1};
    for (int turn = 0; turn < BOUNCES; turn++) {
        V normal;
        int surface = meet(&from, along, &normal);
        if (surface == NOTHING) {
            float up = 0.5f * (along.y + 1), sun = 0.6f * along.y + 0.5f * along.z - 0.62f * along.x;
            sun = sun > 0 ? sun : 0;
            float haze = sun * sun * sun * sun;
            V sky = {0.3f + 0.1f * up + 1.5f * haze, 0.33f + 0.2f * up + 1.4f * haze, 0.38f + 0.4f * up + 1.1f * haze};
            return times(through, sky);
        }
        through = times(through, SURFACES[surface].colour);
        along = bounced(&SURFACES[surface], along, normal);
    }
    return (V){0, 0, 0};
}

static V pixel(uint32_t column, uint32_t row) {
    V sum = {0, 0, 0};
    for (uint32_t sample = 0; sample < SAMPLES; sample++) {
        seed = ((row * WIDTH + column) * SAMPLES + sample) * 2654435769u;
        float right = chance(), down = chance();
        V along = {((float)column + right - 0.5f * WIDTH) / HEIGHT, (0.5f * HEIGHT - (float)row - down) / HEIGHT - 0.14f, -1.25f};
        sum = add(sum, follow((V){0, 1.9f, 7.2f}, unit(along)));
    }
    return (V){sum.x / SAMPLES, sum.y / SAMPLES, sum.z / SAMPLES};
}

EXPORT("cc_alloc") void *cc_alloc(int32_t size) { return size <= (int32_t)sizeof input ? input : 0; }

EXPORT("cc_error") uint64_t cc_error(void) { return (uint64_t)(uintptr_t)error << 32 | strlen(error); }

EXPORT("cc_run") uint64_t cc_run(const int64_t *tile, int32_t size) {
    int64_t left = tile[0], top = tile[1], width = tile[2], height = tile[3];
    if (size != sizeof input || width < 1 || height < 1 || width > WIDTH || height > HEIGHT ||
        width * height > TILE_PIXELS_MAX) {
        error = "a tile has 4 numbers and at most 256 pixels";
        return ~0ull;
    }
    float *next = output;
    for (int64_t row = top; row < top + height; row++)
        for (int64_t column = left; column < left + width; column++, next += 3) {
            V light = pixel((uint32_t)column, (uint32_t)row);
            next[0] = light.x, next[1] = light.y, next[2] = light.z;
        }
    return (uint64_t)(uintptr_t)output << 32 | (uint32_t)(width * height * 3 * sizeof *output);
}
