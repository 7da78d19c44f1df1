/** A program that reads one document with the fake engine until it is killed or done: `node digest.testing.ts FOLDER`. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { startServices } from "../services/services.testing.ts";
import { createFakeEngine } from "../services/fake-engine.ts";

const [, , dataFolder = ""] = process.argv;
const engine = createFakeEngine();
// A millisecond for so many tokens: slow enough to be killed in the middle.
engine.chunk = 64;
engine.pace = 1;
const services = await startServices(dataFolder, engine);
await services.engine.model();
const { id } = await services.handlers["documents.import"]({
  name: "book.txt",
  mediaType: "text/plain",
  bytes: new Uint8Array(readFileSync(join(dataFolder, "book.txt"))),
});
process.stdout.write("reading\n");
await services.handlers["documents.read"]({ documentId: id });
for (;;) {
  const [document] = await services.handlers["documents.list"]({});
  if (document?.reading?.status === "read") break;
  if (document?.reading?.status === "failed") throw new Error(document.reading.error ?? "failed");
  await new Promise((resolve) => setTimeout(resolve, 20));
}
await services.close();
process.stdout.write("read\n");
