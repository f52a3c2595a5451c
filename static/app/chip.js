// The status chip: what the stream is doing now, and never anything else. Its
// panel holds the figures, the choice of transport and the switch that cuts
// the stream, so that resuming can be tried without stopping the server.

import { h, setText } from './dom.js';
import { clockText, delayText } from './format.js';
import { popover } from './popover.js';
import { get, on } from './state.js';
import * as stream from './stream.js';
import { command, crier } from './terminal.js';
import { announce } from './toast.js';

// How long the outcome of a reconnect stands in the chip itself.
const OUTCOME_MS = 8_000;
const REFRESH_MS = 250;

const NAMES = { sse: 'SSE', ws: 'WebSocket' };

export function mountChip(holder) {
  const label = h('span', { class: 'chip-label' });
  const main = h('button', { type: 'button', class: 'chip-main', title: 'Stream' }, h('span', { class: 'lamp' }), label);
  const now = h('button', { type: 'button', class: 'link', 'data-testid': 'retry-now', onclick: stream.retryNow, 'aria-label': 'Reconnect now' }, 'now');
  const chip = h('div', { class: 'chip', 'data-testid': 'status-chip' }, main, now);
  const panel = makePanel();
  holder.append(chip, panel.node);
  popover(main, panel.node, panel.refresh);

  const refresh = () => {
    const state = get('connection');
    const outcome = recentOutcome();
    chip.dataset.state = state.name;
    chip.dataset.transport = stream.transport();
    chip.dataset.lastId = stream.lastId();
    chip.dataset.outcome = state.name === 'live' && outcome ? (outcome.gap ? 'gap' : 'caught-up') : '';
    setText(label, chipText(state, outcome));
    now.hidden = state.name !== 'waiting';
    if (!panel.node.hidden) panel.refresh();
  };
  on('connection', (state) => { refresh(); speak(state); });
  on('catchUp', (how) => { refresh(); if (how) announce(`Reconnected: ${outcomeText(how)}.`); });
  setInterval(refresh, REFRESH_MS);
  refresh();
}

function recentOutcome() {
  const how = get('catchUp');
  return how && Date.now() - how.at < OUTCOME_MS ? how : null;
}

const outcomeText = (how) => (how.gap ? 'reloaded after a gap' : `caught up, ${how.missed.toLocaleString('en')} missed`);

function chipText(state, outcome) {
  switch (state.name) {
    case 'live': {
      if (outcome) return outcomeText(outcome);
      const delay = stream.delay();
      return delay === undefined ? 'live' : `live · ${delayText(delay)} delay`;
    }
    case 'waiting': return `reconnecting in ${secondsTo(state.nextTry)} s ·`;
    case 'queued': return 'waits: 5 other tabs';
    case 'closed': return 'disconnected';
    default: return state.attempt > 0 ? 'reconnecting…' : 'connecting…';
  }
}

const secondsTo = (time) => Math.max(0, Math.ceil((time - Date.now()) / 1_000));

let spoken = '';

// Only the changes that matter to somebody who cannot see the chip: lost, and
// back (with the outcome, above). Each retry in between would be noise.
function speak(state) {
  if (state.name === spoken || state.name === 'connecting') return;
  if (state.name === 'waiting' && spoken === 'live') announce('Connection lost. Reconnecting.');
  spoken = state.name;
}

function makePanel() {
  const values = {};
  const row = (key, name) => {
    values[key] = h('dd', {});
    return h('div', {}, h('dt', {}, name), values[key]);
  };
  const radio = (name) => h('label', {},
    h('input', { type: 'radio', name: 'transport', value: name, 'data-testid': `transport-${name}`, checked: stream.transport() === name, onchange: () => stream.setTransport(name) }),
    h('span', {}, NAMES[name]));
  const line = command('');
  const again = h('button', { type: 'button', onclick: () => stream.retryNow() }, 'Reconnect now');
  const cut = h('button', { type: 'button', 'data-testid': 'disconnect', onclick: () => (get('connection').name === 'closed' ? stream.reconnect() : stream.disconnect()) });
  const node = h('div', { class: 'popover chip-panel', id: 'chip-panel', role: 'dialog', 'aria-label': 'Stream', 'data-testid': 'status-panel' },
    h('h2', {}, 'Stream'),
    h('fieldset', { class: 'segments' }, h('legend', { class: 'unseen' }, 'Transport'), radio('sse'), radio('ws')),
    h('dl', { class: 'facts' }, row('state', 'State'), row('delay', 'Delay'), row('id', 'Last notification received'), row('session', 'Session'), row('outcome', 'Last reconnect')),
    h('div', { class: 'actions' }, again, cut),
    h('p', { class: 'hint' }, 'Disconnect, have something sent, connect again: what was missed comes first, in order, once.'),
    line);

  const refresh = () => {
    const state = get('connection');
    const how = get('catchUp');
    setText(values.state, stateText(state));
    setText(values.delay, delayText(stream.delay()) || '–');
    setText(values.id, stream.lastId() || '–');
    setText(values.session, state.session ?? '–');
    setText(values.outcome, how ? `${outcomeText(how)} · ${clockText(how.at)}${how.reason ? ` · ${how.reason}` : ''}` : '–');
    again.hidden = state.name !== 'waiting';
    setText(cut, state.name === 'closed' ? 'Connect' : 'Disconnect');
    const user = get('user');
    line.set((user && crier(`listen --user ${user.id}`)) || `curl -N '${location.origin}/api/v1/stream?topics=ticks:${get('status')?.symbols?.[0] ?? 'BTCUSDT'}'`);
  };
  return { node, refresh };
}

function stateText(state) {
  switch (state.name) {
    case 'live': return `live since ${clockText(state.since)}`;
    case 'waiting': return `${state.reason}; try ${state.attempt} in ${secondsTo(state.nextTry)} s`;
    case 'queued': return 'waiting until another tab is closed';
    case 'closed': return state.reason;
    default: return 'connecting';
  }
}
