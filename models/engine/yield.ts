/**
 * Lets waiting messages in, a cancel above all: a turn of the event loop through a message channel, because a timer
 * costs a millisecond and more.
 */
export function createYield(): () => Promise<void> {
  const { port1, port2 } = new MessageChannel();
  let resume: () => void = () => undefined;
  port2.onmessage = () => resume();
  return () =>
    new Promise((resolve) => {
      resume = resolve;
      port1.postMessage(null);
    });
}
