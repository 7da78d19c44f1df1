import { expect, test } from "vitest";
import { isRefusal, languageOf, refusalFor } from "./languages.ts";
import { namesOf, termsOf, writtenNames } from "./terms.ts";

test.each([
  ["What is the access code for the archive?", "en"],
  ["Zora Lind?", "en"],
  ["Wie lautet der Zugangscode für das Archiv?", "de"],
  ["Wer war Zora Lind?", "de"],
  ["Quel est le code d’accès aux archives ?", "fr"],
  ["Où habite Zora Lind ?", "fr"],
  ["¿Cuál es el código de acceso del archivo?", "es"],
  ["Quién fue Zora Lind", "es"],
  ["アーカイブのコードは何ですか", "en"],
] as const)("%s is %s", (question, language) => {
  expect(languageOf(question)).toBe(language);
});

test("that there is no answer is said in the language of the question, and known again", () => {
  for (const [question, said] of [
    ["Who was Zora Lind?", "The document does not mention Zora Lind."],
    ["Wer war Zora Lind?", "Das Dokument erwähnt Zora Lind nicht."],
    ["Qui était Zora Lind ?", "Le document ne mentionne pas Zora Lind."],
    ["¿Quién fue Zora Lind?", "El documento no menciona Zora Lind."],
  ] as const) {
    expect(refusalFor(question, "Zora Lind", [])).toBe(said);
    for (const asked of [[], ["Zora Lind"], ["Mia Berg", "Zora Lind"]]) {
      const words = refusalFor(question, "", asked);
      expect(isRefusal(words), words).toBe(true);
      for (const name of asked) expect(words).toContain(name);
    }
    expect(isRefusal(said)).toBe(true);
  }
});

test("ways of saying that there is no answer", () => {
  for (const said of [
    "The document does not mention whales.",
    "I could not find it in the document.",
    "There is no information about that.",
    "The text doesn't say.",
    "Der Text enthält dazu keine Angaben.",
    "Im Dokument steht darüber nichts.",
    "Das wird nicht erwähnt.",
    "Le texte ne précise pas son âge.",
    "Il n’y a aucune information à ce sujet.",
    "El texto no menciona ballenas.",
    "No hay información sobre eso.",
  ])
    expect(isRefusal(said), said).toBe(true);
  for (const said of [
    "He did not leave.",
    "No. The bridge is open.",
    "It is not in town.",
    "Er ging nicht nach Hause.",
    "Die Brücke ist offen.",
    "Elle ne mange pas de viande.",
    "No, el puente está abierto.",
    "No come carne.",
  ])
    expect(isRefusal(said), said).toBe(false);
});

test("small words of the question's language are not looked for; of a German one two capitals make a name", () => {
  const words = (question: string): string[] => termsOf(question).map(({ word }) => word);
  expect(words("Wie lautet der Zugangscode für das Archiv?")).toEqual(["zugangscode", "archiv"]);
  expect(words("Quel est le code de l’archive ?")).toEqual(["code", "archive"]);
  expect(words("¿Cuál es el código del archivo?")).toEqual(["codigo", "archivo"]);
  // "War" is small in German only.
  expect(words("Who won the war?")).toEqual(["won", "war"]);
  const names = (question: string): string[] =>
    namesOf(termsOf(question)).map((name) => name.map(({ written }) => written).join(" "));
  expect(names("Welche Farbe hat das Boot von Zora Lind?")).toEqual(["Zora Lind"]);
  expect(names("Which colour has the boat of Zora Lind?")).toEqual(["Zora Lind"]);
});

test("names are given back as they were written", () => {
  for (const [question, names] of [
    ["What is Silas Fairbanks's invoice number?", ["Silas Fairbanks"]],
    ["How tall is the Statue of Liberty?", ["Statue of Liberty"]],
    ["When did Napoleon meet Goethe in Erfurt?", ["Napoleon", "Goethe in Erfurt"]],
    ["What did Anna say about Bob in 1876?", ["Anna", "Bob"]],
    ["What is the code for the pump house?", []],
  ] as const)
    expect(writtenNames(question)).toEqual(names);
});
