// The page's one stream: whose it is, what it follows, over which transport.
// Its events go out on the bus under their own names.

import { Crier } from '../crier.js';
import { emit, get, kept, on, set, setCounts } from './state.js';
import { loadProfile } from './session.js';
import { takeTicks } from './ticks.js';

// More repaints of a figure than this nobody can read.
const TICKS_A_SECOND = 10;
// Enough for every trace that can be waiting at once.
const ARRIVALS_KEPT = 100;

let stream = null;
let seen = false; // this stream has been live before
const arrivals = new Map(); // event_id -> {notification, at}

export const transport = () => (kept.get('transport') === 'ws' ? 'ws' : 'sse');
export const delay = () => stream?.delay;
export const clockOffset = () => stream?.clockOffset ?? 0;
export const lastId = () => stream?.cursor ?? '';

/** The notification with this event, if it has come: {notification, at}. */
export const arrivalOf = (eventId) => arrivals.get(eventId);

export function retryNow() { stream?.retryNow(); }
export function disconnect() { stream?.close('disconnected here'); }
export function reconnect() { stream?.open(); }

export function setTransport(name) {
  kept.set('transport', name);
  stream?.setTransport(name);
}

/** Begins anew for the person who is here now: a cursor belongs to one inbox. */
export function startStream() {
  stream?.close('another person');
  seen = false;
  arrivals.clear();
  set('catchUp', null);
  stream = new Crier({ transport: transport(), topics: topics(), rate: TICKS_A_SECOND });
  const mine = stream;
  const listen = (type, listener) => mine.addEventListener(type, ({ detail }) => { if (mine === stream) listener(detail); });
  listen('state', (state) => set('connection', state));
  listen('ready', ({ data }) => ready(data));
  listen('notification', ({ data, at }) => arrived(data, at));
  listen('tick', ({ data }) => takeTicks(Array.isArray(data) ? data : [data]));
  listen('counts', ({ data }) => {
    // An answer to this page's own request has told the same before: then
    // nothing changed anywhere else.
    const news = data.version !== get('counts').version;
    setCounts(data);
    if (news) emit('counts-heard', data);
  });
  listen('resumed', ({ data }) => set('catchUp', { missed: Number(data.replayed) || 0, reason: data.reason, at: Date.now() }));
  listen('gap', ({ data }) => set('catchUp', { gap: true, reason: data.reason, at: Date.now() }));
  stream.open();
}

/** Resolves when this person's stream is live, or after `ms`: what is sent before that would come unseen. */
export function whenLive(ms) {
  const isLive = () => get('connection').name === 'live' && get('connection').user === get('user')?.id;
  return new Promise((resolve) => {
    if (isLive()) {
      resolve();
      return;
    }
    const over = new AbortController();
    const end = () => { clearTimeout(timer); over.abort(); resolve(); };
    const timer = setTimeout(end, ms);
    on('connection', () => { if (isLive()) end(); }, over.signal);
  });
}

const topics = () => (get('status')?.symbols ?? []).map((symbol) => `ticks:${symbol}`);

function ready(data) {
  const user = data.user_id || undefined;
  // The server knows best who is here: a session may have ended, or begun in
  // another tab, while this stream was away.
  if (user !== get('user')?.id) loadProfile().catch(() => {});
  emit('stream-ready', { ...data, again: seen });
  seen = true;
}

function arrived(notification, at) {
  arrivals.set(notification.event_id, { notification, at });
  if (arrivals.size > ARRIVALS_KEPT) arrivals.delete(arrivals.keys().next().value);
  if (notification.unread !== undefined) set('counts', { ...get('counts'), unread: notification.unread });
  emit('notification', notification);
}

on('user', startStream);
on('status', () => stream?.setTopics(topics()));
