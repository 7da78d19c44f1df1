/** Tarn and wllama (llama.cpp as WebAssembly), each in a page of the same headless Chromium. */
import { createReadStream, existsSync, statSync } from "node:fs";
import { createServer, type Server } from "node:http";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { chromium, type Browser, type Page } from "playwright";
import { build } from "vite";
import { wasmKernels } from "../../kernels/backends/wasm/compile.ts";
import { CHROMIUM, CHROMIUM_ARGS, ISOLATION } from "../chromium.ts";
import type { BenchEngine } from "./engine.ts";
import { tokenText } from "./make-model.ts";
import type { MeasuredPage } from "./page/page.ts";

const here = fileURLToPath(new URL(".", import.meta.url));
const outDir = path.join(here, "../../out/bench/page");
const wllamaDir = path.join(here, "node_modules/@wllama/wllama/esm");
const TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html",
  ".js": "text/javascript",
  ".wasm": "application/wasm",
};

/** Engines in pages of one browser. */
export interface Pages {
  openTarn(threads: number): Promise<BenchEngine & { readonly weightBytes: number }>;
  openWllama(threads: number, context: number): Promise<BenchEngine>;
  close(): Promise<void>;
}

/** "Chromium 140.0.1": of the program that the pages are opened in. */
export async function chromiumVersion(): Promise<string> {
  const browser = await chromium.launch({ executablePath: CHROMIUM, args: CHROMIUM_ARGS });
  const version = browser.version();
  await browser.close();
  return `Chromium ${version}`;
}

/** Builds Tarn's page, serves it with the model beside it, and starts the browser. */
export async function openPages(model: string): Promise<Pages> {
  await build({
    configFile: false,
    root: path.join(here, "page"),
    base: "./",
    publicDir: false,
    logLevel: "warn",
    plugins: [wasmKernels()],
    worker: { format: "es", plugins: () => [wasmKernels()] },
    build: { outDir, emptyOutDir: true, target: "chrome140" },
  });
  const server = await serve(model);
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("the server has no port");
  const origin = `http://127.0.0.1:${address.port}`;
  const browser = await chromium.launch({ executablePath: CHROMIUM, args: CHROMIUM_ARGS });
  return {
    openTarn: async (threads) => await openTarnPage(browser, origin, model, threads),
    openWllama: async (threads, context) => await openWllamaPage(browser, origin, threads, context),
    async close() {
      await browser.close();
      server.close();
    },
  };
}

async function serve(model: string): Promise<Server> {
  const server = createServer((request, response) => {
    for (const [name, value] of Object.entries(ISOLATION)) response.setHeader(name, value);
    const { pathname } = new URL(request.url ?? "/", "http://localhost");
    if (pathname === "/blank") {
      response.setHeader("content-type", "text/html").end("<!doctype html><title>wllama</title>");
      return;
    }
    const wllama = /^\/wllama\/(.*)$/.exec(pathname)?.[1];
    const folder = wllama === undefined ? outDir : wllamaDir;
    const file =
      pathname === "/model.gguf"
        ? model
        : path.join(folder, path.normalize(`/${wllama ?? pathname}`));
    if (!existsSync(file) || !statSync(file).isFile()) {
      response.writeHead(404).end();
      return;
    }
    const { size } = statSync(file);
    response.setHeader("content-type", TYPES[path.extname(file)] ?? "application/octet-stream");
    const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "");
    if (range !== null) {
      const [start, end] = [Number(range[1]), Math.min(size - 1, Number(range[2]))];
      response.writeHead(206, { "content-length": end - start + 1 });
      createReadStream(file, { start, end }).pipe(response);
      return;
    }
    // The engine asks for a file's size before its ranges, as the desktop's address for weights answers.
    const header = request.headers["x-whole"] === undefined && pathname === "/model.gguf";
    response.setHeader("x-file-bytes", size);
    if (header) response.end();
    else createReadStream(file).pipe(response);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return server;
}

async function openTarnPage(
  browser: Browser,
  origin: string,
  model: string,
  threads: number,
): Promise<BenchEngine & { readonly weightBytes: number }> {
  const page = await newPage(browser, `${origin}/index.html`);
  const call = async <M extends keyof MeasuredPage>(
    method: M,
    ...args: Parameters<MeasuredPage[M]>
  ): Promise<Awaited<ReturnType<MeasuredPage[M]>>> =>
    (await page.evaluate(
      async ([name, values]) => {
        const { measured } = window as unknown as {
          readonly measured: Readonly<Record<string, (...all: readonly unknown[]) => unknown>>;
        };
        return await measured[name]?.(...values);
      },
      [method, args] as const,
    )) as Awaited<ReturnType<MeasuredPage[M]>>;
  const bytes = statSync(model).size;
  const { device, weightBytes } = await call(
    "load",
    `${origin}/model.gguf`,
    bytes,
    "wasm",
    threads,
  );
  return {
    name: "Tarn",
    device: `${device}, in a page`,
    weightBytes,
    prefill: async (ids) => await call("prefill", ids),
    decode: async (ids, count) => await call("decode", ids, count),
    async answer(ids, count) {
      const { logits, ...rest } = await call("answer", ids, count);
      return { ...rest, logits: logits === null ? null : Float32Array.from(logits) };
    },
    close: async () => await page.close(),
  };
}

/** What wllama says of a completion: the fields that are looked at. */
interface Completion {
  readonly text: string;
  readonly timings: {
    readonly prompt_n: number;
    readonly prompt_ms: number;
    readonly predicted_n: number;
    readonly predicted_ms: number;
  };
}

async function openWllamaPage(
  browser: Browser,
  origin: string,
  threads: number,
  context: number,
): Promise<BenchEngine> {
  const page = await newPage(browser, `${origin}/blank`);
  const version = await page.evaluate(loadWllama, { threads, context });
  const complete = async (ids: readonly number[], count: number): Promise<Completion> => {
    const prompt = ids.map(tokenText).join("");
    const done = await page.evaluate(completeInPage, { prompt, count });
    const { prompt_n: read, predicted_n: written } = done.timings;
    if (read !== ids.length || written !== count)
      throw new Error(
        `wllama read ${read} of ${ids.length} and wrote ${written} of ${count} tokens`,
      );
    return done;
  };
  return {
    name: `wllama 3.8.1 (llama.cpp ${version})`,
    device: `${threads} threads, in a page`,
    prefill: async (ids) => (await complete(ids, 1)).timings.prompt_ms / 1000,
    decode: async (ids, count) => (await complete(ids, count)).timings.predicted_ms / 1000,
    async answer(ids, count) {
      const { text } = await complete(ids, count);
      return { logits: null, tokens: tokensOf(text), margins: [] };
    },
    close: async () => await page.close(),
  };
}

/** The ids whose texts (make-model.ts) were written one after the other. */
function tokensOf(text: string): number[] {
  return [...text.matchAll(/<\|endoftext\|>|<(\d+)>|[a-z]/g)].map(([all, id]) => {
    if (id !== undefined) return Number(id);
    return all.length > 1 ? 0 : all.charCodeAt(0) - 96;
  });
}

async function newPage(browser: Browser, address: string): Promise<Page> {
  const page = await browser.newPage();
  page.setDefaultTimeout(0);
  page.on("pageerror", (error) => console.error(`In the page: ${error.message}`));
  await page.goto(address);
  return page;
}

/** Runs in the page. */
async function loadWllama(options: { threads: number; context: number }): Promise<string> {
  // Not an address that a bundler would look for.
  const { Wllama, LoggerWithoutDebug } = await import(
    /* @vite-ignore */ ["/wllama", "index.js"].join("/")
  );
  const wllama = new Wllama(
    { default: "/wllama/wasm/wllama.wasm" },
    { suppressNativeLog: true, logger: LoggerWithoutDebug },
  );
  const model = await (await fetch("/model.gguf", { headers: { "x-whole": "1" } })).blob();
  await wllama.loadModel([model], {
    n_ctx: options.context,
    n_batch: 512,
    n_ubatch: 512,
    n_threads: options.threads,
    n_gpu_layers: 0,
    warmup: true,
  });
  Object.assign(window, { wllama });
  return Wllama.getLibllamaVersion();
}

/** Runs in the page. */
async function completeInPage(input: { prompt: string; count: number }): Promise<Completion> {
  const { wllama } = window as unknown as {
    readonly wllama: {
      createCompletion(options: object): Promise<{
        readonly timings: Completion["timings"];
        readonly choices: readonly { readonly text: string }[];
      }>;
    };
  };
  const { timings, choices } = await wllama.createCompletion({
    prompt: input.prompt,
    max_tokens: input.count,
    temperature: 0,
    top_k: 1,
    ignore_eos: true,
    cache_prompt: false,
  });
  return { timings, text: choices[0]?.text ?? "" };
}
