// The line to write in: Enter sends, Shift and Enter begin a new line, the up
// key in an empty one edits what was said last. What was begun in a room is
// still there when one comes back to it.

import { MAX_BODY, over } from './chat-line.js';
import { chat } from './chat-store.js';
import { h, icon, setText } from './dom.js';

const COUNTED_FROM = 400; // characters from which on it is said how many are left

const touch = matchMedia('(hover: none)');

const drafts = new Map(); // room -> text

export function composer(room, { editLast, said }) {
  const field = h('textarea', { rows: '1', dir: 'auto', placeholder: `Write to ${room}`, 'aria-label': `Write to ${room}`, 'data-testid': 'chat-input', enterkeyhint: 'send', oninput: changed, onkeydown: key });
  const send = h('button', { class: 'primary', 'data-testid': 'chat-send', 'aria-label': 'Send' }, icon('send'), h('span', {}, 'Send'));
  const hint = h('p', { class: 'hint' });
  const left = h('p', { class: 'hint left' });
  const node = h('form', { class: 'composer', 'data-testid': 'composer', onsubmit: (event) => { event.preventDefault(); submit(); } },
    h('div', { class: 'write' }, field, send), h('div', { class: 'hints' }, hint, left));
  field.value = drafts.get(room) ?? '';
  changed();

  function changed() {
    const rest = -over(field.value);
    setText(left, rest < 0 ? `${-rest} too many` : rest <= MAX_BODY - COUNTED_FROM ? `${rest} left` : '');
    field.setCustomValidity(rest < 0 ? `at most ${MAX_BODY} characters` : '');
    const command = /^\/([A-Za-z][\w-]*)(=?)/.exec(field.value);
    setText(hint, !command ? `${touch.matches ? '' : 'Enter sends · Shift+Enter new line · ↑ edits your last · '}/stock=aapl.us asks the bot`
      : command[2] ? `Sent as the command ${command[1]}: everybody sees it, and no history keeps it`
        : 'A command is written /name=value; this is sent as text');
    node.classList.toggle('command-mode', Boolean(command?.[2]));
  }

  function key(event) {
    if (event.isComposing) return;
    if (event.key === 'Enter' && !event.shiftKey) {
      event.preventDefault();
      submit();
    } else if (event.key === 'ArrowUp' && field.value === '' && editLast()) {
      event.preventDefault();
    } else if (event.key === 'Escape' && field.value !== '') {
      field.value = '';
      changed();
    }
  }

  function submit() {
    const text = field.value.trim();
    if (text === '' || field.disabled || !field.reportValidity()) return;
    field.value = '';
    changed();
    chat.say(text);
    said();
    field.focus();
  }

  return {
    node,
    focus: () => field.focus({ preventScroll: true }),
    mention: (name) => {
      const begun = field.value === '' || /\s$/.test(field.value) ? field.value : `${field.value} `;
      field.value = `${begun}@${name} `;
      changed();
      field.focus();
    },
    enable: (able) => { field.disabled = send.disabled = !able; },
    leave: () => drafts.set(room, field.value),
  };
}
