// The command that does the same from a terminal, ready to copy.

import { h, icon, setText } from './dom.js';
import { get } from './state.js';
import { announce } from './toast.js';

const COPIED_MS = 1_500;

/** A command of Crier itself as it runs from any folder here; '' where this page does not know how, which shows nothing. */
export const crier = (args) => (get('status')?.command ? `${get('status').command} ${args}` : '');

/** Whose inbox a command names: the person's, else one that exists. */
export const somebody = () => get('user')?.id ?? get('status')?.demo_user ?? 'ID';

/** A header that authenticates the request, with a token that is minted on the spot where that is possible. */
export const bearer = () => `-H "Authorization: Bearer ${crier('x') ? `$(${crier(`token --user ${somebody()}`)})` : '$TOKEN'}"`;

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
