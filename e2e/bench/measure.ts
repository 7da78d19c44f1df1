/** The comparison itself: engines in turn, on one file, behind the gate. */
import { promptIds, TOKENS_BEFORE_DECODE, type BenchEngine } from "./engine.ts";
import { judge, type Verdict } from "./gate.ts";
import { waitForQuiet } from "./machine.ts";
import { summarise, type Rate } from "./statistics.ts";
import type { KeptComparison, KeptVerdict, Pair, Unfinished } from "./unfinished.ts";

/** Tokens of the prompt behind which answers are compared, and that are chosen after it. */
export const COMPARED_PROMPT = 32;
export const COMPARED_TOKENS = 16;

/** One thing that was measured of two engines. */
export interface Comparison {
  /** "prefill 512", "decode 64". */
  readonly measure: string;
  readonly ours: Rate;
  readonly theirs: Rate;
  /** Ours to theirs; null where the two do not compute the same. */
  readonly ratio: number | null;
  /** The largest share of the machine that was busy before a run, 0 … 1; null where the system does not tell. */
  readonly busy: number | null;
}

/** How it is measured. */
export interface Plan {
  readonly prompts: readonly number[];
  readonly decode: number;
  readonly runs: number;
  /** See machine.ts. */
  readonly busy: number;
  /** Untimed work of each engine before each measure, at least this long: clocks of GPUs rise with it. */
  readonly warmUpSeconds: number;
  /**
   * Untimed work of an engine right before each of its runs, at least this long and one run; 0 for none. A GPU's clocks fall
   * while quiet is waited for, and stay low for longer than a short run takes.
   */
  readonly wakeSeconds: number;
}

interface Measure {
  readonly measure: string;
  readonly tokens: number;
  /** Seconds. */
  readonly time: (engine: BenchEngine) => Promise<number>;
}

function measuresOf(plan: Pick<Plan, "prompts" | "decode">): Measure[] {
  const before = promptIds(TOKENS_BEFORE_DECODE);
  return [
    ...plan.prompts.map((length) => ({
      measure: `prefill ${length}`,
      tokens: length,
      time: async (engine: BenchEngine) => await engine.prefill(promptIds(length)),
    })),
    {
      measure: `decode ${plan.decode}`,
      tokens: plan.decode,
      time: async (engine: BenchEngine) => await engine.decode(before, plan.decode),
    },
  ];
}

/** Compares answers, unless that is kept already. @param peerGap see gate.ts */
export async function compareAnswers(
  ours: BenchEngine,
  theirs: BenchEngine,
  peerGap: number,
): Promise<KeptVerdict> {
  const prompt = promptIds(COMPARED_PROMPT);
  return kept(
    judge(
      await ours.answer(prompt, COMPARED_TOKENS),
      await theirs.answer(prompt, COMPARED_TOKENS),
      peerGap,
    ),
  );
}

/** JSON knows finite numbers only. */
function kept(verdict: Verdict): KeptVerdict {
  const finite = (value: number | null): number | null =>
    value !== null && Number.isFinite(value) ? value : null;
  const { peerGap, allowed, off, partingMargin } = verdict;
  return {
    ...verdict,
    peerGap: finite(peerGap),
    allowed: finite(allowed),
    off: finite(off),
    partingMargin: finite(partingMargin),
  };
}

/**
 * Times two engines in turn, A B A B, until there are as many runs as the plan wants.
 * @param record what is known of them; gets the new runs, one pair after the other
 * @throws OutOfTime when the next would not end in time
 */
export async function timeInTurn(
  ours: BenchEngine,
  theirs: BenchEngine,
  plan: Plan,
  record: KeptComparison,
  unfinished: Unfinished,
): Promise<void> {
  for (const { measure, time } of measuresOf(plan)) {
    const pairs = (record.pairs[measure] ??= []);
    if (pairs.length >= plan.runs) continue;
    const last = pairs.at(-1);
    // A run of both to warm up, and one to be timed.
    if (last !== undefined) unfinished.mustFit(2 * (last.ours + last.theirs));
    const start = performance.now();
    for (const engine of [ours, theirs]) await warmUp(plan.warmUpSeconds, () => time(engine));
    let expected = (performance.now() - start) / 1000;
    while (pairs.length < plan.runs) {
      unfinished.mustFit(expected);
      const pair = await timePair(ours, theirs, plan, time);
      expected = pair.ours + pair.theirs;
      if (plan.wakeSeconds > 0) expected *= 2;
      pairs.push(pair);
      await unfinished.save();
    }
  }
}

async function timePair(
  ours: BenchEngine,
  theirs: BenchEngine,
  { busy: quiet, wakeSeconds }: Plan,
  time: Measure["time"],
): Promise<Pair> {
  const before: number[] = [];
  const timeOne = async (engine: BenchEngine): Promise<number> => {
    before.push(await waitForQuiet(quiet));
    if (wakeSeconds > 0) await warmUp(wakeSeconds, () => time(engine));
    return await time(engine);
  };
  const mine = await timeOne(ours);
  const other = await timeOne(theirs);
  const busiest = Math.max(...before);
  return { ours: mine, theirs: other, busy: Number.isNaN(busiest) ? null : busiest };
}

/** Whether all is measured that the plan wants. */
export function isComplete(record: KeptComparison, plan: Plan): boolean {
  return (
    record.verdict !== undefined &&
    record.about !== undefined &&
    measuresOf(plan).every(({ measure }) => (record.pairs[measure]?.length ?? 0) >= plan.runs)
  );
}

/** What the runs came to. */
export function comparisonsOf(record: KeptComparison, plan: Plan): Comparison[] {
  return measuresOf(plan).map(({ measure, tokens }) => {
    const pairs = record.pairs[measure] ?? [];
    const a = summarise(pairs.map(({ ours }) => tokens / ours));
    const b = summarise(pairs.map(({ theirs }) => tokens / theirs));
    const busy = pairs.map((pair) => pair.busy).filter((value) => value !== null);
    return {
      measure,
      ours: a,
      theirs: b,
      ratio: record.verdict?.same === true ? a.median / b.median : null,
      busy: busy.length === 0 ? null : Math.max(...busy),
    };
  });
}

async function warmUp(seconds: number, work: () => Promise<unknown>): Promise<void> {
  const end = performance.now() + 1000 * seconds;
  do await work();
  while (performance.now() < end);
}
