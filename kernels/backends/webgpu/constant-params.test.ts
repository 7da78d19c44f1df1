import { describe, expect, test } from "vitest";
import { linear } from "../../ops/linear/linear.ts";
import { columns } from "../../spec/views.ts";
import { expectLikeReference } from "../../testing/compare.ts";
import { gpuWith, plainGpu } from "../../testing/gpu-with.ts";
import { seeded } from "../../testing/seeded.ts";
import { createWebGpuBackend } from "./backend.ts";
import { withConstantParams } from "./constant-params.ts";

const SHADER = `struct Params {
  rows: u32,
  first: i32,  // may be negative
  eps: f32,    // of a norm
}

@group(0) @binding(0) var<uniform> params: Params;

fn rows() -> u32 {
  return params.rows;
}
`;

describe("params as a constant", () => {
  test("take the place of the uniform, word by word", () => {
    const text = withConstantParams(SHADER, [7, -1, 0x3f800000]);
    expect(text).toContain(
      "const params = Params(7u, bitcast<i32>(4294967295u), bitcast<f32>(1065353216u));",
    );
    expect(text).not.toContain("var<uniform>");
  });

  test("must be as many as the struct's members", () => {
    expect(() => withConstantParams(SHADER, [7, 1])).toThrow(/3 params in a uniform .* have 2/);
    expect(() => withConstantParams("fn none() {}", [7])).toThrow(/0 params in a uniform/);
  });

  test("must be of types that a word can be", () => {
    expect(() => withConstantParams(SHADER.replace("i32", "bool"), [7, 1, 0])).toThrow(/bool/);
  });

  // Products whose rows lie at so many places of the arena, in one program.
  test.each([
    { products: 8, compiledIn: 8 },
    { products: 9, compiledIn: 0 },
  ])("are compiled in $compiledIn times for $products dispatches", async (of) => {
    const { products, compiledIn } = of;
    const random = seeded(31);
    const texts: string[] = [];
    const gpu = gpuWith(await plainGpu(), {
      onDevice(device) {
        const make = device.createShaderModule.bind(device);
        device.createShaderModule = (descriptor) => {
          texts.push(descriptor.code);
          return make(descriptor);
        };
      },
    });
    const backend = await createWebGpuBackend({ gpu, allowSoftware: false });
    if (backend === null) throw new Error("the adapter was refused");
    await expectLikeReference(backend, {
      chain: true,
      batch: 1,
      length: 1,
      inputs: { x: { cols: 64, values: random.normal(64) } },
      states: {},
      weights: { w: { rows: 8, cols: 64, values: random.normal(8 * 64), use: "matrix" } },
      record(k, { inputs, weights }) {
        const y = k.output(1, 8 * products);
        for (let at = 0; at < products; at++)
          linear(k, inputs.x, weights.w, { into: columns(y, 8 * at, 8) });
        return y;
      },
    });
    expect(texts.filter((text) => text.includes("const params = ")).length).toBe(compiledIn);
    await backend.release();
  });
});
