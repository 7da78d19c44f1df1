/** The linter itself is on trial here: a small copy of the layout, once clean, once with violations that it must find. */
import { execFile } from "node:child_process";
import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";

const root = fileURLToPath(new URL("..", import.meta.url));
const reportSchema = z.object({
  diagnostics: z.array(z.object({ filename: z.string(), code: z.string() })),
});

/** File → the files it imports. Every layer once, with imports that its line in `.oxlintrc.json` allows. */
const clean: Readonly<Record<string, readonly string[]>> = {
  "main/contract/contract.ts": ["zod"],
  "main/store/chats.ts": ["node:fs", "../contract/contract.ts"],
  "main/services/chats.ts": [
    "node:path",
    "../contract/contract.ts",
    "../store/chats.ts",
    "../engine/client.ts",
    "../../models/weights/gguf.ts",
  ],
  "main/engine/client.ts": ["../../models/engine/protocol.ts"],
  "main/engine/node-host.ts": ["./client.ts", "../../models/engine/worker.ts"],
  "main/server/server.ts": ["../services/chats.ts", "../engine/node-host.ts"],
  "main/cli/tarn.ts": ["../server/server.ts"],
  "main/shell/window.ts": ["electron", "../services/chats.ts"],
  "main/preload/index.ts": ["electron", "../contract/contract.ts"],
  "main/index.ts": ["./shell/window.ts"],
  "kernels/spec/op.ts": [],
  "kernels/plan/recorder.ts": ["../spec/op.ts"],
  "kernels/wgsl/reduce.ts": ["../spec/op.ts"],
  "kernels/ops/ssd/ssd.ts": ["../../spec/op.ts", "../../wgsl/reduce.ts"],
  "kernels/ops/linear/linear.ts": ["../../spec/op.ts"],
  "kernels/ops/index.ts": ["./ssd/ssd.ts", "./linear/linear.ts"],
  "kernels/backends/wasm/wasm.ts": [
    "../../spec/op.ts",
    "../../plan/recorder.ts",
    "../../ops/index.ts",
  ],
  "kernels/backends/webgpu/webgpu.ts": ["../../spec/op.ts"],
  "kernels/testing/all-close.ts": ["../backends/wasm/wasm.ts"],
  "kernels/ops/ssd/ssd.test.ts": ["./ssd.ts", "../../testing/all-close.ts", "node:fs"],
  "models/weights/gguf.ts": ["../../kernels/spec/op.ts"],
  "models/tokenizer/gguf.ts": [],
  "models/state/snapshot.ts": ["../../kernels/spec/op.ts"],
  "models/arch/mamba.ts": [
    "../../kernels/ops/ssd/ssd.ts",
    "../state/snapshot.ts",
    "../weights/gguf.ts",
  ],
  "models/generate/decode.ts": ["../arch/mamba.ts", "../state/snapshot.ts"],
  "models/testing/fixture-model.ts": [
    "node:fs",
    "../arch/mamba.ts",
    "../../kernels/testing/all-close.ts",
  ],
  "models/engine/protocol.ts": [],
  "models/engine/worker.ts": [
    "./protocol.ts",
    "../generate/decode.ts",
    "../../kernels/backends/wasm/wasm.ts",
  ],
  "renderer/engine-window/page.ts": ["../../models/engine/worker.ts"],
  "renderer/client/client.ts": ["../../main/contract/contract.ts"],
  "renderer/ui/Button.tsx": ["react"],
  "renderer/features/chat/Chat.tsx": [
    "../../ui/Button.tsx",
    "../../client/client.ts",
    "../../../main/contract/contract.ts",
  ],
  "renderer/features/models/Models.tsx": ["../../ui/Button.tsx"],
  "renderer/app/main.tsx": ["../features/chat/Chat.tsx", "../client/client.ts"],
};

/** What must be found: the file, what it imports, and the rule that says no. */
const planted: readonly (readonly [file: string, imported: string, rule: string])[] = [
  ["main/contract/planted.ts", "../store/chats.ts", "boundaries"],
  ["main/contract/planted-node.ts", "node:fs", "no-restricted-imports"],
  ["main/store/planted.ts", "../services/chats.ts", "boundaries"],
  ["main/store/planted-engine.ts", "../engine/client.ts", "boundaries"],
  ["main/services/planted.ts", "../shell/window.ts", "boundaries"],
  ["main/services/planted-host.ts", "../engine/node-host.ts", "boundaries"],
  ["main/services/planted-server.ts", "../server/server.ts", "boundaries"],
  ["main/services/planted-arch.ts", "../../models/arch/mamba.ts", "boundaries"],
  ["main/services/planted-electron.ts", "electron", "no-restricted-imports"],
  ["main/engine/planted.ts", "../services/chats.ts", "boundaries"],
  ["main/engine/planted-worker.ts", "../../models/engine/worker.ts", "boundaries"],
  ["main/server/planted.ts", "../cli/tarn.ts", "boundaries"],
  ["main/server/planted-electron.ts", "electron", "no-restricted-imports"],
  ["main/cli/planted.ts", "../shell/window.ts", "boundaries"],
  ["main/shell/planted.ts", "../../renderer/app/main.tsx", "boundaries"],
  ["main/preload/planted.ts", "../services/chats.ts", "boundaries"],
  ["kernels/spec/planted.ts", "../plan/recorder.ts", "boundaries"],
  ["kernels/plan/planted.ts", "../backends/wasm/wasm.ts", "boundaries"],
  ["kernels/ops/ssd/planted.ts", "../linear/linear.ts", "boundaries"],
  ["kernels/ops/ssd/planted-backend.ts", "../../backends/wasm/wasm.ts", "boundaries"],
  ["kernels/ops/ssd/planted-testing.ts", "../../testing/all-close.ts", "boundaries"],
  ["kernels/backends/wasm/planted.ts", "../webgpu/webgpu.ts", "boundaries"],
  ["kernels/backends/wasm/planted-type.ts", "type ../../../renderer/app/main.tsx", "boundaries"],
  ["kernels/wgsl/planted.ts", "../ops/ssd/ssd.ts", "boundaries"],
  ["kernels/wgsl/planted-node.ts", "node:fs", "no-restricted-imports"],
  ["models/weights/planted.ts", "../arch/mamba.ts", "boundaries"],
  ["models/tokenizer/planted.ts", "../weights/gguf.ts", "boundaries"],
  ["models/arch/planted.ts", "../../kernels/backends/wasm/wasm.ts", "boundaries"],
  ["models/arch/planted-node.ts", "node:fs", "no-restricted-imports"],
  ["models/generate/planted.ts", "../engine/protocol.ts", "boundaries"],
  ["models/engine/planted-testing.ts", "../testing/fixture-model.ts", "boundaries"],
  ["models/engine/planted.ts", "../../main/services/chats.ts", "boundaries"],
  ["models/engine/planted-react.ts", "react", "no-restricted-imports"],
  ["models/unplaced/planted.ts", "", "boundaries"],
  ["renderer/client/planted.ts", "../../models/engine/worker.ts", "boundaries"],
  ["renderer/ui/planted.ts", "../client/client.ts", "boundaries"],
  ["renderer/features/chat/planted.ts", "../models/Models.tsx", "boundaries"],
  ["renderer/features/chat/planted-store.ts", "../../../main/store/chats.ts", "boundaries"],
  ["renderer/features/chat/planted-node.ts", "node:fs", "no-restricted-imports"],
  ["renderer/engine-window/planted.ts", "../client/client.ts", "boundaries"],
  ["main/store/planted-egg.ts", "./planted-hen.ts", "no-cycle"],
  ["main/store/planted-hen.ts", "type ./planted-egg.ts", "no-cycle"],
];

let tree: string;

beforeAll(async () => {
  tree = await mkdtemp(join(tmpdir(), "tarn-layers-"));
  await cp(join(root, ".oxlintrc.json"), join(tree, ".oxlintrc.json"));
  await symlink(join(root, "node_modules"), join(tree, "node_modules"));
  await writeFile(
    join(tree, "tsconfig.json"),
    JSON.stringify({
      compilerOptions: {
        jsx: "react-jsx",
        allowImportingTsExtensions: true,
        noEmit: true,
        module: "ESNext",
        moduleResolution: "bundler",
      },
    }),
  );
  for (const [file, imports] of Object.entries(clean)) await plant(file, imports);
});

afterAll(() => rm(tree, { recursive: true, force: true }));

test("finds nothing in the clean layout", async () => {
  expect(await lint()).toEqual([]);
});

test("finds every planted violation, and nothing else", async () => {
  for (const [file, imported] of planted) await plant(file, imported === "" ? [] : [imported]);
  const found = await lint();
  const missed = planted.filter(
    ([file, , rule]) => !found.some((f) => f.filename === file && f.code.includes(rule)),
  );
  expect(missed).toEqual([]);
  const innocent = found.filter((f) => !planted.some(([file]) => file === f.filename));
  expect(innocent).toEqual([]);
});

async function plant(file: string, imports: readonly string[]): Promise<void> {
  const lines = imports.map((from, i) =>
    from.startsWith("type ")
      ? `export type * as imported${i} from "${from.slice(5)}";`
      : `export * as imported${i} from "${from}";`,
  );
  await mkdir(join(tree, dirname(file)), { recursive: true });
  await writeFile(join(tree, file), [...lines, "export const here = 1;", ""].join("\n"));
}

/** @returns what the linter says about the tree, file by file */
async function lint(): Promise<{ filename: string; code: string }[]> {
  const cli = join(root, "node_modules/oxlint/bin/oxlint");
  const run = promisify(execFile)(process.execPath, [cli, "--format", "json"], {
    cwd: tree,
    maxBuffer: 1 << 26,
  });
  // A linter that finds something exits with 1; what it found is on stdout all the same.
  const { stdout } = await run.catch((error: unknown) =>
    z.object({ stdout: z.string() }).parse(error),
  );
  return reportSchema
    .parse(JSON.parse(stdout))
    .diagnostics.map(({ filename, code }) => ({ filename, code }));
}
