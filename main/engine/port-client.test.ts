import { expect, test } from "vitest";
import { createPortClient } from "./port-client.ts";

interface Sent {
  readonly id: number;
  readonly method: string;
  readonly input: Readonly<Record<string, unknown>>;
}

/** The far end of a port, moved by hand. */
function port() {
  const sent: Sent[] = [];
  let receive: (message: unknown) => void = () => undefined;
  let lose: (reason: Error) => void = () => undefined;
  const client = createPortClient({
    postMessage: (message) => void sent.push(message as Sent),
    onMessage: (listener) => {
      receive = listener;
    },
    onClosed: (listener) => {
      lose = listener;
    },
    close: async () => undefined,
  });
  return {
    client,
    sent,
    receive: (message: unknown) => receive(message),
    lose: (reason: Error) => lose(reason),
  };
}

test("answers reach their own calls, events in order before them", async () => {
  const { client, sent, receive } = port();
  const progress: number[] = [];
  const first = client.call(
    "prefill",
    { session: 1, ids: Int32Array.of(1, 2), chunk: null, logits: "none" },
    {
      onEvent: (event) => event.type === "progress" && progress.push(event.done),
    },
  );
  const second = client.call("create", {});
  receive({ id: sent[1]?.id, kind: "done", output: { session: 7 } });
  for (const done of [1, 2])
    receive({ id: sent[0]?.id, kind: "event", event: { type: "progress", done, total: 2 } });
  receive({
    id: sent[0]?.id,
    kind: "done",
    output: { position: 2, logits: null, cancelled: false, prefilled: 2 },
  });
  expect(await second).toEqual({ session: 7 });
  expect((await first).position).toBe(2);
  expect(progress).toEqual([1, 2]);
});

test("a signal cancels its call, also one that fired before", async () => {
  const { client, sent, receive } = port();
  const controller = new AbortController();
  const call = client.call("create", {}, { signal: controller.signal });
  controller.abort();
  expect(sent[1]).toMatchObject({ method: "cancel", input: { target: sent[0]?.id } });
  receive({ id: sent[0]?.id, kind: "done", output: { session: 1 } });
  await call;
  void client.call("create", {}, { signal: AbortSignal.abort() });
  expect(sent[3]).toMatchObject({ method: "cancel", input: { target: sent[2]?.id } });
});

test("a failure arrives with its code and data", async () => {
  const { client, sent, receive } = port();
  const call = client.call("create", {});
  receive({
    id: sent[0]?.id,
    kind: "failed",
    error: { code: "no-model", message: "No model.", data: { a: 1 } },
  });
  await expect(call).rejects.toMatchObject({
    name: "EngineError",
    code: "no-model",
    message: "No model.",
    data: { a: 1 },
  });
});

test("what is not in the protocol is not believed", async () => {
  const wrong = port();
  const call = wrong.client.call("create", {});
  wrong.receive({ id: wrong.sent[0]?.id, kind: "done", output: { session: "1" } });
  await expect(call).rejects.toMatchObject({ code: "internal", data: { method: "create" } });

  const garbage = port();
  const lost = garbage.client.call("create", {});
  garbage.receive("hello");
  await expect(lost).rejects.toMatchObject({ code: "internal" });
  await expect(garbage.client.call("create", {})).rejects.toMatchObject({ code: "internal" });
});

test("when the worker is gone, every call that waits fails, and every later one", async () => {
  const { client, lose } = port();
  const call = client.call("create", {});
  lose(new Error("its thread exited with status 1"));
  await expect(call).rejects.toMatchObject({
    code: "internal",
    message: expect.stringContaining("status 1"),
  });
  await expect(client.call("memory", {})).rejects.toMatchObject({ code: "internal" });
});
