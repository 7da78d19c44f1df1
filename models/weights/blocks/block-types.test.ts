import { expect, test } from "vitest";
import { readGolden, fixtureBytes } from "../../../kernels/testing/golden.ts";
import { decodeF32 } from "../convert.ts";
import { memoryFile } from "../memory-file.ts";
import { openSafetensors } from "../safetensors.ts";
import { BLOCK_TYPES, isBlockDType } from "./block-types.ts";

const PATH = "ggml-blocks/blocks.safetensors";

test.each(Object.keys(BLOCK_TYPES))(
  "unpacks %s as ggml's own package does, bit for bit",
  async (dtype) => {
    if (!isBlockDType(dtype)) throw new Error(dtype);
    const { values } = readGolden(fixtureBytes(PATH), PATH).f32(`${dtype}.values`);
    const file = memoryFile("blocks.safetensors", fixtureBytes(PATH));
    const source = await openSafetensors(file);
    const packed = await source.readStored(
      `${dtype}.packed`,
      0,
      source.info(`${dtype}.packed`).bytes,
    );
    expect(decodeF32(dtype, packed, values.length)).toEqual(values);
  },
);
