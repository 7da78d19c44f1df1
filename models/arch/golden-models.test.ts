/**
 * Every model of e2e/fixtures/models on every backend, against the outputs that its producer gave for it. A folder there and
 * an architecture in the registry are all that a new one needs; states that are laid out otherwise than in the golden
 * file have a rule in models/testing/golden-states.ts. What llama.cpp has is also written as GGUF and read again.
 */
import { beforeAll, describe, expect, test } from "vitest";
import type { Backend, BackendName, StateBuffers } from "../../kernels/spec/backend.ts";
import { expectAllClose, furthest } from "../../kernels/testing/all-close.ts";
import { forEachBackend } from "../../kernels/testing/for-each-backend.ts";
import { LOGITS, STATES } from "../../kernels/testing/tolerances.ts";
import { ConversionError } from "../convert/errors.ts";
import { decodeSnapshot, encodeSnapshot } from "../state/snapshot.ts";
import { asGguf } from "../testing/as-gguf.ts";
import { goldenFolders, type GoldenFolder } from "../testing/golden-folders.ts";
import { expectGoldenStates } from "../testing/golden-states.ts";
import { recordDifference, recordGgufRefusal } from "../testing/support.ts";
import { argmax, LOADING_MS, loadTestModel, type TestModel } from "../testing/test-model.ts";

const PREFILL = { phase: "prefill", logits: "all" } as const;
const DECODE = { phase: "decode", logits: "last" } as const;
const GREEDY_TOKENS = 16;
/** Tokens decoded after each prompt by the model as GGUF. */
const GGUF_DECODED = 4;

/**
 * How much a backend is asked. On the software GPU a shape (B, T) costs seconds of compiling: there few of them come again and
 * again, and what is left out differs in nothing but length.
 */
interface Extent {
  /** Lengths of the pieces in which the longest prompt is read. */
  readonly chunks: readonly number[];
  /** The same for the shortest. */
  readonly chunksOfShortest: readonly number[];
  /** Tokens before a state is saved; all but the last few if there are fewer. */
  readonly saved: number;
  /** Tokens of four sequences before they run together. */
  readonly lengths: readonly [number, number, number, number];
  /** Tokens of the piece of prompt that the four then read together. */
  readonly piece: number;
  /** Prompts that are read from the model as GGUF. */
  readonly asGguf: readonly string[];
}

const WHOLE: Extent = {
  chunks: [1, 7, 64, 1000],
  chunksOfShortest: [],
  saved: 1000,
  lengths: [31, 30, 3, 17],
  piece: 2,
  asGguf: ["p0", "p1"],
};
const EXTENTS: Readonly<Record<BackendName, Extent>> = {
  reference: WHOLE,
  wasm: WHOLE,
  webgpu: {
    chunks: [75],
    chunksOfShortest: [1, 7],
    saved: 13,
    lengths: [7, 13, 1, 6],
    piece: 6,
    asGguf: ["p0"],
  },
};
/** Tokens decoded behind a saved state. */
const AFTER_SAVED = 6;

const folders = goldenFolders();
const written = await Promise.allSettled(
  folders.map((folder) => asGguf(folder.files(), folder.name)),
);
const given = folders.map((folder, index) => ({
  folder,
  name: folder.name,
  gguf: written[index],
}));

forEachBackend("golden models", (backend, backendName) => {
  const extent = EXTENTS[backendName];

  describe.each(given)("$name", ({ folder, gguf }) => {
    const golden = folder.golden();
    let model: TestModel;
    beforeAll(async () => {
      model = await loadTestModel(backend(), folder.files());
      return () => model.release();
    }, LOADING_MS);

    test.each(folder.prompts)("reads %s as its producer did, and goes on", async (prompt) => {
      const { vocabSize, modelType, layout } = model.model;
      const state = model.createState(1);
      const logits = await model.run(state, [golden.i32(`${prompt}.input_ids`)], PREFILL);
      const expected = golden.f32(`${prompt}.logits`).values;
      expectAllClose(logits, expected, LOGITS, "logits");
      expectGoldenStates(modelType, layout, await backend().readState(state, 0), golden, prompt);

      const chosen = [argmax(logits.subarray(-vocabSize))];
      const decoded: number[] = [];
      for (let step = 0; step < GREEDY_TOKENS; step++) {
        const after = await model.run(state, [chosen.slice(-1)], DECODE);
        decoded.push(...after);
        if (chosen.length < GREEDY_TOKENS) chosen.push(argmax(after));
      }
      expect(chosen).toEqual([...golden.i32(`${prompt}.greedy`)]);
      const expectedDecoded = golden.f32(`${prompt}.decode_logits`).values;
      expectAllClose(decoded, expectedDecoded, LOGITS, "decode_logits");

      const place = { modelType, folder: folder.name, backend: backendName, prompt };
      recordDifference(
        { ...place, format: "safetensors" },
        Math.max(furthest(logits, expected), furthest(decoded, expectedDecoded)),
      );
      await recordGgufRefusal(place, folder.files());
      state.release();
    });

    test.each([
      ...extent.chunks.map((chunk) => ({ chunk, prompt: folder.prompts.at(-1) ?? "" })),
      ...extent.chunksOfShortest.map((chunk) => ({ chunk, prompt: folder.prompts[0] ?? "" })),
    ])("gives the same for $prompt in chunks of $chunk", async ({ prompt, chunk }) => {
      const state = model.createState(1);
      const ids = golden.i32(`${prompt}.input_ids`);
      const logits = await model.run(state, [ids], { ...PREFILL, chunk });
      expectAllClose(logits, golden.f32(`${prompt}.logits`).values, LOGITS, "logits");
      expectGoldenStates(
        model.model.modelType,
        model.model.layout,
        await backend().readState(state, 0),
        golden,
        prompt,
      );
      state.release();
    });

    test.each(folder.configs.filter((config) => config !== "config.json"))(
      "is the same model by %s",
      async (config) => {
        const other = await loadTestModel(backend(), folder.files(config));
        expect(other.model.layout).toEqual(model.model.layout);
        const state = other.createState(1);
        const logits = await other.run(state, [golden.i32("p0.input_ids")], PREFILL);
        expectAllClose(logits, golden.f32("p0.logits").values, LOGITS, "logits");
        state.release();
        other.release();
      },
    );

    // Where llama.cpp has no such model it cannot be written; every other failure fails here.
    const isWritten = gguf?.status === "fulfilled" || !(gguf?.reason instanceof ConversionError);
    test.each(folder.prompts.filter((prompt) => isWritten && extent.asGguf.includes(prompt)))(
      "is the same model as GGUF: %s",
      async (prompt) => {
        if (gguf?.status !== "fulfilled") throw gguf?.reason;
        const converted = await loadTestModel(backend(), [gguf.value]);
        // Not the converted one: Bamba is written as Granite.
        const { modelType } = model.model;
        const state = converted.createState(1);
        const logits = await converted.run(state, [golden.i32(`${prompt}.input_ids`)], PREFILL);
        const expected = golden.f32(`${prompt}.logits`).values;
        expectAllClose(logits, expected, LOGITS, "logits");
        const next = golden.i32(`${prompt}.greedy`).slice(0, GGUF_DECODED);
        const decoded = await converted.run(state, [next], { ...DECODE, chunk: 1 });
        const expectedDecoded = golden
          .f32(`${prompt}.decode_logits`)
          .values.subarray(0, decoded.length);
        expectAllClose(decoded, expectedDecoded, LOGITS, "decode_logits");
        recordDifference(
          { modelType, folder: folder.name, format: "GGUF", backend: backendName, prompt },
          Math.max(furthest(logits, expected), furthest(decoded, expectedDecoded)),
        );
        state.release();
        converted.release();
      },
    );

    test("a saved and restored state goes on with the same bits", async () => {
      const ids = longest(folder);
      const end = Math.min(extent.saved, ids.length - AFTER_SAVED);
      const [prompt, next] = [ids.slice(0, end), ids.slice(end, end + AFTER_SAVED)];
      const state = model.createState(1);
      const logits = await model.run(state, [prompt], { phase: "prefill", logits: "last" });
      const restore = await savedState(backend(), model, state, logits);
      const expected = await model.run(state, [next], { ...DECODE, chunk: 1 });

      // Not the first sequence of its batch, so that the place is restored too.
      const elsewhere = model.createState(2);
      await restore(elsewhere, 1);
      const alone = model.createState(1);
      await moveState(backend(), { from: elsewhere, sequence: 1, to: alone, as: 0 });
      expect(await model.run(alone, [next], { ...DECODE, chunk: 1 })).toEqual(expected);
      for (const buffers of [state, elsewhere, alone]) buffers.release();
    });

    test("four sequences at once are four alone", async () => {
      const { vocabSize } = model.model;
      const ids = longest(folder);
      // Different ones, and of different lengths before they meet.
      const prompts = extent.lengths.map((length, b) => ids.slice(b, b + length));
      const pieces = prompts.map((_, b) => ids.slice(b + 5, b + 5 + extent.piece));
      const alone = prompts.map(() => model.createState(1));
      const together = model.createState(4);
      for (const [b, state] of alone.entries()) {
        await model.run(state, [prompts[b] ?? []], { phase: "prefill", logits: "none" });
        await moveState(backend(), { from: state, sequence: 0, to: together, as: b });
      }
      // A piece of prompt, then a token.
      const steps = [
        { options: PREFILL, of: pieces, rows: extent.piece },
        { options: DECODE, of: pieces.map((piece) => piece.slice(0, 1)), rows: 1 },
      ];
      for (const { options, of, rows } of steps) {
        const logits = await model.run(together, of, options);
        for (const [b, state] of alone.entries()) {
          const size = rows * vocabSize;
          const expected = await model.run(state, [of[b] ?? []], options);
          expectAllClose(logits.slice(b * size, (b + 1) * size), expected, LOGITS, `logits ${b}`);
        }
      }
      for (const [b, state] of alone.entries()) {
        const actual = await backend().readState(together, b);
        const expected = await backend().readState(state, 0);
        model.model.layout.forEach(({ name }, slot) =>
          expectAllClose(actual[slot] ?? [], expected[slot] ?? [], STATES, `${name} of ${b}`),
        );
        state.release();
      }
      together.release();
    });
  });
});

/** The longest prompt. */
function longest(folder: GoldenFolder): Int32Array {
  return folder.golden().i32(`${folder.prompts.at(-1) ?? ""}.input_ids`);
}

/** Saves a state as bytes; what it returns puts it back. */
async function savedState(
  backend: Backend,
  { model: { layout, vocabSize } }: TestModel,
  state: StateBuffers,
  logits: Float32Array,
): Promise<(to: StateBuffers, sequence: number) => Promise<void>> {
  const owner = { modelHash: "0".repeat(64), tokenizerHash: "1".repeat(64), layout, vocabSize };
  const position = state.positions[0] ?? NaN;
  const slots = await backend.readState(state, 0);
  const bytes = await encodeSnapshot(
    { position, prefixHash: "2".repeat(64), layout, slots, logits },
    owner,
  );
  return async (to, sequence) => {
    const restored = await decodeSnapshot(bytes, owner);
    expect(restored.logits).toEqual(logits);
    await backend.writeState(to, sequence, restored.slots, restored.position);
  };
}

async function moveState(
  backend: Backend,
  move: {
    readonly from: StateBuffers;
    readonly sequence: number;
    readonly to: StateBuffers;
    readonly as: number;
  },
): Promise<void> {
  const { from, sequence, to, as } = move;
  const slots = await backend.readState(from, sequence);
  await backend.writeState(to, as, slots, from.positions[sequence] ?? NaN);
}
