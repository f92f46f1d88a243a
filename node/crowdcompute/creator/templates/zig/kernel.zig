// One chunk: bytes in, bytes out, nothing else. `cc-task build` compiles it, `cc-task run --local` tries it out.

var output: u64 = 0;

// What a chunk computes; `error.Name` is the task's own error, and its name is shown to you.
fn chunk(start: i64, stop: i64) error{StartsAfterItStops}![]const u8 {
    if (start > stop) return error.StartsAfterItStops;
    output = 0;
    var n = start;
    while (n < stop) : (n += 1) output +%= @bitCast(n *% n);
    return @as([*]const u8, @ptrCast(&output))[0..@sizeOf(u64)];
}

// ---- What CrowdCompute calls (protocol/spec/modules.md).

var input: [2]i64 = undefined;
var failure: []const u8 = "";

// Where the input's `size` bytes are to be put.
export fn cc_alloc(size: u32) ?*anyopaque {
    return if (size <= @sizeOf(@TypeOf(input))) &input else null;
}

// The text that goes with a result of all ones.
export fn cc_error() u64 {
    return span(failure);
}

// Compute, and return where the result is: its address in the upper 32 bits, its length in the lower ones.
export fn cc_run(_: u32, size: u32) u64 {
    if (size != @sizeOf(@TypeOf(input))) {
        failure = "a range is two numbers";
        return ~@as(u64, 0);
    }
    const result = chunk(input[0], input[1]) catch |problem| {
        failure = @errorName(problem);
        return ~@as(u64, 0);
    };
    return span(result);
}

fn span(bytes: []const u8) u64 {
    return @as(u64, @intFromPtr(bytes.ptr)) << 32 | bytes.len;
}
