import {
  calls,
  events,
  type CallName,
  type CallOutput,
  type EventData,
  type EventName,
} from "../../main/contract/contract.ts";
import { errorDtoSchema, TarnError } from "../../main/contract/errors.ts";

/** @throws TarnError `internal` when the other side does not keep the contract */
export function checkOutput<N extends CallName>(name: N, output: unknown): CallOutput<N> {
  const parsed = calls[name].out.safeParse(output);
  if (!parsed.success)
    throw new TarnError(
      "internal",
      `The answer to ${name} has an unknown shape. Nothing was changed.`,
    );
  return parsed.data as CallOutput<N>;
}

/** The data of an event, or null when it is none of the contract's (a newer program may send more). */
export function checkEvent<N extends EventName>(name: N, data: unknown): EventData<N> | null {
  const parsed = events[name].safeParse(data);
  return parsed.success ? (parsed.data as EventData<N>) : null;
}

export function isEventName(name: string): name is EventName {
  return Object.hasOwn(events, name);
}

/** Any failure as the typed error that the interface shows. */
export function toTarnError(failure: unknown): TarnError {
  if (failure instanceof TarnError) return failure;
  const dto = errorDtoSchema.safeParse(failure);
  if (dto.success) return new TarnError(dto.data.code, dto.data.message, dto.data.data);
  return new TarnError(
    "internal",
    failure instanceof Error ? failure.message : "Something failed without saying why.",
  );
}
