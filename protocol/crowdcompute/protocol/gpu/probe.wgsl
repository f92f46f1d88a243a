// What floats are on a device: whatever rounding, contraction, reassociation or table differs between two drivers shows
// in one of these numbers (spec/gpu.md, "Classes"). Each is finite, for what is not has no bytes to rely on.
struct Chunk { seed: u32 }
@group(0) @binding(0) var<uniform> chunk: Chunk;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;

fn mixed(value: u32) -> u32 {
    var x = value;
    x = (x ^ (x >> 16u)) * 2146121005u;
    x = (x ^ (x >> 15u)) * 2221713035u;
    return x ^ (x >> 16u);
}

// A number of 24 bits from 0 to 1: exact on every device.
fn unit(value: u32) -> f32 { return f32(mixed(value) >> 8u) * 0.000000059604644775390625; }

@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let word = mixed(4u * id.x + chunk.seed);
    let u = unit(4u * id.x + chunk.seed + 1u);
    let x = 0.5 + 15.0 * unit(4u * id.x + chunk.seed + 2u);
    let y = 16.0 * unit(4u * id.x + chunk.seed + 3u) - 8.0 + 0.0009765625;
    let z = 3.0 * u - 1.0;
    let at = 32u * id.x;
    out[at] = x + y;
    out[at + 1u] = x * y;
    out[at + 2u] = y / x;
    out[at + 3u] = sqrt(x);
    out[at + 4u] = inverseSqrt(x);
    out[at + 5u] = exp(y);
    out[at + 6u] = exp2(y);
    out[at + 7u] = log(x);
    out[at + 8u] = log2(x);
    out[at + 9u] = pow(x, y);
    out[at + 10u] = sin(y);
    out[at + 11u] = cos(y);
    out[at + 12u] = tan(0.125 * y);
    out[at + 13u] = asin(u);
    out[at + 14u] = acos(u);
    out[at + 15u] = atan(y);
    out[at + 16u] = atan2(y, x);
    out[at + 17u] = sinh(y);
    out[at + 18u] = cosh(y);
    out[at + 19u] = tanh(y);
    out[at + 20u] = fma(x, y, z);
    out[at + 21u] = x * y + z;
    out[at + 22u] = (x + y) - x;
    out[at + 23u] = x * x - y * y + z;
    out[at + 24u] = y / 3.0;
    out[at + 25u] = y / x * x;
    out[at + 26u] = x * y + x * z;
    out[at + 27u] = y * 0.1 * 0.3;
    out[at + 28u] = fract(x * y) + round(y) + trunc(z);
    out[at + 29u] = f32(word);
    out[at + 30u] = bitcast<f32>(word & 8388607u) * (0.5 + u);
    var sum = 0.0;
    for (var i = 0u; i < 16u; i++) { sum = sum * u + y * unit(word + i); }
    out[at + 31u] = sum;
}
