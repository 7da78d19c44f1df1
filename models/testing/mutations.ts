/** Damage for files of others: arbitrary edits of sound inputs, shrunk by the property tester to the smallest that fails. */
import * as fc from "fast-check";

/** One edit at a place that is a fraction of the input's length. */
interface Edit {
  readonly at: number;
  readonly kind: "byte" | "bit" | "word" | "long" | "insert" | "delete" | "repeat" | "cut" | "swap";
  readonly value: number;
  readonly length: number;
}

const edit: fc.Arbitrary<Edit> = fc.record({
  at: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
  kind: fc.constantFrom<Edit["kind"][]>(
    ...(["byte", "bit", "word", "long", "insert", "delete", "repeat", "cut", "swap"] as const),
  ),
  value: fc.nat({ max: 255 }),
  length: fc.nat({ max: 40 }),
});

/** Lengths, counts and offsets that programs get wrong. */
const NUMBERS = [
  0n,
  1n,
  255n,
  65_535n,
  2n ** 31n - 1n,
  2n ** 31n,
  2n ** 32n - 1n,
  2n ** 53n,
  2n ** 63n,
  2n ** 64n - 1n,
];

/** One of the inputs with a few edits of bytes. */
export function damagedBytes(inputs: readonly Uint8Array[]): fc.Arbitrary<Uint8Array<ArrayBuffer>> {
  return fc
    .tuple(fc.constantFrom(...inputs), fc.array(edit, { minLength: 1, maxLength: 5 }))
    .map(([input, edits]) => edits.reduce(applyEdit, Uint8Array.from(input)));
}

function applyEdit(bytes: Uint8Array<ArrayBuffer>, step: Edit): Uint8Array<ArrayBuffer> {
  const { kind, value, length } = step;
  const at = Math.floor(step.at * bytes.length);
  switch (kind) {
    case "byte":
      return at < bytes.length ? bytes.with(at, value) : bytes;
    case "bit":
      return at < bytes.length ? bytes.with(at, (bytes[at] ?? 0) ^ (1 << (value & 7))) : bytes;
    case "word":
    case "long": {
      const size = kind === "word" ? 4 : 8;
      const out = bytes.slice();
      if (at + size > out.length) return out;
      const number = NUMBERS[value % NUMBERS.length] ?? 0n;
      const view = new DataView(out.buffer);
      if (size === 4) view.setUint32(at, Number(number & 0xffff_ffffn), true);
      else view.setBigUint64(at, number, true);
      return out;
    }
    case "insert":
      return joined(bytes.subarray(0, at), new Uint8Array(length).fill(value), bytes.subarray(at));
    case "delete":
      return joined(bytes.subarray(0, at), bytes.subarray(at + length));
    case "repeat":
      return joined(bytes.subarray(0, at + length), bytes.subarray(at));
    case "cut":
      return bytes.slice(0, at);
    case "swap":
      return joined(bytes.subarray(at), bytes.subarray(0, at));
  }
}

function joined(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** Values that stand where a configuration has others. */
const STRANGE: readonly unknown[] = [
  null,
  true,
  false,
  "",
  "auto",
  "x".repeat(300),
  0,
  -0,
  -1,
  1,
  2,
  3,
  7,
  0.5,
  1e-300,
  1e300,
  2 ** 24,
  2 ** 24 + 1,
  2 ** 31,
  2 ** 53,
  [],
  [0],
  [null],
  [1, 2, 3],
  [[[]]],
  {},
  { __float__: "Infinity" },
  { __float__: "NaN" },
  "\ud800",
  "__proto__",
  "constructor",
];

/** One of the values (as JSON gives them) with one to three of its members replaced, removed, moved or added. */
export function damagedJson(inputs: readonly unknown[]): fc.Arbitrary<unknown> {
  const change = fc.record({
    path: fc.array(fc.nat({ max: 1000 }), { minLength: 1, maxLength: 6 }),
    kind: fc.constantFrom("replace", "remove", "copy", "add"),
    value: fc.oneof(
      { weight: 6, arbitrary: fc.constantFrom(...STRANGE) },
      { weight: 1, arbitrary: fc.integer({ min: -4, max: 5000 }) },
      { weight: 1, arbitrary: fc.json({ maxDepth: 2 }).map((text): unknown => JSON.parse(text)) },
    ),
  });
  return fc
    .tuple(fc.constantFrom(...inputs), fc.array(change, { minLength: 1, maxLength: 3 }))
    .map(([input, changes]) => {
      let value = structuredClone(input);
      for (const { path, kind, value: given } of changes) value = changed(value, path, kind, given);
      return value;
    });
}

/** Follows the path as far as it goes (each number chooses a member) and changes what is there. */
function changed(value: unknown, path: readonly number[], kind: string, given: unknown): unknown {
  const [step = 0, ...rest] = path;
  if (Array.isArray(value) && value.length > 0) {
    const index = step % value.length;
    if (rest.length > 0 && isContainer(value[index]))
      return value.with(index, changed(value[index], rest, kind, given));
    if (kind === "remove") return value.toSpliced(index, 1);
    if (kind === "copy") return [...value, value[index]];
    return kind === "add" ? [...value, given] : value.with(index, given);
  }
  if (isContainer(value)) {
    const entries = Object.entries(value);
    if (entries.length === 0) return { [String(step)]: given };
    const index = step % entries.length;
    const [key = "", inner] = entries[index] ?? [];
    if (rest.length > 0 && isContainer(inner))
      return Object.fromEntries(entries.with(index, [key, changed(inner, rest, kind, given)]));
    const [other = ""] = entries[(index + 1) % entries.length] ?? [];
    if (kind === "remove") return Object.fromEntries(entries.toSpliced(index, 1));
    if (kind === "copy") return Object.fromEntries([...entries, [other, inner]]);
    return Object.fromEntries([...entries, [kind === "add" ? `${key}_` : key, given]]);
  }
  return given;
}

function isContainer(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}
