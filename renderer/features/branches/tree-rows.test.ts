import { expect, test } from "vitest";
import type { TreeNode } from "../../../main/contract/dto.ts";
import { answersBeside, countBranches, treeRows } from "./tree-rows.ts";

function node(id: string, parentId: string | null): TreeNode {
  return {
    id,
    parentId,
    role: id.startsWith("q") ? "user" : "assistant",
    excerpt: id,
    status: "done",
    tokens: 1,
    tokensPerSecond: null,
    seed: null,
    snapshotBytes: 0,
    isPinned: false,
  };
}

// q1 → a1 → (q2 → a2), (q3 → a3 | a4 | a5)
const nodes = [
  node("q1", null),
  node("a1", "q1"),
  node("q2", "a1"),
  node("a2", "q2"),
  node("q3", "a1"),
  node("a3", "q3"),
  node("a4", "q3"),
  node("a5", "q3"),
];
const drawn = (tip: string | null): string[] =>
  treeRows(nodes, tip).map(
    ({ node: { id }, depth, onPath, here }) =>
      `${"  ".repeat(depth)}${id}${onPath ? "*" : ""}${here ? " here" : ""}`,
  );

test("branches stand between a message and how it goes on, one further in", () => {
  expect(drawn("a4")).toEqual(["q1*", "a1*", "  q2", "  a2", "q3*", "  a3", "  a5", "a4* here"]);
});

test("off the path the newest goes on in line", () => {
  expect(drawn("a2")).toEqual([
    "q1*",
    "a1*",
    "  q3",
    "    a3",
    "    a4",
    "  a5",
    "q2*",
    "a2* here",
  ]);
});

test("every row knows the row of its parent", () => {
  const rows = treeRows(nodes, "a5");
  for (const { node: one, parent } of rows)
    expect(rows[parent]?.node.id ?? null).toBe(one.parentId);
});

test("a tree without a tip, and one of many branches, is drawn whole", () => {
  expect(drawn(null)).toHaveLength(nodes.length);
  const wide = [node("q0", null), ...Array.from({ length: 5000 }, (_, i) => node(`a${i}`, "q0"))];
  expect(treeRows(wide, "a7")).toHaveLength(5001);
  const deep = Array.from({ length: 20_000 }, (_, i) =>
    node(i % 2 === 0 ? `q${i}` : `a${i}`, i === 0 ? null : i % 2 === 0 ? `a${i - 1}` : `q${i - 1}`),
  );
  expect(treeRows(deep, null)).toHaveLength(20_000);
});

test("branches are counted, the one that goes on included", () => {
  expect(countBranches(treeRows(nodes, "a4"))).toBe(4);
  expect(countBranches(treeRows([node("q1", null)], null))).toBe(1);
});

test("an answer and its question find the same answers", () => {
  for (const id of ["a3", "q3"])
    expect(answersBeside(nodes, id)?.answers.map((one) => one.id)).toEqual(["a3", "a4", "a5"]);
  expect(answersBeside(nodes, "a3")?.question?.id).toBe("q3");
  expect(answersBeside(nodes, "nobody")).toBeNull();
  expect(answersBeside([node("q1", null)], "q1")).toBeNull();
});
