/** What is aimed at, and how far the results are from it. Medians; ratios within one run. */
import type { KeptLimit, Results, Row } from "./results.ts";

/** One aim. */
export interface Target {
  readonly text: string;
  readonly applies: (row: Row) => boolean;
  /** What is compared with `atLeast`; null where the row does not tell. */
  readonly value: (row: Row, limits: readonly KeptLimit[]) => number | null;
  readonly atLeast: number;
  readonly unit: "×" | "%" | "tokens/s";
}

const ratio = (row: Row): number | null => row.ratio;

function against(
  text: string,
  atLeast: number,
  where: {
    readonly place: Row["place"];
    readonly peer: string;
    readonly models: RegExp;
    readonly formats: RegExp;
    readonly measure: "prefill" | "decode";
  },
): Target {
  return {
    text,
    atLeast,
    unit: "×",
    value: ratio,
    applies: (row) =>
      row.place === where.place &&
      row.peer.includes(where.peer) &&
      where.models.test(row.model) &&
      where.formats.test(row.format) &&
      row.measure.startsWith(where.measure),
  };
}

/** In the order in which they are reported. */
export const TARGETS: readonly Target[] = [
  ...(
    [
      ["mamba-130m", /^q8_0$/, 1, 1.2],
      ["mamba2-130m", /^q8_0$/, 1, 0.9],
      ["any 130m", /^q4_/, 0.9, 0.9],
    ] as const
  ).flatMap(([model, formats, decode, prefill]) => {
    const models = model === "any 130m" ? /130m$/ : new RegExp(`^${model}$`);
    const where = { place: "cpu", peer: "llama.cpp", models, formats } as const;
    const text = `2 CPU cores, ${model} ${formats.test("q8_0") ? "Q8_0" : "Q4"}, against llama.cpp`;
    return [
      against(`${text}: decode`, decode, { ...where, measure: "decode" }),
      against(`${text}: prefill`, prefill, { ...where, measure: "prefill" }),
    ];
  }),
  ...(["decode", "prefill"] as const).map((measure) =>
    against(`same Chromium, 130m Q8_0, against wllama: ${measure}`, measure === "decode" ? 4 : 8, {
      place: "chromium",
      peer: "wllama",
      models: /130m$/,
      formats: /^q8_0$/,
      measure,
    }),
  ),
  ...(
    [
      ["Vulkan", 1.5, 3, 1.5],
      ["CUDA", 1, 1, 0.6],
    ] as const
  ).flatMap(([peer, decode, mamba1, mamba2]) => {
    const where = { place: "gpu", peer, formats: /^f16$/ } as const;
    const text = `GPU, F16, against llama.cpp ${peer}`;
    return [
      against(`${text}: decode`, decode, { ...where, models: /2\.[78]b$/, measure: "decode" }),
      against(`${text}: prefill, Mamba-1`, mamba1, {
        ...where,
        models: /^mamba-2\.8b$/,
        measure: "prefill",
      }),
      against(`${text}: prefill, Mamba-2`, mamba2, {
        ...where,
        models: /^mamba2-2\.7b$/,
        measure: "prefill",
      }),
    ];
  }),
  {
    text: "GPU, F16 mamba2-2.7b: decode's share of the copy bandwidth",
    atLeast: 60,
    unit: "%",
    applies: (row) =>
      row.place === "gpu" && row.model === "mamba2-2.7b" && row.format === "f16" && isDecode(row),
    value(row, limits) {
      const here = limits.filter((l) => l.machine === row.machine && l.what.startsWith("copy"));
      const copy = here.find(({ what }) => what.includes("PyTorch")) ?? here[0];
      return copy === undefined
        ? null
        : (100 * row.ours.median * row.weightBytes) / (copy.value * 1e9);
    },
  },
  {
    text: "GPU, 130m: decode",
    atLeast: 1000,
    unit: "tokens/s",
    applies: (row) => row.place === "gpu" && row.model.endsWith("130m") && isDecode(row),
    value: (row) => row.ours.median,
  },
  {
    text: "GPU, 130m: prefill of 2048",
    atLeast: 100_000,
    unit: "tokens/s",
    applies: (row) =>
      row.place === "gpu" && row.model.endsWith("130m") && row.measure === "prefill 2048",
    value: (row) => row.ours.median,
  },
];

function isDecode(row: Row): boolean {
  return row.measure.startsWith("decode");
}

/** What became of a target in one row. */
export interface Outcome {
  readonly target: Target;
  readonly row: Row | null;
  readonly value: number | null;
  readonly reached: boolean;
}

/** Every target with every row that it is about; one without a row where it was not measured. */
export function outcomes({ rows, limits }: Results): Outcome[] {
  return TARGETS.flatMap((target): Outcome[] => {
    const about = rows.filter(target.applies);
    if (about.length === 0) return [{ target, row: null, value: null, reached: false }];
    return about.map((row) => {
      const value = target.value(row, limits);
      return { target, row, value, reached: value !== null && value >= target.atLeast };
    });
  });
}
