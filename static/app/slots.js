// Over HTTP/1.1 a browser opens six connections to one server, for all its tabs
// together, and an event stream holds one of them for as long as it lasts. With a
// sixth stream no tab could ask for anything any more. So at most five tabs hold
// one, by Web Locks, which the browser gives back when a tab is closed or crashes.

const NAMES = Array.from({ length: 5 }, (_, i) => `crier-stream-${i}`);

let release = null; // gives back the slot that this tab holds
let waiting = null; // ends the wait for one

/** HTTP/2 carries all streams on one connection; pages that are not of a secure context have no locks. */
function limited() {
  const { nextHopProtocol = '' } = performance.getEntriesByType('navigation')[0] ?? {};
  return Boolean(navigator.locks) && !/^h[23]/.test(nextHopProtocol);
}

/**
 * Asks for one lock, and holds it until release() is called. Resolves with whether
 * it was given; a slot that comes after `signal` has ended is not taken.
 */
function ask(name, signal, options) {
  return new Promise((resolve) => {
    navigator.locks.request(name, options, (lock) => {
      if (!lock || release || signal.aborted) {
        resolve(false);
        return undefined;
      }
      return new Promise((done) => {
        release = done;
        resolve(true);
      });
    }).catch(() => resolve(false)); // the wait was ended
  });
}

/**
 * Resolves with true as soon as this tab may hold an event stream, with false if
 * giveSlot() was called meanwhile. `queued` is called if it has to wait.
 */
export async function takeSlot(queued) {
  waiting?.abort();
  if (release || !limited()) return true;
  const wait = new AbortController();
  const { signal } = wait;
  waiting = wait;
  for (const name of NAMES) {
    if (await ask(name, signal, { ifAvailable: true })) return true;
    if (signal.aborted) return false;
  }
  queued();
  const first = new AbortController(); // ends the other waits when one lock is given
  return new Promise((resolve) => {
    signal.addEventListener('abort', () => { first.abort(); resolve(false); });
    for (const name of NAMES) {
      ask(name, signal, { signal: first.signal }).then((given) => {
        if (!given) return;
        first.abort();
        resolve(true);
      });
    }
  });
}

/** Gives the slot to another tab, or ends the wait for one. */
export function giveSlot() {
  waiting?.abort();
  waiting = null;
  release?.();
  release = null;
}
