// The functions of spec/activations.ts under the numbers of ACTIVATION_CODES; needs softplus.wgsl.
// A switch on a uniform: one pipeline for all of them, and every lane takes the same way.
// exp is kept finite: WGSL promises nothing about infinity.
fn activate(act: u32, x: f32) -> f32 {
  switch (act) {
    case 1u: {
      return silu(x);
    }
    case 2u: {
      return sigmoid(x);
    }
    case 3u: {
      return softplus(x);
    }
    case 4u: {
      return tanh_exactly(x);
    }
    case 5u: {
      return exp(min(x, 88.0));
    }
    case 6u: {
      return max(x, 0.0);
    }
    case 7u: {
      return max(x, 0.0) * max(x, 0.0);
    }
    case 8u: {
      return gelu(x);
    }
    case 9u: {
      return gelu_tanh(x);
    }
    default: {
      return x;
    }
  }
}

fn sigmoid(x: f32) -> f32 {
  return 1.0 / (1.0 + exp(min(-x, 88.0)));
}

// WGSL's own tanh may cancel near 0 and overflow far from it. Below 0.625 Cephes' odd polynomial.
fn tanh_exactly(x: f32) -> f32 {
  let z = x * x;
  if (abs(x) < 0.625) {
    let p = (((-5.70498872745e-3 * z + 2.06390887954e-2) * z - 5.37397155531e-2) * z + 1.33314422036e-1) * z - 3.33332819422e-1;
    return x + x * z * p;
  }
  let u = exp(-2.0 * min(abs(x), 40.0));
  return sign(x) * (1.0 - u) / (1.0 + u);
}

// x Φ(x) = max(x, 0) - |x| Φ(-|x|), which does not cancel. Φ(-a) = erfc(a / √2) / 2 within 1e-7: Abramowitz & Stegun 1964, 7.1.26.
fn gelu(x: f32) -> f32 {
  let size = abs(x);
  let t = 1.0 / (1.0 + 0.23164189 * size);
  let p = (((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592;
  return max(x, 0.0) - 0.5 * size * p * t * exp(max(-0.5 * x * x, -88.0));
}

// x σ(2u), u = √(2/π) (x + 0.044715 x³): the same as x (1 + tanh u) / 2.
fn gelu_tanh(x: f32) -> f32 {
  return x * sigmoid(x * (1.5957691216057308 + 0.0713548162726 * x * x));
}
