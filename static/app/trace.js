// What becomes of one notification, line by line as it happens: accepted by
// Kafka, stored in the inbox, shown on this page, pushed, mailed, delivered to
// destinations.

import { api } from './api.js';
import { deliveryRow, watchDeliveries } from './deliveries.js';
import { h } from './dom.js';
import { delayText, exactText, plural, positionText } from './format.js';
import { get, on } from './state.js';
import { arrivalOf, clockOffset, whenLive } from './stream.js';
import { sayFailed } from './toast.js';

// After this the trace says that it is still waiting, and why.
const PATIENCE_MS = 5_000;
// A browser's timer that is set for longer fires at once.
const TIMER_MAX_MS = 2 ** 31 - 1;
// A guest's own stream opens together with the account; the trace is of no use
// before it stands.
const LIVE_WITHIN_MS = 2_000;
// Deliveries by mail and webhook are looked at for so long; the inbox shows them afterwards.
const DELIVERIES_FOR_MS = 60_000;

let watching = null; // ends looking at the deliveries of the last send

/**
 * Sends `notification` and writes its way into `list` (an <ol>). Resolves with
 * the answer as soon as it is accepted; throws what the request throws.
 */
export async function sendTraced(list, notification, headers = {}) {
  watching?.abort();
  watching = new AbortController();
  const accepted = step('sending', 'to the gateway');
  list.replaceChildren(accepted.node);
  await whenLive(LIVE_WITHIN_MS);
  const begun = Date.now();
  let answer;
  try {
    answer = await api('POST', '/notifications', notification, { headers });
  } catch (error) {
    accepted.fail('refused', error.message);
    throw error;
  }
  accepted.done('accepted', `by Kafka: ${positionText(answer)}`);
  accepted.node.title = `event ${answer.event_id}`;
  const mine = String(notification.user_id) === get('user')?.id;
  const due = Date.parse(notification.deliver_at);
  if (due > Date.now()) {
    list.append(scheduled(answer.event_id, due, headers));
  } else if (!mine) {
    const elsewhere = step('', '');
    elsewhere.done('on its way', destination(notification), '');
    list.append(elsewhere.node);
  }
  if (mine) follow(list, answer.event_id, due > begun ? due : begun, notification.channels ?? [], watching.signal);
  return answer;
}

function destination({ user_id: user, topic, everyone }) {
  if (everyone) return 'into every inbox there is';
  return topic ? `to whoever follows ${topic}` : `to user ${user}, whose inbox this page does not see`;
}

/** Until it is due it can be taken back, by whoever sent it. */
function scheduled(eventId, due, headers) {
  const line = step('', '');
  const cancel = h('button', { type: 'button', class: 'link', 'data-testid': 'trace-cancel', onclick: async () => {
    cancel.disabled = true;
    try {
      await api('DELETE', `/notifications/scheduled/${eventId}`, undefined, { headers });
      line.done('cancelled', 'it does not come');
      for (const next of line.node.parentElement.querySelectorAll('.pending')) next.remove();
    } catch (error) {
      cancel.disabled = false;
      sayFailed('It was not cancelled.', error);
    }
  } }, 'Cancel');
  line.done('scheduled', [`for ${exactText(due).slice(0, 19)} `, cancel]);
  line.node.dataset.testid = 'trace-scheduled';
  return line.node;
}

function follow(list, eventId, begun, channels, signal) {
  const waiting = step('waiting', begun > Date.now() ? 'to be due' : 'to be stored');
  list.append(waiting.node);
  const ended = new AbortController();
  const arrive = () => {
    const arrival = arrivalOf(eventId);
    if (!arrival || ended.signal.aborted) return;
    ended.abort();
    clearTimeout(patience);
    const { notification, at } = arrival;
    // The server's clock, brought to this one; where the two still disagree
    // the figure would be wrong, so there is none.
    const stored = Date.parse(notification.created_at) - clockOffset() - begun;
    const believable = stored >= 0 && stored <= at - begun;
    waiting.done('stored', ['in the inbox as number ', h('a', { href: `/inbox/${notification.id}` }, String(notification.id))], believable ? delayText(stored) : '');
    const shown = step('', '');
    shown.done('shown here', `over ${get('connection').transport === 'ws' ? 'WebSocket' : 'SSE'}`, `after ${delayText(at - begun)}`);
    shown.node.dataset.testid = 'trace-shown';
    list.append(shown.node);
    alsoWent(list, notification.id, channels.filter((name) => name !== 'inbox'), AbortSignal.any([signal, AbortSignal.timeout(DELIVERIES_FOR_MS)]));
  };
  const patience = setTimeout(() => {
    const live = get('connection').name === 'live';
    waiting.note(live ? 'the consumer has not stored it yet' : 'this page is not connected; it comes with the reconnect');
  }, Math.min(TIMER_MAX_MS, PATIENCE_MS + Math.max(0, begun - Date.now())));
  on('notification', arrive, ended.signal);
  arrive();
}

/** To how many connections it was pushed, and what becomes of it by mail and webhook. */
function alsoWent(list, id, expected, signal) {
  let lines = [];
  watchDeliveries(id, signal, ({ results, connections }) => {
    const pushed = step('', '');
    pushed.done('pushed', `to ${plural(connections, 'connection')} at this gateway`);
    pushed.node.dataset.testid = 'trace-pushed';
    const missing = expected.filter((name) => !results.some(({ channel }) => channel === name)).map((name) => step(name === 'email' ? 'Email' : 'Webhook', 'not on its way yet').node);
    for (const line of lines) line.remove();
    lines = [pushed.node, ...results.map(deliveryRow), ...missing];
    list.append(...lines);
    lines.at(-1).scrollIntoView({ block: 'nearest' });
  }, expected);
}

function step(word, text) {
  const verb = h('strong', {}, word);
  const facts = h('span', {}, text);
  const time = h('span', { class: 'when' });
  const node = h('li', { class: 'step pending', 'data-testid': 'trace-step' }, h('span', { class: 'mark' }), h('span', {}, verb, ' ', facts), time);
  const write = (state, nextWord, content, when = '') => {
    node.className = `step ${state}`;
    verb.textContent = nextWord;
    facts.replaceChildren(...[content].flat());
    time.textContent = when;
  };
  return {
    node,
    done: (...rest) => write('done', ...rest),
    fail: (...rest) => write('failed', ...rest),
    note: (content) => write('pending', 'waiting', content),
  };
}
