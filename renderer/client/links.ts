import type { Api } from "../../main/contract/contract.ts";

const OPENABLE = new Set(["http:", "https:", "mailto:"]);

/** The one gate for links in answers and documents: the address if it may be opened outside, else null. */
export function openableLink(href: string | undefined): string | null {
  if (href === undefined || !URL.canParse(href)) return null;
  const url = new URL(href);
  return OPENABLE.has(url.protocol) ? url.href : null;
}

/** Opens a link that passed the gate; the desktop shell checks it once more. */
export function openLink(api: Api, url: string): void {
  if (window.tarn === undefined) window.open(url, "_blank", "noopener,noreferrer");
  else void api.call("shell.openLink", { url });
}
