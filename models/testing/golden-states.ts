/**
 * How the states of the golden files correspond to ours. By default slot by slot, under the same names; what is laid out
 * otherwise has its rule here, with its reason.
 */
import { expectAllClose } from "../../kernels/testing/all-close.ts";
import type { Golden } from "../../kernels/testing/golden.ts";
import { STATES } from "../../kernels/testing/tolerances.ts";
import type { StateLayout, StateSlot } from "../../kernels/spec/tensor.ts";

/** Values with their shape, slowest side first. */
interface Shaped {
  readonly shape: readonly number[];
  readonly values: Float32Array;
}

/** Two arrays that must agree. */
interface Pair {
  readonly actual: ArrayLike<number>;
  readonly expected: ArrayLike<number>;
}

/** What one slot holds, beside what the golden file has for it. */
type Rule = (slot: StateSlot, actual: Float32Array, golden: GoldenState) => readonly Pair[];

/** The state of one prompt in a golden file. */
type GoldenState = (name: string) => Shaped;

/** The rules of architectures by `modelType`. */
const RULES: Readonly<Record<string, Rule>> = {
  qwen3_5_text: qwen35Slot,
  rwkv: rwkvSlot,
  rwkv7: rwkv7Slot,
  xlstm: xlstmSlot,
  mamba3: mamba3Slot,
  minimax: minimaxSlot,
  zaya: zayaSlot,
};

/**
 * Fails unless the states of one sequence are those of the golden file after `prompt`. Keys and values of attention are
 * in no golden file: they are judged by what is decoded from them.
 * @throws Error naming the slot
 */
export function expectGoldenStates(
  modelType: string,
  layout: StateLayout,
  states: readonly Float32Array[],
  golden: Golden,
  prompt: string,
): void {
  const rule = RULES[modelType] ?? sameSlot;
  layout.forEach((slot, index) => {
    if (slot.grows === true || isAttentionWindow(slot, golden, prompt)) return;
    const pairs = rule(slot, states[index] ?? new Float32Array(), (name) =>
      golden.f32(`${prompt}.state.${name}`),
    );
    for (const { actual, expected } of pairs) {
      expectAllClose(actual, expected, STATES, `${prompt}: state ${slot.name}`);
    }
  });
}

/** Keys and values of a sliding window have a bounded slot, and are in no golden file either. */
function isAttentionWindow(slot: StateSlot, golden: Golden, prompt: string): boolean {
  return /\.(keys|values)$/.test(slot.name) && !golden.has(`${prompt}.state.${slot.name}`);
}

/**
 * The same name and order, but for two: the library calls every recurrence `recurrent`, and keeps as many inputs of a convolution as
 * it has taps, of which the oldest is never read again.
 */
function sameSlot(slot: StateSlot, actual: Float32Array, golden: GoldenState): readonly Pair[] {
  const { layer, part } = placeOf(slot);
  if (part !== "conv") {
    const { values } = golden(`${layer}.${part === "ssm" ? "recurrent" : part}`);
    return [{ actual, expected: values }];
  }
  const { shape, values } = golden(slot.name);
  const width = shape.at(-1) ?? 0;
  const keep = slot.shape.at(-1) ?? 0;
  return [{ actual, expected: values.filter((_, i) => i % width >= width - keep) }];
}

/**
 * Ours has one value head of each key head in turn, as llama.cpp's files do; in the golden file the value heads of a key head
 * are neighbours.
 */
function qwen35Slot(slot: StateSlot, actual: Float32Array, golden: GoldenState): readonly Pair[] {
  const { layer, part } = placeOf(slot);
  const [nHead = 1, headDimK = 1, headDimV = 1] = golden(`${layer}.recurrent`).shape;
  const [channels = 0] = golden(`${layer}.conv`).shape;
  const keys = channels - nHead * headDimV;
  const nKeyHead = keys / 2 / headDimK;
  const stored = (head: number): number =>
    (head % nKeyHead) * (nHead / nKeyHead) + Math.floor(head / nKeyHead);
  // Values of one head in this slot, and those before the first head.
  const taps = slot.shape.at(-1) ?? 0;
  const [size, before] =
    part === "conv" ? [headDimV * taps, keys * taps] : [headDimK * headDimV, 0];
  return sameSlot(slot, actual, golden).map((pair) => ({
    actual: pair.actual,
    expected: Array.from(pair.expected, (value, i) => {
      const head = Math.floor((i - before) / size);
      return i < before
        ? value
        : (pair.expected[before + stored(head) * size + ((i - before) % size)] ?? 0);
    }),
  }));
}

/**
 * The golden file has one array (channels, layers) a kind. num and den are divided by e^max, and any max will do: both are
 * compared at the golden one.
 */
function rwkvSlot(slot: StateSlot, actual: Float32Array, golden: GoldenState): readonly Pair[] {
  const { index, part } = placeOf(slot);
  const column = (name: string): Float32Array => {
    const { shape, values } = golden(name);
    const layers = shape[1] ?? 0;
    return values.filter((_, i) => i % layers === index);
  };
  if (part !== "wkv") return [{ actual, expected: column(part) }];
  const [num, den, max] = thirds(actual);
  const exponent = column("max");
  const rescaled = (values: Float32Array): Float32Array =>
    values.map((value, i) => value * Math.exp((max[i] ?? 0) - (exponent[i] ?? 0)));
  return [
    { actual: rescaled(num), expected: column("num") },
    { actual: rescaled(den), expected: column("den") },
  ];
}

function thirds(values: Float32Array): readonly [Float32Array, Float32Array, Float32Array] {
  const size = values.length / 3;
  return [values.subarray(0, size), values.subarray(size, 2 * size), values.subarray(2 * size)];
}

/** The golden file has one array (layers, …) a kind. */
function rwkv7Slot(slot: StateSlot, actual: Float32Array, golden: GoldenState): readonly Pair[] {
  const { index, part } = placeOf(slot);
  const { shape, values } = golden(part);
  const size = values.length / (shape[0] ?? 1);
  return [{ actual, expected: values.subarray(index * size, (index + 1) * size) }];
}

/**
 * Ours is one slot: for each head C (headDimK, headDimV), n (headDimK), m. C and n are divided by e^m, and any m will do:
 * both are compared at the golden one.
 */
function xlstmSlot(slot: StateSlot, actual: Float32Array, golden: GoldenState): readonly Pair[] {
  const { layer } = placeOf(slot);
  const [c, n, m] = [golden(`${layer}.c`), golden(`${layer}.n`), golden(`${layer}.m`).values];
  const sizeC = c.values.length / m.length;
  const sizeN = n.values.length / m.length;
  const sizeHead = sizeC + sizeN + 1;
  return [...m].flatMap((exponent, head) => {
    const ours = actual.subarray(head * sizeHead, (head + 1) * sizeHead);
    const scale = Math.exp((ours.at(-1) ?? 0) - exponent);
    return [
      {
        actual: ours.subarray(0, sizeC).map((value) => value * scale),
        expected: c.values.subarray(head * sizeC, (head + 1) * sizeC),
      },
      {
        actual: ours.subarray(sizeC, sizeC + sizeN).map((value) => value * scale),
        expected: n.values.subarray(head * sizeN, (head + 1) * sizeN),
      },
    ];
  });
}

/** Angles count modulo 2π: each is compared as its cosine and sine. */
function mamba3Slot(slot: StateSlot, actual: Float32Array, golden: GoldenState): readonly Pair[] {
  const expected = golden(slot.name).values;
  if (placeOf(slot).part !== "angle") return [{ actual, expected }];
  return [
    { actual: actual.map(Math.cos), expected: expected.map(Math.cos) },
    { actual: actual.map(Math.sin), expected: expected.map(Math.sin) },
  ];
}

/** The golden file has (heads, keys, values), ours is the other way round. */
function minimaxSlot(slot: StateSlot, actual: Float32Array, golden: GoldenState): readonly Pair[] {
  const { shape, values } = golden(slot.name);
  const [, keys = 0, columns = 0] = shape;
  const expected = values.map((_, i) => {
    const head = Math.floor(i / (keys * columns)) * keys * columns;
    return values[head + (i % keys) * columns + (Math.floor(i / keys) % columns)] ?? NaN;
  });
  return [{ actual, expected }];
}

/** The golden file has no inputs of the second convolution: they follow from those of the first, which it has. */
function zayaSlot(slot: StateSlot, actual: Float32Array, golden: GoldenState): readonly Pair[] {
  return placeOf(slot).part.startsWith("delayed") ? [] : sameSlot(slot, actual, golden);
}

/** "layers.3.conv" is layer 3's part "conv". */
function placeOf({ name }: StateSlot): { layer: string; index: number; part: string } {
  const match = /^(layers\.(\d+))\.(\w+)$/.exec(name);
  if (match === null) throw new Error(`the state slot "${name}" is not layers.<index>.<part>`);
  const [, layer = "", index, part = ""] = match;
  return { layer, index: Number(index), part };
}
