// The page's one stream: whose it is, what it follows, over which transport.
// Its events go out on the bus under their own names.

import { Crier } from '../crier.js';
import { emit, get, kept, on, set, setCounts } from './state.js';
import { rooms } from './room-store.js';
import { loadProfile } from './session.js';
import { giveSlot, takeSlot } from './slots.js';
import { takeTicks } from './ticks.js';

// More repaints of a figure than this nobody can read.
const TICKS_A_SECOND = 10;
// Enough for every trace that can be waiting at once.
const ARRIVALS_KEPT = 100;
// The stream that opens follows the rooms, too, so it waits for their names;
// not for long, since it can learn them later.
const ROOMS_WITHIN_MS = 1_500;
const BYE_ASKED_AFTER_MS = 500;
const ASKED_AT = 2; // lost so many times in a row, the page asks whether the session still is

// A stream follows a hundred durable topics; the open room may be one more.
const ROOMS_FOLLOWED = 99;

let stream = null;
let seen = false; // this stream has been live before
let broken = false; // it was lost since it was live: not by a wish of this page's
let room = ''; // where the person is seen
let opening = 0; // counts the streams that were to open
const arrivals = new Map(); // event_id -> {notification, at}

export const transport = () => (kept.get('transport') === 'ws' ? 'ws' : 'sse');
export const delay = () => stream?.delay;
export const clockOffset = () => stream?.clockOffset ?? 0;
/** The place in one's inbox: the first part of the cursor, which goes on with those in topics. */
export const lastId = () => (stream?.cursor ?? '').split(';')[0];

/** The notification with this event, if it has come: {notification, at}. */
export const arrivalOf = (eventId) => arrivals.get(eventId);

export function retryNow() { stream?.retryNow(); }
export function disconnect() { close('disconnected here'); }
export function reconnect() { if (stream) open(stream); }

export function setTransport(name) {
  kept.set('transport', name);
  if (get('connection').name === 'closed') stream?.setTransport(name);
  else reconnect();
}

/** Opens the stream over the chosen transport, an event stream as soon as this browser has room for it. */
async function open(mine) {
  if (transport() === 'ws') {
    giveSlot();
  } else {
    const held = await takeSlot(() => {
      mine.close('queued');
      set('connection', { name: 'queued', attempt: 0, transport: 'sse' });
    });
    if (!held || mine !== stream) return;
  }
  mine.setTransport(transport());
  mine.open();
}

function close(reason) {
  giveSlot();
  stream?.close(reason);
}

/** Is seen in one room, in none with ''. */
export function enterRoom(name) {
  room = name;
  stream?.setJoin(joined());
}

/** Begins anew for the person who is here now: a cursor belongs to one inbox. */
export async function startStream() {
  const turn = ++opening;
  stream?.close('another person');
  stream = null;
  seen = false;
  broken = false;
  arrivals.clear();
  set('catchUp', null);
  set('connection', { name: 'connecting', attempt: 0, transport: transport() });
  if (get('user')) await Promise.race([rooms.load(), new Promise((resolve) => { setTimeout(resolve, ROOMS_WITHIN_MS); })]);
  if (turn !== opening) return;
  stream = new Crier({ transport: transport(), topics: topics(), join: joined(), rate: TICKS_A_SECOND });
  const mine = stream;
  const listen = (type, listener) => mine.addEventListener(type, ({ detail }) => { if (mine === stream) listener(detail); });
  listen('state', (state) => {
    broken ||= state.name === 'waiting' || state.name === 'closed';
    set('connection', state);
    // A refusal looks like any lost connection to a page; whose session ended
    // while it was away finds out here.
    if (state.name === 'waiting' && state.attempt === ASKED_AT && get('user')) loadProfile().catch(() => {});
  });
  listen('ready', ({ data }) => ready(data));
  listen('notification', ({ data, at }) => arrived(data, at));
  listen('message', ({ data }) => emit('message', data));
  listen('tick', ({ data }) => takeTicks(Array.isArray(data) ? data : [data]));
  listen('counts', ({ data }) => {
    // An answer to this page's own request has told the same before: then
    // nothing changed anywhere else.
    const news = data.version !== get('counts').version;
    setCounts(data);
    if (news) emit('counts-heard', data);
  });
  // The next connection would be refused: it asks for more than a stranger gets.
  // Whoever signed out here is told by the answer to that, in a moment.
  listen('bye', ({ data }) => {
    if (data?.reason !== 'draining') setTimeout(() => { if (mine === stream && get('user')) loadProfile().catch(() => {}); }, BYE_ASKED_AFTER_MS);
  });
  listen('resumed', ({ data }) => {
    // Going into another room opens the stream anew over SSE: nobody missed it.
    if (broken || data.replayed > 0) set('catchUp', { missed: Number(data.replayed) || 0, reason: data.reason, at: Date.now() });
    broken = false;
  });
  listen('gap', ({ data }) => {
    broken = false;
    if (data.topic) emit('topic-gap', data.topic);
    else set('catchUp', { gap: true, reason: data.reason, at: Date.now() });
  });
  open(stream);
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

// A room that is not there would have the whole stream refused, so only those
// that the gateway has named are followed.
const roomNames = () => (get('user') ? rooms.list.map(({ name }) => name).slice(0, ROOMS_FOLLOWED) : []);
const joined = () => (get('user') && rooms.find(room) ? [room] : []);
const topics = () => [...(get('status')?.symbols ?? []).map((symbol) => `ticks:${symbol}`), ...roomNames().map((name) => `room:${name}`)];

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
on('session-ending', () => close('signing out'));
on('session-stays', reconnect);
// The transport is the browser's choice: a tab that waits follows another's.
addEventListener('storage', ({ key }) => { if (key === 'crier.transport' && get('connection').name === 'queued') reconnect(); });
// The stream lets go of its connection with a page that is left, and comes back with it.
addEventListener('pagehide', giveSlot);
addEventListener('pageshow', (event) => { if (event.persisted && get('connection').name !== 'closed') reconnect(); });
on('status', () => stream?.setTopics(topics()));
on('rooms-listed', () => {
  stream?.setTopics(topics());
  stream?.setJoin(joined());
});
