/** A text of so many pages with a few thousand characters each; no two have the same sentences. */
export function book(pages: number, from = 1): string {
  return Array.from(
    { length: pages },
    (_, page) =>
      `Page ${page + from}. ${Array.from({ length: 60 }, (_unused, n) => `On day ${n * (page + from)} the keeper wrote ${n} letters.`).join(" ")}`,
  ).join("\n\n");
}
