"""SHA-256 and a matrix product, derived from WGSL and written by hand in OpenCL C: for benchmarks/gpu.py."""

from __future__ import annotations

import hashlib
import re
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import pyopencl as cl

from crowdcompute.protocol.gpu import parse
from crowdcompute.protocol.gpu.opencl import ENTRY, opencl

if TYPE_CHECKING:
    from collections.abc import Callable

    from crowdcompute.node.executors.opencl import OpenCl

HASHES, SIZE = 2**18, 256
REPEATS = 5
FUEL = 1 << 16
_FLAGS = cl.mem_flags.READ_WRITE | cl.mem_flags.COPY_HOST_PTR

_PRIMES = [number for number in range(2, 312) if all(number % each for each in range(2, number))]


def _root(number: int, power: int) -> int:
    """The first 32 bits behind the point of a square or cube root, exactly."""
    low, high = 0, 1 << 40
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if middle**power <= number << 32 * power else (low, middle)
    return low & 0xFFFF_FFFF


K = ", ".join(f"{_root(prime, 3)}u" for prime in _PRIMES[:64])
H = [f"{_root(prime, 2)}u" for prime in _PRIMES[:8]]

SHA256_WGSL = f"""
@group(0) @binding(0) var<storage, read_write> digests: array<u32>;
const K = array<u32, 64>({K});
fn turned(x: u32, by: u32) -> u32 {{ return (x >> by) | (x << (32u - by)); }}
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {{
    var w: array<u32, 64>;
    w[0] = id.x;
    w[1] = 0x80000000u;
    w[15] = 32u;
    for (var t = 16u; t < 64u; t++) {{
        let s0 = turned(w[t - 15u], 7u) ^ turned(w[t - 15u], 18u) ^ (w[t - 15u] >> 3u);
        let s1 = turned(w[t - 2u], 17u) ^ turned(w[t - 2u], 19u) ^ (w[t - 2u] >> 10u);
        w[t] = w[t - 16u] + s0 + w[t - 7u] + s1;
    }}
    var a = {H[0]}; var b = {H[1]}; var c = {H[2]}; var d = {H[3]};
    var e = {H[4]}; var f = {H[5]}; var g = {H[6]}; var h = {H[7]};
    for (var t = 0u; t < 64u; t++) {{
        let t1 = h + (turned(e, 6u) ^ turned(e, 11u) ^ turned(e, 25u)) + ((e & f) ^ (~e & g)) + K[t] + w[t];
        let t2 = (turned(a, 2u) ^ turned(a, 13u) ^ turned(a, 22u)) + ((a & b) ^ (a & c) ^ (b & c));
        h = g; g = f; f = e; e = d + t1; d = c; c = b; b = a; a = t1 + t2;
    }}
    digests[2u * id.x] = a + {H[0]};
    digests[2u * id.x + 1u] = b + {H[1]};
}}
"""
SHA256_BY_HAND = f"""
__constant uint K[64] = {{{K}}};
#define TURNED(x, by) rotate(x, 32u - by)
__kernel void g_main(__global uint *digests) {{
    uint w[64] = {{0}}, id = get_global_id(0);
    w[0] = id; w[1] = 0x80000000u; w[15] = 32u;
    for (uint t = 16u; t < 64u; t++)
        w[t] = w[t - 16] + (TURNED(w[t - 15], 7u) ^ TURNED(w[t - 15], 18u) ^ (w[t - 15] >> 3)) + w[t - 7]
             + (TURNED(w[t - 2], 17u) ^ TURNED(w[t - 2], 19u) ^ (w[t - 2] >> 10));
    uint a = {H[0]}, b = {H[1]}, c = {H[2]}, d = {H[3]}, e = {H[4]}, f = {H[5]}, g = {H[6]}, h = {H[7]};
    for (uint t = 0u; t < 64u; t++) {{
        uint t1 = h + (TURNED(e, 6u) ^ TURNED(e, 11u) ^ TURNED(e, 25u)) + bitselect(g, f, e) + K[t] + w[t];
        uint t2 = (TURNED(a, 2u) ^ TURNED(a, 13u) ^ TURNED(a, 22u)) + ((a & b) ^ (a & c) ^ (b & c));
        h = g; g = f; f = e; e = d + t1; d = c; c = b; b = a; a = t1 + t2;
    }}
    digests[2 * id] = a + {H[0]};
    digests[2 * id + 1] = b + {H[1]};
}}
"""
PRODUCT_WGSL = f"""
@group(0) @binding(0) var<storage, read> factors: array<f32>;
@group(0) @binding(1) var<storage, read_write> product: array<f32>;
const SIZE = {SIZE}u;
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {{
    let row = id.x / SIZE * SIZE;
    let column = SIZE * SIZE + id.x % SIZE;
    var sum = 0.0;
    for (var k = 0u; k < SIZE; k++) {{ sum += factors[row + k] * factors[column + k * SIZE]; }}
    product[id.x] = sum;
}}
"""
PRODUCT_BY_HAND = f"""
__kernel void g_main(__global const float *factors, __global float *product) {{
    uint id = get_global_id(0), row = id / {SIZE}u * {SIZE}u, column = {SIZE * SIZE}u + id % {SIZE}u;
    float sum = 0.0f;
    for (uint k = 0u; k < {SIZE}u; k++) sum += factors[row + k] * factors[column + k * {SIZE}u];
    product[id] = sum;
}}
"""


def unguarded(text: str) -> str:
    """A guarded kernel, OpenCL C or WGSL, without fuel and bounds."""
    without_fuel, loops = re.subn(r"g(?:->|_)fuel = max\(.*break; \}", "", text)
    pattern = r"((?:uint|fn) g_(?:index|slot)\([^{]*\{).*?\n\}"
    without_both, functions = re.subn(pattern, r"\1 return index; }", without_fuel, flags=re.DOTALL)
    assert loops, "the guard has another look"
    assert functions == 2, "the guard has another look"
    return without_both


def measure(engine: OpenCl, clock: Callable[[], float]) -> dict[str, dict[str, float]]:
    """Seconds of each kernel: guarded, unguarded, by hand. What they compute is checked."""
    found = {}
    digests, seconds = _three(engine, clock, SHA256_WGSL, SHA256_BY_HAND, None, HASHES, 2)
    for number in (0, 1, HASHES - 1):
        expected = struct.unpack(">2I", hashlib.sha256(struct.pack(">I", number)).digest()[:8])
        for each in digests.values():
            assert tuple(each.view(np.uint32)[2 * number : 2 * number + 2]) == expected, "this is not SHA-256"
    found["sha256"] = seconds
    factors = np.random.default_rng(1).uniform(-1, 1, (2, SIZE, SIZE)).astype(np.float32)
    products, seconds = _three(engine, clock, PRODUCT_WGSL, PRODUCT_BY_HAND, factors, SIZE * SIZE, 1)
    for each in products.values():
        assert np.abs(each.view(np.float32).reshape(SIZE, SIZE) - factors[0] @ factors[1]).max() < 1e-4, "it is wrong"
    found["matrix_product"] = seconds
    return found


def _three(
    engine: OpenCl,
    clock: Callable[[], float],
    wgsl: str,
    by_hand: str,
    given: np.ndarray[Any, Any] | None,
    invocations: int,
    share: int,
) -> tuple[dict[str, np.ndarray[Any, Any]], dict[str, float]]:
    guarded = opencl(parse(wgsl.encode()), FUEL, (share,))
    elements = 0 if given is None else given.size
    last = np.zeros(1, np.uint32), np.uint32(0), np.uint32(invocations), np.uint32(elements)
    results, times = {}, {}
    for name, source, more in (
        ("guarded", guarded, last),
        ("unguarded", unguarded(guarded), last),
        ("by_hand", by_hand, ()),
    ):
        kernel = cl.Kernel(cl.Program(engine.context, source).build(engine.options), ENTRY)
        output = np.zeros(invocations * share, np.uint32)
        buffers = [
            cl.Buffer(engine.context, _FLAGS, hostbuf=each) if isinstance(each, np.ndarray) else each
            for each in (*([given] if given is not None else []), output, *more)
        ]
        times[name] = float("inf")
        for _ in range(REPEATS):
            kernel.set_args(*buffers)
            started = clock()
            cl.enqueue_nd_range_kernel(engine.queue, kernel, (invocations,), (64,))
            engine.queue.finish()
            times[name] = min(times[name], clock() - started)
        cl.enqueue_copy(engine.queue, output, buffers[0 if given is None else 1])
        results[name] = output
    return results, times
