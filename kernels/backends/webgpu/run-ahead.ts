import type { AheadLimits, FedRuns, StateBuffers } from "../../spec/backend.ts";
import { KernelError } from "../../spec/errors.ts";
import type { Plan } from "../../spec/op.ts";
import type { Allocation } from "./buffers.ts";
import { createCommands } from "./commands.ts";
import { describeGreedy, describeSampled, type Choice } from "./choice.ts";
import { createPace } from "./pace.ts";
import { advancePositions, outputStretches, prepareProgram } from "./program.ts";
import type { Resources } from "./resources.ts";
import type { ShadowSlot } from "./shadow.ts";

/** A plan of one token whose last dispatch chooses the next ids (see docs/decisions/0012 and 0030). */
export interface AheadProgram {
  /** `Executable.runAhead`, its operands checked. */
  run(
    first: Int32Array,
    state: StateBuffers,
    limits: AheadLimits,
    onFed: (runs: FedRuns) => boolean | Promise<boolean>,
  ): Promise<Float32Array[]>;
  release(): void;
}

/** Runs that were enqueued together. */
interface Stretch {
  readonly runs: number;
  /** Where its outputs and the state before it are kept: two stretches are on their way at most. */
  readonly slot: ShadowSlot;
  /** (B): positions before it. */
  readonly from: Int32Array;
  readonly enqueuedAt: number;
  /** (runs, 2, B) words: what each run chose, and the logarithms of the probabilities. */
  readonly choices: Promise<Float32Array>;
}

/** Whether each next id is the likeliest, or chosen by rules. */
export type ChoiceKind = "greedy" | "sampled";

/**
 * Describes and compiles the plan once more, with the choice behind it.
 * @throws KernelError as `prepareProgram`
 */
export async function prepareAhead(
  kind: ChoiceKind,
  plan: Plan,
  resources: Resources,
): Promise<AheadProgram> {
  const { gpu, allocator, arena, profiler, readback, shadow, states } = resources;
  const { queue } = gpu.device;
  const { batch } = plan;
  const describe = kind === "greedy" ? describeGreedy : describeSampled;
  let described: Choice | null = null;
  const program = await prepareProgram(plan, resources, (layout) => {
    described = describe(plan, layout, gpu);
    return described.dispatches;
  });
  const choice = madeBy(described);
  const pace = createPace(batch);
  const held = new Map<ShadowSlot, Allocation>();
  /** Bytes of a run's (B) i32 choices and (B) f32 logarithms. */
  const rowBytes = 2 * batch * 4;
  const outputBytes = plan.outputs.reduce((sum, values) => sum + values * 4, 0);

  /** A buffer for the last outputs of a stretch. */
  async function outputsIn(slot: ShadowSlot): Promise<GPUBuffer> {
    const found = held.get(slot);
    if (found !== undefined) return found.buffer;
    const usage = GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
    const made = await allocator.allocateChecked("outputs", outputBytes, usage, "workspace");
    held.set(slot, made);
    return made.buffer;
  }

  /**
   * Enqueues runs behind all that was enqueued before, and counts them as run. The first is fed the ids that were set, each other
   * what the one before it chose; or all are fed ids that are `known`, (runs, B).
   */
  async function enqueue(
    state: StateBuffers,
    runs: number,
    slot: ShadowSlot,
    known: Int32Array | null = null,
  ): Promise<Stretch> {
    const gpuState = await states.use(state, runs);
    const buffer = await arena.atLeast(program.layout.size());
    program.bind(buffer, gpuState);
    const outputs = await outputsIn(slot);
    // The next stretch writes over what is read of this one: the copies must be submitted before it is enqueued.
    await readback.prepare(runs * rowBytes);
    const from = state.positions.slice();
    const enqueuedAt = performance.now();
    const commands = createCommands(gpu.device, "run ahead");
    choice.beginStretch(queue, buffer, known === null ? runs : 0);
    for (let run = 0; run < runs; run++) {
      if (known !== null || program.readsPositions) commands.submit();
      if (known !== null) program.setIds(known.subarray(run * batch, (run + 1) * batch));
      program.setPositions(gpuState, state.positions);
      const clock = profiler.clockOf(program.steps);
      program.encode(commands, clock);
      if (clock !== null) {
        const stamps = clock.resolve(commands.encoder());
        clock.book(await readback.submitAndRead(commands.take(), stamps));
      }
      advancePositions(state, 1);
    }
    let at = 0;
    for (const stretch of outputStretches(plan, program, buffer)) {
      commands.encoder().copyBufferToBuffer(buffer, stretch.offset, outputs, at, stretch.bytes);
      at += stretch.bytes;
    }
    const history = { buffer, offset: choice.history * 4, bytes: runs * rowBytes };
    const read = readback.submitAndRead(commands.take(), [history]).then(([words]) => words);
    // Whoever waits for it hears of a failure; where one before it failed nobody waits.
    read.catch(() => undefined);
    return { runs, slot, from, enqueuedAt, choices: read };
  }

  /** What the last run of a stretch left. */
  async function outputsOf({ slot }: Stretch): Promise<Float32Array[]> {
    const buffer = await outputsIn(slot);
    let offset = 0;
    const stretches = plan.outputs.map((values) => {
      const stretch = { buffer, offset, bytes: values * 4 };
      offset += stretch.bytes;
      return stretch;
    });
    const encoder = gpu.device.createCommandEncoder({ label: "read outputs" });
    return await readback.submitAndRead(encoder, stretches);
  }

  /** Whether there is memory to go back with; without it runs are made one at a time. */
  async function canGoBack(state: StateBuffers): Promise<boolean> {
    try {
      await shadow.fit(await states.use(state, 1));
      return true;
    } catch (error) {
      if (error instanceof KernelError && error.code === "out-of-memory") return false;
      throw error;
    }
  }

  /** Puts the state where it stood before a stretch, whatever was enqueued since. */
  async function goBack(state: StateBuffers, { slot, from }: Stretch): Promise<void> {
    const gpuState = await states.use(state, 0);
    submit((encoder) => shadow.restore(encoder, gpuState, slot));
    state.positions.set(from);
  }

  function submit(record: (encoder: GPUCommandEncoder) => void): void {
    const encoder = gpu.device.createCommandEncoder({ label: "shadow state" });
    record(encoder);
    queue.submit([encoder.finish()]);
  }

  async function run(
    first: Int32Array,
    state: StateBuffers,
    { steps, stopIds, choices }: AheadLimits,
    onFed: (runs: FedRuns) => boolean | Promise<boolean>,
  ): Promise<Float32Array[]> {
    const stops = new Set(stopIds);
    let left = first.some((id) => stops.has(id)) ? 1 : steps;
    const goesAhead = left > 1 && (await canGoBack(state));
    let fedFirst = first;
    let slot: ShadowSlot = 0;
    let readAt = 0;

    async function launch(): Promise<Stretch> {
      const runs = goesAhead ? Math.min(left, pace.next()) : 1;
      left -= runs;
      slot = slot === 0 ? 1 : 0;
      if (goesAhead) {
        const gpuState = await states.use(state, runs);
        submit((encoder) => shadow.save(encoder, gpuState, slot));
      }
      return await enqueue(state, runs, slot);
    }

    pace.begin();
    const memory = await arena.atLeast(program.layout.size());
    program.bind(memory, await states.use(state, 1));
    choice.begin(queue, memory, choices ?? []);
    program.setIds(first);
    let ahead: Stretch | null = null;
    for (;;) {
      const current: Stretch = ahead ?? (await launch());
      // The device goes on while the host looks at what it chose.
      ahead = goesAhead && pace.goesAhead && left > 0 ? await launch() : null;
      const words = await current.choices;
      const now = performance.now();
      pace.took(current.runs, now - Math.max(readAt, current.enqueuedAt));
      readAt = now;
      const { fed, next, logProbs } = readChoices(words, fedFirst);
      const right = rightRuns(fed, batch, stops);
      const goesOn = await onFed({
        fed: fed.subarray(0, right * batch),
        logProbs: logProbs.subarray(0, right * batch),
      });
      if (right < current.runs) {
        await goBack(state, current);
        const again = await enqueue(state, right, current.slot, fed);
        await again.choices;
        return await outputsOf(again);
      }
      const isStopped = fed.subarray(-batch).some((id) => stops.has(id));
      if (isStopped || !goesOn || next.some((id) => id < 0)) {
        if (ahead !== null) await goBack(state, ahead);
        return await outputsOf(current);
      }
      if (ahead === null && left === 0) return await outputsOf(current);
      fedFirst = next;
    }
  }

  /** What the runs of a stretch were fed, and what they chose. */
  function readChoices(
    words: Float32Array,
    fedFirst: Int32Array,
  ): FedRuns & { readonly next: Int32Array } {
    const chosen = new Int32Array(words.buffer, words.byteOffset, words.length);
    const runs = words.length / (2 * batch);
    const ids = new Int32Array((runs + 1) * batch);
    const logProbs = new Float32Array(runs * batch);
    ids.set(fedFirst);
    for (let row = 0; row < runs; row++) {
      const at = row * 2 * batch;
      ids.set(chosen.subarray(at, at + batch), (row + 1) * batch);
      logProbs.set(words.subarray(at + batch, at + 2 * batch), row * batch);
    }
    return { fed: ids.subarray(0, runs * batch), next: ids.slice(runs * batch), logProbs };
  }

  return {
    async run(first, state, limits, onFed) {
      const from = state.positions.slice();
      try {
        return await run(first, state, limits, onFed);
      } catch (error) {
        // As with a run that failed, the sequences stay where they were counted.
        state.positions.set(from);
        throw error;
      }
    },
    release() {
      program.release();
      for (const allocation of held.values()) allocation.release();
    },
  };
}

/** TypeScript does not see that a callback was called. */
function madeBy(described: Choice | null): Choice {
  if (described === null) throw new KernelError("backend", "a program without a choice");
  return described;
}

/** Runs up to the first that fed a stop id, or to the last before one that was fed no id at all. */
function rightRuns(fed: Int32Array, batch: number, stops: ReadonlySet<number>): number {
  const end = fed.findIndex((id) => id < 0 || stops.has(id));
  if (end === -1) return fed.length / batch;
  const run = Math.floor(end / batch);
  return fed.subarray(run * batch, (run + 1) * batch).some((id) => id < 0) ? run : run + 1;
}
