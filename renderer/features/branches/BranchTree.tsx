import { useRef, type KeyboardEvent } from "react";
import { Pin } from "lucide-react";
import type { TreeNode } from "../../../main/contract/dto.ts";
import { formatTokens } from "../../ui/format.ts";
import type { TreeRow } from "./tree-rows.ts";

/** Height of a row and width of a step in, px; as in branches.css. */
const ROW = 36;
const STEP = 18;
/** Steps that are drawn; deeper branches stand in line. */
const DEEPEST = 8;

interface BranchTreeProps {
  readonly rows: readonly TreeRow[];
  /** The row that the arrows start from. */
  readonly focused: string | null;
  onFocus(messageId: string): void;
  onOpen(messageId: string): void;
  onDelete(messageId: string): void;
}

/** Every branch of a chat, drawn as rails: a square is a question, a dot an answer, a ring where one is. */
export function BranchTree({ rows, focused, onFocus, onOpen, onDelete }: BranchTreeProps) {
  const tree = useRef<HTMLDivElement>(null);
  const at = Math.max(
    0,
    rows.findIndex(({ node }) => node.id === focused),
  );

  function move(to: number): void {
    const row = rows[Math.min(Math.max(to, 0), rows.length - 1)];
    if (row === undefined) return;
    onFocus(row.node.id);
    tree.current?.querySelector<HTMLElement>(`[data-node="${row.node.id}"]`)?.focus();
  }
  function onKeyDown(event: KeyboardEvent): void {
    const row = rows[at];
    if (row === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    const act = {
      ArrowDown: () => move(at + 1),
      ArrowUp: () => move(at - 1),
      Home: () => move(0),
      End: () => move(rows.length - 1),
      ArrowLeft: () => row.parent >= 0 && move(row.parent),
      ArrowRight: () => move(rows.findIndex(({ parent }) => parent === at)),
      Enter: () => onOpen(row.node.id),
      Delete: () => {
        // What it hung on is there afterwards.
        move(Math.max(row.parent, 0));
        onDelete(row.node.id);
      },
      " ": () => onFocus(row.node.id),
    }[event.key];
    if (act === undefined) return;
    event.preventDefault();
    act();
  }

  return (
    <div
      ref={tree}
      className="branch-tree"
      role="tree"
      aria-label="Branches of this chat"
      tabIndex={-1}
    >
      <Rails rows={rows} />
      {rows.map(({ node, depth, here }, index) => (
        <div
          key={node.id}
          className={`tn ${here ? "cur" : ""}`}
          role="treeitem"
          aria-level={depth + 1}
          aria-selected={here}
          aria-label={`${speaker(node)}: ${node.excerpt === "" ? "no words" : node.excerpt}${node.isPinned ? ", its state is kept" : ""}`}
          tabIndex={index === at ? 0 : -1}
          data-node={node.id}
          style={{ paddingInlineStart: 34 + STEP * Math.min(depth, DEEPEST) }}
          onKeyDown={onKeyDown}
          onClick={() => onFocus(node.id)}
          onDoubleClick={() => onOpen(node.id)}
          onFocus={() => focused !== node.id && onFocus(node.id)}
        >
          <span
            className={`cut ${node.role === "user" ? "med" : ""} ${here ? "" : "q"}`}
            dir="auto"
          >
            {node.excerpt === "" ? "…" : node.excerpt}
          </span>
          <span className="end row small qq" style={{ gap: 6 }}>
            {node.isPinned && <Pin className="i s" aria-label="Kept" />}
            {here ? "here" : note(node)}
          </span>
        </div>
      ))}
    </div>
  );
}

function speaker({ role }: TreeNode): string {
  switch (role) {
    case "user":
      return "You";
    case "assistant":
      return "Assistant";
    case "document":
      return "Document";
    case "system":
      return "Instructions";
  }
}

/** What tells an answer from its siblings: its seed, else its length. */
function note({ role, seed, tokens }: TreeNode): string {
  if (role !== "assistant") return "";
  return seed !== null && seed > 0 ? `seed ${seed}` : formatTokens(tokens);
}

function Rails({ rows }: { readonly rows: readonly TreeRow[] }) {
  const x = (depth: number): number => 16 + STEP * Math.min(depth, DEEPEST);
  const y = (row: number): number => ROW / 2 + ROW * row;
  return (
    <svg
      className="rails flip"
      width={x(DEEPEST) + 16}
      height={ROW * rows.length}
      fill="none"
      aria-hidden="true"
    >
      {rows.map(({ node, depth, parent, onPath }, row) => {
        const from = rows[parent];
        if (from === undefined) return null;
        const [x0, x1, y1] = [x(from.depth), x(depth), y(row)];
        const drawn =
          x0 === x1 ? `M${x1} ${y(parent)}V${y1}` : `M${x0} ${y1 - 16}c0 12 4 16 ${x1 - x0} 16`;
        return (
          <path
            key={node.id}
            d={drawn}
            stroke={onPath ? "var(--accent)" : "var(--control)"}
            strokeWidth={onPath ? 2 : 1.5}
          />
        );
      })}
      {rows.map(({ node, depth, onPath, here }, row) => {
        const colour = onPath ? "var(--accent)" : "var(--control)";
        const [cx, cy] = [x(depth), y(row)];
        if (here) {
          return (
            <g key={node.id}>
              <circle cx={cx} cy={cy} r={7} fill="var(--surface)" stroke={colour} strokeWidth={2} />
              <circle cx={cx} cy={cy} r={3.5} fill={colour} />
            </g>
          );
        }
        return node.role === "assistant" ? (
          <circle key={node.id} cx={cx} cy={cy} r={4.5} fill={colour} />
        ) : (
          <rect
            key={node.id}
            x={cx - 4.5}
            y={cy - 4.5}
            width={9}
            height={9}
            rx={2}
            fill="var(--paper)"
            stroke={colour}
            strokeWidth={2}
          />
        );
      })}
    </svg>
  );
}
