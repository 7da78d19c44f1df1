/** Who may talk to the server: this computer's own programs that know the token, by an address that is really ours. */
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** How long a token is: 32 random bytes, base64url. */
const TOKEN = /^[\w-]{43}$/;

/** The data folder's token, made once, so that an open page finds its way back after a restart. Readable by this user alone. */
export function openToken(dataFolder: string): string {
  const file = join(dataFolder, "server-token");
  try {
    const token = readFileSync(file, "utf8").trim();
    if (TOKEN.test(token)) return token;
  } catch (cause) {
    if (!(cause instanceof Error && "code" in cause && cause.code === "ENOENT")) throw cause;
  }
  const token = randomBytes(32).toString("base64url");
  writeFileSync(file, `${token}\n`, { mode: 0o600 });
  return token;
}

/** Compares in a time that does not depend on where the two differ. */
export function sameToken(given: string, token: string): boolean {
  const digest = (text: string): Buffer => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(given), digest(token));
}

/**
 * Whether a request was made to this server by its own name and, where a page made it, by a page of this server.
 * A page elsewhere can point its own host name at 127.0.0.1 (DNS rebinding); then the Host header gives it away.
 */
export function isOwnRequest(
  headers: { readonly host: string | undefined; readonly origin: string | undefined },
  port: number,
): boolean {
  const names = [`127.0.0.1:${port}`, `localhost:${port}`];
  if (headers.host === undefined || !names.includes(headers.host)) return false;
  return headers.origin === undefined || headers.origin === `http://${headers.host}`;
}
