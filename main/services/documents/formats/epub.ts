/** Books (EPUB 2 and 3): the chapters of the spine in reading order, a page a chapter, titled by the book's own contents. */
import { posix } from "node:path";
import { TarnError } from "../../../contract/errors.ts";
import type { Extracted } from "../extracted.ts";
import { htmlInto } from "./html.ts";
import { readPart } from "./office-package.ts";
import { TextBuilder } from "./text-builder.ts";
import { decodeXml, localName, readMarkup } from "./xml.ts";
import type { Zip } from "./zip.ts";

/** Fonts are commonly scrambled; that locks no words (EPUB 3.3, 4.2.6.3.2; Adobe's way). */
const FONT_SCRAMBLING =
  /http:\/\/www\.idpf\.org\/2008\/embedding|http:\/\/ns\.adobe\.com\/pdf\/enc#RC/;

interface Package {
  readonly chapters: readonly string[];
  /** Path of the contents: an NCX file, or a navigation page. */
  readonly contents: string | null;
}

/** @throws TarnError `document-…` */
export function extractEpub(zip: Zip, name: string): Extracted {
  refuseLocked(zip, name);
  const { chapters, contents } = readPackage(zip, name);
  const titles = contents === null ? new Map<string, string>() : readTitles(zip, contents, name);
  const builder = new TextBuilder(name);
  for (const path of chapters) {
    const bytes = zip.read(path);
    if (bytes === null) continue;
    const chapter = new TextBuilder(name);
    const markup = decodeXml(bytes);
    readMarkup(markup, htmlInto(chapter), name, "html");
    const { text } = chapter.finish();
    if (text === "") continue;
    builder.page(titles.get(path) ?? null);
    builder.paragraph(text);
  }
  return { ...builder.finish(), pageUnit: "chapter", notice: null };
}

function refuseLocked(zip: Zip, name: string): void {
  const encryption = zip.read("META-INF/encryption.xml");
  if (encryption === null) return;
  let locked = false;
  readMarkup(
    decodeXml(encryption),
    {
      open(tag, attributes) {
        if (localName(tag) === "EncryptionMethod")
          locked ||= !FONT_SCRAMBLING.test(attributes["Algorithm"] ?? "");
      },
      text: () => undefined,
      close: () => undefined,
    },
    name,
  );
  if (locked)
    throw new TarnError(
      "document-encrypted",
      `"${name}" is locked by its publisher (DRM). Nothing was added; attach a copy without the lock.`,
      { name },
    );
}

function readPackage(zip: Zip, name: string): Package {
  let root: string | null = null;
  readPart(
    zip,
    "META-INF/container.xml",
    {
      open: (tag, attributes) =>
        void (localName(tag) === "rootfile" && (root ??= attributes["full-path"] ?? null)),
      text: () => undefined,
      close: () => undefined,
    },
    name,
  );
  const path: string = root ?? "content.opf";
  const items = new Map<string, string>();
  const spine: string[] = [];
  let navigation: string | null = null;
  let ncx: string | null = null;
  readPart(
    zip,
    path,
    {
      open(tag, attributes) {
        switch (localName(tag)) {
          case "item": {
            const target = resolve(path, attributes["href"] ?? "");
            items.set(attributes["id"] ?? "", target);
            if (attributes["properties"]?.split(/\s+/).includes("nav") === true)
              navigation = target;
            if (attributes["media-type"] === "application/x-dtbncx+xml") ncx = target;
            return;
          }
          case "itemref":
            spine.push(attributes["idref"] ?? "");
            return;
          default:
            return;
        }
      },
      text: () => undefined,
      close: () => undefined,
    },
    name,
  );
  const chapters = spine.flatMap((id) => items.get(id) ?? []);
  return { chapters, contents: ncx ?? navigation };
}

/** The first entry of the contents that leads into each file. */
function readTitles(zip: Zip, contents: string, name: string): Map<string, string> {
  const titles = new Map<string, string>();
  const bytes = zip.read(contents);
  if (bytes === null) return titles;
  let label = "";
  let target: string | null = null;
  let inLabel = false;
  const keep = (): void => {
    const words = label.replaceAll(/\s+/g, " ").trim();
    if (target !== null && words !== "" && !titles.has(target)) titles.set(target, words);
  };
  readMarkup(
    decodeXml(bytes),
    {
      open(tag, attributes) {
        switch (localName(tag)) {
          case "navLabel":
            label = "";
            inLabel = true;
            return;
          case "content":
            target = resolve(contents, attributes["src"] ?? "");
            return keep();
          case "a":
            label = "";
            target = resolve(contents, attributes["href"] ?? "");
            inLabel = true;
            return;
          default:
            return;
        }
      },
      text(text) {
        if (inLabel) label += text;
      },
      close(tag) {
        const local = localName(tag);
        if (local === "navLabel") inLabel = false;
        if (local !== "a") return;
        inLabel = false;
        keep();
      },
    },
    name,
  );
  return titles;
}

/** A link's path in the archive, without the place inside the file. */
function resolve(from: string, href: string): string {
  const path = href.split("#")[0] ?? "";
  try {
    return posix.join(posix.dirname(from), decodeURIComponent(path));
  } catch (cause) {
    // A per cent sign that escapes nothing stands for itself.
    if (cause instanceof URIError) return posix.join(posix.dirname(from), path);
    throw cause;
  }
}
