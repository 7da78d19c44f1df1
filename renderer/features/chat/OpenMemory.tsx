import { useCallback, useEffect, useId, useState } from "react";
import { FolderOpen } from "lucide-react";
import type { TarnError } from "../../../main/contract/errors.ts";
import { toTarnError } from "../../client/check.ts";
import { useApi } from "../../client/context.tsx";
import { sendFile } from "../../client/state-files.ts";
import { Button } from "../../ui/Button.tsx";
import { Dialog } from "../../ui/Dialog.tsx";

interface OpenMemoryProps {
  readonly file: File;
  onOpened(chatId: string): void;
  onClose(): void;
}

/** Opens a file with a memory as a chat: at once where nothing stands against it, else it says what does, and what can be done. */
export function OpenMemory({ file, onOpened, onClose }: OpenMemoryProps) {
  const api = useApi();
  const id = useId();
  const [fileId, setFileId] = useState<string | null>(null);
  const [problem, setProblem] = useState<TarnError | null>(null);
  const [passphrase, setPassphrase] = useState("");
  const [isTried, setTried] = useState(false);
  const [isBusy, setBusy] = useState(true);

  const open = useCallback(
    async (sent: string, secret: string | null, readAgain: boolean): Promise<void> => {
      setBusy(true);
      try {
        const input = { fileId: sent, passphrase: secret, readAgain };
        onOpened((await api.call("chats.importState", input)).chatId);
      } catch (error) {
        setProblem(toTarnError(error));
        setBusy(false);
      }
    },
    [api, onOpened],
  );
  useEffect(() => {
    let isWanted = true;
    async function begin(): Promise<void> {
      try {
        const sent = await sendFile(api, file);
        if (!isWanted) return;
        setFileId(sent);
        await open(sent, null, false);
      } catch (error) {
        setProblem(toTarnError(error));
        setBusy(false);
      }
    }
    void begin();
    return () => {
      isWanted = false;
    };
  }, [api, file, open]);

  function close(): void {
    // What is left there goes with the next file in any case.
    if (fileId !== null) void api.call("files.drop", { fileId }).catch(() => undefined);
    onClose();
  }

  const isLocked = problem?.code === "unauthorized";
  const canReadAgain = problem?.data["canReadAgain"] === 1;
  const secret = passphrase === "" ? null : passphrase;
  return (
    <Dialog
      title={`Open ${file.name}`}
      description={
        isBusy
          ? "The file is checked before anything of it is used."
          : isLocked
            ? "This file is encrypted."
            : "This file was not opened."
      }
      onClose={close}
    >
      <form
        onSubmit={(event) => {
          event.preventDefault();
          setTried(true);
          if (fileId !== null && secret !== null) void open(fileId, secret, false);
        }}
      >
        {isLocked && (
          <label className="box" htmlFor={id}>
            Passphrase
            <input
              id={id}
              type="password"
              autoComplete="off"
              maxLength={1000}
              value={passphrase}
              onChange={({ target }) => setPassphrase(target.value)}
            />
          </label>
        )}
        {problem !== null && !isBusy && (!isLocked || isTried) && (
          <p className="small danger" role="alert">
            {problem.message}
          </p>
        )}
        <div className="row justify-end">
          <Button kind="ghost" onClick={close}>
            {isLocked || canReadAgain || isBusy ? "Cancel" : "Close"}
          </Button>
          {isLocked && (
            <Button
              kind="primary"
              type="submit"
              icon={<FolderOpen className="i s" />}
              disabled={isBusy || secret === null}
            >
              {isBusy ? "Opening" : "Open"}
            </Button>
          )}
          {canReadAgain && (
            <Button
              kind="primary"
              disabled={isBusy}
              onClick={() => fileId !== null && void open(fileId, secret, true)}
            >
              Read its words instead
            </Button>
          )}
        </div>
      </form>
    </Dialog>
  );
}
