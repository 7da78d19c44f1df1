/**
 * The languages in which questions are understood word for word, by their small words: which of them to leave out, and how to say that
 * there is no answer. What is in none of them is treated as English is, whose small words are then not found.
 */
import { STOP_WORDS } from "./stop-words.ts";

export type Language = "en" | "de" | "fr" | "es";

/** Small words of the language that say nothing about what a question is after. Lower case, without accents. */
const SMALL_WORDS: Readonly<Record<Exclude<Language, "en">, ReadonlySet<string>>> = {
  de: words(`aber alle als also am an auch auf aus bei beim bin bis bist da dann das dass dem den der des die dies diese diesem diesen dieser
    dir doch du ein eine einem einen einer eines er es etwas euch fur gibt hat hatte haben ich ihm ihn ihr ihre im in ist ja kann kein
    keine konnen man mein mich mir mit muss nach nicht nichts noch nun nur ob oder sagt sehr sein seine sich sie sind so soll steht
    text uber um und uns unter vom von vor war waren warum was weil welche welchem welchen welcher welches wem wen wenn wer werden
    wessen wie wieviel wird wo wohin wurde wurden zu zum zur dokument laut lautet heisst nenne`),
  fr: words(`ai alors au aussi autre aux avec ce cela ces cet cette ceux chez combien comment dans de depuis des dit document donc du elle elles en
    entre est et etait etaient ete etre eu fait il ils je jusque la le les leur leurs lui ma mais me meme mes mon ne ni non nos notre
    nous on ont ou par parle pas peut plus pour pourquoi qu quand que quel quelle quelles quels qui quoi sa sans se selon ses si son
    sont sous sur ta te tes texte ton tous tout tu un une va vos votre vous y`),
  es: words(`al algo ante aun como con cual cuales cuando cuanta cuantas cuanto cuantos de del desde dice documento donde el ella ellas ellos en
    entre era eran es esa ese eso esta estaba estan este esto fue fueron ha hace hasta hay la las le les lo los mas me mi muy
    nada ni no nos o para pero por porque que quien quienes se segun ser si sin sobre son su sus tambien te tiene tienen texto tu un
    una uno y ya`),
};

/** As models say it in each language, at the beginning of an answer. */
const REFUSALS: Readonly<Record<Language, RegExp>> = {
  en: /\b(?:(?:does|do|did|is|are|was|were) ?(?:not|n['’]t)(?: \w+){0,2} (?:mention|say|state|contain|provide|specif|include|found|give|stated)|(?:could|can|can) ?(?:not|n['’]t) (?:find|answer|determine)|there is (?:nothing|no (?:mention|information|document))|(?:no|not enough) information)\b/iu,
  de: /(?:erwähnt|nennt|enthält|sagt|gibt|steht|findet|finde)(?:\s+[\p{L}\p{N}„“"-]+){0,6}\s+(?:nicht|nichts|keine?[nrms]?)(?!\p{L})|keine (?:Angaben?|Informationen?|Antwort)|(?:nicht|nichts)\s+(?:erwähnt|genannt|angegeben|enthalten)/iu,
  fr: /(?:^|\s)(?:ne|n['’])\s?(?:\p{L}+\s+){0,2}(?:mentionne|dit|indique|contient|précise|donne|fournit|trouve|figure|parle)\p{L}*\s+(?:pas|rien|aucune?)|aucune (?:information|mention|réponse)|n['’]est pas (?:mentionné|indiqué|précisé)/iu,
  es: /(?:^|\s)no\s+(?:(?:se|lo)\s+)?(?:menciona|dice|indica|contiene|especifica|da|proporciona|encuentr|aparece|habla|hay (?:información|mención|ninguna))|ninguna (?:información|mención)/iu,
};

/** What refusals are made of, whatever it is that they deny; small words are so already. Lower case, without accents. */
const REFUSING: Readonly<Record<Language, ReadonlySet<string>>> = {
  en: words(`answer answers book contain contains determine file find found give gives given include includes indicate indicated information
    mentioned provide provided provides sorry specific specified specify state stated states there`),
  de: words(`angabe angaben angegeben antwort beantworten enthalt enthalten erwahnt erwahnung finde finden findet genannt gefunden information
    informationen keine keinerlei nennt`),
  fr: words(
    `aucun aucune contient donne figure fournit indique indiquee information informations mention mentionne precise reponse trouve`,
  ),
  es: words(`aparece contiene da encontrar encuentra encuentro especifica habla indica informacion mencion menciona mencionado ninguna
    proporciona respuesta`),
};

/** What the program says where there is no answer; of names that stand nowhere, which; of names that stand there, that it is about them. */
const NOTHING: Readonly<Record<Language, string>> = {
  en: "The document does not say.",
  de: "Das Dokument sagt dazu nichts.",
  fr: "Le document ne le dit pas.",
  es: "El documento no lo dice.",
};
const NOT_SAID_OF: Readonly<Record<Language, (names: string) => string>> = {
  en: (names) => `The document does not say this about ${names}.`,
  de: (names) => `Über ${names} sagt das Dokument das nicht.`,
  fr: (names) => `Le document ne le dit pas pour ${names}.`,
  es: (names) => `El documento no lo dice de ${names}.`,
};
const NOT_MENTIONED: Readonly<Record<Language, (names: string) => string>> = {
  en: (names) => `The document does not mention ${names}.`,
  de: (names) => `Das Dokument erwähnt ${names} nicht.`,
  fr: (names) => `Le document ne mentionne pas ${names}.`,
  es: (names) => `El documento no menciona ${names}.`,
};

/** The language with the most small words in the text; English where they say nothing. */
export function languageOf(text: string): Language {
  const said = Array.from(text.matchAll(/[\p{L}\p{M}]+/gu), ([word]) => plain(word));
  const count = (small: ReadonlySet<string>): number =>
    said.filter((word) => small.has(word)).length;
  let best: { readonly language: Language; readonly found: number } = {
    language: "en",
    found: count(STOP_WORDS),
  };
  for (const language of ["de", "fr", "es"] as const) {
    // Upside-down marks are nobody else's.
    const found = count(SMALL_WORDS[language]) + (language === "es" && /[¿¡]/.test(text) ? 2 : 0);
    if (found > best.found) best = { language, found };
  }
  return best.language;
}

/** Whether a word, in lower case and without accents, says nothing by itself in a text of this language. */
export function isSmallWord(word: string, language: Language): boolean {
  return STOP_WORDS.has(word) || (language !== "en" && SMALL_WORDS[language].has(word));
}

/** Whether an answer begins by saying that there is none, in any of the languages. */
export function isRefusal(answer: string): boolean {
  const first = firstSentence(answer);
  return Object.values(REFUSALS).some((form) => form.test(first));
}

/** Whether a word of a refusal says that it is one, and not what is denied. @param word in lower case, without accents */
export function isRefusing(word: string): boolean {
  return Object.values(REFUSING).some((known) => known.has(word));
}

/** The sentence of an answer that tells whether it is a refusal. */
export function firstSentence(answer: string): string {
  return (
    answer
      .trim()
      .slice(0, 200)
      .split(/(?<=[.!?])\s/)[0] ?? ""
  );
}

/**
 * That there is no answer, in the language of the question.
 *
 * @param missing names of the question that stand nowhere; "" for none
 * @param asked names that it asks about, which do stand there
 */
export function refusalFor(question: string, missing: string, asked: readonly string[]): string {
  const language = languageOf(question);
  if (missing !== "") return NOT_MENTIONED[language](missing);
  if (asked.length === 0) return NOTHING[language];
  return NOT_SAID_OF[language](new Intl.ListFormat(language).format(asked));
}

function plain(word: string): string {
  return word
    .normalize("NFD")
    .replaceAll(/\p{Mn}+/gu, "")
    .toLowerCase();
}

function words(list: string): ReadonlySet<string> {
  return new Set(list.split(/\s+/));
}
