// Relative times that stay right: one timer for all of them, and the exact
// time on hover.

import { h, setText } from './dom.js';
import { exactText, relativeText } from './format.js';

const REFRESH_MS = 5_000;

/** <time>2 min</time> with the exact time as its title. */
export function timeTag(iso, attributes = {}) {
  const node = h('time', { 'data-relative': '', ...attributes });
  setTime(node, iso);
  return node;
}

export function setTime(node, iso) {
  if (node.getAttribute('datetime') !== iso) {
    node.setAttribute('datetime', iso);
    node.title = exactText(iso);
  }
  setText(node, relativeText(iso));
}

setInterval(() => {
  if (document.visibilityState === 'hidden') return;
  for (const node of document.querySelectorAll('time[data-relative]')) {
    setText(node, relativeText(node.getAttribute('datetime')));
  }
}, REFRESH_MS);
