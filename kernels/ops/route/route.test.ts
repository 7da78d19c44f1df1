import { expect, test } from "vitest";
import { expectAllClose } from "../../testing/all-close.ts";
import { expectLikeReference } from "../../testing/compare.ts";
import { forEachBackend } from "../../testing/for-each-backend.ts";
import { runOp, type OpTrial } from "../../testing/op-runner.ts";
import { seeded } from "../../testing/seeded.ts";
import { route, type Routing } from "./route.ts";

type Options = Omit<Parameters<typeof route>[1], "scores" | "choiceBias">;

/** A trial that gives one of the two outputs. */
function trial(
  rows: number,
  scores: Float32Array,
  bias: Float32Array | null,
  options: Options,
  output: keyof Routing,
): OpTrial<"scores", never, "bias"> {
  const cols = scores.length / rows;
  return {
    batch: 1,
    length: rows,
    inputs: { scores: { cols, values: scores, margin: [3, 2] } },
    states: {},
    weights: { bias: { rows: 1, cols, values: bias ?? new Float32Array(cols) } },
    record: (k, { inputs, weights }) =>
      route(k, {
        scores: inputs.scores,
        choiceBias: bias === null ? null : weights.bias,
        ...options,
      })[output],
  };
}

forEachBackend("route", (backend) => {
  /** Experts and weights of rows. */
  async function routed(
    scores: readonly (readonly number[])[],
    options: Options,
    bias: Float32Array | null = null,
  ): Promise<{ experts: number[]; weights: Float32Array }> {
    const values = Float32Array.from(scores.flat());
    const { y: experts } = await runOp(
      backend(),
      trial(scores.length, values, bias, options, "experts"),
    );
    const { y: weights } = await runOp(
      backend(),
      trial(scores.length, values, bias, options, "weights"),
    );
    return { experts: [...experts], weights };
  }

  test("takes the probabilities of all experts, then the best", async () => {
    const { experts, weights } = await routed([[0, Math.log(2), Math.log(5), 0]], {
      scoring: "softmax",
      topK: 2,
    });
    expect(experts).toEqual([2, 1]);
    expectAllClose(weights, [5 / 9, 2 / 9], { absolute: 1e-6, relative: 0 }, "weights");
  });

  test("takes the best, then the probabilities among them", async () => {
    const { experts, weights } = await routed([[0, Math.log(2), Math.log(6), 0]], {
      scoring: "softmax-of-chosen",
      topK: 2,
    });
    expect(experts).toEqual([2, 1]);
    expectAllClose(weights, [0.75, 0.25], { absolute: 1e-6, relative: 0 }, "weights");
  });

  test("adds the bias for the choice only, and scales weights that add up to one", async () => {
    const { experts, weights } = await routed(
      [[0, 0, Math.log(3), 0]],
      { scoring: "sigmoid", topK: 2, normalise: true, scale: 2.5 },
      Float32Array.of(0, 1, 0, -1),
    );
    expect(experts).toEqual([1, 2]);
    expectAllClose(weights, [1, 1.5], { absolute: 1e-6, relative: 0 }, "weights");
  });

  test("chooses within the groups whose two best have the largest sum", async () => {
    // Sums 1.0, 1.5, 1.4: the largest value of all is in a group that is closed.
    const { experts, weights } = await routed([[1, 0, 0.8, 0.7, 0.6, 0.8]], {
      scoring: "raw",
      topK: 3,
      nGroup: 3,
      topKGroup: 2,
    });
    expect(experts).toEqual([2, 5, 3]);
    expectAllClose(weights, [0.8, 0.8, 0.7], { absolute: 1e-6, relative: 0 }, "weights");
  });

  test.each(["softmax", "sigmoid", "softmax-of-chosen", "raw"] as const)(
    "takes the lower number of equal ones: %s",
    async (scoring) => {
      const { experts } = await routed(
        [
          [0.5, 0.5, 0.5, 0.5, 0.5],
          [-1, 0.25, -1, 0.25, 0.25],
          [-2, -3, -2, -2, -3],
        ],
        { scoring, topK: 4 },
      );
      expect(experts).toEqual([0, 1, 2, 3, 1, 3, 4, 0, 0, 2, 3, 1]);
    },
  );

  test("opens the lower of equal groups", async () => {
    const { experts } = await routed([[1, 2, 2, 1, 3, 0, 0, 0]], {
      scoring: "raw",
      topK: 2,
      nGroup: 4,
      topKGroup: 1,
    });
    expect(experts).toEqual([1, 0]);
  });

  test.each([
    { scoring: "raw", rows: 1, nExpert: 1, topK: 1, nGroup: 1, topKGroup: 1, normalise: false },
    { scoring: "softmax", rows: 3, nExpert: 8, topK: 2, nGroup: 1, topKGroup: 1, normalise: true },
    {
      scoring: "softmax",
      rows: 5,
      nExpert: 65,
      topK: 7,
      nGroup: 1,
      topKGroup: 1,
      normalise: false,
    },
    { scoring: "sigmoid", rows: 4, nExpert: 96, topK: 6, nGroup: 8, topKGroup: 3, normalise: true },
    { scoring: "raw", rows: 4, nExpert: 6, topK: 2, nGroup: 6, topKGroup: 4, normalise: false },
    {
      scoring: "softmax-of-chosen",
      rows: 2,
      nExpert: 130,
      topK: 130,
      nGroup: 1,
      topKGroup: 1,
      normalise: true,
    },
  ] as const)(
    "agrees with the reference: $scoring, $rows rows, $topK of $nExpert, $topKGroup of $nGroup groups",
    async ({ rows, nExpert, ...options }) => {
      const random = seeded(nExpert * 7 + options.topK);
      const scores = random.normal(rows * nExpert, 2);
      for (const bias of [null, random.normal(nExpert, 0.1)]) {
        for (const output of ["experts", "weights"] as const) {
          await expectLikeReference(
            backend(),
            trial(rows, scores, bias, { scale: 1.5, ...options }, output),
          );
        }
      }
    },
  );
});
