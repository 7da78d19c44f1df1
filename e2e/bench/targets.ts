/** What is aimed at, and how far the results are from it. Medians; ratios within one run. */
import type { Figure, KeptLimit, Results, Row } from "./results.ts";

/** One aim. */
export interface Target {
  /** By which the findings (findings.ts) name it. */
  readonly id: string;
  readonly text: string;
  readonly bound: "at least" | "at most";
  readonly aim: number;
  readonly unit: "×" | "%" | "tokens/s" | "MB" | "s";
  /** All that was measured of it. */
  readonly of: (results: Results) => readonly Measured[];
}

/** A result that a target is about. */
export interface Measured {
  readonly what: string;
  /** The options that measure it again. */
  readonly options: string;
  /** What is compared with the aim; null where the result does not tell. */
  readonly value: number | null;
}

const PLACE_OPTION: Readonly<Record<Row["place"], string>> = {
  cpu: "--cpu",
  chromium: "--chromium",
  gpu: "--gpu",
};

/** A target about comparisons. */
function ofRows(
  applies: (row: Row) => boolean,
  value: (row: Row, limits: readonly KeptLimit[]) => number | null = (row) => row.ratio,
): Target["of"] {
  return ({ rows, limits }) =>
    rows.filter(applies).map((row) => ({
      what: `${row.model} ${row.format}, ${row.measure}, beside ${row.peer}`,
      options: rowOptions(row),
      value: value(row, limits),
    }));
}

function rowOptions({ place, model, format, measure }: Row): string {
  const [kind, count] = measure.split(" ");
  const length = kind === "prefill" ? `--prompt ${count}` : `--decode ${count}`;
  return `${PLACE_OPTION[place]} --models ${model} --formats ${format} ${length}`;
}

/** A target about what was measured of Tarn alone. */
function ofFigures(
  applies: (figure: Figure) => boolean,
  option: string,
  value: (figure: Figure) => number = (figure) => figure.value,
): Target["of"] {
  return ({ figures }) =>
    figures.filter(applies).map((figure) => ({
      what: `${figure.model} ${figure.format}, ${figure.measure}: ${figure.detail}`,
      options:
        figure.kind === "start"
          ? `--alone ${option}`
          : `${PLACE_OPTION[figure.place]} --alone --models ${figure.model} --formats ${figure.format} ${option}`,
      value: value(figure),
    }));
}

function against(
  id: string,
  text: string,
  aim: number,
  where: {
    readonly place: Row["place"];
    readonly peer: string;
    readonly models: RegExp;
    readonly formats: RegExp;
    readonly measure: "prefill" | "decode";
  },
): Target {
  return {
    id,
    text,
    bound: "at least",
    aim,
    unit: "×",
    of: ofRows(
      (row) =>
        row.place === where.place &&
        row.peer.includes(where.peer) &&
        where.models.test(row.model) &&
        where.formats.test(row.format) &&
        row.measure.startsWith(where.measure),
    ),
  };
}

const CPU_TARGETS = (
  [
    ["cpu-mamba", "mamba-130m Q8_0", /^mamba-130m$/, /^q8_0$/, 1, 1.2],
    ["cpu-mamba2", "mamba2-130m Q8_0", /^mamba2-130m$/, /^q8_0$/, 1, 0.9],
    ["cpu-q4", "any 130m Q4", /130m$/, /^q4_/, 0.9, 0.9],
  ] as const
).flatMap(([id, name, models, formats, decode, prefill]) => {
  const where = { place: "cpu", peer: "llama.cpp", models, formats } as const;
  const text = `2 CPU cores, ${name}, against llama.cpp`;
  return [
    against(`${id}-decode`, `${text}: decode`, decode, { ...where, measure: "decode" }),
    against(`${id}-prefill`, `${text}: prefill`, prefill, { ...where, measure: "prefill" }),
  ];
});

const CHROMIUM_TARGETS = (["decode", "prefill"] as const).map((measure) =>
  against(
    `chromium-${measure}`,
    `same Chromium, 130m Q8_0, against wllama: ${measure}`,
    measure === "decode" ? 4 : 8,
    { place: "chromium", peer: "wllama", models: /130m$/, formats: /^q8_0$/, measure },
  ),
);

const GPU_PEER_TARGETS = (
  [
    ["Vulkan", 1.5, 3, 1.5],
    ["CUDA", 1, 1, 0.6],
  ] as const
).flatMap(([peer, decode, mamba1, mamba2]) => {
  const where = { place: "gpu", peer, formats: /^f16$/ } as const;
  const text = `GPU, F16, against llama.cpp ${peer}`;
  const id = peer.toLowerCase();
  return [
    against(`${id}-decode`, `${text}: decode`, decode, {
      ...where,
      models: /2\.[78]b$/,
      measure: "decode",
    }),
    against(`${id}-prefill-mamba`, `${text}: prefill, Mamba-1`, mamba1, {
      ...where,
      models: /^mamba-2\.8b$/,
      measure: "prefill",
    }),
    against(`${id}-prefill-mamba2`, `${text}: prefill, Mamba-2`, mamba2, {
      ...where,
      models: /^mamba2-2\.7b$/,
      measure: "prefill",
    }),
  ];
});

/** In the order in which they are reported. */
export const TARGETS: readonly Target[] = [
  ...CPU_TARGETS,
  ...CHROMIUM_TARGETS,
  ...GPU_PEER_TARGETS,
  {
    id: "gpu-bandwidth",
    text: "GPU, F16 mamba2-2.7b: decode's share of the copy bandwidth",
    bound: "at least",
    aim: 60,
    unit: "%",
    of: ofRows(
      (row) => isGpu(row, /^mamba2-2\.7b$/, "decode") && row.format === "f16",
      (row, limits) => {
        const here = limits.filter((l) => l.machine === row.machine && l.what.startsWith("copy"));
        const copy = here.find(({ what }) => what.includes("PyTorch")) ?? here[0];
        return copy === undefined
          ? null
          : (100 * row.ours.median * row.weightBytes) / (copy.value * 1e9);
      },
    ),
  },
  {
    id: "gpu-130m-decode",
    text: "GPU, 130m: decode",
    bound: "at least",
    aim: 1000,
    unit: "tokens/s",
    of: ofRows(
      (row) => isGpu(row, /130m$/, "decode"),
      (row) => row.ours.median,
    ),
  },
  {
    id: "gpu-130m-prefill",
    text: "GPU, 130m: prefill of 2048",
    bound: "at least",
    aim: 100_000,
    unit: "tokens/s",
    of: ofRows(
      (row) => isGpu(row, /130m$/, "prefill 2048"),
      (row) => row.ours.median,
    ),
  },
  ...(["gpu", "cpu"] as const).map((place): Target => ({
    id: `${place}-batch`,
    text: `${place === "gpu" ? "GPU" : "2 CPU cores"}: 16 branches of one state together, against one`,
    bound: "at least",
    aim: place === "gpu" ? 8 : 3,
    unit: "×",
    of: ofFigures(
      ({ kind, place: at, measure }) =>
        kind === "batch" && at === place && measure.startsWith("16 "),
      "--batch 16",
    ),
  })),
  {
    id: "flat-speed",
    text: "Decode behind 1,000,000 tokens, of its speed behind 1,000",
    bound: "at least",
    aim: 95,
    unit: "%",
    of: ofFigures(
      ({ kind }) => kind === "flat speed",
      "--flat 1000000",
      ({ value }) => 100 * value,
    ),
  },
  {
    id: "flat-memory",
    text: "Memory behind 1,000,000 tokens, beyond that behind 1,000",
    bound: "at most",
    aim: 1,
    unit: "MB",
    of: ofFigures(
      ({ kind }) => kind === "flat memory",
      "--flat 1000000",
      ({ value }) => value / 1e6,
    ),
  },
  {
    id: "start",
    text: "Default model on 2 cores: cold process to first token",
    bound: "at most",
    aim: 1.5,
    unit: "s",
    of: ofFigures(({ kind }) => kind === "start", "--start"),
  },
];

function isGpu(row: Row, models: RegExp, measure: string): boolean {
  return row.place === "gpu" && models.test(row.model) && row.measure.startsWith(measure);
}

/** What became of a target in one result; without one where it was not measured. */
export interface Outcome {
  readonly target: Target;
  readonly measured: Measured | null;
  readonly reached: boolean;
}

/** Every target with every result that it is about. */
export function outcomes(results: Results): Outcome[] {
  return TARGETS.flatMap((target): Outcome[] => {
    const about = target.of(results);
    if (about.length === 0) return [{ target, measured: null, reached: false }];
    return about.map((measured) => {
      const { value } = measured;
      const within =
        value !== null && (target.bound === "at least" ? value >= target.aim : value <= target.aim);
      return { target, measured, reached: within };
    });
  });
}

/** "not reached: 94 % of it", "not reached: 2.1 times as much". */
export function missText({ target, measured }: Outcome): string {
  const value = measured?.value ?? NaN;
  if (target.bound === "at most")
    return `not reached: ${(value / target.aim).toFixed(2)} times as much`;
  return `not reached: ${((100 * value) / target.aim).toFixed(0)} % of it`;
}
