// copy: the first half of the arena to its second half, 16 bytes a thread and turn; what memory gives at best.
struct Params {
  half: u32,  // vectors
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> arena: array<vec4<u32>>;

@compute @workgroup_size(256)
fn copy(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
  for (var i = id.x; i < params.half; i += grid.x * 256u) {
    arena[params.half + i] = arena[i];
  }
}
