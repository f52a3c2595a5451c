// One notification in full. It marks itself as read after it has been in view
// for a second.

import { api } from './api.js';
import { h, icon } from './dom.js';
import { exactText, positionText, priceText } from './format.js';
import { alertSentence } from './alert-words.js';
import { alerts } from './alert-store.js';
import { deliveriesOf } from './deliveries.js';
import { failedPanel, skeleton } from './feedback.js';
import { inbox } from './inbox-store.js';
import { attributesOf, safeLink, withLinks } from './links.js';
import { on } from './state.js';
import { sayFailed, toast } from './toast.js';

const READ_AFTER_MS = 1_000;

/** Shows notification `id` in `root` until the signal ends; `left` is called when it is archived. */
export async function showNotification(root, id, signal, left) {
  root.replaceChildren(skeleton(2));
  let item;
  try {
    item = await inbox.one(id);
  } catch (error) {
    if (signal.aborted) return;
    root.replaceChildren(error.status === 404
      ? h('div', { class: 'panel' }, h('h2', {}, `No notification ${id}`), h('p', {}, 'This inbox has none with that number.'), h('a', { class: 'button', href: inbox.address() }, 'Back to the inbox'))
      : failedPanel('The notification could not be loaded.', error, () => showNotification(root, id, signal, left)));
    return;
  }
  if (signal.aborted) return;
  root.replaceChildren(article(item, signal, left));
  if (!item.read_at) readAfterASecond(root, item, signal);
}

function readAfterASecond(root, item, signal) {
  let timer = 0;
  let inView = false;
  const weigh = () => {
    clearTimeout(timer);
    if (inView && document.visibilityState === 'visible' && !item.read_at) timer = setTimeout(() => {
      stop();
      inbox.setRead(item.id, true);
    }, READ_AFTER_MS);
  };
  const eye = new IntersectionObserver(([entry]) => { inView = entry.isIntersecting; weigh(); });
  const stop = () => { eye.disconnect(); clearTimeout(timer); document.removeEventListener('visibilitychange', weigh); };
  document.addEventListener('visibilitychange', weigh);
  eye.observe(root.firstElementChild);
  signal.addEventListener('abort', stop);
}

function article(item, signal, left) {
  const mark = h('button', { type: 'button', 'data-testid': 'detail-read', onclick: () => inbox.setRead(item.id, !item.read_at) });
  const describe = () => mark.replaceChildren(icon(item.read_at ? 'unread' : 'read'), item.read_at ? 'Mark as unread' : 'Mark as read');
  on('inbox-marked', ({ id, readAt }) => { if (id === item.id) { item.read_at = readAt; describe(); } }, signal);
  describe();
  const link = safeLink(item.url);
  return h('article', { class: 'detail', 'data-testid': 'inbox-detail', 'data-id': item.id },
    h('a', { class: 'back', href: inbox.address() }, icon('back'), 'Close'),
    h('h2', { dir: 'auto' }, item.title || item.kind),
    item.body && h('p', { class: 'full', dir: 'auto' }, withLinks(item.body)),
    link && h('p', {}, h('a', { ...attributesOf(link), class: 'address' }, attributesOf(link).href)),
    item.kind === 'alert' && item.payload ? triggerFacts(item.payload) : '',
    h('div', { class: 'actions' }, mark,
      item.kind === 'alert' && h('button', { type: 'button', 'data-testid': 'detail-snooze', title: 'The alert is silent for an hour, then active again', onclick: () => snooze(item) }, icon('snooze'), 'Snooze 1 h'),
      h('button', { type: 'button', 'data-testid': 'detail-archive', onclick: () => { left(); inbox.archive(item.id); } }, icon('archive'), 'Archive')),
    h('dl', { class: 'facts' },
      fact('Number', item.id), fact('Kind', item.kind), fact('Priority', item.priority), fact('Came', exactText(item.created_at)),
      item.expires_at ? fact('Expires', exactText(item.expires_at)) : '', item.collapse_key ? fact('Collapse key', item.collapse_key) : '',
      item.read_at ? fact('Read', exactText(item.read_at)) : '', fact('Event', h('code', {}, item.event_id))),
    deliveriesOf(item.id, signal),
    item.payload !== undefined && h('details', { open: item.kind !== 'alert' && item.kind !== 'mention' }, h('summary', {}, 'Payload'), h('pre', { tabindex: '0' }, JSON.stringify(item.payload, null, 2))));
}

async function snooze(item) {
  try {
    await api('POST', `/notifications/${item.id}/snooze`, { for: '1h' });
    alerts.load();
    toast('Snoozed for an hour. Then the alert is active again.');
  } catch (error) {
    sayFailed('It was not snoozed.', error);
  }
}

const fact = (name, value) => h('div', {}, h('dt', {}, name), h('dd', {}, value));

/** Why an alert fired: the tick that met it, and its place in Kafka, where anybody can look it up. */
function triggerFacts(trigger) {
  return h('section', { class: 'evidence' },
    h('p', {}, h('a', { href: `/alerts/${trigger.alert_id}` }, `Alert ${trigger.alert_id}`), `: ${alertSentence(trigger)}`),
    h('dl', { class: 'facts' },
      fact('Tick', `${priceText(trigger.price, 2)} at ${exactText(trigger.time)}`),
      fact('Source', trigger.source),
      fact('Position', positionText(trigger)),
      fact('Firing', `${trigger.firing}`)));
}
