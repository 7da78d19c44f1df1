/** The OpenAI-compatible API: models and chat completions. Stateless; the token is the API key. */
import { randomUUID } from "node:crypto";
import { Hono } from "hono";
import { bodyLimit } from "hono/body-limit";
import { streamSSE } from "hono/streaming";
import { z } from "zod";
import { TarnError, type ErrorCode } from "../contract/errors.ts";
import type { Services } from "../services/app.ts";
import type { CompletionRequest, CompletionResult } from "../services/chats/completion.ts";
import { toTarnError } from "../services/dispatch.ts";
import { MAX_STOP_LENGTH, MAX_STOP_STRINGS } from "../services/tokenizer/stop-strings.ts";
import { sameToken } from "./access.ts";

/** Bytes of a request's body. */
const MAX_BODY = 8 * 1024 * 1024;

const content = z.union([
  z.string(),
  z
    .array(z.object({ type: z.literal("text"), text: z.string() }))
    .transform((parts) => parts.map((part) => part.text).join("")),
]);
const stopString = z.string().min(1).max(MAX_STOP_LENGTH);
const requestSchema = z.object({
  model: z.string().optional(),
  messages: z
    .array(
      z.object({ role: z.enum(["system", "developer", "document", "user", "assistant"]), content }),
    )
    .min(1)
    .max(10_000),
  stream: z.boolean().default(false),
  stream_options: z.object({ include_usage: z.boolean().default(false) }).nullish(),
  temperature: z.number().min(0).max(5).nullish(),
  top_p: z.number().min(0).max(1).nullish(),
  max_tokens: z.number().int().min(1).max(1_000_000).nullish(),
  max_completion_tokens: z.number().int().min(1).max(1_000_000).nullish(),
  seed: z.number().int().min(0).max(0xffff_ffff).nullish(),
  stop: z
    .union([stopString.transform((one) => [one]), z.array(stopString).max(MAX_STOP_STRINGS)])
    .nullish(),
});
type ChatRequest = z.output<typeof requestSchema>;

/** Routes under /v1. */
export function openAiRoutes(services: Services, token: string): Hono {
  const routes = new Hono();
  routes.onError((cause, context) => {
    const error = toTarnError(cause);
    return context.json({ error: errorBody(error) }, statusOf(error.code));
  });
  routes.use(async (context, next) => {
    const given = /^Bearer (.+)$/i.exec(context.req.header("authorization") ?? "")?.[1];
    if (given === undefined || !sameToken(given, token)) {
      throw new TarnError(
        "unauthorized",
        "The API key is missing or wrong. It is the token in the address that Tarn prints: Authorization: Bearer TOKEN.",
      );
    }
    await next();
  });
  routes.use(
    bodyLimit({
      maxSize: MAX_BODY,
      onError: () => {
        throw new TarnError("bad-request", `A request may have ${MAX_BODY} bytes at most.`);
      },
    }),
  );

  routes.get("/models", async (context) => {
    const models = await services.handlers["models.list"]({});
    const data = models
      .filter((model) => model.supported)
      .map((model) => ({ id: model.name, object: "model", created: 0, owned_by: "tarn" }));
    return context.json({ object: "list", data });
  });

  routes.post("/chat/completions", async (context) => {
    const request = parseRequest(await context.req.text());
    const completion = toCompletion(request);
    const base = { id: `chatcmpl-${randomUUID()}`, created: Math.floor(Date.now() / 1000) };
    const { signal } = context.req.raw;
    if (!request.stream) {
      let text = "";
      const result = await services.complete(completion, (piece) => (text += piece), signal);
      const choice = {
        index: 0,
        message: { role: "assistant", content: text },
        finish_reason: finishReason(result),
      };
      return context.json({
        ...base,
        object: "chat.completion",
        model: result.model,
        choices: [choice],
        usage: usageOf(result),
      });
    }
    return streamSSE(context, async (stream) => {
      const stop = new AbortController();
      stream.onAbort(() => stop.abort());
      const chunk = (delta: object, finish: string | null, extra: object = {}): Promise<void> =>
        stream.writeSSE({
          data: JSON.stringify({
            ...base,
            object: "chat.completion.chunk",
            model: request.model ?? "tarn",
            choices: [{ index: 0, delta, finish_reason: finish }],
            ...extra,
          }),
        });
      try {
        await chunk({ role: "assistant", content: "" }, null);
        const result = await services.complete(
          completion,
          (piece) => void chunk({ content: piece }, null),
          stop.signal,
        );
        await chunk(
          {},
          finishReason(result),
          request.stream_options?.include_usage === true ? { usage: usageOf(result) } : {},
        );
      } catch (cause) {
        await stream.writeSSE({ data: JSON.stringify({ error: errorBody(toTarnError(cause)) }) });
      }
      await stream.writeSSE({ data: "[DONE]" });
    });
  });
  return routes;
}

function parseRequest(body: string): ChatRequest {
  let json: unknown;
  try {
    json = JSON.parse(body);
  } catch (cause) {
    throw new TarnError("bad-request", "The body is not JSON.", {}, cause);
  }
  const parsed = requestSchema.safeParse(json);
  if (!parsed.success) throw new TarnError("bad-request", z.prettifyError(parsed.error));
  return parsed.data;
}

function toCompletion(request: ChatRequest): CompletionRequest {
  return {
    messages: request.messages.map(({ role, content: text }) => ({
      role: role === "developer" ? "system" : role,
      text,
    })),
    stop: request.stop ?? [],
    sampler: (sampler) => ({
      ...sampler,
      temperature: request.temperature ?? sampler.temperature,
      topP: request.top_p ?? sampler.topP,
      maxTokens: request.max_completion_tokens ?? request.max_tokens ?? sampler.maxTokens,
      seed: request.seed ?? sampler.seed,
    }),
  };
}

function finishReason({ reason }: CompletionResult): "stop" | "length" {
  return reason === "length" ? "length" : "stop";
}

function usageOf({ promptTokens, completionTokens }: CompletionResult) {
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
  };
}

function errorBody(error: TarnError) {
  return {
    message: error.message,
    type: error.code === "internal" ? "server_error" : "invalid_request_error",
    code: error.code,
    param: null,
  };
}

function statusOf(code: ErrorCode): 400 | 401 | 404 | 503 | 500 {
  switch (code) {
    case "unauthorized":
      return 401;
    case "bad-request":
      return 400;
    case "not-found":
      return 404;
    case "no-model":
    case "no-tokenizer":
    case "busy":
      return 503;
    default:
      return 500;
  }
}
