/** The contract over a WebSocket: hello with the token, then calls and events as frames (main/contract/frames.ts). */
import type { IncomingMessage, Server } from "node:http";
import type { Duplex } from "node:stream";
import { WebSocketServer, type RawData, type WebSocket } from "ws";
import {
  API_PATH,
  CLOSE_UNAUTHORIZED,
  decodeClientFrame,
  encodeFrame,
  MAX_FRAME_BYTES,
  type ServerFrame,
} from "../contract/frames.ts";
import { dispatch, toTarnError } from "../services/dispatch.ts";
import type { Services } from "../services/app.ts";
import { isOwnRequest, sameToken } from "./access.ts";

/** A connection must say hello within this time, ms. */
const HELLO_WITHIN = 10_000;
/** WebSocket close code for one that may come again: a page on a busy machine may be late with a token that is right. */
const CLOSE_TRY_AGAIN = 1013;
/** A page that falls this far behind (bytes) is cut off; it reconnects and asks anew. */
const MAX_BACKLOG = 64 * 1024 * 1024;
/** Who has not said hello may send so many bytes: a token, and what WebSockets put around it. */
const HELLO_BYTES = 1024;
/** Connections that have not said hello, at a time. */
const MAX_STRANGERS = 32;
/** WebSocket close code for a message that cannot be understood (RFC 6455 §7.4.1). */
const CLOSE_UNSUPPORTED = 1003;

/** Answers upgrades of `server` on API_PATH. Returns the way to close all connections. */
export function attachWebSocket(
  server: Server,
  services: Services,
  token: string,
  port: () => number,
): () => void {
  const sockets = new WebSocketServer({
    noServer: true,
    maxPayload: MAX_FRAME_BYTES,
    perMessageDeflate: false,
  });
  let strangers = 0;
  server.on("upgrade", (request, socket, head) => {
    // Node's server listens to it no more, and an error that nobody hears ends the program.
    socket.on("error", () => socket.destroy());
    if (!isUpgradeOfOurs(request, port())) {
      socket.end("HTTP/1.1 403 Forbidden\r\nConnection: close\r\n\r\n");
      return;
    }
    if (strangers >= MAX_STRANGERS) {
      socket.end("HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n\r\n");
      return;
    }
    sockets.handleUpgrade(request, socket, head, (webSocket) => {
      strangers++;
      welcome(webSocket, socket, services, token, () => strangers--);
    });
  });
  return () => {
    for (const client of sockets.clients) client.terminate();
    sockets.close();
  };
}

function isUpgradeOfOurs(request: IncomingMessage, port: number): boolean {
  const { host, origin } = request.headers;
  return (
    isOwnRequest({ host, origin }, port) &&
    // What is no address, "//", has none.
    URL.parse(request.url ?? "/", "http://local")?.pathname === API_PATH
  );
}

/** @param wire what the WebSocket runs over  @param noStranger called once, when it has said hello or is closed */
function welcome(
  socket: WebSocket,
  wire: Duplex,
  services: Services,
  token: string,
  noStranger: () => void,
): void {
  let isStranger = true;
  let heard = 0;
  function known(): void {
    if (!isStranger) return;
    isStranger = false;
    clearTimeout(late);
    wire.off("data", count);
    noStranger();
  }
  /** A frame may be large, and is held until it is complete: not for anyone who has not said hello. */
  function count(chunk: Uint8Array): void {
    heard += chunk.byteLength;
    if (isStranger && heard > HELLO_BYTES) socket.terminate();
  }
  const late = setTimeout(() => socket.close(CLOSE_TRY_AGAIN, "no token yet"), HELLO_WITHIN);
  wire.on("data", count);
  socket.on("close", known);
  socket.on("error", () => socket.terminate());
  socket.once("message", (data) => {
    clearTimeout(late);
    const given = helloOf(data);
    if (given === null || !sameToken(given, token)) {
      socket.close(CLOSE_UNAUTHORIZED, "wrong token");
      return;
    }
    known();
    socket.on("message", (message) => void answer(socket, services, message));
    const unsubscribe = services.events.subscribe((event, eventData) =>
      send(socket, { event, data: eventData }),
    );
    socket.on("close", unsubscribe);
    send(socket, { welcome: true });
  });
}

function helloOf(data: RawData): string | null {
  try {
    const frame = decodeClientFrame(bytesOf(data));
    return "hello" in frame ? frame.hello : null;
  } catch (cause) {
    toTarnError(cause);
    return null;
  }
}

async function answer(socket: WebSocket, services: Services, data: RawData): Promise<void> {
  let frame: ReturnType<typeof decodeClientFrame>;
  try {
    frame = decodeClientFrame(bytesOf(data));
  } catch (cause) {
    // Without an id there is nobody to answer.
    socket.close(CLOSE_UNSUPPORTED, toTarnError(cause).code);
    return;
  }
  if ("hello" in frame) return;
  const { id, call, input } = frame;
  try {
    send(socket, { id, ok: true, output: await dispatch(services.handlers, call, input) });
  } catch (cause) {
    send(socket, { id, ok: false, error: toTarnError(cause).toDto() });
  }
}

function send(socket: WebSocket, frame: ServerFrame): void {
  if (socket.readyState !== socket.OPEN) return;
  if (socket.bufferedAmount > MAX_BACKLOG) socket.terminate();
  else socket.send(encodeFrame(frame));
}

function bytesOf(data: RawData): Uint8Array {
  if (Array.isArray(data)) return Buffer.concat(data);
  return data instanceof ArrayBuffer ? new Uint8Array(data) : data;
}
