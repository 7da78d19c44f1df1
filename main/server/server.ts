/** The browser shell's server: the interface as files, the contract over a WebSocket, the OpenAI-compatible API. Loopback only. */
import { Server as HttpServer } from "node:http";
import { createAdaptorServer } from "@hono/node-server";
import { Hono } from "hono";
import { TarnError } from "../contract/errors.ts";
import type { Services } from "../services/app.ts";
import { isOwnRequest } from "./access.ts";
import { openAiRoutes } from "./open-ai.ts";
import { pageHeaders, staticFile } from "./static-files.ts";
import { attachWebSocket } from "./web-socket.ts";

/** Where Tarn is unless told otherwise; taken ports are passed over. */
export const DEFAULT_PORT = 4170;
/** Ports tried after the default one. */
const TRIES = 20;

export interface ServerOptions {
  readonly services: Services;
  /** Null for DEFAULT_PORT or the next free one; 0 for any. */
  readonly port: number | null;
  /** The built interface (index.html and what it loads). */
  readonly rendererFolder: string;
  readonly token: string;
}

export interface RunningServer {
  readonly port: number;
  /** With its token. */
  readonly address: string;
  close(): Promise<void>;
}

/** @throws TarnError `busy` when the port is taken */
export async function startServer({
  services,
  port: wanted,
  rendererFolder,
  token,
}: ServerOptions): Promise<RunningServer> {
  let port = 0;
  const site = new Hono();
  site.use(async (context, next) => {
    const { req } = context;
    if (!isOwnRequest({ host: req.header("host"), origin: req.header("origin") }, port))
      return context.text("This address is not served here.", 403);
    await next();
    for (const [name, value] of Object.entries(pageHeaders(port))) context.header(name, value);
    return undefined;
  });
  site.route("/v1", openAiRoutes(services, token));
  site.get("*", (context) => staticFile(rendererFolder, new URL(context.req.url).pathname));
  site.onError((_, context) => context.text("Something unexpected went wrong.", 500));

  const server = createAdaptorServer({ fetch: site.fetch });
  if (!(server instanceof HttpServer))
    throw new TypeError("createAdaptorServer gave another server than HTTP/1.1");
  const detach = attachWebSocket(server, services, token, () => port);
  port = await listen(server, wanted);
  return {
    port,
    address: `http://127.0.0.1:${port}/?token=${token}`,
    async close() {
      detach();
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeAllConnections();
      await closed;
    },
  };
}

async function listen(server: HttpServer, wanted: number | null): Promise<number> {
  const first = wanted ?? DEFAULT_PORT;
  const last = wanted === null ? first + TRIES : first;
  for (let port = first; port <= last; port++) {
    const bound = await tryPort(server, port);
    if (bound !== null) return bound;
  }
  const which = first === last ? `Port ${first} is` : `The ports ${first} to ${last} are`;
  throw new TarnError(
    "busy",
    `${which} taken by another program. Choose another one with --port.`,
    { port: first },
  );
}

/** Null when the port is taken. */
function tryPort(server: HttpServer, port: number): Promise<number | null> {
  return new Promise((resolve, reject) => {
    const failed = (cause: Error): void => {
      if ("code" in cause && (cause.code === "EADDRINUSE" || cause.code === "EACCES"))
        resolve(null);
      else reject(cause);
    };
    server.once("error", failed);
    server.listen(port, "127.0.0.1", () => {
      server.off("error", failed);
      const address = server.address();
      resolve(typeof address === "object" && address !== null ? address.port : port);
    });
  });
}
