import { describe, expect, it } from "vitest";
import { cutAtControls, Disguise } from "./segments.ts";

const control = (id: number, content: string, strip = false) => ({
  id,
  content,
  special: true,
  lstrip: strip,
  rstrip: strip,
});
const controls = [
  control(1, "<a>"),
  control(2, "<a>>"),
  control(3, "[(.*)|$]"),
  control(4, "<s>", true),
];

describe("cutAtControls", () => {
  it("cuts at the longest token, wherever it stands", () => {
    expect(cutAtControls("x<a>y<a>><a>", controls)).toEqual(["x", 1, "y", 2, 1]);
  });

  it("takes names literally that mean something to regular expressions", () => {
    expect(cutAtControls("[(.*)|$]$|", controls)).toEqual([3, "$|"]);
  });

  it("lets tokens that strip swallow the white space beside them", () => {
    expect(cutAtControls("a <s>\n b", controls)).toEqual(["a", 4, "b"]);
    expect(cutAtControls(" <s> ", controls)).toEqual([4]);
  });

  it("leaves text without tokens whole", () => {
    expect(cutAtControls("<a", controls)).toEqual(["<a"]);
    expect(cutAtControls("<a>", [])).toEqual(["<a>"]);
    expect(cutAtControls("", controls)).toEqual([]);
  });
});

describe("Disguise", () => {
  it("leaves no token in what it covers, and gives the text back", () => {
    for (const text of ["<a>", "<<a>a>", "<a>><a>>", "[(.*)|$]", "\ue000<a>\ue000", "plain", ""]) {
      const disguise = new Disguise(controls, [text]);
      const covered = disguise.cover(text);
      expect(
        cutAtControls(covered, controls).filter((segment) => typeof segment === "number"),
      ).toEqual([]);
      expect(disguise.uncover(covered)).toBe(text);
    }
  });
});
