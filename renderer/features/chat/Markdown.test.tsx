import { flushSync } from "react-dom";
import { createRoot } from "react-dom/client";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Api } from "../../../main/contract/contract.ts";
import { ApiProvider } from "../../client/context.tsx";
import { Markdown } from "./Markdown.tsx";

const api: Api = {
  call: () => Promise.reject(new Error("A text that is only shown must ask for nothing.")),
  on: () => () => {},
};
let host: HTMLElement;
let executed: string[];

declare global {
  interface Window {
    xss?: (name: string) => void;
  }
}

beforeEach(() => {
  host = document.body.appendChild(document.createElement("div"));
  executed = [];
  window.xss = (name) => executed.push(name);
});
afterEach(() => host.remove());

function show(text: string): void {
  const root = createRoot(host);
  flushSync(() =>
    root.render(
      <ApiProvider api={api}>
        <Markdown text={text} />
      </ApiProvider>,
    ),
  );
}

const OWN = "/own.png";

/** What was asked for, or was to run, before a picture that is asked for now: all of it has begun when that has failed. */
async function ownPictureFails(): Promise<void> {
  const picture = new Image();
  const failed = new Promise((resolve) => picture.addEventListener("error", resolve));
  picture.src = `http://127.0.0.1:9${OWN}`;
  await failed;
}

const HOSTILE = [
  "<script>xss('script')</script>",
  "<img src=x onerror=\"xss('img')\">",
  "<svg onload=\"xss('svg')\"><animate onbegin=\"xss('animate')\" attributeName=x dur=1s></svg>",
  "<iframe srcdoc=\"<script>parent.xss('iframe')</script>\"></iframe>",
  "<details open ontoggle=\"xss('details')\">x</details>",
  "<style>@import url(http://127.0.0.1:9/style)</style>",
  "<a href=\"javascript:xss('a')\">click</a>",
  "[click](javascript:xss('link'))",
  "[click](JaVaScRiPt:xss('case'))",
  "[click](data:text/html,<script>xss('data')</script>)",
  "[click](vbscript:x)",
  "[click](file:///etc/passwd)",
  "<javascript:xss('autolink')>",
  "![pixel](http://127.0.0.1:9/pixel.png?secret)",
  "![svg](data:image/svg+xml,<svg onload=xss('datasvg')>)",
  "![x][ref]\n\n[ref]: http://127.0.0.1:9/reference.png",
  "`<b onmouseover=xss('code')>`\n\n```html\n<script>xss('block')</script>\n```",
];

test.each(HOSTILE)("shows %s without executing or fetching anything", async (text) => {
  const before = performance.getEntriesByType("resource").length;
  show(text);
  for (const link of host.querySelectorAll("a"))
    expect(link.protocol).toMatch(/^(?:https?|mailto):$/u);
  expect(
    host.querySelector("script, img, iframe, svg[onload], style, object, embed, form, details"),
  ).toBeNull();
  expect(
    [...host.querySelectorAll("*")]
      .flatMap((element) => element.getAttributeNames())
      .filter((name) => name.startsWith("on")),
  ).toEqual([]);
  await ownPictureFails();
  expect(executed).toEqual([]);
  const asked = performance
    .getEntriesByType("resource")
    .slice(before)
    .filter(({ name }) => name.includes(":9/") && !name.endsWith(OWN));
  expect(asked).toEqual([]);
});

test("keeps what Markdown means: tables, lists, emphasis, and links that may be opened", () => {
  show("| a | b |\n|---|---|\n| 1 | 2 |\n\n- **bold** [Tarn](https://example.org/)");
  expect(host.querySelectorAll("th")).toHaveLength(2);
  expect(host.querySelector("strong")?.textContent).toBe("bold");
  expect(host.querySelector("a")?.href).toBe("https://example.org/");
});

test("shows an image as its words, and says that it was not loaded", () => {
  show("![a map](https://example.org/map.png)");
  expect(host.textContent).toContain("[image: a map, not loaded from https://example.org/map.png]");
});
