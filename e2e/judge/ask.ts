import { spawn, type ChildProcess } from "node:child_process";
import { createInterface } from "node:readline";
import { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import type { Answer, Question } from "./llama.ts";

const CHILD = fileURLToPath(new URL("llama.ts", import.meta.url));

/** llama.cpp in a process that is started anew whenever it ended. */
export class Judge {
  #child: { readonly process: ChildProcess; readonly answers: AsyncIterator<string> } | null = null;
  #complaints = "";

  /** @throws Error with llama.cpp's last words if it refused the file */
  async ask(question: Question): Promise<Answer> {
    this.#child ??= this.#start();
    const { process: child, answers } = this.#child;
    this.#complaints = "";
    child.stdin?.write(`${JSON.stringify(question)}\n`);
    const line = await answers.next();
    if (line.done !== true) return JSON.parse(line.value) as Answer;
    this.#child = null;
    throw new Error(lastWords(this.#complaints));
  }

  close(): void {
    this.#child?.process.stdin?.end();
    this.#child = null;
  }

  #start(): { process: ChildProcess; answers: AsyncIterator<string> } {
    const child = spawn(process.execPath, [CHILD], { stdio: ["pipe", "ignore", "pipe", "pipe"] });
    // A question to a process that has just ended: its answer, which never comes, says so.
    child.stdin?.on("error", () => undefined);
    child.stderr?.setEncoding("utf8").on("data", (text: string) => (this.#complaints += text));
    const pipe = child.stdio[3];
    if (!(pipe instanceof Readable)) throw new Error("the judge has no pipe for its answers");
    return { process: child, answers: createInterface({ input: pipe })[Symbol.asyncIterator]() };
  }
}

function lastWords(complaints: string): string {
  const lines = complaints.split("\n").filter((line) => /error|assert|fail/i.test(line));
  return (lines[0] ?? complaints.trim().split("\n").at(-1) ?? "").trim().slice(0, 160);
}
