import { setImmediate } from "node:timers/promises";
import { spell, unspell } from "../../../models/tokenizer/byte-alphabet.ts";
import { LongestMatch } from "../../../models/tokenizer/longest-match.ts";
import { TarnError } from "../../contract/errors.ts";
import { cutAtControls } from "./segments.ts";
import type { ControlToken } from "./tokenizer-json.ts";
import type { Tokenizer } from "./tokenizer.ts";

/**
 * What stands between the texts that these models learn from. Configurations of converted models often name other ids,
 * the defaults of the class that they were saved by. Source: BlinkDL/RWKV-LM, rwkv_vocab_v20230424.
 */
const END_OF_TEXT = 0;
/** Bytes that are cut without a pause: a millisecond's work or so. */
const SLICE_BYTES = 4096;

/**
 * The "world" tokenizer of RWKV: always the longest token that fits, over UTF-8. Ids are bytes, so decoding gives back every
 * byte; bytes that are no UTF-8 become the replacement character.
 * @param options.vocabulary tokens in the alphabet of byte-alphabet.ts, with their ids
 * @param options.controls tokens beside them, never found in text as text
 * @throws TarnError `no-tokenizer` for tokens of another alphabet
 */
export function createRwkvTokenizer(options: {
  readonly hash: string;
  readonly vocabulary: readonly (readonly [token: string, id: number])[];
  readonly controls: readonly ControlToken[];
}): Tokenizer {
  const { hash, vocabulary, controls } = options;
  const idOf = new Map(vocabulary);
  const tokens = new Map(vocabulary.map(([token, id]) => [id, bytesOf(token)] as const));
  const longest = new LongestMatch([...tokens].map(([id, bytes]) => [bytes, id] as const));
  const byContent = new Map(controls.map((control) => [control.content, control.id]));
  const byId = new Map(controls.map((control) => [control.id, control]));
  const encoder = new TextEncoder();
  // A byte order mark is a character like any other.
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

  async function encodeText(text: string): Promise<Int32Array> {
    const bytes = encoder.encode(text);
    const ids: number[] = [];
    let pause = SLICE_BYTES;
    for (let at = 0; at < bytes.length;) {
      const { id, length } = longest.at(bytes, at);
      if (length === 0) throw unusable(`it has no token for the byte ${bytes[at]}`);
      ids.push(id);
      at += length;
      if (at >= pause) {
        pause = at + SLICE_BYTES;
        await setImmediate();
      }
    }
    return Int32Array.from(ids);
  }

  return {
    hash,
    vocabSize: tokens.size + controls.length,
    controls,
    endIds: byId.has(END_OF_TEXT) ? [END_OF_TEXT] : [],
    async encode(text) {
      const ids: number[] = [];
      for (const segment of cutAtControls(text, controls)) {
        if (typeof segment === "number") ids.push(segment);
        else for (const id of await encodeText(segment)) ids.push(id);
      }
      return Int32Array.from(ids);
    },
    encodeText: (text) => encodeText(text),
    async decode(ids, { skipSpecial }) {
      const pieces = Array.from(ids, (id) => {
        const control = byId.get(id);
        if (control === undefined) return tokens.get(id);
        return skipSpecial && control.special ? undefined : encoder.encode(control.content);
      });
      return decoder.decode(concat(pieces.filter((piece) => piece !== undefined)));
    },
    specialId: (content) =>
      byContent.get(content) ?? idOf.get(spell(encoder.encode(content))) ?? null,
    token(id) {
      const bytes = tokens.get(id);
      return bytes === undefined ? (byId.get(id)?.content ?? null) : spell(bytes);
    },
  };
}

function bytesOf(token: string): Uint8Array {
  const bytes = unspell(token);
  if (bytes === null || bytes.length === 0)
    throw unusable(`its token ${JSON.stringify(token)} does not stand for bytes`);
  return bytes;
}

function concat(pieces: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return all;
}

function unusable(reason: string): TarnError {
  return new TarnError(
    "no-tokenizer",
    `The model's tokenizer cannot be used: ${reason}. The model still works on token ids.`,
  );
}
