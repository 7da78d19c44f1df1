import { useId, useState } from "react";
import { Download } from "lucide-react";
import type { Cost } from "../../../main/contract/dto.ts";
import { toTarnError } from "../../client/check.ts";
import { useApi } from "../../client/context.tsx";
import { fetchFile, saveFile } from "../../client/state-files.ts";
import { Button } from "../../ui/Button.tsx";
import { Dialog } from "../../ui/Dialog.tsx";
import { formatBytes } from "../../ui/format.ts";
import { useToast } from "../../ui/toasts.tsx";
import { formatCost } from "./use-costs.ts";

interface SaveMemoryProps {
  readonly chatId: string;
  readonly messageId: string;
  /** Of standing behind the message; undefined while it is not known. */
  readonly cost: Cost | undefined;
  onClose(): void;
}

/** Saves the model's memory behind a message as a file, for another computer or another day. */
export function SaveMemory({ chatId, messageId, cost, onClose }: SaveMemoryProps) {
  const api = useApi();
  const tell = useToast();
  const id = useId();
  const [withText, setWithText] = useState(true);
  const [passphrase, setPassphrase] = useState("");
  const [again, setAgain] = useState("");
  const [isBusy, setBusy] = useState(false);
  const [problem, setProblem] = useState<string | null>(null);
  const differs = passphrase !== "" && again !== "" && passphrase !== again;

  async function save(): Promise<void> {
    if (passphrase !== again) return setProblem("The two passphrases are not the same.");
    setBusy(true);
    setProblem(null);
    try {
      const choice = { withText, passphrase: passphrase === "" ? null : passphrase };
      const file = await api.call("chats.exportState", { chatId, messageId, ...choice });
      saveFile(document, await fetchFile(api, file.fileId), file.name);
      tell(`${file.name} is saved, ${formatBytes(file.bytes)}.`);
      onClose();
    } catch (error) {
      setProblem(toTarnError(error).message);
      setBusy(false);
    }
  }

  return (
    <Dialog
      title="Save memory"
      description="A file with what the model remembers up to this message. Opened on any computer with the same model, the chat goes on from here and reads nothing again."
      onClose={onClose}
    >
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void save();
        }}
      >
        <label className="choice">
          <input
            type="checkbox"
            checked={withText}
            onChange={({ target }) => setWithText(target.checked)}
          />
          <span>
            With the words
            <span className="small q" style={{ display: "block" }}>
              {withText
                ? "The conversation is shown where it is opened, and other models can read it."
                : "Only a list of what was read: how long, and a fingerprint of each piece."}
            </span>
          </span>
        </label>
        <p className="note" role="note">
          A memory can leak its text: whoever has the file can make the model repeat much of what it
          has read, also without the words in it.
        </p>
        <label className="box" htmlFor={`${id}-one`}>
          Passphrase
          <input
            id={`${id}-one`}
            type="password"
            autoComplete="new-password"
            maxLength={1000}
            placeholder="None: anyone can open the file"
            value={passphrase}
            onChange={({ target }) => setPassphrase(target.value)}
          />
        </label>
        {passphrase !== "" && (
          <label className="box" htmlFor={`${id}-two`}>
            Passphrase again
            <input
              id={`${id}-two`}
              type="password"
              autoComplete="new-password"
              maxLength={1000}
              aria-invalid={differs}
              value={again}
              onChange={({ target }) => setAgain(target.value)}
            />
            <span className="small q">
              {differs ? "Not the same yet." : "There is no way to open the file without it."}
            </span>
          </label>
        )}
        {problem !== null && (
          <p className="small danger" role="alert">
            {problem}
          </p>
        )}
        <div className="row justify-end">
          <Button kind="ghost" onClick={onClose}>
            Cancel
          </Button>
          <Button
            kind="primary"
            type="submit"
            icon={<Download className="i s" />}
            disabled={isBusy || (passphrase !== "" && passphrase !== again)}
            {...(cost === undefined || cost.tokens === 0
              ? {}
              : { cost: `reads ${formatCost(cost)}` })}
          >
            {isBusy ? "Saving" : "Save file"}
          </Button>
        </div>
      </form>
    </Dialog>
  );
}
