import { WEIGHTS, type SequenceChoice } from "../../spec/choice.ts";
import { KernelError } from "../../spec/errors.ts";
import type { Plan } from "../../spec/op.ts";
import { floatWord, type Dispatch } from "../../wgsl/dispatch.ts";
import type { ArenaLayout } from "./arena.ts";
import type { GpuDevice } from "./device.ts";
import greedySource from "./greedy.wgsl?raw";
import largestSource from "./largest.wgsl?raw";
import { MOST_RUNS } from "./pace.ts";
import sampledSource from "./sampled.wgsl?raw";

/** What chooses each sequence's next id from a plan's only output, (B, vocab) logits. */
export interface Choice {
  readonly dispatches: readonly Dispatch[];
  /** Where in the arena it writes (B) i32 ids, -1 for none, and behind them (B) f32 logarithms of their probabilities. */
  readonly at: number;
  /** Writes what belongs to the sequences; the arena must not be used for other plans until their last choice. */
  begin(queue: GPUQueue, arena: GPUBuffer, choices: readonly SequenceChoice[]): void;
  /** Writes what the next runs choose with. */
  beginStretch(queue: GPUQueue, arena: GPUBuffer, runs: number): void;
}

/** Logits that one workgroup looks through. */
const PIECE = 4096;

/** Of a workgroup. */
const THREADS = 256;

/** Words of a rule, as in sampled.wgsl. */
const RULE_WORDS = 11;

/** The first of the largest. */
export function describeGreedy(plan: Plan, layout: ArenaLayout, gpu: GpuDevice): Choice {
  const { batch, vocab, pieces } = sizesOf(plan);
  layout.beginCall();
  const at = layout.scratch(2 * batch);
  const best = layout.scratch(3 * batch * pieces);
  const params = [layout.output(0), vocab, PIECE, pieces, best, at, at + batch];
  return {
    dispatches: dispatchesOf("greedy", greedySource, params, plan, THREADS, gpu),
    at,
    begin: () => undefined,
    beginStretch: () => undefined,
  };
}

/** By the rule of each sequence. */
export function describeSampled(plan: Plan, layout: ArenaLayout, gpu: GpuDevice): Choice {
  const { batch, vocab, pieces } = sizesOf(plan);
  layout.beginCall();
  const at = layout.scratch(2 * batch);
  const best = layout.scratch(5 * batch * pieces);
  const weights = layout.lasting(WEIGHTS.length);
  const rules = layout.lasting(RULE_WORDS * batch);
  const stamps = layout.lasting(batch * vocab);
  const uniforms = layout.lasting(1 + MOST_RUNS * batch);
  const outputs = [layout.output(0), vocab, PIECE, pieces, best, at, at + batch, batch];
  const params = [...outputs, weights, rules, stamps, uniforms];
  let drawn: readonly (() => number)[] = [];
  let run = 0;
  return {
    dispatches: dispatchesOf("sampled", sampledSource, params, plan, 2 * THREADS, gpu),
    at,
    begin(queue, arena, choices) {
      if (choices.length !== batch) {
        throw new KernelError(
          "shape",
          `${batch} sequences need a rule each; there are ${choices.length}`,
          { sequences: batch, rules: choices.length },
        );
      }
      queue.writeBuffer(arena, weights * 4, WEIGHTS);
      queue.writeBuffer(arena, rules * 4, Uint32Array.from(choices.flatMap(ruleWords)));
      for (const [row, { rule, recent }] of choices.entries()) {
        if (rule.window === 0) continue;
        queue.writeBuffer(arena, (stamps + row * vocab) * 4, stampsOf(recent, vocab));
      }
      drawn = choices.map(({ nextUniform }) => nextUniform);
      run = 0;
    },
    beginStretch(queue, arena, runs) {
      const words = new Uint32Array(1 + runs * batch);
      words[0] = run;
      for (let i = 0; i < runs * batch; i++) words[1 + i] = drawn[i % batch]();
      queue.writeBuffer(arena, uniforms * 4, words);
      run += runs;
    },
  };
}

function sizesOf(plan: Plan): {
  readonly batch: number;
  readonly vocab: number;
  readonly pieces: number;
} {
  const vocab = plan.outputs[0] / plan.batch;
  return { batch: plan.batch, vocab, pieces: Math.ceil(vocab / PIECE) };
}

/** One workgroup a piece, then one a sequence. @param threads of the latter, where the device has so many */
function dispatchesOf(
  name: string,
  source: string,
  params: readonly number[],
  plan: Plan,
  threads: number,
  { device: { limits }, info }: GpuDevice,
): readonly Dispatch[] {
  const { batch, pieces } = sizesOf(plan);
  const dispatch = (entryPoint: string, most: number, workgroups: Dispatch["workgroups"]) => ({
    shader: { name, parts: [largestSource, source] },
    entryPoint,
    // A CPU that plays a GPU has few threads, and waits long at barriers.
    constants: { THREADS: info.software ? 32 : most },
    params,
    reads: [],
    state: null,
    workgroups,
  });
  const most = Math.min(limits.maxComputeInvocationsPerWorkgroup, limits.maxComputeWorkgroupSizeX);
  return [
    dispatch(`${name}_pieces`, THREADS, [pieces, batch, 1]),
    dispatch(name, most < threads ? THREADS : threads, [batch, 1, 1]),
  ];
}

function ruleWords({ rule, recent }: SequenceChoice): readonly number[] {
  return [
    rule.draws ? 1 : 0,
    floatWord(rule.scale),
    floatWord(rule.far),
    rule.topK,
    rule.topP,
    rule.mostDistance,
    Math.min(rule.window, 2 ** 32 - 1),
    floatWord(rule.above),
    floatWord(rule.below),
    recent.length,
    0,
  ];
}

/** (vocab): the number of each id's last place among the recent, from 1; 0 for none. */
function stampsOf(recent: readonly number[], vocab: number): Uint32Array<ArrayBuffer> {
  const stamps = new Uint32Array(vocab);
  for (const [place, id] of recent.entries()) if (id < vocab) stamps[id] = place + 1;
  return stamps;
}
