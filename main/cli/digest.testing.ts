/**
 * A program that reads one document with the fake engine until it is killed or done: `node digest.testing.ts FOLDER [FROM TO]`. It
 * says when it has taken FROM steps, and takes no more than TO: whoever kills it then does so somewhere in between.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { startServices } from "../services/services.testing.ts";
import { createFakeEngine } from "../services/fake-engine.ts";

const [, , dataFolder = "", from, to] = process.argv;
const engine = createFakeEngine();
engine.chunk = 64;
const services = await startServices(dataFolder, engine);
await services.engine.model();
const { id } = await services.handlers["documents.import"]({
  name: "book.txt",
  mediaType: "text/plain",
  bytes: new Uint8Array(readFileSync(join(dataFolder, "book.txt"))),
});
if (from !== undefined) {
  void engine.hold("prefill", Number(from)).then(() => {
    process.stdout.write("reading\n");
    return engine.hold("prefill", Number(to) - Number(from));
  });
}
await services.handlers["documents.read"]({ documentId: id });
for (;;) {
  const [document] = await services.handlers["documents.list"]({});
  if (document?.reading?.status === "read") break;
  if (document?.reading?.status === "failed") throw new Error(document.reading.error ?? "failed");
  await new Promise((resolve) => setTimeout(resolve, 20));
}
await services.close();
process.stdout.write("read\n");
