/** silu(x) = x σ(x) = x / (1 + exp(−x)). Source: Elfwing et al. 2017 (arXiv:1702.03118). */
export function silu(x: number): number {
  return x / (1 + Math.exp(-x));
}

/** softplus(x) = log(1 + exp(x)), without overflow: beyond 40 it equals x even in f64's last digits that f32 keeps. */
export function softplus(x: number): number {
  return x > 40 ? x : Math.log1p(Math.exp(x));
}
