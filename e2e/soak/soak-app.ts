/**
 * The product's services with the real engine, as a process that is made to be killed. Calls of the contract come over the channel.
 * Around the engine a recorder writes down how each session, and each snapshot of one, came about.
 */
import { createHash } from "node:crypto";
import { appendFileSync, existsSync, readFileSync } from "node:fs";
import type { EngineClient } from "../../main/engine/client.ts";
import { greedySampler } from "../../main/cli/samplers.ts";
import { openNodeFile } from "../../main/engine/node-file.ts";
import { startNodeEngine } from "../../main/engine/node-host.ts";
import { createServices } from "../../main/services/app.ts";
import { toTarnError } from "../../main/services/dispatch.ts";
import type { EngineMethod, EngineMethods } from "../../models/engine/protocol.ts";
import { idsOf, type Derivation, type Step } from "./derivation.ts";

const [dataFolder = "", resourcesFolder = "", journal = ""] = process.argv.slice(2);
const send = (message: unknown): void => void process.send?.(message);

const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");
const hashOf = (logits: Float32Array): string =>
  sha256(new Uint8Array(logits.buffer, logits.byteOffset, logits.byteLength));

/** By the hash of a snapshot's head; what earlier processes took, too. */
const snapshots = new Map<string, Derivation>();
if (existsSync(journal)) {
  for (const line of readFileSync(journal, "utf8").split("\n").slice(0, -1)) {
    const [head, derivation]: [string, Derivation] = JSON.parse(line);
    snapshots.set(head, derivation);
  }
}
const sessions = new Map<number, Derivation>();
/** Tokens to continue with, on a fork, whenever something was read: what the services make of their own answers does not matter then. */
let continued = 0;
/** How what was continued came about, oldest first. */
const continuations: Derivation[] = [];

const derivationOf = (session: number): Derivation => {
  const found = sessions.get(session);
  if (found === undefined) throw new Error(`nothing is known of session ${session}`);
  return found;
};
const goOn = (session: number, step: Step): void => {
  if (step.ids.length > 0) sessions.set(session, [...derivationOf(session), step]);
};
/** Of the second format. */
const headOf = (bytes: Uint8Array): Uint8Array => {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  return bytes.subarray(0, Number(view.getBigUint64(16, true)));
};

type Handlers = {
  readonly [M in EngineMethod]?: (
    input: EngineMethods[M]["in"],
    ask: (input: EngineMethods[M]["in"]) => Promise<EngineMethods[M]["out"]>,
    client: EngineClient,
  ) => Promise<EngineMethods[M]["out"]>;
};

const recording: Handlers = {
  load: (input, ask) => ask({ ...input, backend: "wasm", threads: 1 }),
  unload: (input, ask) => ask(input),
  inspect: (input, ask) => ask(input),
  memory: (input, ask) => ask(input),
  devices: (input, ask) => ask(input),
  async create(input, ask) {
    const made = await ask(input);
    sessions.set(made.session, []);
    return made;
  },
  async fork(input, ask) {
    const made = await ask(input);
    sessions.set(made.session, derivationOf(input.session));
    return made;
  },
  free: (input, ask) => ask(input),
  async prefill(input, ask, client) {
    const ids = [...input.ids];
    const result = await ask(input);
    goOn(input.session, { kind: "read", ids: ids.slice(0, result.prefilled) });
    if (continued > 0) await continueFork(client, input.session);
    return result;
  },
  async generate(input, ask) {
    // Random weights would stop by chance; the length of an answer is the history's to choose.
    const result = await ask({ ...input, stopIds: [], keepLogits: true });
    goOn(input.session, {
      kind: "write",
      samplers: [input.sampler],
      branch: 0,
      most: result.ids.length,
      activations: "int16",
      ids: [...result.ids],
      logits: hashOf(result.logits ?? new Float32Array()),
    });
    return { ...result, logits: null };
  },
  async prefillMany(input, ask) {
    const ids = input.ids.map((one) => [...one]);
    const result = await ask(input);
    for (const [index, session] of input.sessions.entries()) {
      const read = (result.positions[index] ?? 0) - idsOf(derivationOf(session)).length;
      goOn(session, { kind: "read", ids: (ids[index] ?? []).slice(0, read) });
    }
    return result;
  },
  async generateMany(input, ask) {
    const result = await ask({ ...input, stopIds: [] });
    const { samplers } = input;
    const { activations } = result;
    const before = new Set(input.sessions.map((one) => JSON.stringify(derivationOf(one))));
    if (before.size > 1) throw new Error("a batch of answers to different questions");
    const most = Math.max(...result.branches.map(({ ids }) => ids.length));
    for (const [branch, session] of input.sessions.entries()) {
      const ids = [...(result.branches[branch]?.ids ?? [])];
      goOn(session, { kind: "write", samplers, branch, most, activations, ids, logits: null });
    }
    return result;
  },
  score: (input, ask) => ask(input),
  scoreMany: (input, ask) => ask(input),
  memoryMap: (input, ask) => ask(input),
  dropMap: (input, ask) => ask(input),
  async snapshot(input, ask) {
    const taken = await ask(input);
    const head = sha256(taken.bytes.subarray(0, taken.headBytes));
    // On disk before the services know of it: the next process may find the snapshot.
    appendFileSync(journal, `${JSON.stringify([head, derivationOf(input.session)])}\n`);
    snapshots.set(head, derivationOf(input.session));
    return taken;
  },
  async restore(input, ask) {
    const derivation = snapshots.get(sha256(headOf(input.bytes)));
    const made = await ask(input);
    if (derivation === undefined) throw new Error("a state was restored that nobody took");
    sessions.set(made.session, derivation);
    return made;
  },
};

async function continueFork(client: EngineClient, from: number): Promise<void> {
  const { session } = await client.call("fork", { session: from });
  const { ids, logits } = await client.call("generate", {
    session,
    sampler: greedySampler,
    stopIds: [],
    maxTokens: continued,
    keepLogits: true,
  });
  await client.call("free", { session });
  const step: Step = {
    kind: "write",
    samplers: [greedySampler],
    branch: 0,
    most: ids.length,
    activations: "int16",
    ids: [...ids],
    logits: hashOf(logits ?? new Float32Array()),
  };
  continuations.push([...derivationOf(from), step]);
}

function recorded(client: EngineClient): EngineClient {
  return {
    close: () => client.close(),
    async call(method, input, options) {
      const record = recording[method];
      if (record === undefined) throw new Error(`the soak does not follow "${method}"`);
      return await record(input, (changed) => client.call(method, changed, options), client);
    },
  };
}

const services = await createServices({
  dataFolder,
  resourcesFolder,
  version: "soak",
  shell: "browser",
  startEngine: () => recorded(startNodeEngine()),
  openFile: openNodeFile,
  openLink: async () => undefined,
});
services.events.subscribe((name, data) => {
  if (name === "notice") send({ notice: data });
});
await services.engine.model();

async function answer(call: string, input: unknown): Promise<unknown> {
  if (call === "soak.continue") return void (continued = Number(input));
  return call === "soak.continuations" ? continuations : await services.call(call, input);
}

process.on("message", (request: { id: number; call: string; input: unknown }) => {
  answer(request.call, request.input).then(
    (output) => send({ id: request.id, output }),
    (error: unknown) => send({ id: request.id, error: toTarnError(error).message }),
  );
});
send({ ready: true });
