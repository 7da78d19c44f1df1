/** The soak's processes as this one sees them: requests over the channel, and an end without warning. */
import { fork, type ChildProcess } from "node:child_process";
import { fileURLToPath } from "node:url";
import { z } from "zod";

const built = fileURLToPath(new URL("../../out/soak", import.meta.url));

const reply = z.object({
  ready: z.boolean().optional(),
  notice: z.object({ kind: z.string(), text: z.string() }).optional(),
  id: z.number().optional(),
  output: z.unknown().optional(),
  error: z.string().optional(),
});

export interface Program {
  /** @throws Error what the program answers, or that it is gone */
  ask(request: Readonly<Record<string, unknown>>): Promise<unknown>;
  /** What was told since it started. */
  readonly notices: readonly { readonly kind: string; readonly text: string }[];
  /** SIGKILL; resolves when it is gone. */
  kill(): Promise<void>;
}

/** Starts `out/soak/NAME.js` and waits until it is ready. */
export async function startProgram(name: string, args: readonly string[]): Promise<Program> {
  const child: ChildProcess = fork(`${built}/${name}.js`, [...args], {
    stdio: ["ignore", 2, 2, "ipc"],
    // Documents are bytes.
    serialization: "advanced",
  });
  const waiting = new Map<number, { resolve(output: unknown): void; reject(error: Error): void }>();
  const notices: { kind: string; text: string }[] = [];
  const gone = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  let isGone = false;
  let nextId = 1;
  const ready = new Promise<void>((resolve, reject) => {
    child.on("message", (message) => {
      const parsed = reply.parse(message);
      if (parsed.ready === true) resolve();
      if (parsed.notice !== undefined) notices.push(parsed.notice);
      if (parsed.id === undefined) return;
      const one = waiting.get(parsed.id);
      waiting.delete(parsed.id);
      if (parsed.error === undefined) one?.resolve(parsed.output);
      else one?.reject(new Error(parsed.error));
    });
    child.once("exit", (code, signal) => {
      isGone = true;
      const error = new Error(`${name} ended (${signal ?? code})`);
      reject(error);
      for (const one of waiting.values()) one.reject(error);
    });
  });
  // Who asks is told; who only kills need not hear of it.
  ready.catch(() => undefined);
  await ready;
  return {
    notices,
    ask: (request) =>
      new Promise((resolve, reject) => {
        if (isGone) return reject(new Error(`${name} is gone`));
        const id = nextId++;
        waiting.set(id, { resolve, reject });
        child.send({ id, ...request });
      }),
    async kill() {
      child.kill("SIGKILL");
      await gone;
    },
  };
}
