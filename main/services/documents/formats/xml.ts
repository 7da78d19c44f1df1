/**
 * XML as a stream of events, by htmlparser2. It knows the five entities of XML and character references and nothing else: no
 * document type is read, so no entity can expand and nothing outside the file can be reached. Depth is bounded here.
 */
import { Parser } from "htmlparser2";
import { TarnError } from "../../../contract/errors.ts";
import { decodeText } from "../decode-text.ts";

/** Documents nest a few dozen deep; tables in tables a few more. */
const MAX_DEPTH = 1000;

export interface XmlHandler {
  /** @param attributes by their qualified name, as written: "w:val" */
  open(name: string, attributes: Readonly<Record<string, string>>): void;
  text(text: string): void;
  close(name: string): void;
  /** Everything was read. */
  end?(): void;
}

/** @param mode `html` closes what browsers close and knows HTML's entities; names come in lower case then */
export function readMarkup(
  markup: string,
  handler: XmlHandler,
  name: string,
  mode: "xml" | "html" = "xml",
): void {
  let depth = 0;
  const parser = new Parser(
    {
      onopentag(tag, attributes) {
        if (++depth > MAX_DEPTH)
          throw new TarnError(
            "document-broken",
            `"${name}" is nested deeper than any document is (${MAX_DEPTH} levels). Nothing was added.`,
            { name },
          );
        handler.open(tag, attributes);
      },
      ontext: (text) => handler.text(text),
      onclosetag(tag) {
        depth--;
        handler.close(tag);
      },
      onend: () => handler.end?.(),
    },
    { xmlMode: mode === "xml", decodeEntities: true },
  );
  parser.end(markup);
}

/** An XML file's text: by its mark, else by the encoding that its declaration names, else UTF-8. */
export function decodeXml(bytes: Uint8Array): string {
  const head = Buffer.from(bytes.subarray(0, 200)).toString("latin1");
  const declared = /^<\?xml[^>]*\bencoding\s*=\s*["']([\w-]+)/.exec(head)?.[1] ?? null;
  return decodeText(bytes, declared).text;
}

/** "w:p" → "p": producers are free in their prefixes, and in the formats that are read here local names do not collide. */
export function localName(name: string): string {
  return name.slice(name.indexOf(":") + 1);
}

/** An attribute by its local name. */
export function attribute(
  attributes: Readonly<Record<string, string>>,
  local: string,
): string | undefined {
  if (attributes[local] !== undefined) return attributes[local];
  const found = Object.keys(attributes).find((key) => localName(key) === local);
  return found === undefined ? undefined : attributes[found];
}
