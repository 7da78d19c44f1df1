import { useEffect, useState } from "react";
import { Check, Copy } from "lucide-react";
import { highlight, type CodeToken } from "./highlight.ts";

interface CodeBlockProps {
  readonly code: string;
  readonly language: string;
}

/** Longest code that is coloured, characters; beyond it the text is shown plain at once. */
const MAX_HIGHLIGHTED = 20_000;

/** A block of code with its language and a way to copy it. */
export function CodeBlock({ code, language }: CodeBlockProps) {
  const [lines, setLines] = useState<readonly (readonly CodeToken[])[] | null>(null);
  const [copied, setCopied] = useState(false);

  useEffect(() => {
    if (language === "" || code.length > MAX_HIGHLIGHTED) return;
    let current = true;
    // Colours are an extra: without them the block stays readable as it is.
    void highlight(code, language).then(
      (result) => current && setLines(result),
      () => current && setLines(null),
    );
    return () => {
      current = false;
    };
  }, [code, language]);

  async function copy(): Promise<void> {
    await navigator.clipboard.writeText(code);
    setCopied(true);
    setTimeout(() => setCopied(false), 1500);
  }

  // Coloured lines of an older text must not hide newer text while an answer streams.
  const fresh =
    lines !== null &&
    lines.map((line) => line.map(({ text }) => text).join("")).join("\n") === code;
  return (
    <div className="code">
      <div className="ch">
        <span>{language === "" ? "Text" : language}</span>
        <span className="end">
          <button
            type="button"
            className="btn g"
            aria-label="Copy code"
            onClick={() => void copy()}
          >
            {copied ? <Check className="i s" /> : <Copy className="i s" />}
            <span>{copied ? "Copied" : "Copy"}</span>
          </button>
        </span>
      </div>
      <pre tabIndex={0}>
        <code lang={language === "" ? undefined : "zxx"}>
          {fresh
            ? lines.map((line, row) => (
                <span key={row}>
                  {line.map(({ text, color }, column) => (
                    <span key={column} style={color === null ? undefined : { color }}>
                      {text}
                    </span>
                  ))}
                  {"\n"}
                </span>
              ))
            : code}
        </code>
      </pre>
    </div>
  );
}
