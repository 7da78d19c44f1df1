import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import { seeded } from "../../kernels/testing/seeded.ts";
import { StateError } from "./errors.ts";
import type { SequenceState } from "./layer-state.ts";
import { decodeSnapshot, encodeSnapshot, type StateOwner } from "./snapshot.ts";

const random = seeded(1);
const owner: StateOwner = {
  modelHash: "a".repeat(64),
  tokenizerHash: "b".repeat(64),
  layout: [
    { name: "layers.0.conv", shape: [6, 3] },
    { name: "layers.0.ssm", shape: [2, 3, 4] },
  ],
  vocabSize: 7,
};
const state: SequenceState = {
  position: 42,
  prefixHash: "c".repeat(64),
  layout: owner.layout,
  slots: [random.normal(18), random.normal(24)],
  logits: random.normal(7),
};

async function refusal(bytes: Uint8Array, by: StateOwner = owner): Promise<StateError> {
  const error: unknown = await decodeSnapshot(bytes, by).then(
    () => null,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof StateError))
    throw new Error(`not refused by a StateError: ${String(error)}`);
  return error;
}

/** The file with an edited header and a right checksum, as a forger would make it. */
function forge(
  bytes: Uint8Array,
  edit: (text: string) => string,
  announcedBytes?: number,
): Uint8Array {
  const length = new DataView(bytes.buffer).getUint32(12, true);
  const json = edit(new TextDecoder().decode(bytes.subarray(16, 16 + length)).trimEnd());
  const header = new TextEncoder().encode(json.padEnd(Math.ceil(json.length / 4) * 4));
  const preamble = bytes.slice(0, 16);
  new DataView(preamble.buffer).setUint32(12, announcedBytes ?? header.length, true);
  const body = Buffer.concat([preamble, header, bytes.subarray(16 + length, -32)]);
  return new Uint8Array(Buffer.concat([body, createHash("sha256").update(body).digest()]));
}

test("gives back exactly what was saved", async () => {
  expect(await decodeSnapshot(await encodeSnapshot(state, owner), owner)).toEqual(state);
});

test("keeps an empty sequence, which has no logits yet", async () => {
  const empty = { ...state, position: 0, logits: null };
  expect(await decodeSnapshot(await encodeSnapshot(empty, owner), owner)).toEqual(empty);
});

test("keeps as many rows of a slot that grows as there were tokens", async () => {
  const layout = [
    ...owner.layout,
    { name: "layers.1.keys", shape: [2, 4], grows: true, dtype: "f16" } as const,
  ];
  const grown = { ...state, layout, slots: [...state.slots, random.normal(42 * 8)] };
  const bytes = await encodeSnapshot(grown, owner);
  expect(await decodeSnapshot(bytes, { ...owner, layout })).toEqual(grown);

  const fewer = forge(bytes, (text) => text.replace('"position":42', '"position":41'));
  expect((await refusal(fewer, { ...owner, layout })).code).toBe("corrupt");
  const fixed = layout.map(({ name, shape }) => ({ name, shape }));
  expect((await refusal(bytes, { ...owner, layout: fixed })).code).toBe("foreign");
});

test("refuses a change of any byte", async () => {
  const bytes = await encodeSnapshot(state, owner);
  for (let i = 0; i < bytes.length; i++) {
    const changed = bytes.slice();
    changed[i] = (changed[i] ?? 0) ^ 0x10;
    expect((await refusal(changed)).code).toBe(i < 8 ? "foreign" : "corrupt");
  }
});

test("refuses every truncation, and bytes behind the end", async () => {
  const bytes = await encodeSnapshot(state, owner);
  for (let length = 0; length < bytes.length; length++) await refusal(bytes.slice(0, length));
  expect((await refusal(new Uint8Array([...bytes, 0]))).code).toBe("corrupt");
});

test.each([
  { what: "model", by: { ...owner, modelHash: "d".repeat(64) } },
  { what: "tokenizer", by: { ...owner, tokenizerHash: "d".repeat(64) } },
  { what: "vocabulary", by: { ...owner, vocabSize: 8 } },
  { what: "layout", by: { ...owner, layout: [...owner.layout].reverse() } },
])("refuses the state of another $what as foreign", async ({ by }) => {
  expect((await refusal(await encodeSnapshot(state, owner), by)).code).toBe("foreign");
});

test("refuses another numeric version, though its checksum is right", async () => {
  const bytes = await encodeSnapshot(state, owner);
  expect(
    (
      await refusal(
        forge(bytes, (text) => text.replace('"numericVersion":1', '"numericVersion":2')),
      )
    ).code,
  ).toBe("version");
});

test.each([
  [
    "a position that is no number",
    (text: string) => text.replace('"position":42', '"position":"42"'),
  ],
  ["a huge shape", (text: string) => text.replace("[6,3]", "[6,3e14]")],
  ["a negative shape", (text: string) => text.replace("[6,3]", "[-6,-3]")],
  [
    "more logits than there are",
    (text: string) => text.replace('"logits":7', '"logits":9007199254740991'),
  ],
  ["a position without logits", (text: string) => text.replace('"logits":7', '"logits":0')],
  ["another dtype", (text: string) => text.replace('"f32"', '"f16"')],
  ["no JSON", () => "{"],
  ["JSON that is no object", () => "[]"],
])("refuses a forged header: %s", async (_, edit) => {
  await refusal(forge(await encodeSnapshot(state, owner), edit));
});

test.each([0xffff_fffc, 0x7fff_fffc, 5, 1000])(
  "refuses a header that claims %i bytes",
  async (claimed) => {
    expect(
      (await refusal(forge(await encodeSnapshot(state, owner), (text) => text, claimed))).code,
    ).toBe("corrupt");
  },
);
