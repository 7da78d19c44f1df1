import { expect, test } from "vitest";
import {
  readSupport,
  roundedUp,
  SUPPORT_BACKENDS,
  SUPPORT_FORMATS,
  supportText,
  UNTESTED,
  type SupportRecord,
} from "../testing/support.ts";
import { architectures } from "./registry.ts";

const HINT = "write the table anew: npm run docs:support";

test("docs/support.md has every registered architecture", () => {
  const documented = readSupport().architectures;
  const missing = [...new Set(architectures.values())]
    .map((wanted) => [...architectures].filter(([, one]) => one === wanted).map(([name]) => name))
    .filter((names) => !names.some((name) => documented.includes(name)));
  expect(missing, HINT).toEqual([]);
});

test("docs/support.md has a difference or a reason in every cell", () => {
  const { architectures: rows, cell } = readSupport();
  const empty = rows.flatMap((modelType) =>
    SUPPORT_FORMATS.flatMap((format) =>
      SUPPORT_BACKENDS.filter((backend) =>
        ["", UNTESTED, undefined].includes(cell(modelType, format, backend)),
      ).map((backend) => `${modelType}, ${format}, ${backend}`),
    ),
  );
  expect(empty, HINT).toEqual([]);
});

test("the table has the largest difference of a cell, rounded up, or the reason for none", () => {
  const place = { modelType: "mamba", folder: "mamba", backend: "wasm" } as const;
  const records: readonly SupportRecord[] = [
    { ...place, format: "safetensors", prompt: "p0", difference: 1.2e-6 },
    { ...place, format: "safetensors", prompt: "p1", difference: 2.1e-5 },
    { ...place, format: "GGUF", prompt: "p0", reason: "no such thing" },
    { ...place, format: "GGUF", prompt: "p1", reason: "no such thing" },
  ];
  const [row] = supportText(records)
    .split("\n")
    .filter((line) => line.startsWith("| `mamba`"));
  expect(row).toBe(
    "| `mamba` | not tested | 3e-5 | not tested | not tested | no such thing | not tested |",
  );
});

test.each([
  [3.21e-5, "4e-5"],
  [9.1e-5, "1e-4"],
  [0, "0"],
])("rounds %d up to %s", (value, text) => {
  expect(roundedUp(value)).toBe(text);
  expect(Number(text)).toBeGreaterThanOrEqual(value);
});
