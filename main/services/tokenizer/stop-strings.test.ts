import { describe, expect, it } from "vitest";
import { StopStrings } from "./stop-strings.ts";

function run(
  stops: readonly string[],
  pieces: readonly string[],
): { text: string; stopped: boolean } {
  const matcher = new StopStrings(stops);
  let text = "";
  for (const piece of pieces) {
    const result = matcher.push(piece);
    text += result.text;
    if (result.stopped) return { text, stopped: true };
  }
  return { text: text + matcher.flush(), stopped: false };
}

describe("StopStrings", () => {
  it("finds a stop string in one piece and over every way to cut it", () => {
    const text = "One\nUse\nUser: two";
    for (let i = 0; i <= text.length; i++) {
      for (let j = i; j <= text.length; j++) {
        expect(run(["\nUser:"], [text.slice(0, i), text.slice(i, j), text.slice(j)])).toEqual({
          text: "One\nUse",
          stopped: true,
        });
      }
    }
  });

  it("ends at the first of several", () => {
    expect(run(["cd", "b"], ["abcd"])).toEqual({ text: "a", stopped: true });
  });

  it("finds one whose beginning repeats", () => {
    expect(run(["aab"], ["a", "a", "a", "b"])).toEqual({ text: "a", stopped: true });
  });

  it("holds back only what may be a beginning, and gives it out at the end", () => {
    const matcher = new StopStrings(["END"]);
    expect(matcher.push("the EN")).toEqual({ text: "the ", stopped: false });
    expect(matcher.push("ergy E")).toEqual({ text: "ENergy ", stopped: false });
    expect(matcher.flush()).toBe("E");
  });

  it("lets everything through without stop strings", () => {
    expect(run([], ["a", "b"])).toEqual({ text: "ab", stopped: false });
  });

  it.each([[[""]], [["x".repeat(257)]], [Array.from({ length: 17 }, () => "x")]])(
    "throws on impossible lists",
    (stops) => {
      expect(() => new StopStrings(stops)).toThrow(RangeError);
    },
  );
});
