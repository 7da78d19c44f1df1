/** Painting shares on text with the CSS Custom Highlight API: ranges, not an element a word. */

/**
 * From which share on each step is painted. A memory fades by factors, so the steps are factors too: in equal steps all but the last
 * words of a page would be blank.
 */
export const STEPS = [0.005, 0.02, 0.08, 0.25, 0.6] as const;

/** A word's share, by its offsets in the whole text. */
export interface Span {
  readonly start: number;
  readonly end: number;
  readonly share: number;
}

/** 0 … STEPS.length: the step of a share; 0 is not painted. */
export function levelOf(share: number): number {
  return STEPS.filter((from) => share >= from).length;
}

/** Where an offset of the element's text is: its text nodes in order are the text. Null beyond it. */
export function placeIn(
  nodes: readonly { readonly length: number }[],
  offset: number,
): { readonly node: number; readonly offset: number } | null {
  let at = 0;
  for (const [node, { length }] of nodes.entries()) {
    if (offset <= at + length) return { node, offset: offset - at };
    at += length;
  }
  return null;
}

/**
 * Paints the spans on the element.
 * @param textStart offset in the whole text of the element's first character
 * @returns how to take them off again
 */
export function paint(element: HTMLElement, textStart: number, spans: readonly Span[]): () => void {
  const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  const nodes: Text[] = [];
  while (walker.nextNode() !== null)
    if (walker.currentNode instanceof Text) nodes.push(walker.currentNode);
  const levels = STEPS.map(() => new Highlight());
  for (const { start, end, share } of spans) {
    const highlight = levels[levelOf(share) - 1];
    const from = placeIn(nodes, start - textStart);
    const to = placeIn(nodes, end - textStart);
    const [first, last] = [nodes[from?.node ?? -1], nodes[to?.node ?? -1]];
    if (highlight === undefined || from === null || to === null) continue;
    if (first === undefined || last === undefined || start < textStart) continue;
    const range = new Range();
    range.setStart(first, from.offset);
    range.setEnd(last, to.offset);
    highlight.add(range);
  }
  for (const [index, highlight] of levels.entries())
    CSS.highlights.set(`memory-${index + 1}`, highlight);
  return () => {
    for (const index of levels.keys()) CSS.highlights.delete(`memory-${index + 1}`);
  };
}

/** The span that holds an offset. */
export function spanAt(spans: readonly Span[], offset: number): Span | null {
  return spans.find(({ start, end }) => start <= offset && offset < end) ?? null;
}
