/** Numbers as people read them: always with a unit, thousands separated. */
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenth = new Intl.NumberFormat("en", { maximumFractionDigits: 1, minimumFractionDigits: 1 });

/** "1 token", "1,840 tokens" */
export function formatTokens(tokens: number): string {
  return `${whole.format(tokens)} ${tokens === 1 ? "token" : "tokens"}`;
}

export function formatCount(count: number): string {
  return whole.format(count);
}

/** "640 B", "6.5 MB"; powers of 1000, as file managers show them. */
export function formatBytes(bytes: number): string {
  if (bytes < 1000) return `${whole.format(bytes)} B`;
  if (bytes < 1e6) return `${tenth.format(bytes / 1e3)} kB`;
  if (bytes < 1e9) return `${tenth.format(bytes / 1e6)} MB`;
  return `${tenth.format(bytes / 1e9)} GB`;
}

/** "constant", "+ 24.0 kB a token" */
export function formatGrowth(bytesPerToken: number): string {
  return bytesPerToken === 0 ? "constant" : `+ ${formatBytes(bytesPerToken)} a token`;
}

/** "12 s", "1 min 13 s" */
export function formatSeconds(seconds: number): string {
  const rounded = Math.max(0, Math.round(seconds));
  if (rounded < 60) return `${rounded} s`;
  const minutes = Math.floor(rounded / 60);
  return minutes < 60
    ? `${minutes} min ${rounded % 60} s`
    : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** "142 tokens/s" */
export function formatRate(tokensPerSecond: number): string {
  return `${tokensPerSecond < 10 ? tenth.format(tokensPerSecond) : whole.format(tokensPerSecond)} tokens/s`;
}
