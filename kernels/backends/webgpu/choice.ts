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
  /** They write the next run's ids, and keep them for the host. */
  readonly dispatches: readonly Dispatch[];
  /** Where in the arena a stretch's are kept: (runs, 2, B), i32 ids, -1 for none, and f32 logarithms of their probabilities. */
  readonly history: number;
  /** Writes what belongs to the sequences; the arena must not be used for other plans until their last choice. */
  begin(queue: GPUQueue, arena: GPUBuffer, choices: readonly SequenceChoice[]): void;
  /**
   * Writes what the next runs choose with, and begins their history anew.
   * @param runs MOST_RUNS at most; 0 where the ids of those that follow are known, so that no number is drawn for them
   */
  beginStretch(queue: GPUQueue, arena: GPUBuffer, runs: number): void;
}

/** Logits that one workgroup looks through. */
const PIECE = 4096;

/** Of a workgroup. */
const THREADS = 256;

/** Words of a rule, as in sampled.wgsl. */
const RULE_WORDS = 10;

/** The first of the largest. */
export function describeGreedy(plan: Plan, layout: ArenaLayout, gpu: GpuDevice): Choice {
  const { batch, vocab, pieces } = sizesOf(plan);
  layout.beginCall();
  const best = layout.scratch(3 * batch * pieces);
  const counts = layout.lasting(batch);
  const history = layout.lasting(MOST_RUNS * 2 * batch);
  const params = [layout.output(0), vocab, PIECE, pieces, best, batch, layout.ids, counts, history];
  return {
    dispatches: dispatchesOf("greedy", greedySource, params, plan, THREADS, gpu),
    history,
    begin: () => undefined,
    beginStretch: (queue, arena) => queue.writeBuffer(arena, counts * 4, new Uint32Array(batch)),
  };
}

/** By the rule of each sequence. */
export function describeSampled(plan: Plan, layout: ArenaLayout, gpu: GpuDevice): Choice {
  const { batch, vocab, pieces } = sizesOf(plan);
  layout.beginCall();
  const best = layout.scratch(5 * batch * pieces);
  const counts = layout.lasting(batch);
  const history = layout.lasting(MOST_RUNS * 2 * batch);
  const weights = layout.lasting(WEIGHTS.length);
  const rules = layout.lasting(RULE_WORDS * batch);
  const stamps = layout.lasting(batch * vocab);
  const uniforms = layout.lasting(MOST_RUNS * batch);
  const outputs = [
    layout.output(0),
    vocab,
    PIECE,
    pieces,
    best,
    batch,
    layout.ids,
    counts,
    history,
  ];
  const params = [...outputs, weights, rules, stamps, uniforms];
  let drawn: readonly (() => number)[] = [];
  return {
    dispatches: dispatchesOf("sampled", sampledSource, params, plan, 2 * THREADS, gpu),
    history,
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
    },
    beginStretch(queue, arena, runs) {
      queue.writeBuffer(arena, counts * 4, new Uint32Array(batch));
      const words = Uint32Array.from({ length: runs * batch }, (_, i) => drawn[i % batch]());
      queue.writeBuffer(arena, uniforms * 4, words);
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
  ];
}

/** (vocab): the number of each id's last place among the recent, from 1; 0 for none. */
function stampsOf(recent: readonly number[], vocab: number): Uint32Array<ArrayBuffer> {
  const stamps = new Uint32Array(vocab);
  for (const [place, id] of recent.entries()) if (id < vocab) stamps[id] = place + 1;
  return stamps;
}
