/** Colours for code, in a chunk of its own that loads with the first block. Colours are the --syn-* variables of the theme. */
import type { HighlighterCore } from "shiki/core";

const languages = {
  bash: () => import("shiki/langs/bash.mjs"),
  c: () => import("shiki/langs/c.mjs"),
  css: () => import("shiki/langs/css.mjs"),
  html: () => import("shiki/langs/html.mjs"),
  javascript: () => import("shiki/langs/javascript.mjs"),
  json: () => import("shiki/langs/json.mjs"),
  python: () => import("shiki/langs/python.mjs"),
  rust: () => import("shiki/langs/rust.mjs"),
  sql: () => import("shiki/langs/sql.mjs"),
  typescript: () => import("shiki/langs/typescript.mjs"),
} as const;
type Language = keyof typeof languages;

const aliases: Readonly<Record<string, Language>> = {
  js: "javascript",
  jsx: "javascript",
  ts: "typescript",
  tsx: "typescript",
  py: "python",
  rs: "rust",
  sh: "bash",
  shell: "bash",
  zsh: "bash",
};

export interface CodeToken {
  readonly text: string;
  /** A CSS colour, or null for the ordinary ink. */
  readonly color: string | null;
}

let core: Promise<HighlighterCore> | null = null;

async function open(): Promise<HighlighterCore> {
  const [{ createHighlighterCore, createCssVariablesTheme }, { createJavaScriptRegexEngine }] =
    await Promise.all([import("shiki/core"), import("shiki/engine/javascript")]);
  return createHighlighterCore({
    themes: [createCssVariablesTheme({ name: "tarn", variablePrefix: "--shiki-" })],
    langs: [],
    engine: createJavaScriptRegexEngine(),
  });
}

function languageOf(name: string): Language | null {
  const lower = name.toLowerCase();
  if (Object.hasOwn(languages, lower)) return lower as Language;
  return Object.hasOwn(aliases, lower) ? (aliases[lower] ?? null) : null;
}

/** The lines of `code` in coloured pieces, or null for a language that is not known here: shown plain. */
export async function highlight(
  code: string,
  name: string,
): Promise<readonly (readonly CodeToken[])[] | null> {
  const language = languageOf(name);
  if (language === null) return null;
  core ??= open();
  const highlighter = await core;
  if (!highlighter.getLoadedLanguages().includes(language))
    await highlighter.loadLanguage(await languages[language]());
  const { tokens } = highlighter.codeToTokens(code, { lang: language, theme: "tarn" });
  return tokens.map((line) =>
    line.map(({ content, color }) => ({ text: content, color: color ?? null })),
  );
}
