/** Documents made for a test: many pages, and on one of them the fact that is asked for. */
import { PDFDocument, StandardFonts } from "pdf-lib";

const FILLER = [
  "The minutes of the harbour committee record who was present and what was decided about the moorings.",
  "A new coat of paint for the northern shed was put off until the spring, because the weather did not hold.",
  "The accounts were read aloud and found to be in order, with thanks to the treasurer for her patience.",
  "Members were reminded that the footpath along the old wall is closed while the drains are being repaired.",
  "The librarian reported that the collection of charts has been sorted, and that eleven of them need a binding.",
  "It was agreed to write to the council about the lamp at the end of the pier, which has been dark for a month.",
];

/** A PDF of `pages` pages of minutes. `facts`: page number (1-based) → a sentence that stands there and nowhere else. */
export async function minutes(
  pages: number,
  facts: Readonly<Record<number, string>>,
): Promise<Uint8Array> {
  const pdf = await PDFDocument.create();
  const font = await pdf.embedFont(StandardFonts.TimesRoman);
  for (let number = 1; number <= pages; number++) {
    const page = pdf.addPage([595, 842]);
    const lines = Array.from(
      { length: 24 },
      (_, line) => FILLER[(number * 5 + line * 7) % FILLER.length] ?? "",
    );
    const fact = facts[number];
    if (fact !== undefined) lines.splice(11, 0, fact);
    page.drawText(`Minutes, page ${number}`, { x: 60, y: 780, size: 16, font });
    lines.forEach((line, index) =>
      page.drawText(line, { x: 60, y: 740 - index * 26, size: 10, font }),
    );
  }
  return pdf.save();
}
