import type { Activation } from "../../../kernels/spec/activations.ts";
import type { ConfigFields } from "../config-fields.ts";

/** The names of transformers' `ACT2FN` for what the elementwise ops know. */
const ACTIVATIONS: ReadonlyMap<string, Activation> = new Map<string, Activation>([
  ["silu", "silu"],
  ["swish", "silu"],
  ["gelu", "gelu"],
  ["gelu_python", "gelu"],
  ["gelu_pytorch_tanh", "gelu_tanh"],
  ["gelu_python_tanh", "gelu_tanh"],
  ["gelu_new", "gelu_tanh"],
  ["gelu_fast", "gelu_tanh"],
  ["gelu_accurate", "gelu_tanh"],
  ["relu", "relu"],
  ["relu2", "relu2"],
  ["sigmoid", "sigmoid"],
  ["tanh", "tanh"],
  ["linear", "identity"],
]);

/**
 * The activation that a field names; of several names of the field, newest first.
 * @throws WeightsError `unsupported` naming the field, what is known and what it says; `malformed`
 */
export function readActivation(
  config: ConfigFields,
  names: readonly string[],
  fallback: string,
): Activation {
  const activation = ACTIVATIONS.get(config.string(names, fallback));
  if (activation === undefined) {
    const name = names.find((candidate) => config.has(candidate)) ?? "";
    throw config.unsupported(name, `one of ${[...ACTIVATIONS.keys()].join(", ")}`);
  }
  return activation;
}
