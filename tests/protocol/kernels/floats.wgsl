// Every built-in function of floats, and constants of every kind of f32.
@group(0) @binding(0) var<storage, read> data: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;

const THIRD = 1.0 / 3.0;
const TINY: f32 = 1e-3f;
const WEIGHTS = array<f32, 6>(0.1, -3.0, 0.0, 1e-40, 3.4028234e38, -65504.0);
var<private> bias: f32 = -0.75;

fn norm(x: f32, y: f32) -> f32 {
    return sqrt(fma(x, x, y * y)) + inverseSqrt(abs(x) + .5) / THIRD;
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let x = data[id.x];
    var y = -x * 2.5 + 1;
    y += floor(x) + ceil(x) + trunc(x) + round(x) + fract(x) + sign(x);
    y -= exp(x * TINY) + exp2(x) + log(abs(x) + 1.0) + log2(abs(x) + 1.) + pow(abs(x), 0.25f);
    y *= sin(x) + cos(x) + tan(x) + asin(clamp(x, -1.0, 1.0)) + acos(min(max(x, -1), 1)) + atan(x) + atan2(x, y);
    y = y / (sinh(TINY * x) + cosh(TINY * x) + tanh(x)) + f32(id.x) + f32(i32(x)) + f32(u32(abs(x)));
    if (y != y || x >= 1e10) {
        y = bitcast<f32>(bitcast<u32>(x) & 0x7fffffffu);
    }
    bias += WEIGHTS[id.x % 6u];
    out[id.x] = select(norm(x, y), bias, x == 0.0);
}
