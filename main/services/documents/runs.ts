import type { PassageRecord } from "../../store/records.ts";

/** Text without a gap: a passage, or several that follow each other. Offsets are UTF-16 units of the document's text. */
export interface TextRun {
  readonly documentId: string;
  readonly start: number;
  readonly text: string;
  /** In order. */
  readonly passages: readonly PassageRecord[];
}

/** Passages that follow each other joined, so that what belongs together is seen together. In the order of the first of each. */
export function joinPassages(passages: readonly PassageRecord[]): TextRun[] {
  const known = new Map(passages.map((passage) => [keyOf(passage), passage]));
  const runs: TextRun[] = [];
  for (const passage of known.values()) {
    if (runs.some((run) => run.passages.includes(passage))) continue;
    const members = [passage];
    for (let at = passage.ordinal - 1; ; at--) {
      const before = known.get(keyOf({ documentId: passage.documentId, ordinal: at }));
      if (before === undefined) break;
      members.unshift(before);
    }
    for (let at = passage.ordinal + 1; ; at++) {
      const behind = known.get(keyOf({ documentId: passage.documentId, ordinal: at }));
      if (behind === undefined) break;
      members.push(behind);
    }
    const start = members[0]?.start ?? passage.start;
    runs.push({
      documentId: passage.documentId,
      start,
      text: joinText(members),
      passages: members,
    });
  }
  return runs;
}

/** A piece of a run as a passage of its own. @param start, end offsets of the document */
export function partOf(run: TextRun, start: number, end: number): PassageRecord {
  const within = run.passages.findLast((passage) => passage.start <= start) ?? run.passages[0];
  return {
    documentId: run.documentId,
    ordinal: within?.ordinal ?? 0,
    page: within?.page ?? null,
    start,
    end,
    text: run.text.slice(start - run.start, end - run.start),
  };
}

/** Between passages stands white space only, of which the length is known: a paragraph's end where there is room for one. */
function joinText(passages: readonly PassageRecord[]): string {
  let text = "";
  let end: number | null = null;
  for (const passage of passages) {
    const gap = end === null ? 0 : passage.start - end;
    text += `${gap >= 2 ? "\n\n".padEnd(gap) : " ".repeat(gap)}${passage.text}`;
    end = passage.end;
  }
  return text;
}

function keyOf({ documentId, ordinal }: Pick<PassageRecord, "documentId" | "ordinal">): string {
  return `${documentId}:${ordinal}`;
}
