// A grid of more than 65535 workgroups is folded into y (fold in dispatch.ts); this is the way back.
fn workgroup_index(workgroup: vec3<u32>, grid: vec3<u32>) -> u32 {
  return workgroup.y * grid.x + workgroup.x;
}
