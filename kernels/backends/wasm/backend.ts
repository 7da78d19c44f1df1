import { plain, relaxed } from "virtual:wasm-kernels";
import type {
  Backend,
  DeviceInfo,
  Executable,
  StateBuffers,
  ThreadPort,
} from "../../spec/backend.ts";
import { isWholeBlocks, packedRowBytes } from "../../spec/dtype.ts";
import { KernelError } from "../../spec/errors.ts";
import type { Plan } from "../../spec/op.ts";
import type { KernelTime } from "../../spec/profile.ts";
import { shareTemporaries } from "../../plan/share.ts";
import { checkCopy, checkRun } from "../../spec/state-values.ts";
import type { ReadRows, StateLayout, Weight, WeightSpec } from "../../spec/tensor.ts";
import { encodePlan } from "./encode.ts";
import {
  assemble,
  countWords,
  DTYPES,
  GROUP,
  GROUP_BLOCKS,
  OPCODES,
  type StatePatch,
} from "./instructions.ts";
import { SharedArena } from "./memory.ts";
import { CONTROL, instantiate, isAborted, type KernelExports, PROFILE } from "./module.ts";
import { ProfileCounts, type InstructionCost } from "./profile.ts";
import { type Choice, prepareChoice, runsAhead } from "./run-ahead.ts";
import { WasmState } from "./state.ts";
import { startThreads, type Team } from "./team.ts";

export interface WasmBackendOptions {
  /** Threads that compute, the calling one included. One where SharedArrayBuffer is missing. */
  readonly threads: number;
  /** Starts a thread that runs `runWasmThread`; needed for more than one thread. */
  readonly spawnThread?: () => ThreadPort;
  /** False: the kernels without relaxed SIMD even where the engine has it (for tests). */
  readonly relaxed?: boolean;
}

/** Bytes of packed rows in flight while a weight is read. */
const PIECE_BYTES = 1 << 20;

/**
 * Makes the backend that computes on the CPU with WebAssembly SIMD.
 * @throws KernelError `unsupported` without WebAssembly SIMD and threads, `backend` if a thread does not start
 */
export async function createWasmBackend(options: WasmBackendOptions): Promise<Backend> {
  const isRelaxed = options.relaxed !== false && WebAssembly.validate(relaxed);
  if (!isRelaxed && !WebAssembly.validate(plain)) {
    throw new KernelError(
      "unsupported",
      "this JavaScript engine lacks WebAssembly SIMD or atomics",
    );
  }
  if (!Number.isInteger(options.threads) || options.threads < 1) {
    throw new KernelError("backend", `${options.threads} threads: at least one is needed`);
  }
  // Without cross-origin isolation the memory cannot be handed to another thread.
  const canShare = typeof SharedArrayBuffer !== "undefined" && options.spawnThread !== undefined;
  const threads = canShare ? options.threads : 1;
  const module = await WebAssembly.compile(isRelaxed ? relaxed : plain);
  const arena = new SharedArena();
  const kernels = await instantiate(module, arena.memory);
  kernels.join(0, threads);
  const team = await startThreads({
    module,
    memory: arena.memory,
    threads,
    spawnThread: options.spawnThread,
  });
  const device: DeviceInfo = {
    backend: "wasm",
    name: `${threads} ${threads === 1 ? "thread" : "threads"}, ${isRelaxed ? "relaxed SIMD" : "SIMD"}`,
    software: false,
    features: [
      "simd",
      ...(isRelaxed ? ["relaxed-simd"] : []),
      ...(threads > 1 ? ["threads"] : []),
      // Long prompts and many answers of one request; all else has 16 bits everywhere (docs/decisions/0014, 0031).
      kernels.multipliesBytes() === 0 ? "int16-activations" : "int8-activations",
    ],
    limits: { threads, maxMemoryBytes: 2 ** 32 },
  };
  return new Wasm(device, arena, kernels, team);
}

interface HeldWeight {
  readonly weight: Weight;
  readonly use: WeightSpec["use"];
  readonly address: number;
}

class Wasm implements Backend {
  readonly name = "wasm";
  readonly device: DeviceInfo;
  readonly #arena: SharedArena;
  readonly #kernels: KernelExports;
  readonly #team: Team;
  readonly #weights = new Map<number, HeldWeight>();
  readonly #bytes = { weights: 0, states: 0, workspace: 0 };
  #scratch: { address: number; bytes: number } | null = null;
  #released = false;
  #isProfiling = false;
  readonly #counts = new ProfileCounts();

  constructor(device: DeviceInfo, arena: SharedArena, kernels: KernelExports, team: Team) {
    this.device = device;
    this.#arena = arena;
    this.#kernels = kernels;
    this.#team = team;
  }

  async uploadWeight(spec: WeightSpec, read: ReadRows): Promise<Weight> {
    const { name, dtype, rows, cols, use } = spec;
    this.#expectUsable();
    if (!isCount(rows) || !isCount(cols) || !isWholeBlocks(dtype, cols)) {
      throw new KernelError("shape", `${name}: (${rows}, ${cols}) cannot be ${dtype}`, {
        rows,
        cols,
        dtype,
      });
    }
    if (use === "vector" && dtype !== "f32") {
      throw new KernelError("dtype", `${name}: a vector must be f32, it is ${dtype}`, { dtype });
    }
    const address = this.#allocate(
      "weights",
      use === "vector" ? rows * cols * 4 : groupBytes(dtype, cols) * Math.ceil(rows / GROUP),
      name,
    );
    try {
      await this.#readWeight(spec, address, read);
    } catch (error) {
      this.#free("weights", address);
      throw error;
    }
    const weight: Weight = { id: this.#weights.size, dtype, rows, cols };
    this.#weights.set(weight.id, { weight, use, address });
    return weight;
  }

  async readVector(weight: Weight): Promise<Float32Array> {
    this.#expectUsable();
    const { use, address } = this.#held(weight);
    if (use === "matrix") throw new KernelError("dtype", `weight ${weight.id} is no vector`);
    return this.#arena.floats(address, weight.rows * weight.cols).slice();
  }

  async #readWeight(
    { name, dtype, rows, cols, use }: WeightSpec,
    address: number,
    read: ReadRows,
  ): Promise<void> {
    const rowBytes = packedRowBytes(dtype, cols);
    const pieceRows = Math.max(GROUP, Math.floor(PIECE_BYTES / rowBytes / GROUP) * GROUP);
    const staging =
      use === "matrix"
        ? this.#allocate("workspace", Math.min(pieceRows, rows) * rowBytes, name)
        : null;
    try {
      for (let row = 0; row < rows; row += pieceRows) {
        const count = Math.min(pieceRows, rows - row);
        const bytes = await read(row, count);
        if (bytes.byteLength !== count * rowBytes) {
          throw new KernelError(
            "shape",
            `${name}: rows ${row}…${row + count - 1} have ${bytes.byteLength} bytes, expected ${count * rowBytes}`,
          );
        }
        this.#expectUsable();
        if (staging === null) {
          this.#arena.bytes(address + row * rowBytes, bytes.byteLength).set(bytes);
          continue;
        }
        this.#arena.bytes(staging, bytes.byteLength).set(bytes);
        const to = address + (row / GROUP) * groupBytes(dtype, cols);
        if (this.#kernels.packRows(staging, to, count, DTYPES[dtype], cols) !== 0) {
          throw new KernelError(
            "dtype",
            `${name}: rows ${row}…${row + count - 1} hold an infinity or NaN: the file is damaged`,
          );
        }
      }
    } finally {
      if (staging !== null) this.#free("workspace", staging);
    }
  }

  async compile(recorded: Plan): Promise<Executable> {
    this.#expectUsable();
    const plan = shareTemporaries(recorded);
    const encoded = encodePlan(plan, this.device.limits["threads"] ?? 1);
    this.#reserveScratch(encoded.scratchBytes);
    const held: number[] = [];
    const hold = (bytes: number, what: string): number => {
      const address = this.#allocate("workspace", bytes, what);
      held.push(address);
      return address;
    };
    try {
      const temporaries = plan.temporaries.map((size) => hold(size * 4, "a temporary"));
      const outputs = plan.outputs.map((size) => hold(size * 4, "an output"));
      const ids = hold(plan.batch * plan.length * 4, "token ids");
      const quantized = hold(encoded.workspace.quantized, "rounded activations");
      const scores = hold(encoded.workspace.scores, "scores");
      const bufferAt = { temporary: temporaries, output: outputs, input: [ids] };
      const words = countWords(encoded.instructions);
      const program = hold(words * 4, "a plan");
      const patches = assemble(
        encoded.instructions,
        {
          weight: (weight) => this.#held(weight).address,
          workspace: (region) => (region === "quantized" ? quantized : scores),
          buffer: ({ buffer }) => {
            const address =
              buffer.kind === "state" ? undefined : bufferAt[buffer.kind][buffer.index];
            if (address === undefined)
              throw new KernelError("backend", `the plan has no ${buffer.kind} ${buffer.index}`);
            return address;
          },
        },
        this.#arena.words(program, words),
      );
      const choice = prepareChoice(plan, outputs[0] ?? 0, hold, this.#arena);
      const { costs } = encoded;
      return this.#executable(plan, { program, words, patches, ids, outputs, choice, costs, held });
    } catch (error) {
      for (const address of held) this.#free("workspace", address);
      throw error;
    }
  }

  #executable(plan: Plan, code: Program): Executable {
    let isHeld = true;
    const run = (ids: Int32Array, state: StateBuffers, readback: boolean): Float32Array[] => {
      this.#expectUsable();
      if (!isHeld) throw new KernelError("backend", "the plan was released");
      const held = this.#asOwn(state);
      checkRun(plan, ids, held);
      held.prepare(plan.length);
      this.#arena.words(code.ids, ids.length).set(ids);
      const words = this.#arena.words(code.program, code.words);
      for (const { word, slot, offset } of code.patches) words[word] = held.address(slot) + offset;
      if (this.#isProfiling) this.#counts.add(code.costs);
      if (this.#kernels.run(code.program) !== 0) this.#expectUsable();
      held.positions.forEach((position, b) => (held.positions[b] = position + plan.length));
      return readback ? readOutputs() : [];
    };
    const readOutputs = (): Float32Array[] =>
      plan.outputs.map((size, index) => this.#arena.floats(code.outputs[index] ?? 0, size).slice());
    const choose = (program: number): void => {
      if (this.#isProfiling) this.#counts.add([{ opcode: "likeliest", bytes: 0, flop: 0 }]);
      if (this.#kernels.run(program) !== 0) this.#expectUsable();
    };
    return {
      plan,
      ...runsAhead(plan, code.choice, this.#arena, { run, choose, readOutputs }),
      // Synchronous inside: this thread computes too.
      run: async (ids, state, readback) => run(ids, state, readback),
      release: () => {
        if (!isHeld) return;
        isHeld = false;
        if (!this.#released) for (const address of code.held) this.#free("workspace", address);
      },
    };
  }

  createState(layout: StateLayout, batch: number): StateBuffers {
    this.#expectUsable();
    return new WasmState(this, layout, batch, {
      allocate: (bytes, what) => this.#allocate("states", bytes, what),
      free: (address) => {
        if (!this.#released) this.#free("states", address);
      },
      words: (address, count) => this.#arena.words(address, count),
      bytes: (address, count) => this.#arena.bytes(address, count),
    });
  }

  async readState(state: StateBuffers, sequence: number, from = 0): Promise<Float32Array[]> {
    return this.#asOwn(state).read(sequence, from);
  }

  async writeState(
    state: StateBuffers,
    sequence: number,
    values: readonly Float32Array[],
    position: number,
  ): Promise<void> {
    this.#asOwn(state).write(sequence, values, position);
  }

  async copyState(
    from: StateBuffers,
    fromSequence: number,
    to: StateBuffers,
    toSequence: number,
  ): Promise<void> {
    checkCopy(from, to);
    this.#asOwn(to).copyFrom(toSequence, this.#asOwn(from), fromSequence);
  }

  #asOwn(state: StateBuffers): WasmState {
    this.#expectUsable();
    if (!(state instanceof WasmState) || state.backend !== this)
      throw new KernelError("backend", "the states belong to another backend");
    return state;
  }

  memory(): { readonly weights: number; readonly states: number; readonly workspace: number } {
    return { ...this.#bytes };
  }

  /** Times are those of this thread, waits for the others included. */
  profile(on: boolean): readonly KernelTime[] {
    this.#expectUsable();
    this.#isProfiling = on;
    this.#kernels.setProfile(on ? PROFILE : 0);
    const opcodes = Object.keys(OPCODES).length;
    return this.#counts.take(new Float64Array(this.#arena.memory.buffer, PROFILE, opcodes));
  }

  async release(): Promise<void> {
    if (this.#released) return;
    this.#released = true;
    this.#kernels.dismiss();
    this.#team.terminate();
    this.#bytes.weights = this.#bytes.states = this.#bytes.workspace = 0;
  }

  #held(weight: Weight): HeldWeight {
    const held = this.#weights.get(weight.id);
    if (held?.weight !== weight)
      throw new KernelError("backend", `weight ${weight.id} belongs to another backend`);
    return held;
  }

  #reserveScratch(bytes: number): void {
    const perThread = Math.ceil(bytes / 64) * 64;
    if (this.#scratch !== null && this.#scratch.bytes >= perThread) return;
    const threads = this.device.limits["threads"] ?? 1;
    const address = this.#allocate("workspace", perThread * threads, "scratch memory");
    if (this.#scratch !== null) this.#free("workspace", this.#scratch.address);
    this.#scratch = { address, bytes: perThread };
    this.#arena.words(CONTROL.scratch, 1)[0] = address;
    this.#arena.words(CONTROL.scratchBytes, 1)[0] = perThread;
  }

  #allocate(kind: "weights" | "states" | "workspace", bytes: number, what: string): number {
    const address = this.#arena.allocate(bytes, what);
    this.#bytes[kind] += this.#arena.sizeOf(address);
    return address;
  }

  #free(kind: "weights" | "states" | "workspace", address: number): void {
    this.#bytes[kind] -= this.#arena.sizeOf(address);
    this.#arena.free(address);
  }

  #expectUsable(): void {
    if (this.#released) throw new KernelError("backend", "the backend was released");
    if (isAborted(this.#arena.memory)) {
      throw new KernelError(
        "device-lost",
        `a WASM thread failed: ${this.#team.failure() ?? "it stopped, or did not answer for a minute"}`,
      );
    }
  }
}

interface Program {
  readonly program: number;
  readonly words: number;
  readonly patches: readonly StatePatch[];
  readonly ids: number;
  readonly outputs: readonly number[];
  /** Null where the plan's outputs are not the logits of one token. */
  readonly choice: Choice | null;
  readonly costs: readonly InstructionCost[];
  /** Everything to free with the plan. */
  readonly held: readonly number[];
}

/** Bytes of a group of 8 rows. */
function groupBytes(dtype: Weight["dtype"], cols: number): number {
  const { values, bytes } = GROUP_BLOCKS[dtype];
  return (cols / values) * bytes;
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value > 0 && value < 2 ** 31;
}
