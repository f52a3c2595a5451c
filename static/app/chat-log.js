// The conversation in one room: what was said, going back as far as one
// scrolls, who is there, and the line to write in. It stays at its end while
// the reader is there; else the text under the eyes does not move, and what is
// new waits behind a button.

import { createLine, updateLine } from './chat-line.js';
import { composer } from './chat-composer.js';
import { chat } from './chat-store.js';
import { h, icon, reconcile, setText } from './dom.js';
import { failedPanel, skeleton } from './feedback.js';
import { dayText } from './format.js';
import { rooms } from './room-store.js';
import { get, on } from './state.js';
import { enterRoom } from './stream.js';

// This close to the end counts as there, this close to the beginning loads more.
const AT_END_PX = 48;
const AHEAD_PX = 400;
// Lines of one person within this stand under one name.
const TOGETHER_MS = 5 * 60_000;

export function showConversation(root, room) {
  const leaving = new AbortController();
  const { signal } = leaving;
  const { name } = room;
  let newAfter = room.unread > 0 ? room.read_to : null; // the place that "new" stands behind
  let placed = false; // the first painting has found its place
  let atEnd = true;
  let fetching = false;
  let fetchFailed = false;
  let readTo = room.read_to ?? -1;
  const unseen = new Set(); // keys of what came while the reader was elsewhere

  const here = h('button', { type: 'button', class: 'quiet here', 'aria-expanded': 'false', 'data-testid': 'room-here', onclick: () => here.setAttribute('aria-expanded', String(root.classList.toggle('with-members'))) });
  const offline = h('span', { class: 'tag warn', hidden: true, 'data-testid': 'room-away' }, 'not connected: nobody sees you here');
  const list = h('ol', { class: 'lines' });
  const before = h('div', { class: 'before' });
  const notice = h('div', { class: 'notice' });
  const log = h('div', { class: 'log', tabindex: '0', 'aria-label': `Messages in ${name}`, role: 'log', 'data-testid': 'chat-log', onscroll: scrolled }, before, notice, list);
  const pill = h('button', { type: 'button', class: 'pill down', hidden: true, 'data-testid': 'chat-new', onclick: toEnd });
  const people = h('ul', { class: 'people' });
  const writing = composer(name, { editLast, said: () => { newAfter = null; toEnd(); } });
  root.classList.remove('with-members');
  root.replaceChildren(
    h('header', { class: 'head' }, h('a', { class: 'back icon-button', href: '/rooms', 'aria-label': 'To the rooms' }, icon('back')), h('h2', { tabindex: '-1' }, name), offline, here),
    h('div', { class: 'said' }, log, pill),
    writing.node,
    h('aside', { class: 'members', 'aria-label': `Who is in ${name}` }, h('h3', {}, 'Here now'), people));

  let frame = 0;
  const draw = () => { frame ||= requestAnimationFrame(() => { frame = 0; paint(); }); };

  function paint() {
    if (signal.aborted || chat.room !== name) return;
    // The event that tells of a scroll comes later than the scroll.
    if (placed) atEnd = distance() < AT_END_PX;
    const anchor = atEnd ? null : firstVisible();
    const said = items();
    reconcile(list, said, ({ key }) => key, (item) => (item.words === undefined ? createLine(item, { mention: writing.mention }) : h('li', { class: `break ${item.kind}`, 'data-testid': `chat-${item.kind}` }, h('span'))), (node, item) => {
      if (item.words === undefined) updateLine(node, item);
      else setText(node.firstElementChild, item.words);
    });
    list.hidden = said.length === 0;
    paintNotice();
    paintBefore();
    paintPeople();
    writing.enable(chat.phase !== 'closed');
    if (!placed && chat.phase === 'ready') {
      placed = true;
      const mark = list.querySelector('.break.new');
      log.scrollTop = mark ? mark.offsetTop - 80 : log.scrollHeight;
      if (mark) atEnd = distance() < AT_END_PX;
    } else if (anchor) {
      log.scrollTop += anchor.node.offsetTop - anchor.top;
    } else {
      log.scrollTop = log.scrollHeight;
    }
    paintPill();
    read();
    if (placed && log.scrollTop < AHEAD_PX) older(); // also where all there is does not fill the screen
  }

  /** What is said, with days, the line before what is new, and one's own that is on its way. */
  function items() {
    const out = [];
    let day = '';
    let last = null;
    let marked = false;
    for (const line of [...chat.lines, ...chat.pending]) {
      const words = dayText(line.created_at);
      if (words !== day) {
        out.push({ key: `day ${words}`, kind: 'day', words });
        last = null;
      }
      day = words;
      if (newAfter !== null && !marked && line.id > newAfter && line.kind === 'message' && line.user_id !== get('user')?.id) {
        out.push({ key: 'new', kind: 'new', words: 'new since you were here' });
        marked = true;
        last = null;
      }
      line.grouped = last?.kind === 'message' && line.kind === 'message' && last.user_id === line.user_id && Date.parse(line.created_at) - Date.parse(last.created_at) < TOGETHER_MS;
      out.push(line);
      last = line;
    }
    return out;
  }

  let noticeKey = '';
  function paintNotice() {
    const key = chat.phase === 'closed' ? 'closed' : chat.phase === 'ready' && chat.lines.length + chat.pending.length > 0 ? '' : chat.phase;
    if (key === noticeKey) return;
    noticeKey = key;
    const says = {
      '': () => [],
      loading: () => [skeleton(4)],
      failed: () => [failedPanel('What was said here could not be loaded.', chat.error, () => chat.load())],
      ready: () => [h('div', { class: 'panel', 'data-testid': 'empty' }, icon('rooms'), h('h2', {}, 'Nothing was said here yet'), h('p', {}, `What you write comes to everybody in ${name}, the moment you send it.`))],
      closed: () => [h('p', { class: 'aside closed' }, 'This room was removed. ', h('a', { href: '/rooms' }, 'To the others'))],
    };
    notice.replaceChildren(...says[key]());
  }

  let beforeKey = null;
  function paintBefore() {
    const key = chat.phase !== 'ready' || chat.lines.length === 0 ? '' : fetchFailed ? 'failed' : chat.next ? 'more' : 'begin';
    if (key === beforeKey) return;
    beforeKey = key;
    if (key === 'failed') before.replaceChildren('Older messages could not be loaded. ', h('button', { type: 'button', class: 'link', onclick: () => { fetchFailed = false; older(); } }, 'Try again'));
    else before.replaceChildren({ more: 'Older messages …', begin: `This is where ${name} begins.` }[key] ?? '');
  }

  function paintPeople() {
    const users = [...chat.members].map(([id, username]) => ({ id, username })).sort((a, b) => a.username.localeCompare(b.username));
    reconcile(people, users, ({ id }) => id, (user) => h('li', { 'data-testid': 'member', 'data-user': user.id },
      user.id === get('user')?.id ? h('span', { class: 'name' }, user.username, h('span', { class: 'aside' }, ' you'))
        : h('button', { type: 'button', class: 'name', title: `Write to @${user.username}`, onclick: () => writing.mention(user.username) }, user.username)), () => {});
    setText(here, `${users.length.toLocaleString('en')} here`);
    offline.hidden = get('connection').name === 'live';
  }

  function paintPill() {
    for (const line of chat.lines) if (line.live && !line.counted) {
      line.counted = true;
      if (!atEnd && line.kind === 'message' && line.user_id !== get('user')?.id) unseen.add(line.key);
    }
    if (atEnd) unseen.clear();
    pill.hidden = atEnd;
    setText(pill, unseen.size > 0 ? `${unseen.size.toLocaleString('en')} new` : 'To the end');
  }

  /** Tells how far one has read: to the newest line in view, of a page that is looked at. */
  function read() {
    if (chat.phase !== 'ready' || document.visibilityState !== 'visible') return;
    const { last_id: last = 0 } = rooms.find(name) ?? {};
    let to = Math.max(last, chat.lines.at(-1)?.id ?? 0);
    if (!atEnd) to = chat.lines.findLast(({ key }) => list.rows.get(key)?.offsetTop < log.scrollTop + log.clientHeight)?.id ?? readTo;
    readTo = Math.max(readTo, to);
    rooms.read(name, readTo);
  }

  const distance = () => log.scrollHeight - log.scrollTop - log.clientHeight;

  function firstVisible() {
    for (const node of list.children) if (node.offsetTop + node.offsetHeight > log.scrollTop) return { node, top: node.offsetTop };
    return null;
  }

  function scrolled() {
    if (!placed) return;
    atEnd = distance() < AT_END_PX;
    if (log.scrollTop < AHEAD_PX) older();
    paintPill();
    read();
    if (atEnd) chat.trim();
  }

  async function older() {
    if (fetching || fetchFailed || !chat.next) return;
    fetching = true;
    list.setAttribute('aria-busy', 'true');
    try {
      await chat.older();
    } catch {
      fetchFailed = true;
    } finally {
      fetching = false;
      list.removeAttribute('aria-busy');
      draw();
    }
  }

  function toEnd() {
    atEnd = true;
    log.scrollTop = log.scrollHeight;
    paint();
  }

  function editLast() {
    const mine = chat.lines.findLast((line) => line.kind === 'message' && !line.deleted && line.user_id === get('user')?.id);
    if (!mine) return false;
    list.rows.get(mine.key)?.scrollIntoView({ block: 'nearest' });
    list.rows.get(mine.key)?.edit();
    return true;
  }

  // Who looks elsewhere finds the line where they left off.
  function looked() {
    if (document.visibilityState === 'hidden') newAfter = readTo >= 0 ? Math.max(readTo, chat.lines.at(-1)?.id ?? 0) : null;
    else draw();
  }
  // Older lines, a picture of the keyboard, a window that grows: the end stays the end.
  const size = new ResizeObserver(() => { if (placed && atEnd) log.scrollTop = log.scrollHeight; });
  size.observe(log);
  document.addEventListener('visibilitychange', looked, { signal });
  on('chat', draw, signal);
  on('connection', draw, signal);
  enterRoom(name);
  chat.open(name);
  paint();
  if (!matchMedia('(hover: none)').matches) writing.focus();
  return {
    leave() {
      size.disconnect();
      writing.leave();
      leaving.abort();
    },
  };
}
