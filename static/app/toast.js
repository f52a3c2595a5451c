// Two ways of saying that something happened: a line at the foot of the page
// that can be undone, and a line for the ear alone.

import { h } from './dom.js';

const SHOWN_MS = 6_000;

const shelf = document.getElementById('toasts');
const voice = document.getElementById('announcer');

/**
 * Shows `text` for six seconds, longer while it is pointed at or focused.
 * `undo` is called if the person takes it back, `done` if not. Returns a
 * function that ends it at once.
 */
export function toast(text, { undo, done, undoLabel = 'Undo', failed = false } = {}) {
  let timer = 0;
  let left = SHOWN_MS;
  let begun = 0;
  const end = (after) => {
    clearTimeout(timer);
    if (!node.isConnected) return;
    node.remove();
    after?.();
  };
  const run = () => { begun = Date.now(); timer = setTimeout(() => end(done), left); };
  const hold = () => { clearTimeout(timer); left = Math.max(1_500, left - (Date.now() - begun)); };
  const node = h('div', { class: failed ? 'toast failed' : 'toast', 'data-testid': 'toast', onmouseenter: hold, onmouseleave: run, onfocusin: hold, onfocusout: run },
    h('span', { dir: 'auto' }, text),
    undo && h('button', { type: 'button', class: 'link', onclick: () => end(undo), 'data-testid': 'undo' }, undoLabel));
  shelf.append(node);
  // More than three would cover what they speak of.
  while (shelf.childElementCount > 3) shelf.firstElementChild.endNow();
  node.endNow = () => end(done);
  run();
  return node.endNow;
}

/** A request that went wrong, where there is no better place to say so. */
export function sayFailed(what, error) {
  toast(`${what} ${error.message}`, { failed: true });
}

/** Read out politely, seen by nobody. The pause makes the same words count again. */
export function announce(text) {
  voice.textContent = '';
  setTimeout(() => { voice.textContent = text; }, 50);
}
