// Which number of each group of 16 takes the most steps to 1, and how many numbers take how many (protocol/spec/gpu.md).
//
// A step is n/2 or 3n+1. A number has 64 bits in two words; the way of one that outgrows them counts as 0 steps.

struct Range {
    start_low: u32,
    start_high: u32,
    count: u32,
}

const GROUP = 16u;
const BUCKETS = 16u;
const STEPS_A_BUCKET = 64u;

@group(0) @binding(0) var<uniform> range: Range;
// Of each group the offset and the steps of the number with the most; the lowest one of several.
@group(0) @binding(1) var<storage, read_write> most: array<u32>;
@group(0) @binding(2) var<storage, read_write> histogram: array<atomic<u32>>;

fn steps_from(offset: u32) -> u32 {
    var low = range.start_low + offset;
    var high = range.start_high + u32(low < offset);
    var steps = 0u;
    while (high != 0u || low > 1u) {
        if ((low & 1u) == 0u) {
            low = (low >> 1u) | (high << 31u);
            high = high >> 1u;
        } else {
            if (high > 0x55555555u || (high == 0x55555555u && low > 0x55555554u)) {
                return 0u;   // 3n + 1 has no room
            }
            // 2n + 1, and n; the sum of the lower words is below either of them where it carries.
            let sum = ((low << 1u) | 1u) + low;
            high = high * 3u + (low >> 31u) + u32(sum < low);
            low = sum;
        }
        steps++;
    }
    return steps;
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let first = id.x * GROUP;
    most[2u * id.x] = first;
    for (var offset = first; offset < min(first + GROUP, range.count); offset++) {
        let steps = steps_from(offset);
        if (steps > most[2u * id.x + 1u]) {
            most[2u * id.x] = offset;
            most[2u * id.x + 1u] = steps;
        }
        atomicAdd(&histogram[min(steps / STEPS_A_BUCKET, BUCKETS - 1u)], 1u);
    }
}
