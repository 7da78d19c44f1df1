// The weights of the norms before a step of selective_scan.
@group(0) @binding(7) var<storage, read> dt_norm: array<f32>;  // (dtRank)
@group(0) @binding(8) var<storage, read> b_norm: array<f32>;   // (dState)
@group(0) @binding(9) var<storage, read> c_norm: array<f32>;   // (dState)

fn dt_norms(k: u32) -> vec4<f32> {
  if (HAS_DT_NORM == 0u) {
    return vec4<f32>(1.0);
  }
  // What lies beyond dtRank meets zeros.
  return vec4<f32>(dt_norm[k], dt_norm[k + 1u], dt_norm[k + 2u], dt_norm[k + 3u]);
}

fn b_norm_at(n: u32) -> f32 {
  return select(1.0, b_norm[n], HAS_B_NORM == 1u);
}

fn c_norm_at(n: u32) -> f32 {
  return select(1.0, c_norm[n], HAS_C_NORM == 1u);
}
