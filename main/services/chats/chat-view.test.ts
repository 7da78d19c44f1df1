import { expect, test } from "vitest";
import { leafBelow } from "./chat-view.ts";

const message = (id: number, parent: number | null) => ({
  id: String(id),
  parentId: parent === null ? null : String(parent),
});

test("the newest leaf is found below any message, the message itself where nothing is", () => {
  const visible = [message(0, null), message(1, 0), message(2, 1), message(3, 0), message(4, 1)];
  expect(leafBelow(visible, "0")).toBe("3");
  expect(leafBelow(visible, "1")).toBe("4");
  expect(leafBelow(visible, "4")).toBe("4");
});

test("a chat of 100,000 messages in a row has its leaf: a file from outside may bring as many", () => {
  const visible = Array.from({ length: 100_000 }, (_, id) => message(id, id === 0 ? null : id - 1));
  expect(leafBelow(visible, "0")).toBe("99999");
});
