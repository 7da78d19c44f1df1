fn dt_norms(k: u32) -> vec4<f32> {
  return vec4<f32>(1.0);
}

fn b_norm_at(n: u32) -> f32 {
  return 1.0;
}

fn c_norm_at(n: u32) -> f32 {
  return 1.0;
}
