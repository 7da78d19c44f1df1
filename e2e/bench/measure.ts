/** The comparison itself: engines in turn, on one file, behind the gate. */
import { promptIds, TOKENS_BEFORE_DECODE, type BenchEngine } from "./engine.ts";
import { judge, type Verdict } from "./gate.ts";
import { waitForQuiet } from "./machine.ts";
import { summarise, type Rate } from "./statistics.ts";

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
}

/**
 * Measures two engines in turn, A B A B.
 * @param peerGap see gate.ts
 */
export async function compare(
  ours: BenchEngine,
  theirs: BenchEngine,
  peerGap: number,
  plan: Plan,
): Promise<{ readonly verdict: Verdict; readonly comparisons: readonly Comparison[] }> {
  const prompt = promptIds(COMPARED_PROMPT);
  const verdict = judge(
    await ours.answer(prompt, COMPARED_TOKENS),
    await theirs.answer(prompt, COMPARED_TOKENS),
    peerGap,
  );
  const before = promptIds(TOKENS_BEFORE_DECODE);
  const measures = [
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
  const comparisons: Comparison[] = [];
  for (const { measure, tokens, time } of measures) {
    const [mine, other] = [ours, theirs].map((engine) => ({ engine, rates: [] as number[] }));
    if (mine === undefined || other === undefined) throw new Error("two engines are compared");
    for (const { engine } of [mine, other]) await warmUp(plan.warmUpSeconds, () => time(engine));
    let busiest = 0;
    for (let run = 0; run < plan.runs; run++) {
      for (const { engine, rates } of [mine, other]) {
        busiest = Math.max(busiest, await waitForQuiet(plan.busy));
        rates.push(tokens / (await time(engine)));
      }
    }
    const [a, b] = [summarise(mine.rates), summarise(other.rates)];
    comparisons.push({
      measure,
      ours: a,
      theirs: b,
      ratio: verdict.same ? a.median / b.median : null,
      busy: Number.isNaN(busiest) ? null : busiest,
    });
  }
  return { verdict, comparisons };
}

async function warmUp(seconds: number, work: () => Promise<unknown>): Promise<void> {
  const end = performance.now() + 1000 * seconds;
  do await work();
  while (performance.now() < end);
}
