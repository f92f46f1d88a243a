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

var<private> high: u32;
var<private> low: u32;

// n = 3n + 1; false when that does not fit.
fn triple() -> bool {
    let word0 = (low & 0xffffu) * 3u + 1u;
    let word1 = (low >> 16u) * 3u + (word0 >> 16u);
    let word2 = (high & 0xffffu) * 3u + (word1 >> 16u);
    let word3 = (high >> 16u) * 3u + (word2 >> 16u);
    low = (word1 << 16u) | (word0 & 0xffffu);
    high = (word3 << 16u) | (word2 & 0xffffu);
    return word3 < 0x10000u;
}

fn steps_from(offset: u32) -> u32 {
    low = range.start_low + offset;
    high = range.start_high;
    if (low < offset) {
        high += 1u;
    }
    var steps = 0u;
    while (high != 0u || low > 1u) {
        if ((low & 1u) == 1u) {
            let fits = triple();
            if (!fits) {
                return 0u;
            }
        } else {
            low = (low >> 1u) | (high << 31u);
            high = high >> 1u;
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
