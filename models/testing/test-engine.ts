/** The engine worker in a test's own thread. */
import { readFileSync } from "node:fs";
import type { BackendCandidate } from "../engine/backends.ts";
import type {
  EngineMethod,
  EngineMethods,
  EngineReply,
  ModelFile,
  SamplerOptions,
} from "../engine/protocol.ts";
import { startEngine } from "../engine/worker.ts";
import { memoryFile } from "../weights/memory-file.ts";
import type { RandomAccessFile } from "../weights/source.ts";

/** The likeliest token, always. */
export const greedy: SamplerOptions = {
  temperature: 0,
  topK: 0,
  topP: 1,
  minP: 0,
  repetitionPenalty: 1,
  repetitionWindow: 0,
  seed: 0,
};

/** An engine and the port to it. */
export interface TestEngine {
  call<M extends EngineMethod>(
    method: M,
    input: EngineMethods[M]["in"],
    onEvent?: (reply: EngineReply, id: number) => void,
  ): Promise<EngineMethods[M]["out"]>;
  post(message: unknown): void;
}

/**
 * The engine on this thread, behind a port that delivers as slowly as a real one.
 * @param find files by what opens them; those that it does not know, and all where there is none, are of e2e/fixtures/models
 */
export function testEngine(
  candidates: readonly BackendCandidate[],
  find: (open: string) => RandomAccessFile | undefined = () => undefined,
): TestEngine {
  let deliver: (message: unknown) => void = () => undefined;
  const waiting = new Map<number, { listen: (reply: EngineReply) => void }>();
  let nextId = 1;
  startEngine(
    {
      port: {
        postMessage: (message) => {
          const reply = message as EngineReply;
          setImmediate(() => waiting.get(reply.id)?.listen(reply));
        },
        onMessage: (listener) => {
          deliver = listener;
        },
      },
      openFile: async (open) =>
        find(open) ??
        memoryFile(
          open.split("/").at(-1) ?? "",
          new Uint8Array(
            readFileSync(new URL(`../../e2e/fixtures/models/${open}`, import.meta.url)),
          ),
        ),
      requestGpu: async () => null,
      spawnThread: null,
      cores: 1,
    },
    candidates,
  );
  return {
    post: (message) => deliver(message),
    call: (method, input, onEvent) =>
      new Promise((resolve, reject) => {
        const id = nextId++;
        waiting.set(id, {
          listen(reply) {
            if (reply.kind === "event") onEvent?.(reply, id);
            else if (reply.kind === "done") resolve(reply.output as never);
            else reject(Object.assign(new Error(reply.error.message), reply.error));
          },
        });
        deliver({ id, method, input });
      }),
  };
}

/** The files of a fixture model. */
export function filesOf(folder: string): ModelFile[] {
  return ["config.json", "model.safetensors"].map((name) => ({
    name,
    open: `${folder}/${name}`,
    bytes: 0,
  }));
}
