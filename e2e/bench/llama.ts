/** llama.cpp through its C API: the program of llama-peer.cpp, over libraries that somebody else built. */
import { execFile, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, stat } from "node:fs/promises";
import path from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { z } from "zod";
import type { BenchEngine } from "./engine.ts";

const run = promisify(execFile);
const here = fileURLToPath(new URL(".", import.meta.url));
const packages = path.join(here, "node_modules");
const built = path.join(here, "../../out/bench");
const source = path.join(here, "llama-peer.cpp");

/** The version whose libraries, headers and source the packages hold. */
export const LLAMA_CPP = "llama.cpp v0.5.0";

/** The packages' folders of libraries. */
export const LIBRARIES = {
  cpu: path.join(packages, "@node-llama-cpp/linux-x64/bins/linux-x64"),
  vulkan: path.join(packages, "@node-llama-cpp/linux-x64-vulkan/bins/linux-x64-vulkan"),
} as const;

/** What of llama.cpp's source is needed: its headers, and ggml with its CUDA backend. */
const SOURCES = ["include", "ggml/include", "ggml/src"];

/**
 * llama.cpp's source: node-llama-cpp's package carries it as a bundle of git.
 * @returns its folder
 * @throws Error naming what is missing
 */
export async function llamaSource(): Promise<string> {
  const given = process.env["TARN_LLAMA_SOURCE"];
  if (given !== undefined) return given;
  const folder = path.join(built, "llama.cpp");
  if (existsSync(path.join(folder, "include/llama.h"))) return folder;
  const bundle = path.join(packages, "node-llama-cpp/llama/gitRelease.bundle");
  if (!existsSync(bundle))
    throw new Error(`${bundle} is not there: npm run bench:peers installs it.`);
  await mkdir(folder, { recursive: true });
  const repository = path.join(built, "llama.git");
  const archive = path.join(built, "llama.tar");
  if (!existsSync(repository)) await run("git", ["clone", "--quiet", "--bare", bundle, repository]);
  await run("git", ["--git-dir", repository, "archive", "-o", archive, "HEAD", ...SOURCES]);
  await run("tar", ["-x", "-f", archive, "-C", folder]);
  return folder;
}

/**
 * The program, compiled where it is missing or old.
 * @throws Error naming what is missing
 */
export async function llamaProgram(): Promise<string> {
  const given = process.env["TARN_LLAMA_PEER"];
  if (given !== undefined) return given;
  const program = path.join(built, "llama-peer");
  const age = async (file: string): Promise<number> =>
    (await stat(file).catch(() => null))?.mtimeMs ?? 0;
  if ((await age(program)) > (await age(source))) return program;
  const llama = await llamaSource();
  const include = ["include", "ggml/include"].map((folder) => `-I${path.join(llama, folder)}`);
  const args = ["-std=c++17", "-O2", "-Wall", "-Wextra", ...include, source, "-o", program, "-ldl"];
  await run("g++", args).catch((error: unknown) => {
    const missing = error instanceof Error && "code" in error && error.code === "ENOENT";
    throw missing
      ? new Error(
          "llama.cpp is measured through its C API, which takes a C++ compiler: there is no g++ (apt-get install g++).",
          { cause: error },
        )
      : error;
  });
  return program;
}

const introduction = z.object({
  vocabulary: z.number(),
  device: z.string().nullable(),
  system: z.string(),
});
const timed = z.object({ seconds: z.number() });
const answered = z.object({
  logits: z.array(z.number()),
  tokens: z.array(z.number()),
  margins: z.array(z.number()),
});

/** How llama.cpp is to run. */
export interface LlamaOptions {
  readonly model: string;
  /** Folder of its libraries. */
  readonly libraries: string;
  /** The GPU's name as ggml says it ("Vulkan", "CUDA"); null for the CPU. */
  readonly gpu: string | null;
  readonly threads: number;
  /** Tokens of the longest sequence. */
  readonly context: number;
  /** Keys and values in f32, weights as they are: for the answer that others are compared with. */
  readonly exact?: boolean;
  readonly name: string;
}

/** Starts it. @throws Error with what it said when it ends */
export async function openLlama(options: LlamaOptions): Promise<BenchEngine> {
  const child = spawn(
    await llamaProgram(),
    [
      "--libraries",
      options.libraries,
      "--model",
      options.model,
      "--threads",
      String(options.threads),
      "--context",
      String(options.context),
      ...(options.gpu === null ? [] : ["--gpu", "--device", options.gpu]),
      ...(options.exact === true ? ["--exact"] : []),
    ],
    { stdio: ["pipe", "pipe", "pipe"] },
  );
  let complaints = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (complaints += text));
  // A command to a program that has just ended: its answer, which never comes, says so.
  child.stdin.on("error", () => undefined);
  child.on("error", (error) => (complaints += error.message));
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();

  async function read<T>(schema: z.ZodType<T>): Promise<T> {
    const line = await lines.next();
    if (line.done === true)
      throw new Error(
        `${options.name} ended: ${complaints.trim().split("\n").slice(-3).join(" ")}`,
      );
    return schema.parse(JSON.parse(line.value));
  }
  async function ask<T>(command: string, schema: z.ZodType<T>): Promise<T> {
    child.stdin.write(`${command}\n`);
    return await read(schema);
  }

  const { device, system } = await read(introduction);
  return {
    name: options.name,
    device: device ?? system.replaceAll(/\s*=\s*1\s*\|?/g, "").trim(),
    prefill: async (ids) => (await ask(`prefill ${ids.join()}`, timed)).seconds,
    decode: async (ids, count) => (await ask(`decode ${count} ${ids.join()}`, timed)).seconds,
    async answer(ids, count) {
      const { logits, ...rest } = await ask(`answer ${count} ${ids.join()}`, answered);
      return { logits: Float32Array.from(logits), ...rest };
    },
    async close() {
      const gone = new Promise((resolve) => child.once("exit", resolve));
      child.stdin.end();
      if (child.exitCode === null) await gone;
    },
  };
}
