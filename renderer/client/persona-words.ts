import type { Persona } from "../../main/contract/dto.ts";

/** What the present model's chat template cannot say; null where it can. */
export function roleWords(role: NonNullable<Persona["role"]>): string | null {
  switch (role) {
    case "system":
      return null;
    case "user":
      return "This model's chat template has no place for a system prompt. The persona's prompt is put at the beginning of the first message instead.";
    case "plain":
      return "This model has no chat template. The persona's prompt is put before the first message, as a paragraph of its own.";
  }
}
