/** What models there are on the Hugging Face Hub, and what files they have. */
import { HubApiError, listFiles, listModels, modelInfo } from "@huggingface/hub";
import { z } from "zod";
import { TarnError } from "../../contract/errors.ts";
import type { RemoteFile } from "./download.ts";

/** A model of the hub's search. */
export interface HubModel {
  /** "owner/name". */
  readonly name: string;
  readonly downloads: number;
  readonly likes: number;
  /** ISO 8601. */
  readonly updatedAt: string;
  /** Its makers ask for an agreement first. */
  readonly gated: boolean;
}

/** A file of a model, as it stands at one commit. */
export interface HubFile extends RemoteFile {
  /** Inside the model, with slashes. */
  readonly path: string;
}

/** The files of a model at one commit. */
export interface HubFiles {
  readonly name: string;
  /** SHA-1 of the commit (hex), so that all files belong together. */
  readonly commit: string;
  readonly files: readonly HubFile[];
}

export interface HubClient {
  /** @throws TarnError `download` */
  search(query: string, limit: number): Promise<HubModel[]>;
  /** @throws TarnError `not-found`, `bad-request`, `download` */
  files(name: string, revision: string): Promise<HubFiles>;
  /** Headers for downloads: the token, where one is set. */
  readonly headers: Readonly<Record<string, string>>;
}

const DEFAULT_HUB = "https://huggingface.co";
/** More than any model has, and little enough for memory: the list comes from outside. */
const MOST_FILES = 10_000;
const MODEL_NAME = /^[A-Za-z0-9][\w.-]{0,95}\/[A-Za-z0-9][\w.-]{0,95}$/;
const REVISION = /^[A-Za-z0-9][\w./-]{0,254}$/;

const fileSchema = z.object({
  type: z.string(),
  path: z.string().min(1).max(1000),
  size: z.int().nonnegative(),
  oid: z.string().regex(/^[0-9a-f]{40}$/),
  lfs: z.object({ oid: z.string().regex(/^[0-9a-f]{64}$/) }).optional(),
});
const commitSchema = z.string().regex(/^[0-9a-f]{40}$/);

/**
 * @param environment `HF_ENDPOINT` (another hub) and `HF_TOKEN` are read, as the hub's own tools do
 * @throws TarnError `bad-request` for an endpoint that is no address
 */
export function createHubClient(
  environment: Readonly<Record<string, string | undefined>>,
): HubClient {
  const endpoint = environment["HF_ENDPOINT"] ?? DEFAULT_HUB;
  if (!URL.canParse(endpoint) || !/^https?:$/.test(new URL(endpoint).protocol))
    throw new TarnError("bad-request", `HF_ENDPOINT is "${endpoint}", which is no web address.`);
  const hubUrl = endpoint.replace(/\/+$/, "");
  const token = environment["HF_TOKEN"] ?? "";
  const credentials = token === "" ? {} : { accessToken: token };

  return {
    headers: token === "" ? {} : { authorization: `Bearer ${token}` },

    async search(query, limit) {
      const found: HubModel[] = [];
      try {
        const models = listModels({
          search: { query },
          limit,
          hubUrl,
          sort: "downloads",
          ...credentials,
        });
        for await (const { name, downloads, likes, updatedAt, gated } of models) {
          found.push({
            name,
            downloads,
            likes,
            updatedAt: updatedAt.toISOString(),
            gated: gated !== false,
          });
        }
      } catch (cause) {
        throw hubError(cause, hubUrl, `search for "${query}"`);
      }
      return found;
    },

    async files(name, revision) {
      if (!MODEL_NAME.test(name))
        throw new TarnError(
          "bad-request",
          `"${name}" is not a model's name; it looks like owner/name.`,
        );
      if (!REVISION.test(revision) || revision.includes(".."))
        throw new TarnError(
          "bad-request",
          `"${revision}" is not a revision; it is a branch, a tag or a commit.`,
        );
      const files: HubFile[] = [];
      try {
        const info = await modelInfo({
          name,
          revision,
          hubUrl,
          additionalFields: ["sha"],
          ...credentials,
        });
        const commit = commitSchema.parse(info.sha);
        const entries = listFiles({
          repo: { type: "model", name },
          recursive: true,
          revision: commit,
          hubUrl,
          ...credentials,
        });
        for await (const entry of entries) {
          if (entry.type !== "file") continue;
          const { path, size, oid, lfs } = fileSchema.parse(entry);
          if (files.length === MOST_FILES)
            throw new TarnError("download", `${name} lists more than ${MOST_FILES} files.`);
          files.push({
            path: safePath(path),
            bytes: size,
            hash:
              lfs === undefined
                ? { algorithm: "git-sha1", hex: oid }
                : { algorithm: "sha256", hex: lfs.oid },
            url: `${hubUrl}/${name}/resolve/${commit}/${path.split("/").map(encodeURIComponent).join("/")}`,
          });
        }
        return { name, commit, files };
      } catch (cause) {
        throw hubError(cause, hubUrl, name);
      }
    },
  };
}

/** A path that stays inside of the folder that it is put into, on every system. @throws TarnError `download` */
function safePath(path: string): string {
  const safe = path
    .split("/")
    .every((part) => part !== "" && !/^\.+$/.test(part) && !/[\\:*?"<>|\p{Cc}]/u.test(part));
  if (safe) return path;
  throw new TarnError(
    "download",
    `The hub lists a file named ${JSON.stringify(path)}, which is refused.`,
  );
}

function hubError(cause: unknown, hubUrl: string, what: string): TarnError {
  if (cause instanceof TarnError) return cause;
  if (cause instanceof z.ZodError)
    return new TarnError(
      "download",
      `${hubUrl} answered about ${what} in a form that is not the hub's.`,
      {},
      cause,
    );
  if (!(cause instanceof HubApiError))
    return new TarnError(
      "download",
      `${hubUrl} cannot be reached. Check the connection; everything that is on this machine works without it.`,
      {},
      cause,
    );
  if (cause.statusCode === 404)
    return new TarnError(
      "not-found",
      `There is no model ${what} on ${hubUrl}, or no such revision of it.`,
      {},
      cause,
    );
  if (cause.statusCode === 401 || cause.statusCode === 403)
    return new TarnError(
      "unauthorized",
      `${what} needs an agreement on its page, and a token in HF_TOKEN.`,
      {},
      cause,
    );
  return new TarnError(
    "download",
    `${hubUrl} answered ${cause.statusCode} about ${what}.`,
    {},
    cause,
  );
}
