/** A chat whose states do not all have room, beside one whose do. */
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { Place } from "./long-chat.ts";

const BUDGET_SECTION = "## A long chat past the budget";

/**
 * A chat in a process of its own.
 *
 * @param data its data folder
 * @param documentId that it begins with; "" for none
 * @param budget bytes that states may take; "" for as many as the settings say
 */
export async function chatIn(
  data: string,
  documentId: string,
  budget: string,
  turns: number,
): Promise<readonly Place[]> {
  const places = [1, 10, 50, 100, 200].filter((place) => place < turns);
  const program = fileURLToPath(new URL("./long-chat.ts", import.meta.url));
  const list = [...places, turns].join();
  const input = [program, data, documentId, list, budget];
  const { stdout } = await promisify(execFile)(process.execPath, input);
  return stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Place);
}

/**
 * The same chat without a document and without a budget that it reaches, then with one: a section of docs/long-documents.md.
 *
 * @param folder for the two data folders, which are removed
 * @param megabytes that states may take
 */
export async function pastBudget(
  folder: string,
  megabytes: number,
  turns: number,
): Promise<string> {
  const budget = String(megabytes * 1e6);
  const runs: (readonly Place[])[] = [];
  await mkdir(folder, { recursive: true });
  for (const given of ["", budget]) {
    const data = await mkdtemp(path.join(folder, "budget-"));
    try {
      runs.push(await chatIn(data, "", given, turns));
    } finally {
      await rm(data, { recursive: true, force: true });
    }
  }
  const [free = [], held = []] = runs;
  const mega = (bytes: number): string => (bytes / 1e6).toFixed(1);
  const rows = held.map((place, index) => {
    const { turns: count, kept, isTipKept, isPinKept, states, database, firstToken, turn } = place;
    const other = free[index];
    return `| ${count} | ${kept} of ${2 * count}, ${isTipKept && isPinKept ? "both" : "NOT BOTH"} | ${mega(states)} | ${mega(database)} | ${mega(place.resident)} | ${firstToken.toFixed(0)} (${other?.firstToken.toFixed(0)}) | ${turn.toFixed(0)} (${other?.turn.toFixed(0)}) |`;
  });
  return `${BUDGET_SECTION}

Written by \`npm run bench:documents -- --budget ${megabytes} --write\`: the same ${turns} turns without a document, where states may take ${megabytes} MB:
room for some ${Math.floor((megabytes * 1e6) / 6.1e6)} states, so from there on every turn drops as many as it stores. Beside that the first answer is pinned. In brackets: the
same turns with the usual 4 GB, of which nothing is dropped.

| turns | states kept; tip and pin | states MB | database MB | resident MB | first token ms | whole turn ms |
| ---: | ---: | ---: | ---: | ---: | ---: | ---: |
${rows.join("\n")}
`;
}

/** The section in the page that has it, with an empty line before it; "" where it has none. */
export function budgetSection(text: string): string {
  const at = text.indexOf(BUDGET_SECTION);
  return at < 0 ? "" : `\n${text.slice(at)}`;
}
