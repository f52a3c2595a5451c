// One line of a conversation: a message, somebody who came or went, a command.
// Colour never says alone what a line is: an arrow, a slash or a word does too.

import { chat } from './chat-store.js';
import { h, icon, setText } from './dom.js';
import { clockText, exactText } from './format.js';
import { get } from './state.js';
import { announce, sayFailed } from './toast.js';

export const MAX_BODY = 512;

/**
 * How many characters a message has too many. The server counts characters; maxlength
 * and length count UTF-16 units, of which an emoji has two.
 */
export const over = (text) => [...text.trim()].length - MAX_BODY;
const SURE_MS = 4_000;
// A name as the server takes one for a mention, or an address.
const SPECIAL = /(?<link>https?:\/\/[^\s<>"']+[^\s<>"'.,;:!?)])|(?<![\w@.])@(?<name>[a-zA-Z0-9](?:[a-zA-Z0-9_.+-]{0,148}[a-zA-Z0-9_])?)/g;

export function createLine(line, { mention }) {
  if (line.kind !== 'message' && line.kind !== 'custom') return createEvent(line);
  const parts = {
    name: h('button', { type: 'button', class: 'name', dir: 'auto', tabindex: '-1', onclick: () => mention(line.username) }),
    time: h('time'), edited: h('span', { class: 'aside' }), text: h('div', { class: 'words', dir: 'auto' }),
    fate: h('span', { class: 'fate' }), tools: h('span', { class: 'row-actions' }),
  };
  const node = h('li', { class: `line ${line.kind}`, 'data-testid': 'chat-line', 'data-kind': line.kind },
    h('span', { class: 'who' }, parts.name, parts.time), parts.text, h('span', { class: 'after' }, parts.edited, parts.fate), parts.tools);
  node.parts = parts;
  node.edit = () => startEditing(node);
  return node;
}

function createEvent(line) {
  const words = { joined: ['→', 'joined'], parted: ['←', 'left'], closed: ['×', 'This room was removed'] }[line.kind] ?? ['·', line.kind];
  return h('li', { class: `line happened ${line.kind}`, 'data-testid': 'chat-line', 'data-kind': line.kind, 'data-user': line.user_id, title: exactText(line.created_at) },
    h('span', { 'aria-hidden': 'true' }, words[0]), line.kind !== 'closed' && h('span', { dir: 'auto' }, line.username), h('span', {}, words[1]), h('time', {}, clockText(line.created_at).slice(0, 5)));
}

export function updateLine(node, line) {
  if (!node.parts) return;
  const { parts } = node;
  const own = line.user_id === get('user')?.id;
  const state = line.deleted ? 'deleted' : line.changing !== undefined ? 'changing' : line.state ?? 'sent';
  node.line = line;
  node.classList.toggle('own', own);
  node.classList.toggle('grouped', Boolean(line.grouped));
  node.dataset.state = state;
  node.dataset.event = line.event_id ?? line.key;
  if (line.id) node.dataset.id = line.id;
  setText(parts.name, line.username);
  setText(parts.time, clockText(line.created_at).slice(0, 5));
  parts.time.dateTime = line.created_at;
  parts.time.title = exactText(line.created_at);
  setText(parts.edited, line.edited_at && !line.deleted ? 'edited' : '');
  parts.edited.title = line.edited_at ? exactText(line.edited_at) : '';
  const me = get('user')?.username ?? '';
  const shown = line.deleted ? 'Message deleted' : line.kind === 'custom' ? `/${line.command}${line.payload ? `=${line.payload}` : ''}` : line.changing ?? line.body;
  if (node.shown !== `${shown} ${me}`) {
    node.shown = `${shown} ${me}`;
    parts.text.replaceChildren(...(line.kind === 'custom' ? [h('span', { class: 'unseen' }, 'Command '), h('code', {}, shown)] : words(shown, me, node)));
  }
  paintFate(parts.fate, line, state);
  paintTools(node, line, own && line.kind === 'message' && state === 'sent' && line.id !== undefined);
}

/** Text stays text, whoever wrote it; only names and addresses in it are more. */
function words(text, me, node) {
  const out = [];
  let end = 0;
  let named = false;
  for (const found of text.matchAll(SPECIAL)) {
    const { link, name } = found.groups;
    out.push(text.slice(end, found.index));
    const mine = name !== undefined && name.toLowerCase() === me.toLowerCase();
    named ||= mine;
    out.push(link ? h('a', { href: link, target: '_blank', rel: 'noopener noreferrer' }, link) : h('span', { class: mine ? 'mention me' : 'mention' }, found[0]));
    end = found.index + found[0].length;
  }
  node.classList.toggle('named', named);
  return [...out, text.slice(end)].filter((part) => part !== '');
}

function paintFate(fate, line, state) {
  const key = `${state} ${line.problem ?? ''}`;
  if (fate.dataset.key === key) return;
  fate.dataset.key = key;
  if (state === 'failed') {
    fate.replaceChildren(h('span', { class: 'problem', role: 'alert' }, `Not sent: ${line.problem}`),
      h('button', { type: 'button', class: 'link', 'data-testid': 'chat-retry', onclick: () => chat.send(line) }, 'Try again'),
      h('button', { type: 'button', class: 'link', 'data-testid': 'chat-discard', onclick: () => chat.discard(line) }, 'Discard'));
  } else {
    fate.replaceChildren({ pending: line.problem || 'sending', changing: 'saving' }[state] ?? '');
  }
}

function paintTools(node, line, able) {
  const { tools } = node.parts;
  if (able === tools.childElementCount > 0) return;
  if (!able) {
    tools.replaceChildren();
    return;
  }
  const edit = h('button', { type: 'button', class: 'icon-button', title: 'Edit', 'aria-label': 'Edit', 'data-testid': 'chat-edit', onclick: () => node.edit() }, icon('edit'));
  const remove = h('button', { type: 'button', class: 'icon-button', title: 'Delete', 'aria-label': 'Delete', 'data-testid': 'chat-delete', onclick: () => confirmDelete(remove, line) }, icon('delete'));
  tools.replaceChildren(edit, remove);
}

/** A second press deletes: everybody loses it, and it cannot come back. */
async function confirmDelete(button, line) {
  if (button.dataset.sure) {
    try {
      await chat.remove(line);
    } catch (error) {
      sayFailed('It was not deleted.', error);
    }
    return;
  }
  const calm = () => {
    clearTimeout(timer);
    delete button.dataset.sure;
    button.classList.remove('danger');
    button.replaceChildren(icon('delete'));
    button.setAttribute('aria-label', 'Delete');
  };
  const timer = setTimeout(calm, SURE_MS);
  button.dataset.sure = 'yes';
  button.classList.add('danger');
  button.replaceChildren('Really delete');
  button.setAttribute('aria-label', 'Really delete');
  button.addEventListener('blur', calm, { once: true });
}

/** Puts a field in the words' place: Enter saves, Escape leaves them as they were. */
function startEditing(node) {
  const { parts, line } = node;
  if (node.classList.contains('editing')) return;
  const field = h('textarea', { class: 'editor', rows: '1', 'aria-label': 'Edit the message', 'data-testid': 'chat-editor', value: line.body });
  const summary = h('p', { class: 'problem', role: 'alert', hidden: true });
  const end = () => {
    node.classList.remove('editing');
    editor.remove();
    document.querySelector('.composer textarea')?.focus();
  };
  const save = async () => {
    const body = field.value.trim();
    if (body === line.body) return end();
    if (body === '') {
      summary.textContent = 'A message cannot be empty; delete it instead.';
      summary.hidden = false;
      return undefined;
    }
    if (over(body) > 0) {
      summary.textContent = `Too long by ${over(body)}: a message has at most ${MAX_BODY}.`;
      summary.hidden = false;
      return undefined;
    }
    line.changing = body;
    updateLine(node, line);
    end();
    try {
      await chat.edit(line, body);
    } catch (error) {
      delete line.changing;
      sayFailed('The message was not changed.', error);
      updateLine(node, line);
    }
    return undefined;
  };
  const editor = h('div', { class: 'editing-field' }, field, summary, h('div', { class: 'hint' }, 'Enter saves, Escape cancels'));
  field.addEventListener('keydown', (event) => {
    if (event.isComposing) return;
    if (event.key === 'Escape') { event.preventDefault(); end(); }
    if (event.key === 'Enter' && !event.shiftKey) { event.preventDefault(); save(); }
  });
  node.classList.add('editing');
  parts.text.after(editor);
  field.focus();
  field.setSelectionRange(field.value.length, field.value.length);
  announce('Editing. Enter saves, Escape cancels.');
}
