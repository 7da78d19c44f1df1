/** What Zamba and Zamba2 have in common: Mamba layers of which some are fed by a transformer block that they share. */
import type { Recorder } from "../../../kernels/spec/op.ts";
import type { StateLayout, StateSlot, Tensor } from "../../../kernels/spec/tensor.ts";
import { requireGeometry, requireLayers } from "../architecture.ts";
import type { ConfigFields } from "../config-fields.ts";

/** A layer's place among the hybrid ones, counted from 0; null for a plain Mamba layer. */
export type ZambaLayer = number | null;

/** The state of one layer. */
export interface ZambaSlots {
  readonly conv: Tensor;
  readonly ssm: Tensor;
  /** The shared block's keys and values of this layer; null in plain layers. */
  readonly attention: { readonly keys: Tensor; readonly values: Tensor } | null;
}

/**
 * Reads `layers_block_type`, new ("linear_attention", "hybrid") or legacy ("mamba", "hybrid").
 * @param defaults the number of layers, and their kinds for a number of layers, where the file does not say
 * @throws WeightsError `malformed`, `unsupported`
 */
export function readZambaLayers(
  config: ConfigFields,
  defaults: {
    readonly nLayer: number;
    readonly hybrid: (layer: number, nLayer: number) => boolean;
  },
): readonly ZambaLayer[] {
  const nLayer = requireLayers(config.count(["num_hidden_layers"], defaults.nLayer));
  const field = config.has("layers_block_type") ? "layers_block_type" : "layer_types";
  const kinds = config.strings([field]);
  if (kinds !== null) {
    requireGeometry(kinds.length === nLayer, `${kinds.length} ${field} for ${nLayer} layers`);
    if (!kinds.every((kind) => ["hybrid", "mamba", "linear_attention"].includes(kind)))
      throw config.unsupported(field, '"linear_attention" (or "mamba") and "hybrid"');
  }
  let next = 0;
  return Array.from({ length: nLayer }, (_, i) => {
    const hybrid = kinds === null ? defaults.hybrid(i, nLayer) : kinds[i] === "hybrid";
    return hybrid ? next++ : null;
  });
}

/** Each layer's Mamba slots, behind them in hybrid layers keys and values. */
export function zambaStateLayout(
  layers: readonly ZambaLayer[],
  slots: {
    readonly mamba: (prefix: string) => readonly StateSlot[];
    readonly attention: (prefix: string) => readonly StateSlot[];
  },
): StateLayout {
  return layers.flatMap((hybrid, i) => [
    ...slots.mamba(`layers.${i}`),
    ...(hybrid === null ? [] : slots.attention(`layers.${i}`)),
  ]);
}

/** Layer `i`'s part of what `zambaStateLayout` lays out. */
export function zambaSlots(k: Recorder, layers: readonly ZambaLayer[], i: number): ZambaSlots {
  const hybridsBefore = layers.slice(0, i).filter((hybrid) => hybrid !== null).length;
  const first = 2 * (i + hybridsBefore);
  return {
    conv: k.state(first),
    ssm: k.state(first + 1),
    attention: layers[i] === null ? null : { keys: k.state(first + 2), values: k.state(first + 3) },
  };
}
