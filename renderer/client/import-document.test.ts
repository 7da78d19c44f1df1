import { expect, test, vi } from "vitest";
import type { Api } from "../../main/contract/contract.ts";
import { MAX_DOCUMENT_BYTES } from "../../main/contract/dto.ts";
import { importDocument } from "./import-document.ts";

function apiThatCounts(): { readonly api: Api; readonly call: ReturnType<typeof vi.fn> } {
  const call = vi.fn(() => Promise.resolve({ id: "d1" }));
  return { api: { call, on: () => () => {} } as unknown as Api, call };
}

test("refuses a file over the limit before it reads or sends a byte", async () => {
  const { api, call } = apiThatCounts();
  const file = new File(["x"], "big.txt");
  const read = vi.spyOn(file, "arrayBuffer");
  Object.defineProperty(file, "size", { value: MAX_DOCUMENT_BYTES + 1 });
  await expect(importDocument(api, file)).rejects.toMatchObject({
    code: "document-too-large",
    message: expect.stringContaining("big.txt"),
  });
  expect(read).not.toHaveBeenCalled();
  expect(call).not.toHaveBeenCalled();
});

test("sends name, type and bytes", async () => {
  const { api, call } = apiThatCounts();
  await importDocument(api, new File(["tarn"], "a.md", { type: "text/markdown" }));
  expect(call).toHaveBeenCalledWith("documents.import", {
    name: "a.md",
    mediaType: "text/markdown",
    bytes: new TextEncoder().encode("tarn"),
  });
});
