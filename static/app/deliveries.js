// Where else a notification went, and what became of it there. It is looked at
// again while something is still on its way.

import { api } from './api.js';
import { h } from './dom.js';
import { plural } from './format.js';
import { timeTag } from './time.js';

const AGAIN_MS = 2_000;

const CHANNELS = { email: 'Email', webhook: 'Webhook' };
const WORDS = { queued: 'on its way', sent: 'sent', retrying: 'tried, and will be tried again', failed: 'failed', suppressed: 'held back' };
const MARKS = { sent: 'done', failed: 'failed', suppressed: 'failed' };

/** A section of its own, empty where the notification went nowhere else. */
export function deliveriesOf(id, signal) {
  const list = h('ol', { class: 'trace', 'aria-live': 'polite' });
  const node = h('section', { class: 'deliveries', hidden: true, 'data-testid': 'deliveries' }, h('h3', {}, 'Also went'), list);
  watchDeliveries(id, signal, ({ results }) => {
    list.replaceChildren(...results.map(deliveryRow));
    node.hidden = results.length === 0;
  });
  return node;
}

/**
 * Calls `paint` with the deliveries of a notification, and again while one is on its
 * way or one of the `expected` channels has none yet.
 */
export function watchDeliveries(id, signal, paint, expected = []) {
  let timer = 0;

  async function look() {
    clearTimeout(timer);
    const page = await api('GET', `/notifications/${id}/deliveries`).catch(() => null);
    if (signal.aborted) return;
    if (page) paint(page);
    const moving = !page || page.results.some(({ state }) => state === 'queued' || state === 'retrying')
      || expected.some((name) => !page.results.some(({ channel }) => channel === name));
    if (moving) timer = setTimeout(look, AGAIN_MS);
  }
  signal.addEventListener('abort', () => clearTimeout(timer));
  look();
}

export function deliveryRow(delivery) {
  const { channel, address, state, attempts, error } = delivery;
  return h('li', { class: `step ${MARKS[state] ?? 'pending'}`, 'data-testid': 'delivery', 'data-state': state },
    h('span', { class: 'mark' }),
    h('span', {}, h('strong', {}, CHANNELS[channel] ?? channel), ` to ${address || 'nowhere'}: ${WORDS[state] ?? state}`,
      attempts > 1 && `, ${plural(attempts, 'attempt')}`, error && h('span', { class: 'hint' }, ` ${error}`)),
    h('span', { class: 'when' }, timeTag(delivery.updated_at)));
}
