// Alerts: the sentence that makes a new one, the list, and one in full.

import { alertForm } from './alert-form.js';
import { showAlert } from './alert-detail.js';
import { setSound, soundOn } from './alert-notice.js';
import { alerts } from './alert-store.js';
import { alertSentence, distanceText, extrasText, firstText, isMet, markOf, measuredText, repeatText, stateText } from './alert-words.js';
import { h, reconcile, setText } from './dom.js';
import { emptyPanel, failedPanel, gatePanel, skeleton } from './feedback.js';
import { priceText } from './format.js';
import { go } from './router.js';
import { split } from './split.js';
import { get, on } from './state.js';
import { priceOf } from './ticks.js';
import { announce, sayFailed } from './toast.js';

// Windows move on with the time, best prices with the ticks.
const REFERENCES_MS = 5_000;

export function alertsView(root, params) {
  const leaving = new AbortController();
  const { signal } = leaving;
  let selected = Number(params.id) || undefined;
  let reading = new AbortController();

  const form = alertForm(signal, (alert) => {
    alerts.put(alert, { isNew: true });
    announce(`Alert ${alert.id} is set.`);
    go(`/alerts/${alert.id}`);
  });
  const list = h('ul', { class: 'rows', 'aria-label': 'Alerts' });
  const notice = h('div', { class: 'notice' });
  const more = h('button', { type: 'button', class: 'more', onclick: () => alerts.more().catch((error) => sayFailed('More alerts could not be loaded.', error)) }, 'Older');
  const pane = h('section', { class: 'list-pane', 'aria-label': 'Alerts' }, list, notice, more);
  const halves = split(pane, list, signal);
  root.append(
    h('section', { class: 'above' }, h('header', { class: 'head' }, h('h1', { tabindex: '-1' }, 'Alerts'), h('label', { class: 'check sound' }, h('input', { type: 'checkbox', 'data-testid': 'alert-sound', checked: soundOn(), onchange: (event) => setSound(event.currentTarget.checked) }), 'Play a sound when an alert fires')), form.node),
    halves.node);

  let frame = 0;
  const draw = () => { frame ||= requestAnimationFrame(() => { frame = 0; paint(); }); };

  let noticeKey = '';
  function paint() {
    if (signal.aborted) return;
    reconcile(list, alerts.items, ({ id }) => id, createRow, (node, alert) => updateRow(node, alert, alert.id === selected));
    list.hidden = alerts.items.length === 0;
    form.node.hidden = !get('user') && get('status')?.users === 'external';
    form.node.classList.toggle('beside-detail', selected !== undefined);
    more.hidden = !alerts.next;
    const key = alerts.items.length > 0 ? '' : `${get('user')?.id} ${get('status') === null} ${alerts.phase}`;
    if (key !== noticeKey) notice.replaceChildren(...(key ? [noticeFor(form)] : []));
    noticeKey = key;
    if (selected !== undefined) halves.select(list.rows?.get(selected) ?? null);
    else halves.clear();
  }

  function showSelected() {
    reading.abort();
    reading = new AbortController();
    if (selected !== undefined && get('user')) showAlert(halves.detail, selected, reading.signal, { left: () => go('/alerts'), again: form.prefill });
    else halves.detail.replaceChildren(promise());
  }

  const begin = () => {
    if (get('user')) alerts.load();
    showSelected();
    draw();
  };
  on('alerts', draw, signal);
  // Also for an alert that was set or changed a moment ago.
  let measured = '';
  const measure = () => { if (get('user') && get('connection').name === 'live') alerts.loadReferences().catch(() => {}); }; // asked again in a moment
  on('alerts', () => {
    const now = alerts.items.filter(({ state, percent }) => state === 'created' && percent !== undefined).map(({ id, percent }) => `${id} ${percent}`).join();
    if (now !== measured) measure();
    measured = now;
  }, signal);
  on('alert-references', draw, signal);
  const measuring = setInterval(() => { if (document.visibilityState === 'visible') measure(); }, REFERENCES_MS);
  signal.addEventListener('abort', () => clearInterval(measuring));
  on('prices', (changed) => { for (const row of list.children) if (row.alert && changed.has(row.alert.symbol)) paintDistance(row); }, signal);
  on('user', begin, signal);
  on('status', draw, signal);
  form.prefill(params);
  begin();
  if (params.symbol) form.focus();

  return {
    update(next) {
      if (next.symbol) form.prefill(next);
      const id = Number(next.id) || undefined;
      if (id === selected) return;
      selected = id;
      paint();
      showSelected();
    },
    leave() {
      reading.abort();
      leaving.abort();
    },
  };
}

function createRow(alert) {
  const parts = {
    title: h('span', { class: 'title' }),
    body: h('span', { class: 'body' }),
    state: h('span', { class: 'state' }),
    distance: h('span', { class: 'distance' }),
  };
  const node = h('li', { class: 'row alert-row', 'data-testid': 'alert-item', 'data-id': alert.id },
    h('a', { class: 'row-link', href: `/alerts/${alert.id}` }, h('span', { class: 'dot' }), h('span', { class: 'text' }, h('span', { class: 'first-line' }, parts.title), parts.body)),
    h('span', { class: 'side' }, parts.state, parts.distance));
  node.addEventListener('keydown', (event) => {
    const beside = { ArrowDown: node.nextElementSibling, ArrowUp: node.previousElementSibling }[event.key];
    if (!beside || event.target.tagName !== 'A') return;
    event.preventDefault();
    beside.querySelector('a').focus();
  });
  node.parts = parts;
  if (alert.fresh) node.classList.add('arriving');
  return node;
}

function updateRow(node, alert, selected) {
  const { parts } = node;
  node.alert = alert;
  node.dataset.state = alert.state;
  setText(parts.title, alertSentence(alert));
  setText(parts.body, [alert.note, alert.repeat === 'every' && repeatText(alert), extrasText(alert), alert.email && `also to ${alert.email}`].filter(Boolean).join(' · '));
  setText(parts.state, alert.firings > 1 ? `${stateText(alert.state)} · ${alert.firings}×` : stateText(alert.state));
  const link = node.firstElementChild;
  if (selected) link.setAttribute('aria-current', 'true');
  else link.removeAttribute('aria-current');
  paintDistance(node);
}

function paintDistance(node) {
  const { alert, parts } = node;
  const price = priceOf(alert.symbol);
  const reference = alerts.references.get(alert.id);
  const mark = alert.state === 'created' && price ? markOf(alert, price.price) ?? reference?.fires_at : undefined;
  parts.distance.title = mark && reference ? measuredText(reference) : '';
  if (!mark) setText(parts.distance, '');
  else if (isMet(alert.condition, price.price, mark)) setText(parts.distance, `now ${priceText(price.price, price.scale)}`);
  else setText(parts.distance, firstText(alert, price.price) || distanceText(price.price, mark));
}

/** What an alert is good for, where no alert is chosen. */
function promise() {
  return h('div', { class: 'detail nothing' },
    h('h2', {}, 'What an alert guarantees'),
    h('p', { class: 'lead' }, 'An alert is active from its Kafka offset onwards. The first tick at or after that offset that meets it fires it, exactly once; so does a price that only touched the mark while a part of Crier was down.'),
    h('p', { class: 'lead' }, 'Each firing names its tick by topic, partition and offset, so anybody can look it up.'));
}

function noticeFor(form) {
  const text = 'A price that reaches a mark you set is a notification in your inbox, once or every time, even if this page was closed or the server stopped in between.';
  if (!get('user')) return gatePanel('alert', 'Alerts belong to a person', text);
  if (alerts.phase === 'failed') return failedPanel('The alerts could not be loaded.', alerts.error, () => alerts.load());
  if (alerts.phase === 'loading') return skeleton(3);
  return emptyPanel('alert', 'No alerts yet', text, h('button', { type: 'button', onclick: form.focus }, 'Create the first'));
}
