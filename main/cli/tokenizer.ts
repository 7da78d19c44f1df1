import { TarnError } from "../contract/errors.ts";
import { loadTokenizer } from "../services/tokenizer/load-tokenizer.ts";

/** SHA-256 of zero bytes: the tokenizer hash of states of a model without a tokenizer. */
const NO_TOKENIZER_HASH = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/** The hash that states of this model are bound to. */
export async function tokenizerHashOf(model: string): Promise<string> {
  try {
    return (await loadTokenizer(model)).tokenizer.hash;
  } catch (error) {
    if (error instanceof TarnError && error.code === "no-tokenizer") return NO_TOKENIZER_HASH;
    throw error;
  }
}
