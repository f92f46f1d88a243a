// One chunk: bytes in, bytes out, nothing else. `cc-task build` compiles it, `cc-task run --local` tries it out.

// What a chunk computes; an Err is the task's own error, and its text is shown to you.
fn chunk(start: i64, stop: i64) -> Result<Vec<u8>, String> {
    if start > stop {
        return Err(format!("{} is after {}", start, stop));
    }
    let mut sum = 0u64;
    for n in start..stop {
        sum = sum.wrapping_add(n.wrapping_mul(n) as u64);
    }
    Ok(sum.to_le_bytes().to_vec())
}

// ---- What CrowdCompute calls (protocol/spec/modules.md). A chunk's instance is fresh, so nothing is ever freed.

static mut FAILURE: (usize, usize) = (0, 0);

// Where the input's `size` bytes are to be put.
#[no_mangle]
pub extern "C" fn cc_alloc(size: usize) -> *mut u8 {
    Box::leak(vec![0u8; size].into_boxed_slice()).as_mut_ptr()
}

// The text that goes with a result of all ones.
#[no_mangle]
pub extern "C" fn cc_error() -> u64 {
    let (start, length) = unsafe { FAILURE };
    (start as u64) << 32 | length as u64
}

// Compute, and return where the result is: its address in the upper 32 bits, its length in the lower ones.
#[no_mangle]
pub extern "C" fn cc_run(input: *const u8, size: usize) -> u64 {
    let input = unsafe { std::slice::from_raw_parts(input, size) };
    let mut numbers = input.chunks_exact(8).map(|eight| {
        let mut bytes = [0u8; 8];
        bytes.copy_from_slice(eight);
        i64::from_le_bytes(bytes)
    });
    let result = match (numbers.next(), numbers.next(), numbers.next()) {
        (Some(start), Some(stop), None) => chunk(start, stop),
        _ => Err("a range is two numbers".to_string()),
    };
    let (bytes, is_ok) = match result {
        Ok(bytes) => (bytes, true),
        Err(text) => (text.into_bytes(), false),
    };
    let kept = Box::leak(bytes.into_boxed_slice());
    let place = (kept.as_ptr() as usize, kept.len());
    if is_ok {
        return (place.0 as u64) << 32 | place.1 as u64;
    }
    unsafe { FAILURE = place };
    u64::MAX
}
