/**
 * What MessagePack claims, before it is decoded: a decoder makes an array of the length that its header names, and a few hundred bytes
 * can name gigabytes. https://github.com/msgpack/msgpack/blob/master/spec.md
 */
import { TarnError } from "./errors.ts";

/** Arrays and maps inside each other; what this program writes has less than ten. */
const MAX_DEPTH = 32;

/** Bytes that follow a first byte of 0xc4 to 0xdf and hold its length; 0 where that is fixed. */
const LENGTH_BYTES: Readonly<Record<number, number>> = {
  0xc4: 1,
  0xc5: 2,
  0xc6: 4,
  0xc7: 1,
  0xc8: 2,
  0xc9: 4,
  0xd9: 1,
  0xda: 2,
  0xdb: 4,
  0xdc: 2,
  0xdd: 4,
  0xde: 2,
  0xdf: 4,
};
/** Bytes of a value of fixed size behind its first byte; what is not here has none. */
const FIXED_BYTES: Readonly<Record<number, number>> = {
  0xca: 4,
  0xcb: 8,
  0xcc: 1,
  0xcd: 2,
  0xce: 4,
  0xcf: 8,
  0xd0: 1,
  0xd1: 2,
  0xd2: 4,
  0xd3: 8,
  0xd4: 2,
  0xd5: 3,
  0xd6: 5,
  0xd7: 9,
  0xd8: 17,
};

/**
 * Walks over one value without making anything of it.
 * @throws TarnError `bad-request` where it claims more than is there, or is nested deeper than {@link MAX_DEPTH}
 */
export function checkPacked(bytes: Uint8Array): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  /** Values that are still to come, of each array and map that is open. */
  const open = [1];
  /** Of all of them together: each has one byte at least. */
  let owed = 1;
  let at = 0;
  while (open.length > 0) {
    const left = open.pop() ?? 0;
    if (left === 0) continue;
    open.push(left - 1);
    owed--;
    const { behind, values } = headerAt(view, at);
    at = behind;
    owed += values;
    if (at + owed > bytes.byteLength)
      throw unsound(`it claims ${owed} values behind byte ${at} of ${bytes.byteLength}`);
    if (values === 0) continue;
    if (open.length > MAX_DEPTH) throw unsound(`it is nested deeper than ${MAX_DEPTH} levels`);
    open.push(values);
  }
}

/** Where the value's own bytes end, and how many values follow that are in it. */
function headerAt(
  view: DataView,
  at: number,
): { readonly behind: number; readonly values: number } {
  if (at >= view.byteLength) throw unsound("it is cut off");
  const first = view.getUint8(at);
  if (first < 0x80 || first >= 0xe0) return { behind: at + 1, values: 0 };
  if (first < 0x90) return { behind: at + 1, values: 2 * (first & 15) };
  if (first < 0xa0) return { behind: at + 1, values: first & 15 };
  if (first < 0xc0) return { behind: at + 1 + (first & 31), values: 0 };
  const lengthBytes = LENGTH_BYTES[first] ?? 0;
  if (lengthBytes === 0) return { behind: at + 1 + (FIXED_BYTES[first] ?? 0), values: 0 };
  const behind = at + 1 + lengthBytes;
  if (behind > view.byteLength) throw unsound("it is cut off");
  const length =
    lengthBytes === 1
      ? view.getUint8(at + 1)
      : lengthBytes === 2
        ? view.getUint16(at + 1)
        : view.getUint32(at + 1);
  if (first >= 0xdc) return { behind, values: first >= 0xde ? 2 * length : length };
  // An extension has a byte for its type.
  const isExtension = first >= 0xc7 && first <= 0xc9;
  return { behind: behind + length + (isExtension ? 1 : 0), values: 0 };
}

function unsound(reason: string): TarnError {
  return new TarnError("bad-request", `A message could not be decoded: ${reason}.`, { reason });
}
