/**
 * What llama.cpp made of our GGUF files (e2e/fixtures/llama-cpp): their headers are still those that it was right with, and from
 * rounded weights we compute what it computes.
 */
import { describe, expect, test } from "vitest";
import type { Backend, BackendName } from "../../kernels/spec/backend.ts";
import { expectAllClose, furthest } from "../../kernels/testing/all-close.ts";
import { forEachBackend } from "../../kernels/testing/for-each-backend.ts";
import { fixtureText, loadGolden } from "../../kernels/testing/golden.ts";
import { LOGITS } from "../../kernels/testing/tolerances.ts";
import { asGguf } from "../testing/as-gguf.ts";
import { ggufHeader, type GgufHeader } from "../testing/gguf-header.ts";
import { goldenFolders } from "../testing/golden-folders.ts";
import { LOADING_MS, loadTestModel } from "../testing/test-model.ts";
import { WIDE_MODELS, wideModel, WIDE_PROMPTS } from "../testing/wide-models.ts";
import type { RandomAccessFile } from "../weights/source.ts";
import { ConversionError } from "./errors.ts";
import { QUANTISATIONS, type Quantisation } from "./convert.ts";

const HEADERS = JSON.parse(fixtureText("llama-cpp/headers.json")) as Readonly<
  Record<string, GgufHeader>
>;
/** llama.cpp's kernel takes 32 or 64 columns of a head at a time, and this model's heads have 16; the wide one's have 64. */
const NOT_JUDGED = ["rwkv7"];

const TYPES = Object.keys(QUANTISATIONS).filter(
  (type): type is Exclude<Quantisation, "F32"> => type !== "F32",
);

describe("files that llama.cpp reads as it should", () => {
  const judged = [
    ...goldenFolders(),
    ...Object.keys(WIDE_MODELS).map((name) => ({
      name: `${name}, wide`,
      files: () => wideModel(name),
    })),
  ].filter(({ name }) => !NOT_JUDGED.includes(name));
  test.each(judged)("$name has the header that it was right with", async (folder) => {
    const header = await ggufHeader(folder.files()).catch((error: unknown) => {
      if (error instanceof ConversionError) return undefined;
      throw error;
    });
    expect(header, "after a change, ask llama.cpp again: npm run judge -- --write").toEqual(
      HEADERS[folder.name],
    );
  });
});

/** The software GPU compiles for seconds: one model in the type that has most kinds of blocks. */
const ON_SOFTWARE_GPU: readonly string[] = ["mamba2 Q4_K_M"];

function isAsked(backend: BackendName, name: string, type: Quantisation): boolean {
  return backend !== "webgpu" || ON_SOFTWARE_GPU.includes(`${name} ${type}`);
}

/** What a backend rounds its activations by, against 8 bits; twice that, as it is another rounding. */
function roundingOf({ device: { features } }: Backend): number {
  if (features.includes("int8-activations")) return 2;
  return features.includes("int16-activations") ? 2 / 256 : 0;
}

const files = new Map<string, Promise<RandomAccessFile>>();

/** A wide model as GGUF, written once for all backends. */
function written(name: string, type: Quantisation): Promise<RandomAccessFile> {
  const key = `${name} ${type}`;
  const file = files.get(key) ?? asGguf(wideModel(name), name, type);
  files.set(key, file);
  return file;
}

forEachBackend("llama.cpp's logits", (backend, backendName) => {
  const asked = Object.keys(WIDE_MODELS).flatMap((name) =>
    TYPES.filter((type) => isAsked(backendName, name, type)).map((type) => ({ name, type })),
  );
  test.each(asked)(
    "$name as $type",
    async ({ name, type }) => {
      const model = await loadTestModel(backend(), [await written(name, type)]);
      const logits: number[] = [];
      for (const prompt of WIDE_PROMPTS) {
        const state = model.createState(1);
        logits.push(...(await model.run(state, [prompt], { phase: "prefill", logits: "last" })));
        state.release();
      }
      model.release();
      const golden = loadGolden(`llama-cpp/${name}.safetensors`);
      const exact = golden.f32(`${type}.exact`).values;
      const rounded = golden.f32(`${type}.rounded`).values;
      // How far llama.cpp's answer is from its own one for the same values: rounding to 8 bits does that.
      const spread = furthest(rounded, exact);
      const absolute = LOGITS.absolute + spread * roundingOf(backend());
      const tolerance = { absolute, relative: 0 };
      expectAllClose(logits, exact, tolerance, "logits from the values that the weights stand for");
      expect(furthest(logits, rounded)).toBeLessThanOrEqual(spread + absolute);
    },
    LOADING_MS,
  );
});
