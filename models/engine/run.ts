import type { RunOptions } from "../arch/architecture.ts";
import { createSampler } from "../generate/sampler.ts";
import { EngineFault } from "./failure.ts";
import { createFeedAhead } from "./feed-ahead.ts";
import type { LoadedModel } from "./loader.ts";
import type { EngineEvent, EngineMethods } from "./protocol.ts";
import { advance, type Session } from "./sessions.ts";

/** What a running request may do besides computing. */
export interface RequestContext {
  readonly signal: AbortSignal;
  emit(event: EngineEvent): void;
  /** Lets waiting messages in, so that `signal` can change. */
  yield(): Promise<void>;
}

/** Logits of one request that may lie in memory at once. */
const MAX_LOGITS_BYTES = 1024 * 1024 * 1024;

/**
 * Runs prompt tokens, a chunk of constant size after the other; the last chunk is what is left.
 * A cancel ends it behind a chunk: the session then stands there, valid.
 * @throws EngineFault `bad-request` for ids that the model does not have, before anything is run
 */
export async function prefill(
  model: LoadedModel,
  session: Session,
  { ids, chunk, logits }: Omit<EngineMethods["prefill"]["in"], "session">,
  context: RequestContext,
): Promise<EngineMethods["prefill"]["out"]> {
  checkIds(ids, model.vocabSize);
  const all = logits === "all" ? allocateLogits(ids.length, model.vocabSize) : null;
  const size = chunk ?? (all === null ? model.chunk : model.rowsAtOnce);
  let done = 0;
  while (done < ids.length && !context.signal.aborted) {
    const piece = ids.subarray(done, Math.min(done + size, ids.length));
    const rows = await feed(model, session, piece, {
      logits: all === null ? "last" : "all",
      phase: "prefill",
    });
    all?.set(rows, done * model.vocabSize);
    done += piece.length;
    context.emit({ type: "progress", done, total: ids.length });
    // Behind the last there is nothing to cancel, and a turn of the event loop takes a GPU's host 1 to 2 ms to tidy up.
    if (done < ids.length) await context.yield();
  }
  const wanted = {
    none: null,
    last: session.logits?.slice() ?? null,
    all: all?.subarray(0, done * model.vocabSize) ?? null,
  };
  return {
    position: session.position,
    logits: wanted[logits],
    cancelled: done < ids.length,
    prefilled: done,
  };
}

/**
 * Samples, feeds, and so on, until a stop id, `maxTokens` or a cancel. Every sampled token is fed.
 * @throws EngineFault `bad-request` where there are no logits to sample from
 */
export async function generate(
  model: LoadedModel,
  session: Session,
  { sampler, stopIds, maxTokens, keepLogits }: Omit<EngineMethods["generate"]["in"], "session">,
  context: RequestContext,
): Promise<EngineMethods["generate"]["out"]> {
  const kept = keepLogits ? allocateLogits(maxTokens, model.vocabSize) : null;
  const chosen = createSampler(sampler, session.recent);
  const stops = new Set(stopIds);
  const feedAhead = kept === null ? await createFeedAhead(model, chosen, sampler) : null;
  const ids: number[] = [];
  let reason: EngineMethods["generate"]["out"]["reason"] = "length";
  const start = performance.now();
  while (ids.length < maxTokens) {
    if (context.signal.aborted) {
      reason = "cancelled";
      break;
    }
    if (session.logits === null) {
      throw new EngineFault(
        "bad-request",
        "generate: nothing was fed to this session yet, so there is nothing to sample from.",
      );
    }
    const token = chosen.next(session.logits);
    const index = ids.push(token) - 1;
    context.emit({ type: "token", token, index, branch: 0 });
    if (feedAhead === null) {
      const options: RunOptions = { logits: "last", phase: "decode" };
      const logits = await feed(model, session, Int32Array.of(token), options);
      kept?.set(logits, index * model.vocabSize);
    } else {
      const limits = { steps: maxTokens - index, stopIds };
      await feedAhead(session, token, limits, async (followers) => {
        for (const follower of followers) {
          const place = ids.push(follower) - 1;
          context.emit({ type: "token", token: follower, index: place, branch: 0 });
        }
        await context.yield();
        return !context.signal.aborted;
      });
    }
    if (stops.has(ids.at(-1) ?? token)) {
      reason = "stop";
      break;
    }
    await context.yield();
  }
  return {
    ids: Int32Array.from(ids),
    reason,
    position: session.position,
    logits: kept?.subarray(0, ids.length * model.vocabSize) ?? null,
    decodeMs: performance.now() - start,
  };
}

/** Runs the tokens and books them; gives the run's logits. */
async function feed(
  model: LoadedModel,
  session: Session,
  ids: Int32Array,
  options: RunOptions,
): Promise<Float32Array> {
  const executable = await model.plans.get({ batch: 1, length: ids.length }, options);
  const [logits] = await executable.run(ids, session.state, true);
  if (logits === undefined)
    throw new EngineFault("internal", "a run gave no logits although they were asked for");
  advance(
    session,
    ids,
    logits.length === model.vocabSize ? logits : logits.slice(-model.vocabSize),
  );
  return logits;
}

/** @throws EngineFault `bad-request` for ids that the model does not have */
export function checkIds(ids: Int32Array, vocabSize: number): void {
  const at = ids.findIndex((id) => id < 0 || id >= vocabSize);
  if (at === -1) return;
  throw new EngineFault(
    "bad-request",
    `Token ${ids[at] ?? ""} at place ${at} is not in the model's vocabulary of ${vocabSize}.`,
    {
      token: ids[at] ?? -1,
      at,
      vocabSize,
    },
  );
}

function allocateLogits(rows: number, vocabSize: number): Float32Array<ArrayBuffer> {
  const bytes = rows * vocabSize * 4;
  if (bytes <= MAX_LOGITS_BYTES) return new Float32Array(rows * vocabSize);
  throw new EngineFault(
    "bad-request",
    `All logits of ${rows} tokens are ${bytes} bytes; at most ${MAX_LOGITS_BYTES} are given at once.`,
    {
      bytes,
      most: MAX_LOGITS_BYTES,
    },
  );
}
