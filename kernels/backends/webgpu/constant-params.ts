import { KernelError } from "../../spec/errors.ts";

const UNIFORM = "@group(0) @binding(0) var<uniform> params: Params;";

/**
 * A shader's text with its params as a constant instead of a uniform.
 * @param params 32-bit words, in the order of the members of the text's `struct Params`
 * @throws KernelError `backend` if the text has no such struct, or one of other members than u32, i32 and f32
 */
export function withConstantParams(text: string, params: readonly number[]): string {
  const body = /^struct Params \{\n([^}]*)\}/m.exec(text)?.[1];
  const types = [...(body ?? "").matchAll(/^\s*\w+: (\w+),/gm)].map(([, type]) => type);
  if (!text.includes(UNIFORM) || types.length !== params.length) {
    throw new KernelError(
      "backend",
      `a shader with ${types.length} params in a uniform was expected to have ${params.length}`,
      { params: params.length, members: types.length },
    );
  }
  const values = types.map((type, at) => literal(type, params[at]));
  return text.replace(UNIFORM, `const params = Params(${values.join(", ")});`);
}

function literal(type: string, word: number): string {
  if (type === "u32") return `${word >>> 0}u`;
  if (type === "i32" || type === "f32") return `bitcast<${type}>(${word >>> 0}u)`;
  throw new KernelError("backend", `a param of type ${type} cannot be a constant`, { type });
}
