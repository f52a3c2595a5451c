// Destinations: the person's accounts, where their data goes, and how that went.

import { accountForm, destinationForm } from './destination-form.js';
import { secretPanel, showDestination, stateText } from './destination-detail.js';
import { destinations } from './destination-store.js';
import { h, reconcile, setText } from './dom.js';
import { emptyPanel, failedPanel, gatePanel, skeleton } from './feedback.js';
import { go } from './router.js';
import { split } from './split.js';
import { get, on } from './state.js';
import { command, commands } from './terminal.js';
import { announce } from './toast.js';

const PURPOSE = 'Data that you push in for an account goes to each of its destinations, signed, tried again until it is there, with every attempt on record.';

export function destinationsView(root, params) {
  const leaving = new AbortController();
  const { signal } = leaving;
  let selected = Number(params.id) || undefined;
  let adding = 'new' in params;
  let reading = new AbortController();
  let account; // id of the chosen one

  const choice = h('select', { 'aria-label': 'Account', 'data-testid': 'account-choice', onchange: () => { account = Number(choice.value) || undefined; paint(); go('/destinations'); show(); } });
  const add = h('a', { class: 'button', href: '/destinations?new', 'data-testid': 'destination-add', 'aria-label': 'Add a destination' }, 'Add');
  const list = h('ul', { class: 'rows', 'aria-label': 'Destinations' });
  const notice = h('div', { class: 'notice' });
  const pane = h('section', { class: 'list-pane', 'aria-label': 'Destinations' },
    h('header', { class: 'head' }, h('h1', { tabindex: '-1' }, 'Destinations'), choice, add), list, notice);
  const halves = split(pane, list, signal);
  root.append(halves.node);

  const chosen = () => destinations.account(account);
  let noticeKey = '';
  function paint() {
    if (signal.aborted) return;
    const { accounts } = destinations;
    if (selected !== undefined) account = destinations.find(selected)?.account_id ?? account;
    if (!chosen()) account = accounts[0]?.id;
    const options = [...accounts.map(({ id, account_name: name }) => [String(id), name]), ['new', 'New account …']];
    if (options.join() !== [...choice.options].map(({ value, text }) => [value, text]).join()) choice.replaceChildren(...options.map(([value, text]) => h('option', { value }, text)));
    choice.value = String(account ?? 'new');
    choice.hidden = add.hidden = accounts.length === 0;
    const items = chosen()?.destinations ?? [];
    reconcile(list, items, ({ id }) => id, createRow, (node, destination) => updateRow(node, destination, destination.id === selected));
    list.hidden = items.length === 0;
    const key = items.length > 0 ? '' : `${get('user')?.id} ${get('status') === null} ${destinations.phase} ${account}`;
    if (key !== noticeKey) notice.replaceChildren(...(key ? [noticeFor()] : []));
    noticeKey = key;
    if (selected !== undefined || adding) halves.select(list.rows?.get(selected) ?? null);
    else halves.clear();
  }

  function noticeFor() {
    if (!get('user')) return gatePanel('destination', 'Accounts belong to a person', PURPOSE);
    if (destinations.phase === 'failed') return failedPanel('The destinations could not be loaded.', destinations.error, () => destinations.load());
    if (destinations.phase === 'loading') return skeleton(3);
    if (!chosen()) return h('div', { class: 'panel' }, h('h2', {}, 'No account yet'), h('p', {}, PURPOSE), accountForm(madeAccount));
    return emptyPanel('destination', 'No destinations yet', PURPOSE, h('a', { class: 'button', href: '/destinations?new' }, 'Add the first'));
  }

  function madeAccount(made) {
    account = made.id;
    announce('The account is made.');
    go('/destinations');
    paint();
    show();
  }

  function show() {
    reading.abort();
    reading = new AbortController();
    const back = () => go('/destinations');
    if (!get('user') || destinations.phase !== 'ready') {
      halves.detail.replaceChildren();
    } else if (choice.value === 'new' && destinations.accounts.length > 0) {
      halves.detail.replaceChildren(h('div', { class: 'detail' }, h('h2', {}, 'New account'), accountForm(madeAccount)));
    } else if (adding && chosen()) {
      const form = destinationForm({ account: chosen(), done: ({ id }) => { announce('The destination is added.'); go(`/destinations/${id}`); }, cancel: back });
      halves.detail.replaceChildren(h('div', { class: 'detail' }, h('h2', {}, `New destination of ${chosen().account_name}`), form));
      form.focusFirst();
    } else if (selected !== undefined && destinations.find(selected)) {
      showDestination(halves.detail, selected, reading.signal, { left: back });
    } else if (selected !== undefined) {
      halves.detail.replaceChildren(h('div', { class: 'panel' }, h('h2', {}, `No destination ${selected}`), h('p', {}, 'You have none with that number.'), h('a', { class: 'button', href: '/destinations' }, 'Back to the destinations')));
    } else {
      halves.detail.replaceChildren(...(chosen() ? [accountDetail(chosen())] : []));
    }
  }

  let shownPhase = '';
  on('destinations', () => {
    paint();
    if (destinations.phase !== shownPhase) show();
    shownPhase = destinations.phase;
  }, signal);
  const begin = () => {
    paint();
    show();
    if (get('user')) destinations.load();
  };
  on('user', begin, signal);
  on('status', paint, signal);
  begin();

  return {
    update(next) {
      const id = Number(next.id) || undefined;
      const isNew = 'new' in next;
      if (id === selected && isNew === adding) return;
      selected = id;
      adding = isNew;
      if (choice.value === 'new' && (selected !== undefined || adding)) choice.value = String(account ?? 'new');
      paint();
      show();
    },
    leave() {
      reading.abort();
      leaving.abort();
    },
  };
}

function createRow(destination) {
  const parts = { title: h('span', { class: 'title' }), body: h('span', { class: 'body' }), state: h('span', { class: 'state' }), queue: h('span') };
  const node = h('li', { class: 'row destination-row', 'data-testid': 'destination-item', 'data-id': destination.id },
    h('a', { class: 'row-link', href: `/destinations/${destination.id}` }, h('span', { class: 'dot' }), h('span', { class: 'text' }, h('span', { class: 'first-line' }, parts.title), parts.body)),
    h('span', { class: 'side' }, parts.state, parts.queue));
  node.addEventListener('keydown', (event) => {
    const beside = { ArrowDown: node.nextElementSibling, ArrowUp: node.previousElementSibling }[event.key];
    if (!beside || event.target.tagName !== 'A') return;
    event.preventDefault();
    beside.querySelector('a').focus();
  });
  node.parts = parts;
  return node;
}

function updateRow(node, destination, selected) {
  const { parts } = node;
  node.dataset.state = !destination.enabled ? 'disabled' : destination.failing_since ? 'failing' : 'enabled';
  setText(parts.title, destination.url.replace(/^https?:\/\//, ''));
  setText(parts.body, [destination.http_method, destination.ordered && 'in order', destination.rate > 0 && `${destination.rate}/s`].filter(Boolean).join(' · '));
  setText(parts.state, stateText(destination).split(':')[0]);
  setText(parts.queue, [destination.waiting > 0 && `${destination.waiting} waiting`, destination.failed > 0 && `${destination.failed} given up`].filter(Boolean).join(' · '));
  const link = node.firstElementChild;
  if (selected) link.setAttribute('aria-current', 'true');
  else link.removeAttribute('aria-current');
}

/** An account's facts, and how to push data in for it. */
function accountDetail(account) {
  const token = destinations.secrets.get(`account ${account.id}`);
  const push = `curl -H 'X-Account-Token: ${token ?? '$TOKEN'}' -d '{"account_id":${account.id},"data":{"order":4711}}' ${location.origin}/api/v1/incoming`;
  return h('div', { class: 'detail', 'data-testid': 'account-detail' },
    h('h2', { dir: 'auto' }, account.account_name),
    token && secretPanel('Secret token', 'Shown this once: whoever has it may push data in and change destinations.', token),
    h('dl', { class: 'facts' }, fact('Number', account.id), fact('Email', account.email), account.website ? fact('Website', account.website) : ''),
    h('h3', {}, 'Push data in'),
    commands(['Over HTTP', command(push)], ['As a record of topic incoming', command(get('status')?.kafka ? `echo '{"account_id":${account.id},"data":{"order":4711}}' | kcat -b ${get('status').kafka} -P -t incoming -k ${account.id}` : '')]));
}

const fact = (name, value) => h('div', {}, h('dt', {}, name), h('dd', {}, value));
