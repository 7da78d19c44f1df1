/** Functions of one number that elementwise ops know, by the names that configurations use. */
export const ACTIVATIONS = {
  identity: (x: number) => x,
  silu,
  sigmoid,
  softplus,
  tanh: Math.tanh,
  exp: Math.exp,
  relu: (x: number) => Math.max(x, 0),
  /** Source: So et al. 2021 (arXiv:2109.08668). */
  relu2: (x: number) => Math.max(x, 0) ** 2,
  gelu,
  gelu_tanh: geluTanh,
} as const satisfies Record<string, (x: number) => number>;

/** The name of one of them. */
export type Activation = keyof typeof ACTIVATIONS;

/** What kernels call them: the numbers of wasm/activate.wasm.ts and wgsl/activate.wgsl. */
export const ACTIVATION_CODES = {
  identity: 0,
  silu: 1,
  sigmoid: 2,
  softplus: 3,
  tanh: 4,
  exp: 5,
  relu: 6,
  relu2: 7,
  gelu: 8,
  gelu_tanh: 9,
} as const satisfies Record<Activation, number>;

/** True for the name of a function of `ACTIVATIONS`. */
export function isActivation(name: string): name is Activation {
  return Object.hasOwn(ACTIVATIONS, name);
}

/** silu(x) = x σ(x) = x / (1 + exp(−x)). Source: Elfwing et al. 2017 (arXiv:1702.03118). */
export function silu(x: number): number {
  return x / (1 + Math.exp(-x));
}

/** σ(x) = 1 / (1 + exp(−x)). */
export function sigmoid(x: number): number {
  return 1 / (1 + Math.exp(-x));
}

/** softplus(x) = log(1 + exp(x)), without overflow: beyond 40 it equals x even in f64's last digits that f32 keeps. */
export function softplus(x: number): number {
  return x > 40 ? x : Math.log1p(Math.exp(x));
}

/** gelu(x) = x Φ(x), by the tanh that most checkpoints were trained with. Source: Hendrycks & Gimpel 2016 (arXiv:1606.08415) §2. */
export function geluTanh(x: number): number {
  return 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
}

/** gelu(x) = x Φ(x), Φ by the error function. Source: Hendrycks & Gimpel 2016 (arXiv:1606.08415) eq. 1. */
export function gelu(x: number): number {
  return 0.5 * x * (1 + erf(x / Math.SQRT2));
}

/**
 * The error function, to f64's rounding: its Taylor series for small |x|, the continued fraction of erfc beyond.
 * Source: Abramowitz & Stegun 1964, 7.1.5 and 7.1.14.
 */
export function erf(x: number): number {
  const a = Math.abs(x);
  if (a > 6) return Math.sign(x);
  if (a < 2.5) {
    let term = x;
    let sum = x;
    for (let n = 1; Math.abs(term) > 1e-18; n++) {
      term *= (-x * x) / n;
      sum += term / (2 * n + 1);
    }
    return (2 / Math.sqrt(Math.PI)) * sum;
  }
  let fraction = 0;
  for (let n = 80; n >= 1; n--) fraction = n / 2 / (a + fraction);
  return Math.sign(x) * (1 - Math.exp(-a * a) / (Math.sqrt(Math.PI) * (a + fraction)));
}
