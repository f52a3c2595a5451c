// Trying again after a failure, for everything that loads itself: later each time,
// at a random moment so that many pages do not come at once, and not any more when
// the view is left.

const FIRST_MS = 1_000;
const LAST_MS = 60_000;

/** Calls `attempt` again after failures, until `signal` is aborted. */
export function retrier(attempt, signal) {
  let failures = 0;
  let timer = 0;
  signal?.addEventListener('abort', () => clearTimeout(timer));
  return {
    /** The attempt went well: the next failure is waited for shortly again. */
    succeeded() {
      failures = 0;
      clearTimeout(timer);
    },
    failed() {
      clearTimeout(timer);
      if (signal?.aborted) return;
      const limit = Math.min(LAST_MS, FIRST_MS * 2 ** failures);
      failures += 1;
      timer = setTimeout(attempt, limit / 2 + Math.random() * (limit / 2));
    },
  };
}
