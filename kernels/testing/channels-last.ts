/** (B, channels, T), as PyTorch's convolutions have it → (B * T, channels). */
export function channelsLast(
  values: Float32Array,
  batch: number,
  channels: number,
  length: number,
): Float32Array {
  const rows = new Float32Array(values.length);
  for (let b = 0; b < batch; b++) {
    for (let c = 0; c < channels; c++) {
      for (let t = 0; t < length; t++)
        rows[(b * length + t) * channels + c] = values[(b * channels + c) * length + t];
    }
  }
  return rows;
}
