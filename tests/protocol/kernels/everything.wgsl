/* Every statement, operator and built-in function of whole numbers, once. */
struct Numbers {
    a: u32,
    b: i32,
    c: u32
};

const SIZE = 4u;
const MASK: u32 = ~0u >> 8u;
const LOWEST: i32 = -2147483648;
const PRIMES = array<u32, 4>(2u, 3u, 5u, 0x7fffffffu,);
const SIGNED = array<i32, (2)>(-1, 7);

@group(0) @binding(2) var<storage, read_write> out: array<u32>;
@group(0) @binding(5) var<storage, read_write> counts: array<atomic<i32>>;
@group(0) @binding(0) var<uniform> numbers: Numbers;
@group(0) @binding(1) var<storage, read> data: array<u32>;

var<private> calls: u32 = 7u;
var<private> flag: bool;
var<private> scratch: array<i32, 6>;

fn mixed(x: u32, y: i32) -> u32 {
    const SHIFT = 2u + 1u;
    if (x < 10u && (y > 0 || y == LOWEST)) {
        return x << SHIFT;
    } else if (x >= MASK) {
        return x >> (x % 40u);
    } else {
        let unused = 1;
        return u32(y >> 3u) ^ (x + 1u);
    }
}

fn signed(x: i32) -> i32 {
    var y = x;
    y += 5; y -= 2; y *= 3; y /= numbers.b; y %= 1000; y &= 0xffff; y |= 4096; y ^= 3; y <<= 2u; y >>= 1u;
    return -y + ~y - abs(y) / max(-3, min(y, 7));
}

fn counted() -> u32 {
    calls++;
    flag = !flag;
    scratch[calls % 6u] = i32(calls);
    return calls;
}

fn nothing() {
    calls--;
    return;
}

@compute @workgroup_size(32, 1, 1)
fn main(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(workgroup_id) group: vec3u,
    @builtin(local_invocation_index) lane: u32,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let base = id.x * SIZE;
    var total: u32;
    var words: array<u32, SIZE>;
    let n = counted();
    nothing();
    counted();
    for (var i = 0u; i < arrayLength(&data); i++) {
        if (i == 3u) { continue; }
        if (data[i] == 0xdeadbeefu) { break; }
        words[i % SIZE] += data[i] * PRIMES[i & 3u];
    }
    var k = 3;
    while (k > 0) {
        k -= 1;
        total = total + u32(SIGNED[k & 1]) + select(1u, 2u, flag) + mixed(total, k);
    }
    loop {
        switch (n % 5u) {
            case 0u, 1u: {
                total += 1u;
            }
            case 2u {
                total ^= numbers.a;
                break;
            }
            default: {
                total += lane + local.x + group.x;
            }
        }
        if (total > n) { break; }
        total += 1u;
    }
    for (;;) { break; }
    {
        let n = total;
        total = n / numbers.c + n % numbers.c + u32(signed(i32(n)));
    }
    out[base] = total;
    out[base + 1u] = countOneBits(total) + countLeadingZeros(total) + countTrailingZeros(n) + reverseBits(id.x);
    out[base + 2u] = clamp(total, 5u, n) + bitcast<u32>(scratch[k] ) + words[3];
    out[base + 3] = u32(flag) + u32(i32(total) < 0) + u32(bool(total & 1u)) + u32((total != n) == flag);
    atomicAdd(&counts[i32(id.x % 3u)], k + 1);
    atomicSub(&counts[2], 1);
}
