/** From an untrusted call to a handler and back: the one place where the contract is checked at run time. */
import { z } from "zod";
import { calls, type CallName, type CallOutput, type Handlers } from "../contract/contract.ts";
import { errorCodes, TarnError } from "../contract/errors.ts";

/**
 * Checks the name and the input against the contract and runs the handler.
 * @throws TarnError always typed: `bad-request` for what does not fit the contract, `internal` for what a handler did not expect
 */
export async function dispatch(handlers: Handlers, name: string, input: unknown): Promise<unknown> {
  if (!isCallName(name))
    throw new TarnError("bad-request", `There is no call named "${name.slice(0, 64)}".`);
  return run(handlers, name, input);
}

async function run<N extends CallName>(
  handlers: Handlers,
  name: N,
  input: unknown,
): Promise<CallOutput<N>> {
  const parsed = calls[name].in.safeParse(input);
  if (!parsed.success) throw asBadRequest(name, parsed.error);
  try {
    // The schema of this very name has just made the input what its handler takes; TypeScript cannot follow the pair.
    const handler = handlers[name] as (input: unknown) => Promise<CallOutput<N>>;
    return await handler(parsed.data);
  } catch (cause) {
    throw toTarnError(cause);
  }
}

/** Anything thrown, as an error that may reach the user. */
export function toTarnError(cause: unknown): TarnError {
  if (cause instanceof TarnError) return cause;
  const message = cause instanceof Error ? cause.message : String(cause);
  return new TarnError(
    "internal",
    `Something unexpected went wrong (${message}). What was saved is kept; try again.`,
    {},
    cause,
  );
}

function isCallName(name: string): name is CallName {
  return Object.hasOwn(calls, name);
}

function asBadRequest(name: string, error: z.ZodError): TarnError {
  for (const issue of error.issues) {
    const code = z
      .enum(errorCodes)
      .safeParse(issue.code === "custom" ? issue.params?.["code"] : undefined);
    if (code.success) return new TarnError(code.data, issue.message);
  }
  return new TarnError(
    "bad-request",
    `The call "${name}" was given something that it does not take: ${z.prettifyError(error)}`,
  );
}
