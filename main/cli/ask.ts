import type { Passage } from "../contract/dto.ts";
import { openConversation } from "./conversation.ts";
import { parse, readCommon, required, UsageError } from "./options.ts";
import { writeJson, writeResult } from "./output.ts";

export const usage = `Usage: tarn ask --doc FILE… "question"

One answer about the documents, with the sentences that say so: file, page, start, end (UTF-16 offsets into the extracted
text) and text. With --json also its grounds: way (look-up, chunks, whole, twice), origin (model; quote, where a sentence of the
document stands in place of the model's words; refusal) and isFound. Nothing is kept.`;

export async function run(args: readonly string[]): Promise<void> {
  const { values, positionals } = parse(args, { doc: { type: "string", multiple: true } });
  const common = readCommon(values);
  const documents = values.doc ?? [];
  required("--doc", documents[0]);
  const [question, ...rest] = positionals;
  if (question === undefined || question.trim() === "" || rest.length > 0)
    throw new UsageError("Give the question as one argument, in quotes.");
  const conversation = await openConversation(common, documents);
  try {
    const { question: asked, answer } = await conversation.ask(question, (piece) => {
      if (!common.json) writeResult(piece);
    });
    // Where the answer was checked, the sentences that say so; else what was read for it.
    const cited = answer.grounds === null ? asked.passages : answer.passages;
    const citations = cited.map(({ file, page, start, end, text }) => ({
      file,
      page,
      start,
      end,
      text,
    }));
    if (common.json) writeJson({ answer: answer.text, citations, grounds: answer.grounds });
    else writeResult(`\n\n${citations.map(cite).join("\n")}\n`);
  } finally {
    await conversation.close();
  }
}

function cite(
  { file, page, start, end, text }: Omit<Passage, "documentId">,
  index: number,
): string {
  const place = page === null ? `${start}–${end}` : `page ${page}, ${start}–${end}`;
  return `[${index + 1}] ${file}, ${place}: ${text.replaceAll(/\s+/g, " ").trim()}`;
}
