// One chunk: bytes in, bytes out, nothing else. `cc-task build` compiles it, `cc-task run --local` tries it out.

let failure = "";

// What a chunk computes; null is the task's own error, with `failure` as its text, which is shown to you.
function chunk(start: i64, stop: i64): ArrayBuffer | null {
  if (start > stop) {
    failure = `${start} is after ${stop}`;
    return null;
  }
  const result = new Uint64Array(1);
  for (let n = start; n < stop; n++) result[0] += n * n;
  return result.buffer;
}

// ---- What CrowdCompute calls (protocol/spec/modules.md). A chunk's instance is fresh, so nothing is ever freed.

// Where the input's `size` bytes are to be put.
export function cc_alloc(size: i32): usize {
  return changetype<usize>(new ArrayBuffer(size));
}

// The text that goes with a result of all ones.
export function cc_error(): u64 {
  return span(String.UTF8.encode(failure));
}

// Compute, and return where the result is: its address in the upper 32 bits, its length in the lower ones.
export function cc_run(input: usize, size: i32): u64 {
  failure = "a range is two numbers";
  const result = size == 16 ? chunk(load<i64>(input), load<i64>(input, 8)) : null;
  return result === null ? u64.MAX_VALUE : span(result);
}

function span(bytes: ArrayBuffer): u64 {
  return ((<u64>changetype<usize>(bytes)) << 32) | bytes.byteLength;
}
