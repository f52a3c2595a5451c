// One destination in full: its state, what can be done with it, and every
// attempt with its request and answer.

import { api } from './api.js';
import { destinationForm } from './destination-form.js';
import { destinations } from './destination-store.js';
import { h, icon, reconcile, setText } from './dom.js';
import { whileBusy } from './form.js';
import { exactText, plural } from './format.js';
import { on } from './state.js';
import { command } from './terminal.js';
import { timeTag } from './time.js';
import { announce, sayFailed, toast } from './toast.js';

// Attempts come without a stream: they are asked for again while one looks on.
const LOOK_AGAIN_MS = 2_000;

const REASONS = { owner: 'Disabled here', gone: 'Disabled: it answered 410 Gone', failing: 'Disabled: nothing but failures for five days' };

/** A destination's state in words. */
export function stateText(destination) {
  if (!destination.enabled) return REASONS[destination.disabled_reason] ?? 'Disabled';
  return destination.failing_since ? 'Failing' : 'Enabled';
}

/** Shows the destination in `root` until the signal ends. */
export function showDestination(root, id, signal, { left }) {
  let destination = destinations.find(id);
  const head = h('div', { class: 'detail-head' });
  const log = attemptLog(() => destination, signal);
  let shown = '';
  const wanted = () => JSON.stringify([destination, destinations.secrets.get(id)]);
  const describe = () => {
    shown = wanted();
    head.replaceChildren(...headOf(destination, { left, again: log.load }));
  };
  describe();
  on('destination-changed', (changed) => {
    if (changed.id !== id) return;
    destination = changed;
    // What has not changed keeps the focus, and a form that is being written in stays.
    if (wanted() !== shown && !head.querySelector('form')) describe();
  }, signal);
  root.replaceChildren(h('article', { class: 'detail', 'data-testid': 'destination-detail', 'data-id': id },
    h('a', { class: 'back', href: '/destinations' }, icon('back'), 'Close'), head, log.node));
  const look = async () => {
    if (signal.aborted) return;
    if (document.visibilityState !== 'hidden') await Promise.all([log.load(), destinations.refresh(destination).catch(() => {})]);
    setTimeout(look, LOOK_AGAIN_MS);
  };
  look();
}

function headOf(destination, { left, again }) {
  const path = destinations.path(destination);
  const place = h('div');
  const act = (what, work) => (event) => whileBusy(event.currentTarget, async () => {
    try { await work(); } catch (error) { sayFailed(what, error); }
  });
  const edit = () => {
    const done = () => place.replaceChildren();
    const form = destinationForm({ destination, done: () => { done(); announce('Saved.'); destinations.refresh(destination); }, cancel: done });
    place.replaceChildren(form);
    form.focusFirst();
  };
  const secret = destinations.secrets.get(destination.id);
  const since = h('select', { 'aria-label': 'Since', 'data-testid': 'replay-since' }, [['1', 'the last hour'], ['24', 'the last day'], ['168', 'the last week'], ['8760', 'the beginning']].map(([hours, words]) => h('option', { value: hours }, words)));
  since.value = '24';
  const replayAll = act('Nothing was replayed.', async () => {
    const { queued } = await api('POST', `${path}/replay`, { since: new Date(Date.now() - since.value * 3_600_000).toISOString() });
    toast(queued > 0 ? `${plural(queued, 'delivery')} again`.replace('deliverys', 'deliveries') : 'Nothing was given up since then');
    again();
  });
  return [
    h('h2', { class: 'address' }, `${destination.http_method} ${destination.url}`),
    h('div', { class: 'actions' },
      destination.enabled && h('button', { type: 'button', 'data-testid': 'destination-test', onclick: act('It was not tried.', async () => { await api('POST', `${path}/test`); announce('An example is on its way.'); again(); }) }, icon('send'), 'Test'),
      destination.enabled
        ? h('button', { type: 'button', 'data-testid': 'destination-disable', onclick: act('Nothing was changed.', () => destinations.change(destination, { enabled: false })) }, icon('pause'), 'Disable')
        : h('button', { type: 'button', class: 'primary', 'data-testid': 'destination-enable', onclick: act('Nothing was changed.', () => destinations.change(destination, { enabled: true })) }, icon('play'), 'Enable'),
      h('button', { type: 'button', 'data-testid': 'destination-edit', onclick: edit }, 'Edit'),
      h('button', { type: 'button', 'data-testid': 'destination-rotate', onclick: act('The secret is the old one.', async () => { await destinations.rotate(destination); destinations.refresh(destination); }) }, 'New secret'),
      h('button', { type: 'button', 'data-testid': 'destination-delete', onclick: (event) => confirmDelete(event.currentTarget, destination, left) }, icon('delete'), 'Delete')),
    secret && secretPanel('Signing secret', 'Shown this once. A secret before it holds for 24 hours more.', secret),
    place,
    h('dl', { class: 'facts' },
      fact('State', h('span', { 'data-testid': 'destination-state' }, stateText(destination))),
      destination.failing_since ? fact('Failing since', exactText(destination.failing_since)) : '',
      fact('Waiting', `${figure(destination.waiting)}${destination.enabled ? '' : ', until it is enabled'}`),
      fact('Order', destination.ordered ? 'in order, one at a time' : 'any order, up to 16 requests in parallel'),
      destination.rate ? fact('Rate', `${destination.rate} a second at most`) : '',
      Object.keys(destination.headers).length > 0 ? fact('Headers', Object.keys(destination.headers).join(', ')) : '',
      fact('Number', `${destination.id} of account ${destination.account_id}`)),
    destination.failed > 0 && destination.enabled && h('p', { class: 'evidence replay-all' },
      h('span', {}, `${figure(destination.failed)} given up. `, 'Deliver again what failed since ', since, ' ', h('button', { type: 'button', 'data-testid': 'replay-all', onclick: replayAll }, 'Replay'))),
  ].filter(Boolean);
}

const figure = (count) => (count >= 1_000 ? '1,000 or more' : String(count));

/** A second press deletes: what waits goes with it, and cannot come back. */
function confirmDelete(button, destination, left) {
  if (button.dataset.sure) {
    whileBusy(button, async () => {
      try {
        await destinations.remove(destination);
        left();
      } catch (error) {
        sayFailed('It was not deleted.', error);
      }
    });
    return;
  }
  button.dataset.sure = 'yes';
  button.lastChild.textContent = destination.waiting > 0 ? `Delete with ${figure(destination.waiting)} waiting` : 'Really delete';
  setTimeout(() => {
    delete button.dataset.sure;
    button.lastChild.textContent = 'Delete';
  }, 4_000);
}

/** A secret that is shown once, ready to copy. */
export function secretPanel(title, text, secret) {
  return h('div', { class: 'evidence', 'data-testid': 'secret' }, h('strong', {}, title), command(secret, 'Copy the secret'), h('span', { class: 'hint' }, text));
}

const fact = (name, value) => h('div', {}, h('dt', {}, name), h('dd', {}, value));

function attemptLog(current, signal) {
  const list = h('ol', { class: 'attempts', 'data-testid': 'attempts' });
  const note = h('p', { class: 'hint' });
  const failedOnly = h('input', { type: 'checkbox', id: 'attempts-failed', onchange: () => { older = []; load(); } });
  const more = h('button', { type: 'button', class: 'link', hidden: true, onclick: () => whileBusy(more, loadOlder) }, 'Older');
  let newest = [];
  let older = []; // pages that were asked for
  let next = null;

  const paint = () => {
    const known = new Set(newest.map(({ id }) => id));
    const all = [...newest, ...older.filter(({ id }) => !known.has(id))];
    reconcile(list, all, ({ id }) => id, (attempt) => attemptRow(attempt, replay), updateAttempt);
    setText(note, all.length > 0 ? '' : failedOnly.checked ? 'None has failed.' : 'None yet. Each will stand here with its request and answer.');
    more.hidden = !next;
  };
  async function load() {
    try {
      const page = await api('GET', `${destinations.path(current())}/attempts?limit=20${failedOnly.checked ? '&failed=true' : ''}`);
      if (signal.aborted) return;
      newest = page.results;
      if (older.length === 0) next = page.next;
      paint();
    } catch (error) {
      if (!signal.aborted && !error.unreachable) setText(note, error.message);
    }
  }
  async function loadOlder() {
    const page = await api('GET', next).catch((error) => { sayFailed('Older ones could not be loaded.', error); });
    if (!page || signal.aborted) return;
    older.push(...newest, ...page.results);
    next = page.next;
    paint();
  }
  async function replay(attempt) {
    try {
      await api('POST', `${destinations.path(current())}/attempts/${attempt.id}/replay`);
      announce('It is delivered again.');
      load();
    } catch (error) {
      sayFailed('Nothing was replayed.', error);
    }
  }
  return {
    load,
    node: h('section', { class: 'firings' },
      h('header', { class: 'head' }, h('h3', {}, 'Attempts'), h('label', { class: 'check' }, failedOnly, ' failed only')), note, list, more),
  };
}

function attemptRow(attempt, replay) {
  const well = !attempt.error;
  const state = h('span', { class: 'state' });
  const node = h('li', { 'data-testid': 'attempt', 'data-status': attempt.status ?? 0, 'data-well': well ? 'yes' : 'no' },
    h('details', {},
      h('summary', {},
        h('span', { class: 'outcome' }, well ? `✓ ${attempt.status}` : `✕ ${attempt.status ?? 'no answer'}`),
        h('span', {}, attempt.attempt > 1 ? `attempt ${attempt.attempt}` : ''), state,
        h('span', { class: 'took' }, `${attempt.took_ms.toLocaleString('en')} ms`), timeTag(attempt.at)),
      h('dl', { class: 'facts' },
        fact('Event', h('code', {}, attempt.event_id)), fact('Request', h('code', {}, attempt.request)), fact('At', exactText(attempt.at)),
        attempt.error ? fact('Error', attempt.error) : ''),
      attempt.data !== undefined && h('pre', {}, JSON.stringify(attempt.data, null, 2)),
      attempt.answer ? [h('p', { class: 'hint' }, 'Answer'), h('pre', { 'data-testid': 'answer' }, attempt.answer)] : ''),
    h('button', { type: 'button', class: 'link', 'data-testid': 'replay', 'aria-label': `Replay ${attempt.event_id}`, onclick: () => replay(attempt) }, 'Replay'));
  node.state = state;
  return node;
}

function updateAttempt(node, attempt) {
  const words = { waiting: 'waits for its next', failed: 'given up' };
  setText(node.state, attempt.error ? words[attempt.delivery] ?? '' : '');
}
