import { recordPlan } from "../../../kernels/plan/recorder.ts";
import type { Backend } from "../../../kernels/spec/backend.ts";
import { EngineFault } from "../failure.ts";
import { checkModel, uploadModel } from "../load-weights.ts";
import { openModel } from "../../weights/open-model.ts";
import { openSafetensors } from "../../weights/safetensors.ts";
import type { SelfTestAsset } from "./assets.ts";
import { memoryFile } from "../../weights/memory-file.ts";

/**
 * How far f32 logits may lie from the golden ones. They are of size 1; another order of summation gives up to 1e-5,
 * a wrong kernel gives 0.1 and more.
 */
const TOLERANCE = 2e-3;

/**
 * Runs the tiny models on a backend and compares prefill and decode with what transformers computed.
 * A driver or compiler that computes garbage is found here, before it talks nonsense to the user.
 * @throws EngineFault `self-test` saying which value is off; KernelError where a run fails
 */
export async function runSelfTest(backend: Backend): Promise<void> {
  const { selfTestAssets } = await import("./assets.ts");
  for (const asset of selfTestAssets()) await runAsset(backend, asset);
}

async function runAsset(backend: Backend, asset: SelfTestAsset): Promise<void> {
  const golden = await openSafetensors(memoryFile("golden.safetensors", asset.golden));
  const opened = await openModel(
    Object.entries(asset.files).map(([name, bytes]) => memoryFile(name, bytes)),
  );
  const options = { quantise: null };
  const { model } = await checkModel(opened, options);
  const record = await uploadModel(model, opened, options, backend);
  const state = backend.createState(model.layout, 1);
  const prompt = Int32Array.from(await golden.readF32("p0.input_ids"));
  const compile = async (length: number, logits: "all" | "last", phase: "prefill" | "decode") =>
    await backend.compile(
      recordPlan({ batch: 1, length }, model.layout, (k) => record(k, { logits, phase })),
    );
  const prefill = await compile(prompt.length, "all", "prefill");
  const decode = await compile(1, "last", "decode");
  try {
    const [logits] = await prefill.run(prompt, state, true);
    compare(asset.name, "prefill", logits, await golden.readF32("p0.logits"));
    const expected = await golden.readF32("p0.decode_logits");
    const greedy = await golden.readF32("p0.greedy");
    for (const [index, token] of greedy.entries()) {
      const [step] = await decode.run(Int32Array.of(token), state, true);
      compare(
        asset.name,
        `decode ${index}`,
        step,
        expected.subarray(index * model.vocabSize, (index + 1) * model.vocabSize),
      );
    }
  } finally {
    prefill.release();
    decode.release();
    state.release();
  }
}

function compare(
  model: string,
  step: string,
  actual: Float32Array | undefined,
  expected: Float32Array,
): void {
  // NaN is not within any tolerance: the comparison is written so that it fails.
  const at =
    actual?.length === expected.length
      ? expected.findIndex(
          (value, i) => !(Math.abs((actual[i] ?? Number.NaN) - value) <= TOLERANCE),
        )
      : 0;
  if (at === -1) return;
  throw new EngineFault(
    "self-test",
    `it computes wrong values (built-in ${model}, ${step}: logit ${at} is ${actual?.[at] ?? "missing"}, expected ${expected[at] ?? "nothing"})`,
    { model, step, at },
  );
}
