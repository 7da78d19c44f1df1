/**
 * The contract over a WebSocket: one MessagePack value a binary frame. The client's first frame is `hello` with the token
 * of the address; the server answers `welcome`, or closes with CLOSE_UNAUTHORIZED. After that: calls, replies, events.
 * Inputs, outputs and event data are checked by the contract's own schemas, not here.
 */
import { decode, encode } from "@msgpack/msgpack";
import { z } from "zod";
import { MAX_DOCUMENT_BYTES } from "./dto.ts";
import { errorDtoSchema, TarnError } from "./errors.ts";
import { checkPacked } from "./packed.ts";

/** Path of the WebSocket on the server. */
export const API_PATH = "/api";

/** WebSocket close code for a wrong or missing token. Do not reconnect; ask for the printed address. */
export const CLOSE_UNAUTHORIZED = 4401;

/** Bytes: the largest document, and room for the names around it. */
export const MAX_FRAME_BYTES = MAX_DOCUMENT_BYTES + 64 * 1024;

const helloSchema = z.object({ hello: z.string().max(200) });
const callSchema = z.object({
  id: z.number().int().min(0),
  call: z.string().max(64),
  input: z.unknown(),
});
/** What a client sends. */
export const clientFrameSchema = z.union([helloSchema, callSchema]);
export type ClientFrame = z.infer<typeof clientFrameSchema>;

const welcomeSchema = z.object({ welcome: z.literal(true) });
const doneSchema = z.object({ id: z.number().int(), ok: z.literal(true), output: z.unknown() });
const failedSchema = z.object({
  id: z.number().int(),
  ok: z.literal(false),
  error: errorDtoSchema,
});
const eventSchema = z.object({ event: z.string(), data: z.unknown() });
/** What the server sends. */
export const serverFrameSchema = z.union([welcomeSchema, doneSchema, failedSchema, eventSchema]);
export type ServerFrame = z.infer<typeof serverFrameSchema>;

/** A frame as bytes. Fields that are `undefined` are left out. */
export function encodeFrame(frame: ClientFrame | ServerFrame): Uint8Array<ArrayBuffer> {
  return encode(frame, { ignoreUndefined: true, maxDepth: 32 });
}

/** @throws TarnError `bad-request` when the bytes are no frame of a client */
export function decodeClientFrame(bytes: Uint8Array): ClientFrame {
  return decodeWith(clientFrameSchema, bytes);
}

/** @throws TarnError `bad-request` when the bytes are no frame of a server */
export function decodeServerFrame(bytes: Uint8Array): ServerFrame {
  return decodeWith(serverFrameSchema, bytes);
}

function decodeWith<T>(schema: z.ZodType<T>, bytes: Uint8Array): T {
  if (bytes.byteLength > MAX_FRAME_BYTES) {
    throw new TarnError(
      "bad-request",
      `A message of ${bytes.byteLength} bytes is larger than the limit of ${MAX_FRAME_BYTES}.`,
    );
  }
  checkPacked(bytes);
  let value: unknown;
  try {
    value = decode(bytes, { maxMapLength: 100_000, maxArrayLength: 1_000_000, maxExtLength: 0 });
  } catch (cause) {
    throw new TarnError(
      "bad-request",
      "A message could not be decoded: it is not MessagePack.",
      {},
      cause,
    );
  }
  const parsed = schema.safeParse(value);
  if (!parsed.success)
    throw new TarnError(
      "bad-request",
      `A message has an unknown shape: ${z.prettifyError(parsed.error)}`,
    );
  return parsed.data;
}
