// The inbox: a list that new notifications enter at the top, and one of them
// in full beside it.

import { h, icon, reconcile, setText } from './dom.js';
import { emptyPanel, failedPanel, skeleton } from './feedback.js';
import { showNotification } from './inbox-detail.js';
import { createRow, updateRow } from './inbox-row.js';
import { inbox } from './inbox-store.js';
import { go } from './router.js';
import { split } from './split.js';
import { get, on } from './state.js';
import { stepsCard } from './steps.js';
import { command, commands, crier, somebody } from './terminal.js';
import { sayFailed } from './toast.js';

const TYPING_MS = 250;

export function inboxView(root, params) {
  const leaving = new AbortController();
  const { signal } = leaving;
  let selected = Number(params.id) || undefined;
  let reading = new AbortController();

  const list = h('ul', { class: 'rows', 'aria-label': 'Notifications' });
  const top = h('div', { class: 'sentinel' });
  const pill = h('button', { type: 'button', class: 'pill', 'data-testid': 'inbox-new', hidden: true, onclick: reveal });
  const notice = h('div', { class: 'notice' });
  const more = h('button', { type: 'button', class: 'more', 'data-testid': 'inbox-more', onclick: loadMore }, 'Older');
  const readAll = h('button', { type: 'button', class: 'link', 'data-testid': 'read-all', onclick: () => inbox.readAll() }, 'Mark all read');
  const filters = makeFilters(signal);
  const pane = h('section', { class: 'list-pane', 'aria-label': 'Inbox' },
    h('header', { class: 'head' }, h('h1', { tabindex: '-1' }, 'Inbox'), filters.node, readAll),
    top, pill, list, notice, more);
  const halves = split(pane, list, signal);
  root.append(stepsCard(), halves.node);

  // At most one painting a frame, however many events come.
  let frame = 0;
  const draw = () => { frame ||= requestAnimationFrame(() => { frame = 0; paint(); }); };

  function paint() {
    if (signal.aborted) return;
    keepAddress();
    reconcile(list, inbox.items, ({ id }) => id, createRow, (node, item) => updateRow(node, item, item.id === selected));
    list.hidden = inbox.items.length === 0;
    more.hidden = !inbox.next;
    if (pill.hidden) pill.classList.toggle('line', inbox.atTop);
    pill.hidden = inbox.pendingCount === 0;
    setText(pill, `${inbox.pendingCount.toLocaleString('en')} new`);
    readAll.hidden = get('counts').unread === 0;
    filters.paint();
    paintNotice();
    if (selected !== undefined) halves.select(list.rows?.get(selected) ?? null);
    else halves.clear();
  }

  // Search and filter are in the address, so that they survive a reload and the way back.
  function keepAddress() {
    const { search } = new URL(inbox.address(), location.origin);
    if (search !== location.search) history.replaceState(history.state, '', location.pathname + search);
  }

  let noticeKey = '';
  function paintNotice() {
    const key = inbox.items.length > 0 ? 'none' : `${inbox.phase} ${Object.values(inbox.filter).join(' ')}`;
    if (key === noticeKey) return;
    noticeKey = key;
    notice.replaceChildren(...(inbox.items.length > 0 ? [] : [noticeFor()]));
  }

  function showSelected() {
    reading.abort();
    reading = new AbortController();
    const leave = () => {
      const row = list.rows?.get(selected);
      (row?.nextElementSibling ?? row?.previousElementSibling ?? pane).querySelector('a, h1')?.focus();
      go(inbox.address());
    };
    if (selected !== undefined) showNotification(halves.detail, selected, reading.signal, leave);
    else halves.detail.replaceChildren(nothingSelected());
  }

  function reveal() {
    list.querySelectorAll('.arriving').forEach((row) => row.classList.remove('arriving'));
    inbox.reveal();
    pane.scrollTo({ top: 0 });
    if (!pane.matches(':hover')) list.querySelector('a')?.focus({ preventScroll: true });
    top.scrollIntoView({ block: 'nearest' });
  }

  const eye = new IntersectionObserver(([entry]) => { inbox.atTop = entry.isIntersecting; });
  eye.observe(top);
  inbox.shown = true;
  on('inbox', draw, signal);
  on('counts', () => { draw(); inbox.sawAll(); }, signal);
  inbox.load(filterOf(params));
  inbox.sawAll();
  paint();
  showSelected();

  return {
    update(next) {
      const filter = filterOf(next);
      if (!inbox.shows(filter)) inbox.load(filter);
      const id = Number(next.id) || undefined;
      if (id === selected) return;
      selected = id;
      paint();
      showSelected();
    },
    leave() {
      inbox.shown = false;
      inbox.atTop = true;
      eye.disconnect();
      reading.abort();
      leaving.abort();
    },
  };
}

const filterOf = ({ q = '', unread, kind = '' }) => ({ q: q.trim(), unread: unread === 'true', kind });

function makeFilters(signal) {
  const choice = (name, unread) => h('button', { type: 'button', 'data-testid': `filter-${name}`, onclick: () => inbox.load({ ...inbox.filter, unread }) }, name);
  const all = choice('all', false);
  const unread = choice('unread', true);
  let timer = 0;
  signal.addEventListener('abort', () => clearTimeout(timer));
  const search = h('input', {
    dir: 'auto',
    type: 'search', class: 'search', placeholder: 'Search', 'aria-label': 'Search the inbox', 'data-testid': 'inbox-search',
    oninput: () => {
      clearTimeout(timer);
      timer = setTimeout(() => inbox.load({ ...inbox.filter, q: search.value.trim() }), TYPING_MS);
    },
  });
  const kind = h('select', { 'aria-label': 'Kind', 'data-testid': 'filter-kind', onchange: () => inbox.load({ ...inbox.filter, kind: kind.value }) });
  let offered = '';
  const paintKinds = () => {
    const kinds = [...new Set([...inbox.kinds, inbox.filter.kind].filter(Boolean))].sort();
    kind.hidden = kinds.length < 2 && !inbox.filter.kind;
    if (offered !== kinds.join()) {
      offered = kinds.join();
      kind.replaceChildren(h('option', { value: '' }, 'All kinds'), ...kinds.map((name) => h('option', { value: name }, name)));
    }
    kind.value = inbox.filter.kind;
  };
  const node = h('div', { class: 'filters' }, h('div', { class: 'segments', role: 'group', 'aria-label': 'Filter' }, all, unread), kind, h('label', { class: 'search-box' }, icon('search'), search));
  const paint = () => {
    all.setAttribute('aria-pressed', String(!inbox.filter.unread));
    unread.setAttribute('aria-pressed', String(inbox.filter.unread));
    if (document.activeElement !== search) search.value = inbox.filter.q;
    paintKinds();
  };
  return { node, paint };
}

function noticeFor() {
  if (inbox.phase === 'failed') return failedPanel('The inbox could not be loaded.', inbox.error, () => inbox.load());
  if (inbox.phase === 'loading') return skeleton();
  const reset = h('button', { type: 'button', onclick: () => inbox.showEverything() }, 'Show all');
  if (inbox.filter.q) return emptyPanel('search', 'Nothing found', `No notification speaks of “${inbox.filter.q}”.`, reset);
  if (inbox.filter.kind) return emptyPanel('search', 'Nothing found', `No ${inbox.filter.unread ? 'unread ' : ''}notification is of the kind “${inbox.filter.kind}”.`, reset);
  if (inbox.filter.unread) return emptyPanel('check', 'All read', 'Unread notifications stand here.', reset);
  return emptyPanel('inbox', 'Nothing here yet', 'What your servers have to say to you comes here, the moment they say it.',
    h('a', { class: 'button primary', href: '/send' }, 'Send yourself one'), h('a', { class: 'button', href: '/alerts' }, 'Set an alert'));
}

function nothingSelected() {
  const id = somebody();
  return h('div', { class: 'detail nothing' },
    h('h2', {}, 'From a terminal'),
    commands(
      ['Send to this inbox', command(crier(`send --user ${id} --title "Hello" --body "From a terminal"`))],
      ['Follow this inbox', command(crier(`listen --user ${id}`))]));
}

async function loadMore(event) {
  const button = event.currentTarget;
  button.disabled = true;
  try {
    await inbox.more();
  } catch (error) {
    sayFailed('Older notifications could not be loaded.', error);
  } finally {
    button.disabled = false;
  }
}

