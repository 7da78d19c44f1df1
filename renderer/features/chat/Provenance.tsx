import { useEffect, useRef, useState } from "react";
import { Check, CircleHelp, Fingerprint, TriangleAlert, X } from "lucide-react";
import type { Cost } from "../../../main/contract/dto.ts";
import type { Audit, AuditPart, Provenance } from "../../../main/contract/provenance.ts";
import { toTarnError } from "../../client/check.ts";
import { useApi, useApiEvent } from "../../client/context.tsx";
import { Button } from "../../ui/Button.tsx";
import { formatCount, formatTokens } from "../../ui/format.ts";
import { IconButton } from "../../ui/IconButton.tsx";
import { formatCost } from "./use-costs.ts";

interface ProvenancePanelProps {
  readonly chatId: string;
  readonly messageId: string;
  onClose(): void;
}

/** How an answer came to be, as it was written down, and whether that holds when it is computed again. */
export function ProvenancePanel({ chatId, messageId, onClose }: ProvenancePanelProps) {
  const api = useApi();
  /** Undefined while it is not known. */
  const [record, setRecord] = useState<Provenance | null | undefined>(undefined);
  const [cost, setCost] = useState<Cost | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  useEffect(() => {
    let current = true;
    const fail = (error: unknown): void => {
      if (current) setProblem(toTarnError(error).message);
    };
    api
      .call("messages.provenance", { chatId, messageId })
      .then((next) => current && setRecord(next), fail);
    api
      .call("chats.auditCost", { chatId, messageId })
      .then((next) => current && setCost(next), fail);
    return () => {
      current = false;
    };
  }, [api, chatId, messageId]);
  const place = useRef<HTMLElement>(null);
  useEffect(() => {
    if (record !== undefined) place.current?.scrollIntoView({ block: "nearest" });
  }, [record]);
  return (
    <section ref={place} className="provenance card" aria-label="How this answer came to be">
      <div className="row">
        <Fingerprint className="i s" />
        <h2 className="med grow">How this answer came to be</h2>
        <IconButton label="Close" icon={<X className="i s" />} onClick={onClose} />
      </div>
      {record === null && (
        <p className="q">
          That was not written down: it was cut off, failed, or is from an earlier version.
        </p>
      )}
      {record !== null && record !== undefined && (
        <>
          <Facts record={record} />
          <AuditBox chatId={chatId} messageId={messageId} cost={cost} />
        </>
      )}
      {problem !== null && (
        <p className="small danger" role="alert">
          {problem}
        </p>
      )}
    </section>
  );
}

function Facts({ record }: { readonly record: Provenance }) {
  const { model, begun, documents, passages, sampler, persona } = record;
  const facts: readonly (readonly [string, string, (string | undefined)?])[] = [
    [
      "Read before",
      `${formatTokens(record.prefixTokens)}, of them ${formatCount(begun.tokens)} known before its turn`,
      record.prefix,
    ],
    ...(persona === null ? [] : [["Persona", persona.name] as const]),
    ...documents.map(
      ({ name, way, file }) =>
        ["Document", `${name}, ${way === "whole" ? "read whole" : "looked up"}`, file] as const,
    ),
    ...(passages.length === 0
      ? []
      : [
          [
            "Passages",
            passages
              .map(({ page, start }) => (page === null ? `at ${formatCount(start)}` : `p. ${page}`))
              .join(", "),
          ] as const,
        ]),
    ["Model", model.name, model.hash],
    ["Computed on", `${record.backend}, ${record.device}`],
    ["Written by", sampler === null ? "the program, in the model's place" : wordsFor(sampler)],
    [
      "State behind it",
      record.state === null ? "none was kept" : "kept",
      record.state ?? undefined,
    ],
    [
      "Time",
      new Intl.DateTimeFormat("en", { dateStyle: "medium", timeStyle: "medium" }).format(record.at),
    ],
  ];
  return (
    <dl className="facts">
      {facts.map(([name, value, hash], index) => (
        <div key={`${name}${index}`}>
          <dt className="q">{name}</dt>
          <dd>
            <span dir="auto">{value}</span>
            {hash !== undefined && hash !== "" && (
              <code className="qq" dir="ltr" title={hash}>
                {hash.slice(0, 8)}
              </code>
            )}
          </dd>
        </div>
      ))}
    </dl>
  );
}

function wordsFor({
  temperature,
  topK,
  topP,
  minP,
  seed,
}: NonNullable<Provenance["sampler"]>): string {
  if (temperature === 0) return "always the likeliest token";
  return [
    `temperature ${temperature}`,
    ...(topK === 0 ? [] : [`top-k ${topK}`]),
    ...(topP === 1 ? [] : [`top-p ${topP}`]),
    ...(minP === 0 ? [] : [`min-p ${minP}`]),
    `seed ${seed}`,
  ].join(", ");
}

type Run =
  | { readonly state: "idle" }
  | { readonly state: "running"; readonly done: number; readonly total: number }
  | { readonly state: "done"; readonly audit: Audit }
  | { readonly state: "failed"; readonly says: string };

/** The button that audits, how far it is, and what it found. */
function AuditBox({
  chatId,
  messageId,
  cost,
}: {
  readonly chatId: string;
  readonly messageId: string;
  readonly cost: Cost | null;
}) {
  const api = useApi();
  const [run, setRun] = useState<Run>({ state: "idle" });
  useApiEvent("chat.auditing", (progress) => {
    if (progress.chatId === chatId)
      setRun((before) => (before.state === "running" ? { ...before, ...progress } : before));
  });
  async function audit(): Promise<void> {
    setRun({ state: "running", done: 0, total: cost?.tokens ?? 0 });
    try {
      setRun({ state: "done", audit: await api.call("chats.audit", { chatId, messageId }) });
    } catch (error) {
      const { code, message } = toTarnError(error);
      setRun(code === "cancelled" ? { state: "idle" } : { state: "failed", says: message });
    }
  }
  if (run.state === "running")
    return (
      <div className="row" style={{ gap: 12 }}>
        <div
          className="meter grow"
          role="progressbar"
          aria-label="Auditing"
          aria-valuemin={0}
          aria-valuemax={run.total}
          aria-valuenow={run.done}
        >
          <i style={{ width: `${(100 * run.done) / Math.max(1, run.total)}%` }} />
        </div>
        <span className="small q">{`${formatCount(run.done)} of ${formatTokens(run.total)}`}</span>
        <Button onClick={() => void api.call("chats.stopAudit", {})}>Stop the audit</Button>
      </div>
    );
  return (
    <>
      {run.state === "done" && <Findings audit={run.audit} messageId={messageId} />}
      {run.state === "failed" && (
        <p className="small danger" role="alert">
          {run.says}
        </p>
      )}
      <div className="row">
        <Button {...(cost === null ? {} : { cost: formatCost(cost) })} onClick={() => void audit()}>
          {run.state === "done" ? "Audit again" : "Audit"}
        </Button>
        {run.state === "idle" && (
          <span className="small q">Computes it again and compares every bit.</span>
        )}
      </div>
    </>
  );
}

const PARTS: Readonly<Record<AuditPart["part"], string>> = {
  tokens: "Tokens",
  words: "Words",
  documents: "Documents",
  stored: "Stored state",
  answer: "Answer",
  state: "State",
};
const SUMMARY: Readonly<Record<AuditPart["finding"], string>> = {
  holds: "It holds.",
  differs: "It does not hold.",
  unknown: "Not all of it could be looked at.",
};

function Findings({ audit, messageId }: { readonly audit: Audit; readonly messageId: string }) {
  const own = audit.messages.find((one) => one.messageId === messageId);
  const before = audit.messages.filter((one) => one.messageId !== messageId);
  const others = before.filter(({ finding }) => finding !== "holds");
  return (
    <div
      role="status"
      // With room for the button that follows.
      style={{ scrollMarginBlockEnd: 64 }}
      ref={(found) => found?.scrollIntoView({ block: "nearest" })}
    >
      <p className="row med" style={{ gap: 6 }} data-finding={own?.finding}>
        <Sign finding={own?.finding ?? "unknown"} />
        {SUMMARY[own?.finding ?? "unknown"]}
      </p>
      <dl className="facts">
        {own?.parts.map(({ part, finding, says }) => (
          <div key={part}>
            <dt className="q row" style={{ gap: 6 }}>
              <Sign finding={finding} />
              {PARTS[part]}
            </dt>
            <dd dir="auto">{says}</dd>
          </div>
        ))}
      </dl>
      {before.length > 0 && (
        <p className="small q" dir="auto">
          {others.length === 0
            ? `The ${before.length === 1 ? "answer" : `${formatCount(before.length)} answers`} before it ${before.length === 1 ? "holds" : "hold"}, too.`
            : `Before it: ${others.map(({ excerpt, finding }) => `“${excerpt}” ${finding === "differs" ? "does not hold" : "could not be looked at"}`).join("; ")}.`}
        </p>
      )}
    </div>
  );
}

function Sign({ finding }: Pick<AuditPart, "finding">) {
  switch (finding) {
    case "holds":
      return <Check className="i s ok" aria-label="holds" />;
    case "differs":
      return <TriangleAlert className="i s danger" aria-label="does not hold" />;
    case "unknown":
      return <CircleHelp className="i s warn" aria-label="not known" />;
  }
}
