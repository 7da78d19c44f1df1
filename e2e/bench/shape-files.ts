import { memoryFile } from "../../models/weights/memory-file.ts";
import type { RandomAccessFile } from "../../models/weights/source.ts";
import type { ModelShape } from "./shapes.ts";

/**
 * A model as config.json and model.safetensors whose values come into being where they are read: its matrices may be larger
 * than memory.
 */
export function shapeFiles({ config, tensors }: ModelShape): readonly RandomAccessFile[] {
  let bytes = 0;
  const header: Record<string, object> = {};
  const places = Object.entries(tensors).map(([name, shape]) => {
    const from = bytes;
    bytes += 4 * shape.reduce((product, side) => product * side, 1);
    header[name] = { dtype: "F32", shape, data_offsets: [from, bytes] };
    return { from, to: bytes, valueAt: values(name, shape) };
  });
  const text = new TextEncoder().encode(JSON.stringify(header));
  const head = new Uint8Array(8 + text.length);
  new DataView(head.buffer).setBigUint64(0, BigInt(text.length), true);
  head.set(text, 8);

  function valuesFrom(offset: number, length: number): Uint8Array {
    const out = new DataView(new ArrayBuffer(length));
    for (const { from, to, valueAt } of places) {
      const first = Math.max(from, offset);
      for (let at = first; at < Math.min(to, offset + length); at += 4)
        out.setFloat32(at - offset, valueAt((at - from) / 4), true);
    }
    return new Uint8Array(out.buffer);
  }

  return [
    memoryFile("config.json", new TextEncoder().encode(JSON.stringify(config))),
    {
      name: "model.safetensors",
      bytes: head.length + bytes,
      async read(offset, length) {
        if (offset + length <= head.length) return head.slice(offset, offset + length);
        if (offset < head.length)
          throw new RangeError("a read of the header and of values behind it");
        return valuesFrom(offset - head.length, length);
      },
      close: async () => {},
    },
  ];
}

/** Of a tensor: its value at an index. As after training where that matters (A, the bias of dt), else uniform. */
function values(name: string, shape: readonly number[]): (index: number) => number {
  const random = hashed(name);
  if (name.endsWith("A_log")) {
    // arXiv:2312.00752 §3.6: −A is 1, 2, …, N for each channel; Mamba-2 draws it from [1, 16].
    const [, dState] = shape;
    return dState === undefined
      ? (i) => Math.log(1 + 15 * random(i))
      : (i) => Math.log(1 + (i % dState));
  }
  // softplus of it is 0.001 … 0.1: arXiv:2312.00752 §3.6.
  if (/dt_bias|dt_proj\.bias/.test(name)) return (i) => -6.9 + 4.6 * random(i);
  if (/norm.*weight$|\.D$/.test(name)) return () => 1;
  const spread = name.includes("conv1d.weight") ? 0.7 : Math.sqrt(3 / (shape.at(-1) ?? 1));
  return (i) => (2 * random(i) - 1) * (shape.length === 1 ? 0.2 : spread);
}

/** Numbers in [0, 1) by index, others for each name: a multiply-and-shift hash. */
function hashed(name: string): (index: number) => number {
  let seed = 0;
  for (const c of name) seed = (Math.imul(seed, 31) + c.charCodeAt(0)) >>> 0;
  return (index) => {
    let hash = (seed + Math.imul(index, 0x9e3779b9)) >>> 0;
    hash = Math.imul(hash ^ (hash >>> 16), 0x21f0aaad);
    hash = Math.imul(hash ^ (hash >>> 15), 0x735a2d97);
    return ((hash ^ (hash >>> 15)) >>> 0) / 2 ** 32;
  };
}
