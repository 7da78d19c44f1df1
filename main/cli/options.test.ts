import { expect, test } from "vitest";
import { parse, readCommon, UsageError } from "./options.ts";

const read = (...args: string[]) => readCommon(parse(args, {}).values);

test("keys and values are f32 unless --kv says f16", () => {
  expect(read().kv).toBe("f32");
  expect(read("--kv", "f16").kv).toBe("f16");
  expect(() => read("--kv", "q8_0")).toThrow(UsageError);
});
