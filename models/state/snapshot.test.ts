import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import { seeded } from "../../kernels/testing/seeded.ts";
import { StateError } from "./errors.ts";
import { NUMERIC_VERSION, type SequenceState } from "./layer-state.ts";
import { decodeSnapshot, encodeParts, encodeSnapshot, type StateOwner } from "./snapshot.ts";

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

/** The same state as version 1 of the format had it. */
function inFirstFormat(of: SequenceState): Uint8Array {
  const header = new TextEncoder().encode(
    JSON.stringify({
      modelHash: owner.modelHash,
      tokenizerHash: owner.tokenizerHash,
      numericVersion: NUMERIC_VERSION,
      dtype: "f32",
      position: of.position,
      prefixHash: of.prefixHash,
      slots: of.layout,
      logits: of.logits?.length ?? 0,
    }),
  );
  const padded = Buffer.alloc(Math.ceil(header.length / 4) * 4, " ");
  padded.set(header);
  const preamble = Buffer.from("TARNSTAT........");
  preamble.writeUInt32LE(1, 8);
  preamble.writeUInt32LE(padded.length, 12);
  const arrays = of.logits === null ? of.slots : [...of.slots, of.logits];
  const body = Buffer.concat([
    preamble,
    padded,
    ...arrays.map((array) => new Uint8Array(array.buffer, array.byteOffset, array.byteLength)),
  ]);
  return new Uint8Array(Buffer.concat([body, createHash("sha256").update(body).digest()]));
}

/** The file with an edited header and a right checksum, as a forger would make it. */
function forge(
  bytes: Uint8Array,
  edit: (text: string) => string,
  announcedBytes?: number,
): Uint8Array {
  const length = new DataView(bytes.buffer).getUint32(12, true);
  const json = edit(new TextDecoder().decode(bytes.subarray(24, 24 + length)).trimEnd());
  const header = new TextEncoder().encode(json.padEnd(Math.ceil(json.length / 4) * 4));
  const data = bytes.subarray(24 + length, -32);
  const preamble = bytes.slice(0, 24);
  const view = new DataView(preamble.buffer);
  view.setUint32(12, announcedBytes ?? header.length, true);
  view.setBigUint64(16, BigInt(24 + header.length + data.length + 32), true);
  const body = Buffer.concat([preamble, header, data]);
  return new Uint8Array(Buffer.concat([body, createHash("sha256").update(body).digest()]));
}

const noPages = { pageHashes: new Uint8Array() };

test("gives back exactly what was saved", async () => {
  const decoded = await decodeSnapshot(await encodeSnapshot(state, owner), owner);
  expect(decoded).toEqual({ ...state, ...noPages });
});

test("reads the first format for ever, whose rows all lay in the head", async () => {
  expect(await decodeSnapshot(inFirstFormat(state), owner)).toEqual({ ...state, ...noPages });
  const grown = grownState(200, "f16");
  const decoded = await decodeSnapshot(inFirstFormat(grown), { ...owner, layout: grown.layout });
  expect(decoded).toEqual({ ...grown, ...noPages });
});

test("keeps an empty sequence, which has no logits yet", async () => {
  const empty = { ...state, position: 0, logits: null };
  const decoded = await decodeSnapshot(await encodeSnapshot(empty, owner), owner);
  expect(decoded).toEqual({ ...empty, ...noPages });
});

/** Behind `position` tokens, with keys and values of 8 numbers a token that the given dtype can hold. */
function grownState(position: number, dtype: "f16" | "f32"): SequenceState {
  const layout = [
    { name: "layers.1.keys", shape: [2, 4], grows: true, dtype },
    ...owner.layout,
    { name: "layers.1.values", shape: [8], grows: true, dtype },
  ];
  const rows = (): Float32Array =>
    dtype === "f16"
      ? Float32Array.from(new Float16Array(random.normal(position * 8)))
      : random.normal(position * 8);
  return { ...state, position, layout, slots: [rows(), ...state.slots, rows()] };
}

test("keeps as many rows of a slot that grows as there were tokens", async () => {
  const grown = grownState(42, "f32");
  const { layout } = grown;
  const bytes = await encodeSnapshot(grown, owner);
  expect(await decodeSnapshot(bytes, { ...owner, layout })).toEqual({ ...grown, ...noPages });

  const fewer = forge(bytes, (text) => text.replace('"position":42', '"position":41'));
  expect((await refusal(fewer, { ...owner, layout })).code).toBe("corrupt");
  const fixed = layout.map(({ name, shape }) => ({ name, shape }));
  expect((await refusal(bytes, { ...owner, layout: fixed })).code).toBe("foreign");
});

describe.each(["f32", "f16"] as const)("what grows, in pages of %s", (dtype) => {
  const bytesOfPage = 2 * 64 * 8 * (dtype === "f16" ? 2 : 4);
  const early = grownState(130, dtype);
  const late = grownState(400, dtype);
  const layoutOwner = { ...owner, layout: late.layout };
  // The later state goes on from the earlier one.
  for (const index of [0, 3]) late.slots[index]?.set(early.slots[index] ?? []);

  test("a later snapshot brings only the pages that are new, and both come back whole", async () => {
    const first = await encodeParts({ ...early, ...noPages }, owner);
    expect(first).toMatchObject({ pageBytes: bytesOfPage });
    expect(first.pageHashes.length).toBe(2 * 32);
    expect(first.bytes.length - first.headBytes).toBe(2 * bytesOfPage);

    const rest = late.slots.map((slot, index) =>
      late.layout[index]?.grows === true ? slot.subarray(128 * 8) : slot,
    );
    const second = await encodeParts({ ...late, slots: rest, pageHashes: first.pageHashes }, owner);
    expect(second.bytes.length - second.headBytes).toBe(4 * bytesOfPage);
    const whole = Buffer.concat([
      second.bytes.subarray(0, second.headBytes),
      first.bytes.subarray(first.headBytes),
      second.bytes.subarray(second.headBytes),
    ]);
    expect(whole.equals(await encodeSnapshot(late, owner))).toBe(true);
    const { pageHashes, ...decoded } = await decodeSnapshot(whole, layoutOwner);
    expect(decoded).toEqual(late);
    expect(pageHashes).toEqual(second.pageHashes);
    const page = second.bytes.subarray(second.headBytes, second.headBytes + bytesOfPage);
    const hash = createHash("sha256").update(page).digest();
    expect(hash.equals(pageHashes.subarray(64, 96))).toBe(true);
  });

  test("a page that was changed, exchanged, cut off or added is refused", async () => {
    const { bytes, headBytes } = await encodeParts({ ...late, ...noPages }, owner);
    const page = (index: number): Uint8Array =>
      bytes.subarray(headBytes + index * bytesOfPage, headBytes + (index + 1) * bytesOfPage);
    const changed = bytes.slice();
    changed[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
    const exchanged = Buffer.concat([
      bytes.subarray(0, headBytes),
      page(1),
      page(0),
      bytes.subarray(headBytes + 2 * bytesOfPage),
    ]);
    for (const wrong of [
      changed,
      exchanged,
      bytes.subarray(0, -bytesOfPage),
      Buffer.concat([bytes, page(0)]),
    ])
      expect((await refusal(wrong, layoutOwner)).code).toBe("corrupt");
  });
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
        forge(bytes, (text) => text.replace(/"numericVersion":\d+/, '"numericVersion":99')),
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
