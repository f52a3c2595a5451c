// What is said in one room, as far as it is loaded: oldest first, each event
// once, kept up by the stream. Below it stands what this page has said and has
// not heard back yet; that is known by an event_id of its own making, which a
// second try repeats, so that nothing is said twice.

import { api } from './api.js';
import { emit, get, on } from './state.js';
import { ROOM } from './room-store.js';

const PAGE = 50;
// What a page keeps of one room; beyond it the room starts again from its end.
const LINES_KEPT = 1_000;
// An answer that Kafka has it, and no sign of it on the stream for so long:
// the line says that it is still waiting.
const SLOW_MS = 5_000;
// More comings and goings than this in the time of one request are put right by the next.
const MOVES_KEPT = 200;

/** What is said and not heard back, of all rooms. */
const outbox = [];

class Chat {
  room = '';
  lines = []; // {key, kind, id, user_id, username, body, command, payload, created_at, edited_at, deleted}
  members = new Map(); // user_id -> username
  next = null;
  phase = 'loading'; // loading, ready, failed, closed
  error = null;
  #turn = 0;
  #sending = Promise.resolve();
  #early = null; // events that came while the history was on its way
  #moved = []; // {user, name} of who came (went: no name), as long as it may be news to an answer

  get pending() { return outbox.filter(({ room }) => room === this.room); }

  open(room) {
    if (room === this.room && this.phase !== 'failed') return;
    this.room = room;
    this.lines = [];
    this.members = new Map();
    this.next = null;
    if (room) this.load();
  }

  async load() {
    const turn = ++this.#turn;
    this.#early = [];
    this.#moved = [];
    if (this.lines.length === 0) this.#become('loading');
    try {
      const [page, present] = await Promise.all([api('GET', `/rooms/${this.room}/messages?limit=${PAGE}`), api('GET', `/rooms/${this.room}/members`)]);
      if (turn !== this.#turn) return;
      this.#merge(page);
      this.#present(present.results);
      const early = this.#early;
      this.#early = null;
      for (const event of early) this.#take(event);
      this.#become('ready');
    } catch (error) {
      if (turn !== this.#turn) return;
      this.#early = null;
      this.error = error;
      this.#become(this.lines.length > 0 ? 'ready' : 'failed');
    }
  }

  /** The newest page of history takes the place of what it overlaps; without a gap what is older stays. */
  #merge(page) {
    const known = this.lines;
    this.lines = page.results.reverse().map(lineOf);
    this.lines.forEach(settle);
    const from = page.next ? this.lines[0].id : 0;
    const meets = known.some(({ kind, id }) => kind === 'message' && id >= from);
    // Who came and went is in no history: what was seen of it stays.
    for (const line of known) if (line.id < from ? meets : line.kind !== 'message') this.#insert(line);
    if (!meets || !page.next) this.next = page.next;
  }

  async older() {
    const { room, next } = this;
    if (!next) return;
    const page = await api('GET', next);
    if (room !== this.room || next !== this.next) return;
    for (const message of page.results) this.#insert(lineOf(message));
    this.next = page.next;
    emit('chat');
  }

  async refreshMembers() {
    const { room } = this;
    if (!room || this.phase !== 'ready') return;
    this.#moved = [];
    const present = await api('GET', `/rooms/${room}/members`).catch(() => null);
    if (!present || room !== this.room) return;
    this.#present(present.results);
    emit('chat');
  }

  /** Who is there, as an answer has it, and who came and went while it was on its way. */
  #present(users) {
    this.members = new Map(users.map((user) => [user.user_id, user.username]));
    for (const { user, name } of this.#moved) this.#move(user, name);
  }

  #move(user, name) {
    if (name === undefined) this.members.delete(user);
    else this.members.set(user, name);
  }

  #noteMove(event) {
    const move = { user: event.user_id, name: event.kind === 'joined' ? event.payload?.username : undefined };
    if (this.#moved.push(move) > MOVES_KEPT) this.#moved.shift();
    this.#move(move.user, move.name);
  }

  heard(event) {
    settle(event);
    if (event.topic !== ROOM + this.room) return;
    if (this.#early) this.#early.push(event);
    else this.#take(event);
    emit('chat');
  }

  #take(event) {
    const said = event.payload ?? {};
    if (event.kind === 'edited' || event.kind === 'deleted') {
      const line = this.lines.find(({ id }) => id === said.message_id);
      if (!line) return;
      if (event.kind === 'deleted') Object.assign(line, { deleted: true, body: '' });
      else Object.assign(line, { body: event.body, edited_at: said.edited_at ?? event.created_at, changing: undefined });
      return;
    }
    if (event.kind === 'joined' || event.kind === 'parted') this.#noteMove(event);
    if (event.kind === 'closed') {
      this.members.clear();
      this.phase = 'closed';
    }
    this.#insert({
      key: keyOf(event), kind: event.kind, id: event.id, user_id: event.user_id, username: said.username ?? 'service', body: event.body ?? '',
      command: said.command, payload: said.payload, created_at: event.created_at, live: true,
    });
  }

  #insert(line) {
    if (this.lines.some(({ key }) => key === line.key)) return;
    let place = this.lines.length;
    while (place > 0 && this.lines[place - 1].id > line.id) place -= 1;
    this.lines.splice(place, 0, line);
  }

  /** Says `text`, or sends it as a command where it is written as one: /stock=aapl.us */
  say(text) {
    const command = /^\/([A-Za-z][\w-]{0,49})=(.*)$/s.exec(text);
    const echo = {
      room: this.room, key: '', event_id: uuid(), state: 'pending', problem: '', created_at: new Date().toISOString(),
      user_id: get('user').id, username: get('user').username,
      ...(command ? { kind: 'custom', body: '', command: command[1], payload: command[2].trim() } : { kind: 'message', body: text }),
    };
    echo.key = echo.event_id;
    outbox.push(echo);
    this.send(echo);
  }

  /** One after the other: two requests at once may be answered in either order, and so would be said. */
  send(echo) {
    echo.state = 'pending';
    echo.problem = '';
    emit('chat');
    this.#sending = this.#sending.then(() => this.#post(echo));
  }

  async #post(echo) {
    if (!outbox.includes(echo)) return; // discarded, or another person's by now
    try {
      const content = echo.kind === 'custom' ? { command: echo.command, payload: echo.payload } : { body: echo.body };
      await api('POST', `/rooms/${echo.room}/messages`, { ...content, event_id: echo.event_id });
      setTimeout(() => {
        if (!outbox.includes(echo)) return;
        echo.problem = get('connection').name === 'live' ? 'accepted, not stored yet' : 'accepted; shown when this page is connected again';
        emit('chat');
      }, SLOW_MS);
    } catch (error) {
      if (!outbox.includes(echo)) return; // it came all the same, and the answer was lost
      echo.state = 'failed';
      echo.problem = Object.entries(error.fields)[0]?.join(' ') ?? error.message;
    }
    emit('chat');
  }

  discard(echo) {
    outbox.splice(outbox.indexOf(echo), 1);
    emit('chat');
  }

  edit(line, body) { return api('PATCH', `/rooms/${this.room}/messages/${line.id}`, { body }); }

  remove(line) { return api('DELETE', `/rooms/${this.room}/messages/${line.id}`); }

  /** Shortens what is kept, while the reader is at its end. */
  trim() {
    if (this.lines.length <= LINES_KEPT) return;
    this.lines = [];
    this.load();
  }

  reset() {
    outbox.length = 0;
    this.#turn += 1;
    this.room = '';
    this.lines = [];
  }

  #become(phase) {
    this.phase = phase;
    emit('chat');
  }
}

function lineOf(message) {
  return { ...message, key: message.event_id, kind: 'message', username: message.username || 'service' };
}

// A message keeps its row from its echo on; what else happens has no echo.
const keyOf = (event) => event.event_id || `place ${event.id}`;

function settle(event) {
  const place = outbox.findIndex((echo) => echo.event_id === event.event_id);
  if (place >= 0) outbox.splice(place, 1);
}

/** randomUUID is there on pages of a safe origin only, and this page is served over plain HTTP, too. */
function uuid() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const hex = [...crypto.getRandomValues(new Uint8Array(16))].map((byte, i) => (i === 6 ? byte & 15 | 64 : i === 8 ? byte & 63 | 128 : byte).toString(16).padStart(2, '0')).join('');
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
}

export const chat = new Chat();

on('message', (event) => { if (event.topic?.startsWith(ROOM)) chat.heard(event); });
on('user', () => chat.reset());
on('topic-gap', (topic) => { if (topic === ROOM + chat.room) chat.load(); });
on('catchUp', (how) => { if (how?.gap && chat.room) chat.load(); });
// From the stream's first moment on all comes over it; what was said between
// loading and that moment does not. Later only who is there has to be asked for.
on('stream-ready', ({ again }) => {
  if (!chat.room) return;
  if (again && chat.phase === 'ready') chat.refreshMembers();
  else chat.load();
});
