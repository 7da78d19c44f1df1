import { sigmoid } from "../../spec/activations.ts";
import type { ReferenceMemory } from "../../spec/reference.ts";
import type { RouteOperands } from "./route.ts";

/** Scores → weights → the best of the best groups. Source: arXiv:2412.19437 eq. 12–16. */
export function routeRef(memory: ReferenceMemory, operands: RouteOperands): void {
  const { scoring, nGroup, topKGroup, topK, normalise, scale } = operands;
  const rows = memory.rows(operands.scores); // (rows, nExpert)
  const experts = memory.rows(operands.experts); // (rows, topK)
  const weights = memory.rows(operands.weights); // (rows, topK)
  const bias = operands.choiceBias === null ? null : memory.weightRow(operands.choiceBias, 0); // (nExpert)
  const perGroup = operands.scores.cols / nGroup;
  rows.forEach((row, t) => {
    const raw = [...row];
    const values =
      scoring === "softmax" ? softmax(raw) : scoring === "sigmoid" ? raw.map(sigmoid) : raw;
    const choice = values.map((value, expert) => value + (bias?.[expert] ?? 0));
    const groups = Array.from({ length: nGroup }, (_, group) => {
      const [first = 0, second = 0] = choice
        .slice(group * perGroup, (group + 1) * perGroup)
        .toSorted((a, b) => b - a);
      return first + second;
    });
    const open = new Set(largest(groups, topKGroup));
    const chosen = largest(
      choice.map((value, expert) => (open.has(Math.floor(expert / perGroup)) ? value : -Infinity)),
      topK,
    );
    const picked = chosen.map((expert) => values[expert]);
    const given = scoring === "softmax-of-chosen" ? softmax(picked) : picked;
    const sum = normalise ? given.reduce((total, value) => total + value, 1e-20) : 1;
    chosen.forEach((expert, place) => {
      experts[t][place] = expert;
      weights[t][place] = (given[place] / sum) * scale;
    });
  });
}

function softmax(values: readonly number[]): number[] {
  const most = Math.max(...values);
  const powers = values.map((value) => Math.exp(value - most));
  const sum = powers.reduce((total, power) => total + power, 0);
  return powers.map((power) => power / sum);
}

/** Places of the `count` largest values, largest first; of equal ones the earlier. */
function largest(values: readonly number[], count: number): number[] {
  return values
    .map((_, place) => place)
    .toSorted((a, b) => values[b] - values[a] || a - b)
    .slice(0, count);
}
