/** What Word, PowerPoint and Excel files share: parts in a ZIP archive, found by relationships (ECMA-376 part 2). */
import { posix } from "node:path";
import { TarnError } from "../../../contract/errors.ts";
import { decodeXml, localName, readMarkup, type XmlHandler } from "./xml.ts";
import type { Zip } from "./zip.ts";

/** One arrow from a part to another. */
export interface Relationship {
  readonly id: string;
  /** The last word of its type: "slide", "worksheet", "sharedStrings". */
  readonly kind: string;
  /** Path of the part in the archive. */
  readonly path: string;
}

/** Where a part's arrows lead; those that lead out of the file are left out. */
export function relationshipsOf(zip: Zip, part: string, name: string): Relationship[] {
  const folder = posix.dirname(part);
  const bytes = zip.read(posix.join(folder, "_rels", `${posix.basename(part)}.rels`));
  const found: Relationship[] = [];
  if (bytes === null) return found;
  readMarkup(
    decodeXml(bytes),
    {
      open(tag, attributes) {
        const target = attributes["Target"];
        if (localName(tag) !== "Relationship" || target === undefined) return;
        if (attributes["TargetMode"] === "External") return;
        found.push({
          id: attributes["Id"] ?? "",
          kind: attributes["Type"]?.split("/").at(-1) ?? "",
          path: target.startsWith("/") ? target.slice(1) : posix.join(folder, target),
        });
      },
      text: () => undefined,
      close: () => undefined,
    },
    name,
  );
  return found;
}

/** The path of the part that the whole file is about: "word/document.xml"; null where there is none. */
export function mainPart(zip: Zip, name: string): string | null {
  const root = relationshipsOf(zip, "", name);
  return root.find(({ kind }) => kind === "officeDocument")?.path ?? null;
}

/** @throws TarnError `document-broken` when the part is missing */
export function readPart(zip: Zip, part: string, handler: XmlHandler, name: string): void {
  const bytes = zip.read(part);
  if (bytes === null)
    throw new TarnError(
      "document-broken",
      `"${name}" is damaged: it has no part ${part.slice(0, 100)}. Nothing was added; open it in the program that made it, save it again, and attach that.`,
      { name },
    );
  readMarkup(decodeXml(bytes), handler, name);
}
