/** A model of the hub as people write it. */
export interface HubName {
  /** "owner/name". */
  readonly name: string;
  readonly revision: string;
  /** A part of the name of the GGUF file that is meant, such as "Q4_K_M"; null for none. */
  readonly part: string | null;
}

/** `hf:OWNER/NAME[@REVISION][:PART]`; null for anything else, which is a path. */
export function readHubName(text: string): HubName | null {
  const found = /^hf:([^@:\s]+\/[^@:\s]+)(?:@([^:\s]+))?(?::(.+))?$/.exec(text);
  const [, name, revision = "main", part = null] = found ?? [];
  return name === undefined ? null : { name, revision, part };
}
