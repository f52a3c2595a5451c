// Rooms: which there are and what is unread in them, the conversation in the
// open one, and who is in it.

import { chat } from './chat-store.js';
import { showConversation } from './chat-log.js';
import { h, reconcile, setText } from './dom.js';
import { emptyPanel, failedPanel, gatePanel, skeleton } from './feedback.js';
import { go } from './router.js';
import { MAX_UNREAD, rooms } from './room-store.js';
import { get, on } from './state.js';
import { enterRoom } from './stream.js';
import { command, commands, crier } from './terminal.js';

const PURPOSE = 'What is said in a room comes to everybody who follows it, in one order; whoever opens it is seen there.';

export function roomsView(root, params) {
  const leaving = new AbortController();
  const { signal } = leaving;
  let selected = params.room ?? '';
  let shown = ''; // what the middle shows, so that it is made anew only for another room
  let conversation = null;

  const list = h('ul', { class: 'rows', 'aria-label': 'Rooms' });
  const notice = h('div', { class: 'notice' });
  const middle = h('section', { class: 'conversation', 'aria-label': 'Conversation' });
  const node = h('div', { class: 'chat' },
    h('section', { class: 'list-pane', 'aria-label': 'Rooms' }, h('header', { class: 'head' }, h('h1', { tabindex: '-1' }, 'Rooms')), list, notice),
    middle);
  root.append(node);

  let noticeKey = '';
  function paint() {
    if (signal.aborted) return;
    reconcile(list, rooms.list, ({ name }) => name, createRow, (row, room) => updateRow(row, room, room.name === selected));
    list.hidden = rooms.list.length === 0;
    node.classList.toggle('open', selected !== '');
    const key = rooms.list.length > 0 ? '' : `${get('user')?.id} ${get('status') === null} ${rooms.phase}`;
    if (key !== noticeKey) notice.replaceChildren(...(key ? [noticeFor()] : []));
    noticeKey = key;
    paintMiddle();
  }

  function noticeFor() {
    if (!get('user')) return gatePanel('rooms', 'Rooms are for people with a name', PURPOSE);
    if (rooms.phase === 'failed') return failedPanel('The rooms could not be loaded.', rooms.error, () => rooms.load());
    if (rooms.phase === 'loading') return skeleton(3);
    return emptyPanel('rooms', 'No rooms yet', `${PURPOSE} An operator makes them:`, command(crier('rooms add friends')));
  }

  function paintMiddle() {
    const room = rooms.find(selected);
    const key = !get('user') || rooms.phase !== 'ready' && !room ? 'nothing' : selected === '' ? 'choose' : room || chat.room === selected ? `room ${selected}` : `missing ${selected}`;
    if (key === shown) return;
    shown = key;
    conversation?.leave();
    conversation = null;
    if (room) {
      conversation = showConversation(middle, room);
      return;
    }
    enterRoom('');
    chat.open('');
    if (key === 'choose' && rooms.list.length > 0) middle.replaceChildren(nothingSelected());
    else if (key.startsWith('missing')) middle.replaceChildren(h('div', { class: 'panel' }, h('h2', {}, `No room ${selected}`), h('p', {}, 'It is not there, or no longer.'), h('a', { class: 'button', href: '/rooms' }, 'To the rooms')));
    else middle.replaceChildren();
  }

  on('rooms', paint, signal);
  on('chat', paint, signal);
  on('user', () => { shown = ''; paint(); rooms.load(); }, signal);
  on('status', paint, signal);
  paint();
  if (rooms.phase !== 'ready') rooms.load();

  return {
    update(next) {
      if ((next.room ?? '') === selected) return;
      selected = next.room ?? '';
      paint();
    },
    leave() {
      leaving.abort();
      conversation?.leave();
      enterRoom('');
      chat.open('');
    },
  };
}

function createRow(room) {
  const parts = { title: h('span', { class: 'title' }, room.name), body: h('span', { class: 'body' }), count: h('span', { class: 'count', 'data-testid': 'room-unread' }) };
  const node = h('li', { class: 'row room-row', 'data-testid': 'room', 'data-room': room.name },
    h('a', { class: 'row-link', href: `/rooms/${room.name}` }, h('span', { class: 'dot' }), h('span', { class: 'text' }, h('span', { class: 'first-line' }, parts.title), parts.body), parts.count));
  node.addEventListener('keydown', (event) => {
    const beside = { ArrowDown: node.nextElementSibling, ArrowUp: node.previousElementSibling }[event.key];
    if (!beside) return;
    event.preventDefault();
    beside.querySelector('a').focus();
  });
  node.parts = parts;
  return node;
}

function updateRow(node, room, selected) {
  const { parts } = node;
  // In the open room it is known at once, in the others a moment later.
  const here = selected && chat.room === room.name && chat.phase === 'ready' ? chat.members.size : room.members;
  setText(parts.body, here === 0 ? 'nobody here' : `${here.toLocaleString('en')} here`);
  parts.count.hidden = room.unread === 0;
  setText(parts.count, room.unread >= MAX_UNREAD ? `${MAX_UNREAD}+` : String(room.unread));
  parts.count.title = `${room.unread} unread`;
  node.classList.toggle('unread', room.unread > 0);
  const link = node.firstElementChild;
  if (selected) link.setAttribute('aria-current', 'true');
  else link.removeAttribute('aria-current');
}

function nothingSelected() {
  return h('div', { class: 'detail nothing' },
    emptyPanel('rooms', 'Choose a room', PURPOSE, h('button', { type: 'button', class: 'primary', onclick: () => go(`/rooms/${rooms.list[0].name}`) }, `Go into ${rooms.list[0].name}`)),
    commands(['A bot that answers /stock=SYMBOL in every room', command(crier('bot --register --password "a long one"'))], ['Another room', command(crier('rooms add team'))]));
}
