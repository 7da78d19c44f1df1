/** A table of Markdown. */
export function grid(head: readonly string[], lines: readonly (readonly string[])[]): string {
  const rows = [head, head.map(() => "---"), ...lines];
  return `${rows.map((cells) => `| ${cells.join(" | ")} |`).join("\n")}\n`;
}

/** A number with three or more digits. */
export function digits(value: number): string {
  return value.toFixed(value >= 100 ? 0 : value >= 10 ? 1 : 2);
}
