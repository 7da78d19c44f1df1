/** The tree of a chat as rows from top to bottom. Pure, so that its order can be tested. */
import type { TreeNode } from "../../../main/contract/dto.ts";

/** A message as a row. */
export interface TreeRow {
  readonly node: TreeNode;
  /** 0 on the path to where one is; each branch off it is one further in. */
  readonly depth: number;
  /** Row of its parent; -1 at the root. */
  readonly parent: number;
  readonly onPath: boolean;
  /** Whether this is where one is. */
  readonly here: boolean;
}

/**
 * A parent stands before its children. Of each message's children the branches come first, one further in; the child that goes on
 * the way to the tip (off the path, the newest) comes last, in line with its parent.
 */
export function treeRows(nodes: readonly TreeNode[], tipId: string | null): TreeRow[] {
  const children = new Map<string | null, TreeNode[]>();
  const ids = new Set(nodes.map(({ id }) => id));
  for (const node of nodes) {
    // Where a chat was forked its root's parent may be out of sight.
    const parent = node.parentId !== null && ids.has(node.parentId) ? node.parentId : null;
    const siblings = children.get(parent);
    if (siblings === undefined) children.set(parent, [node]);
    else siblings.push(node);
  }
  const path = pathTo(nodes, tipId);
  const rows: TreeRow[] = [];
  const open: { readonly node: TreeNode; readonly depth: number; readonly parent: number }[] = [];
  function push(parentId: string | null, depth: number, parent: number): void {
    const all = children.get(parentId) ?? [];
    const main = all.find(({ id }) => path.has(id)) ?? all.at(-1);
    const branches = all.filter((child) => child !== main);
    // A stack: what comes first is put on last.
    if (main !== undefined) open.push({ node: main, depth, parent });
    for (const node of branches.toReversed()) open.push({ node, depth: depth + 1, parent });
  }
  push(null, 0, -1);
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const { node, depth, parent } = next;
    rows.push({ node, depth, parent, onPath: path.has(node.id), here: node.id === tipId });
    push(node.id, depth, rows.length - 1);
  }
  return rows;
}

function pathTo(nodes: readonly TreeNode[], tipId: string | null): ReadonlySet<string> {
  const byId = new Map(nodes.map((node) => [node.id, node]));
  const path = new Set<string>();
  for (
    let node = tipId === null ? undefined : byId.get(tipId);
    node !== undefined && !path.has(node.id);
    node = node.parentId === null ? undefined : byId.get(node.parentId)
  )
    path.add(node.id);
  return path;
}

/** Answers to the same question. */
export interface AnswerGroup {
  readonly question: TreeNode | null;
  readonly answers: readonly TreeNode[];
}

/** The answers beside this one; of a question, those to it; null where there is nothing to compare. */
export function answersBeside(nodes: readonly TreeNode[], nodeId: string): AnswerGroup | null {
  const node = nodes.find(({ id }) => id === nodeId);
  if (node === undefined) return null;
  const questionId = node.role === "assistant" ? node.parentId : node.id;
  const answers = nodes.filter(
    ({ role, parentId }) => role === "assistant" && parentId === questionId,
  );
  if (answers.length === 0) return null;
  return { question: nodes.find(({ id }) => id === questionId) ?? null, answers };
}

/** A message and all behind it. @param nodes a parent stands before its children */
export function countBehind(nodes: readonly TreeNode[], messageId: string): number {
  const found = new Set([messageId]);
  for (const { id, parentId } of nodes) if (parentId !== null && found.has(parentId)) found.add(id);
  return found.size;
}

/** Places where a message has more than one child. */
export function countBranches(rows: readonly TreeRow[]): number {
  return 1 + rows.filter(({ depth, parent }) => depth > (rows[parent]?.depth ?? 0)).length;
}
