// The command that does the same from a terminal, ready to copy.

import { h, icon, setText } from './dom.js';
import { announce } from './toast.js';

const COPIED_MS = 1_500;

/** A command line; `set(text)` on the node changes it, an empty one is not shown. */
export function command(text, label = 'Copy the command') {
  const code = h('code', { tabindex: '0', 'aria-label': 'Command' }, text);
  const button = h('button', { type: 'button', class: 'icon-button', 'aria-label': label, title: 'Copy', onclick: () => copy(code, button) }, icon('copy'));
  const node = h('div', { class: 'command' }, code, button);
  node.set = (next) => {
    setText(code, next);
    node.hidden = next === '';
  };
  node.hidden = text === '';
  return node;
}

async function copy(code, button) {
  try {
    await navigator.clipboard.writeText(code.textContent);
  } catch {
    // Pages on plain HTTP other than localhost have no clipboard: the text is
    // selected, so that one key press copies it.
    getSelection().selectAllChildren(code);
    announce('Selected. Press Ctrl+C to copy.');
    return;
  }
  announce('Copied');
  button.replaceChildren(icon('check'));
  setTimeout(() => button.replaceChildren(icon('copy')), COPIED_MS);
}

/** Several commands, each with the words that say what it does. */
export function commands(...lines) {
  return h('div', { class: 'commands' },
    lines.map(([title, line]) => h('figure', {}, h('figcaption', {}, title), line)));
}
