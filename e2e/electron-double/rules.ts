interface FrameDouble {
  readonly url: string;
  readonly parent: null;
}
export type InvokeHandler = (
  event: { readonly sender: unknown; readonly senderFrame: FrameDouble },
  ...args: unknown[]
) => unknown;

/** What main has set on the session. */
export interface SessionRules {
  appHandler: ((request: Request) => Promise<Response>) | null;
  permissionRequest:
    | ((contents: null, permission: string, answer: (granted: boolean) => void) => void)
    | null;
  permissionCheck: (() => boolean) | null;
  beforeRequest:
    | ((
        details: { readonly url: string },
        answer: (response: { cancel?: boolean }) => void,
      ) => void)
    | null;
  readonly invoke: Map<string, InvokeHandler>;
}
