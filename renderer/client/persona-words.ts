import type { Persona } from "../../main/contract/dto.ts";

/** What the present model's chat template cannot say; null where it can. */
export function roleWords(role: NonNullable<Persona["role"]>): string | null {
  switch (role) {
    case "system":
      return null;
    case "user":
      return "This model's chat template has no place for a system prompt: it is put before your first words.";
    case "plain":
      return "This model has no chat template: the prompt is put before your first words as a paragraph.";
  }
}
