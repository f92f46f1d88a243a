// Sums of workgroups, through shared memory and a barrier.
@group(0) @binding(0) var<storage, read> data: array<i32>;
@group(0) @binding(1) var<storage, read_write> sums: array<i32>;

var<workgroup> tile: array<i32, 64>;
var<workgroup> seen: array<atomic<u32>, 2>;
var<workgroup> last: i32;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    if (id.x < arrayLength(&data)) {
        tile[local.x] = data[id.x];
        atomicMax(&seen[1], u32(data[id.x]) & 0xffu);
    }
    if (local.x == 63u) {
        last = tile[63];
    }
    workgroupBarrier();
    if (id.x < arrayLength(&data)) {
        var sum = 0;
        for (var i = 0u; i <= local.x; i++) {
            sum += tile[i];
        }
        sums[id.x] = sum + i32(atomicLoad(&seen[1])) * last;
    }
}
