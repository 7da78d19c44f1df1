import { nextUnit, seedState, type RandomState } from "../../models/generate/random.ts";

/** Seeded choices: the same seed makes the same documents and questions. */
export class Random {
  #state: RandomState;

  constructor(seed: number) {
    this.#state = seedState(seed);
  }

  /** A number in [0, 1). */
  unit(): number {
    const [value, next] = nextUnit(this.#state);
    this.#state = next;
    return value;
  }

  /** A whole number in [from, to]. */
  integer(from: number, to: number): number {
    return from + Math.floor(this.unit() * (to - from + 1));
  }

  /** @throws RangeError for an empty list */
  pick<T>(from: readonly T[]): T {
    const chosen = from[Math.floor(this.unit() * from.length)];
    if (chosen === undefined) throw new RangeError("There is nothing to choose from.");
    return chosen;
  }

  /** Digits, the first of them not 0. */
  digits(count: number): string {
    return Array.from({ length: count }, (_, at) => this.integer(at === 0 ? 1 : 0, 9)).join("");
  }

  /** A copy in another order (Fisher and Yates). */
  shuffle<T>(list: readonly T[]): T[] {
    const rest = [...list];
    const shuffled: T[] = [];
    while (rest.length > 0) shuffled.push(...rest.splice(Math.floor(this.unit() * rest.length), 1));
    return shuffled;
  }
}
