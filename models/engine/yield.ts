/**
 * Lets waiting messages in, a cancel above all: a turn of the event loop through a message channel, because a timer
 * costs a millisecond and more.
 *
 * Two channels in turn: Node empties one port, up to a thousand messages that come meanwhile included, before it looks
 * at the next, so that a single channel would keep every other port waiting.
 */
export function createYield(): () => Promise<void> {
  let resume: () => void = () => undefined;
  const ports = [new MessageChannel(), new MessageChannel()].map(({ port1, port2 }) => {
    port2.onmessage = () => resume();
    return port1;
  });
  let turn = 0;
  return () =>
    new Promise((resolve) => {
      resume = resolve;
      turn = 1 - turn;
      ports[turn]?.postMessage(null);
    });
}
