// One tile of a path-traced picture, in floats (protocol/spec/gpu.md): each invocation is a pixel.
//
// Light is followed backwards from the eye, SAMPLES times a pixel, from sphere to sphere or to the floor. Random numbers
// are whole ones, a PCG of the pixel and the sample, so every device draws the same; what it computes with them it rounds
// as it likes. A path that touches an edge may so hit on one device and miss on another: that is what `outliers` is for.
//
// Out: red, green and blue of each pixel of the tile, row by row, as light: 0 is none, 1 is white.

struct Tile {
    x: u32,
    y: u32,
    width: u32,
}

@group(0) @binding(0) var<uniform> tile: Tile;
@group(0) @binding(1) var<storage, read_write> light: array<f32>;

const WIDTH = 192u;
const HEIGHT = 128u;
const SAMPLES = 64u;
const BOUNCES = 5u;
const FAR = 1e9;
const NEAR = 1e-3;

const SPHERES = 6u;
const FLOOR = 6u;
const NOTHING = 7u;
const X = array<f32, 6>(0.0, -2.2, 2.1, 0.9, -0.8, -1.6);
const Y = array<f32, 6>(1.0, 0.8, 0.7, 0.35, 0.3, 0.22);
const Z = array<f32, 6>(0.0, 0.6, 0.9, 2.1, 2.3, 2.9);
const RADIUS = array<f32, 6>(1.0, 0.8, 0.7, 0.35, 0.3, 0.22);
// What a surface gives back; the last is the floor.
const RED = array<f32, 7>(0.95, 0.85, 0.2, 0.95, 0.3, 0.8, 0.78);
const GREEN = array<f32, 7>(0.95, 0.25, 0.45, 0.8, 0.75, 0.4, 0.76);
const BLUE = array<f32, 7>(0.95, 0.2, 0.85, 0.3, 0.35, 0.8, 0.72);
const IS_MIRROR = array<u32, 7>(1u, 0u, 0u, 1u, 0u, 0u, 0u);

var<private> seed: u32;
// A ray: where it is, and its direction, of length 1.
var<private> px: f32;
var<private> py: f32;
var<private> pz: f32;
var<private> dx: f32;
var<private> dy: f32;
var<private> dz: f32;
// The normal of what it has met.
var<private> nx: f32;
var<private> ny: f32;
var<private> nz: f32;
// What all paths of the pixel brought.
var<private> red: f32;
var<private> green: f32;
var<private> blue: f32;

// From 0 to 1, with 24 bits.
fn chance() -> f32 {
    seed = seed * 747796405u + 2891336453u;
    let word = ((seed >> ((seed >> 28u) + 4u)) ^ seed) * 277803737u;
    return f32(((word >> 22u) ^ word) >> 8u) * 5.9604644775390625e-8;
}

fn head_for(x: f32, y: f32, z: f32) {
    let scale = 1.0 / sqrt(x * x + y * y + z * z);
    dx = x * scale;
    dy = y * scale;
    dz = z * scale;
}

// How far it is to a sphere along the ray; FAR if it is nowhere.
fn distance_to(sphere: u32) -> f32 {
    let x = px - X[sphere];
    let y = py - Y[sphere];
    let z = pz - Z[sphere];
    let half = x * dx + y * dy + z * dz;
    let under = half * half - (x * x + y * y + z * z - RADIUS[sphere] * RADIUS[sphere]);
    if (under < 0.0) {
        return FAR;
    }
    let root = sqrt(under);
    if (-half - root > NEAR) {
        return -half - root;
    }
    return select(FAR, root - half, root - half > NEAR);
}

// Follow the ray to what it meets, and leave that one's normal.
fn meet() -> u32 {
    var nearest = FAR;
    var found = NOTHING;
    for (var sphere = 0u; sphere < SPHERES; sphere++) {
        let away = distance_to(sphere);
        if (away < nearest) {
            nearest = away;
            found = sphere;
        }
    }
    if (dy < 0.0 && py > NEAR && py < -dy * nearest) {
        nearest = -py / dy;
        found = FLOOR;
    }
    if (found == NOTHING) {
        return NOTHING;
    }
    px += nearest * dx;
    py += nearest * dy;
    pz += nearest * dz;
    if (found == FLOOR) {
        nx = 0.0;
        ny = 1.0;
        nz = 0.0;
        py = 0.0;
        return FLOOR;
    }
    nx = (px - X[found]) / RADIUS[found];
    ny = (py - Y[found]) / RADIUS[found];
    nz = (pz - Z[found]) / RADIUS[found];
    return found;
}

fn bounce(surface: u32) {
    if (IS_MIRROR[surface] == 1u) {
        let twice = 2.0 * (dx * nx + dy * ny + dz * nz);
        head_for(dx - twice * nx, dy - twice * ny, dz - twice * nz);
        return;
    }
    // Any direction, and the normal: more of what is steep.
    var x = 0.0;
    var y = 0.0;
    var z = 0.0;
    var size = 2.0;
    while (size >= 1.0 || size < 1e-4) {
        let a = chance();
        let b = chance();
        let c = chance();
        x = 2.0 * a - 1.0;
        y = 2.0 * b - 1.0;
        z = 2.0 * c - 1.0;
        size = x * x + y * y + z * z;
    }
    let scale = 1.0 / sqrt(size);
    x = x * scale + nx;
    y = y * scale + ny;
    z = z * scale + nz;
    if (x * x + y * y + z * z < 1e-4) {
        head_for(nx, ny, nz);
        return;
    }
    head_for(x, y, z);
}

// One path, until it leaves for the sky, which shines more towards the zenith and most where the sun stands behind haze.
fn follow() {
    var through_red = 1.0;
    var through_green = 1.0;
    var through_blue = 1.0;
    for (var turn = 0u; turn < BOUNCES; turn++) {
        let surface = meet();
        if (surface == NOTHING) {
            let up = 0.5 * (dy + 1.0);
            let sun = max(0.0, 0.6 * dy + 0.5 * dz - 0.62 * dx);
            let haze = sun * sun * sun * sun;
            red += through_red * (0.3 + 0.1 * up + 1.5 * haze);
            green += through_green * (0.33 + 0.2 * up + 1.4 * haze);
            blue += through_blue * (0.38 + 0.4 * up + 1.1 * haze);
            return;
        }
        through_red *= RED[surface];
        through_green *= GREEN[surface];
        through_blue *= BLUE[surface];
        bounce(surface);
    }
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let column = tile.x + id.x % tile.width;
    let row = tile.y + id.x / tile.width;
    for (var sample = 0u; sample < SAMPLES; sample++) {
        seed = ((row * WIDTH + column) * SAMPLES + sample) * 2654435769u;
        let right = chance();
        let down = chance();
        px = 0.0;
        py = 1.9;
        pz = 7.2;
        head_for(
            (f32(column) + right - 0.5 * f32(WIDTH)) / f32(HEIGHT),
            (0.5 * f32(HEIGHT) - f32(row) - down) / f32(HEIGHT) - 0.14,
            -1.25,
        );
        follow();
    }
    light[3u * id.x] = red / f32(SAMPLES);
    light[3u * id.x + 1u] = green / f32(SAMPLES);
    light[3u * id.x + 2u] = blue / f32(SAMPLES);
}
