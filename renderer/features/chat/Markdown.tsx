import { memo, type ReactElement, type ReactNode } from "react";
import ReactMarkdown, { type Components } from "react-markdown";
import remarkGfm from "remark-gfm";
import { useApi } from "../../client/context.tsx";
import { openableLink, openLink } from "../../client/links.ts";
import { CodeBlock } from "./CodeBlock.tsx";

function Link({
  href,
  children,
}: {
  readonly href?: string | undefined;
  readonly children?: ReactNode;
}) {
  const api = useApi();
  const target = openableLink(href);
  // What may not be opened is shown as text with its address, so that nothing is hidden behind a word.
  if (target === null)
    return (
      <span>
        {children}
        {href !== undefined && href !== "" ? ` (${href})` : ""}
      </span>
    );
  return (
    <a
      href={target}
      title={target}
      rel="noreferrer noopener"
      onClick={(event) => {
        event.preventDefault();
        openLink(api, target);
      }}
    >
      {children}
    </a>
  );
}

function isCode(
  node: ReactNode,
): node is ReactElement<{ className?: string; children?: ReactNode }> {
  return typeof node === "object" && node !== null && "props" in node;
}

const components: Components = {
  a: ({ href, children }) => <Link href={href}>{children}</Link>,
  // Images are never fetched: a picture's address can tell the outside what was read.
  img: ({ alt, src }) => (
    <span className="q">
      [image{alt ? `: ${alt}` : ""}
      {typeof src === "string" && src !== "" ? `, not loaded from ${src}` : ""}]
    </span>
  ),
  pre: ({ children }) => {
    const code = isCode(children) ? children.props : {};
    const language = /language-([\w+#-]+)/u.exec(code.className ?? "")?.[1] ?? "";
    return <CodeBlock code={String(code.children ?? "").replace(/\n$/u, "")} language={language} />;
  },
};
const plugins = [remarkGfm];

/** Markdown of a model, which is hostile text: raw HTML stays text, nothing is fetched, links go through one gate. */
export const Markdown = memo(function Markdown({ text }: { readonly text: string }) {
  return (
    <ReactMarkdown remarkPlugins={plugins} components={components} urlTransform={(url) => url}>
      {text}
    </ReactMarkdown>
  );
});
