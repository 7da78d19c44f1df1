// copy_slot: target = source, a slot of a state and its shadow. A kernel, because the copies of command buffers are slow:
// on an H100 they moved 240 to 400 GB/s, a kernel moves 2700.
// Grid:     threads stride over the slot by 16 bytes.
@group(0) @binding(1) var<storage, read_write> target_slot: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> source_slot: array<vec4<u32>>;

@compute @workgroup_size(256)
fn copy_slot(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
  let count = arrayLength(&target_slot);
  for (var i = id.x; i < count; i += 256u * grid.x) {
    target_slot[i] = source_slot[i];
  }
}
