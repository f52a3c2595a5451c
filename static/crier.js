/*
 * crier.js: follow a Crier gateway from a web page, a worker, Node or Deno. No
 * dependencies, no build.
 *
 *   import { connect } from 'https://crier.example.org/static/crier.js';
 *
 *   const stream = connect({
 *     url: 'https://crier.example.org',          // default: the page's own origin
 *     token: () => fetch('/my-token').then((r) => r.text()),
 *     topics: ['ticks:BTCUSDT'],
 *     onEvent: ({ type, data }) => { if (type === 'notification') show(data); },
 *     onState: (state) => console.log(state.name),
 *   });
 *
 * Options
 *   url        base address of the gateway, without /api/v1; needed where there is
 *              no page, such as in Node
 *   transport  'sse' (default) or 'ws': the same events, the same cursors
 *   token      string, or function returning a string or a promise of one.
 *              With a token every connection first buys a ticket that is good
 *              once and for seconds, so that no token ever stands in an
 *              address. Without one the browser's session cookie speaks, and
 *              without a cookie the stream is anonymous and carries ticks only.
 *   topics     list, such as ['ticks:BTCUSDT', 'news']; one's own
 *              notifications always come
 *   join       list of rooms, such as ['friends']: their topics ('room:friends')
 *              are followed, and everybody in them sees that one is there
 *   since      cursor to go on from (`stream.cursor` of an earlier visit);
 *              absent: from now on; '0': from the beginning
 *   rate       at most so many tick events a second
 *   onEvent    called with each event, as under Events
 *   onState    called with each state, as under States
 *
 * Events are also dispatched on the returned object, which is an EventTarget:
 * 'event' for all of them, and one under its own name: ready, notification,
 * message, tick, counts, resumed, gap, bye. `detail` is
 *   { type, id, data, at, delay }
 *   id     the cursor after this event, where it has one (opaque)
 *   at     when it arrived, milliseconds of this machine's clock
 *   delay  milliseconds from the server's timestamp to here, where it can be told
 * The data of `tick` is one tick or a list of ticks.
 * `resumed` says how many were missed and have been sent again; after `gap`
 * fetch the inbox, because the gateway no longer has all that was missed.
 *
 * States ('state' event, and `stream.state`)
 *   { name: 'connecting', attempt }
 *   { name: 'live', since, user, session }
 *   { name: 'waiting', attempt, nextTry, reason }   nextTry: time of the next try
 *   { name: 'closed', reason }
 *
 * Methods: close(), open(), retryNow(), setTopics(list), setJoin(list),
 * setTransport(name).
 * Properties: state, transport, cursor, delay (median of the last samples,
 * milliseconds), clockOffset (server's clock minus this one's).
 *
 * Nothing is lost or shown twice over a reconnect: the last cursor is sent
 * with the next connection, and an id that was already delivered is dropped.
 */

const EVENTS = ['ready', 'notification', 'message', 'tick', 'counts', 'resumed', 'gap', 'bye'];
const WITH_ID = new Set(['ready', 'notification', 'message']);

// Full jitter (a random wait between nothing and a doubling limit) spreads the
// clients of a restarted gateway best; half a minute is as long as a person
// looks at a page that does nothing.
const BACKOFF_FIRST_MS = 500;
const BACKOFF_LAST_MS = 30_000;
// A connection counts as good only after this, else a gateway that accepts and
// falls over at once would be asked without pause.
const STEADY_MS = 5_000;
const READY_WITHIN_MS = 15_000;
const PING_EVERY_MS = 20_000;
const PONG_WITHIN_MS = 10_000;
// The gateway speaks at least every 25 s, but a page cannot see an event
// stream's comments: silence is suspect only when something else is, too
// (the network changed, the page was hidden).
const SILENT_MS = 30_000;
// Ids kept to drop repeats: far more than one replay batch. The oldest go first.
const REMEMBERED_IDS = 2_048;
const DELAY_SAMPLES = 15;
const DELAY_BELIEVED_MS = 60_000;
const REFUSALS_BORNE = 3;

/** Opens a stream and returns it. */
export function connect(options) {
  const stream = new Crier(options);
  stream.open();
  return stream;
}

/** One stream over all its connections. Made closed; open() starts it. */
export class Crier extends EventTarget {
  #base;
  #options;
  #transport;
  #topics;
  #join;
  #cursor;
  #state = { name: 'closed', reason: 'not opened' };
  #turn = 0; // counts connections; callbacks of an earlier one are ignored
  #link = null;
  #attempt = 0;
  #refusals = 0;
  #reason = '';
  #retryAtLeast = 0;
  #readyId; // the cursor that this connection began at
  #heardAt = 0;
  #readyTime = 0;
  #delivered = new Set();
  #delays = [];
  #clock = { offset: 0, roundTrip: Infinity };
  #timers = { retry: 0, ready: 0, steady: 0 };
  #watch = null;

  constructor(options = {}) {
    super();
    const here = globalThis.location?.origin;
    if (options.url === undefined && !here) throw new TypeError('crier.js: the option url is needed where there is no page');
    this.#base = new URL(`${String(options.url ?? here).replace(/\/+$/, '')}/api/v1`, globalThis.location?.href).href;
    this.#options = options;
    this.#transport = options.transport === 'ws' ? 'ws' : 'sse';
    this.#topics = [...(options.topics ?? [])];
    this.#join = [...(options.join ?? [])];
    this.#cursor = options.since;
  }

  get state() { return this.#state; }
  get transport() { return this.#transport; }
  get cursor() { return this.#cursor; }
  get clockOffset() { return this.#clock.offset; }

  get delay() {
    if (this.#delays.length === 0) return undefined;
    const sorted = [...this.#delays].sort((a, b) => a - b);
    return sorted[Math.floor(sorted.length / 2)];
  }

  open() {
    if (this.#state.name !== 'closed') return;
    this.#watchPage();
    this.#attempt = 0;
    this.#refusals = 0;
    this.#connect();
  }

  close(reason = 'closed here') {
    this.#drop();
    this.#watch?.abort();
    this.#watch = null;
    this.#report({ name: 'closed', reason });
  }

  retryNow() {
    if (this.#state.name === 'waiting') this.#connect();
  }

  /** Follows other topics: at once over a WebSocket, by a lossless reconnect over SSE. */
  setTopics(topics) { this.#follow(topics, this.#join); }

  /**
   * Is seen in these rooms and in no others: at once over a WebSocket, by a
   * lossless reconnect over SSE. A reconnect is too short to count as leaving.
   */
  setJoin(rooms) { this.#follow(this.#topics, rooms); }

  #follow(topics, rooms) {
    const followed = new Set(this.#followed());
    const joined = new Set(this.#join);
    this.#topics = [...new Set(topics)];
    this.#join = [...new Set(rooms)];
    const without = (list, other) => list.filter((name) => !other.has(name));
    const added = without(this.#followed(), followed);
    const gone = without([...followed], new Set(this.#followed()));
    const entered = without(this.#join, joined);
    const left = without([...joined], new Set(this.#join));
    if (added.length + gone.length + entered.length + left.length === 0 || this.#state.name === 'closed') return;
    if (this.#state.name === 'live' && this.#link.send) {
      // Following comes before entering: so one sees oneself come in.
      if (added.length) this.#link.send({ type: 'subscribe', topics: added });
      for (const room of left) this.#link.send({ type: 'part', room });
      for (const room of entered) this.#link.send({ type: 'join', room });
      if (gone.length) this.#link.send({ type: 'unsubscribe', topics: gone });
    } else if (this.#state.name !== 'waiting') {
      this.#connect();
    }
  }

  #followed() { return [...new Set([...this.#topics, ...this.#join.map((room) => `room:${room}`)])]; }

  /** Goes on over the other transport from the same cursor. */
  setTransport(transport) {
    if (transport === this.#transport) return;
    this.#transport = transport === 'ws' ? 'ws' : 'sse';
    this.#delays = [];
    if (this.#state.name !== 'closed') this.#connect();
  }

  async #connect() {
    this.#drop();
    const turn = this.#turn;
    this.#report({ name: 'connecting', attempt: this.#attempt });
    try {
      const address = new URL(`${this.#base}/${this.#transport === 'ws' ? 'ws' : 'stream'}`);
      const ticket = await this.#ticket();
      if (turn !== this.#turn) return;
      const query = address.searchParams;
      if (this.#topics.length) query.set('topics', this.#topics.join(','));
      if (this.#join.length) query.set('join', this.#join.join(','));
      if (this.#cursor !== undefined && this.#cursor !== '') query.set('since', this.#cursor);
      if (this.#options.rate) query.set('rate', String(this.#options.rate));
      if (ticket) query.set('ticket', ticket);
      this.#timers.ready = setTimeout(() => this.#lost(turn, 'no answer'), READY_WITHIN_MS);
      const handlers = {
        event: (type, id, data) => { if (turn === this.#turn) this.#take(type, id, data); },
        end: (reason) => this.#lost(turn, reason),
        place: (id) => { if (turn === this.#turn && id) this.#cursor = id; },
        roundTrip: (ms) => { if (turn === this.#turn) this.#sample(ms / 2); },
      };
      this.#link = this.#transport === 'ws' ? openSocket(address, handlers) : openEventSource(address, handlers);
    } catch (error) {
      if (turn !== this.#turn) return;
      if (error.refused && ++this.#refusals >= REFUSALS_BORNE) this.close('token refused');
      else this.#lost(turn, error instanceof TypeError ? 'no answer' : error.message); // fetch: "Failed to fetch"
    }
  }

  /** A ticket for one connection; undefined where there is no token. */
  async #ticket() {
    const { token } = this.#options;
    const bearer = typeof token === 'function' ? await token() : token;
    if (!bearer) return undefined;
    const answer = await fetch(`${this.#base}/stream/ticket`, {
      method: 'POST',
      headers: { Authorization: `Bearer ${bearer}` },
      cache: 'no-store',
      signal: AbortSignal.timeout(READY_WITHIN_MS),
    });
    if (!answer.ok) {
      const refused = answer.status === 401 || answer.status === 403;
      throw Object.assign(new Error(`ticket: HTTP ${answer.status}`), { refused });
    }
    this.#refusals = 0;
    return (await answer.json()).ticket;
  }

  #take(type, id, data) {
    const at = Date.now();
    this.#heardAt = at;
    if (type === 'ready') this.#ready(data, id, at);
    if (type === 'notification' || type === 'message') {
      const key = `${type} ${data?.topic ?? ''} ${data?.id ?? id}`;
      if (this.#delivered.has(key)) return;
      this.#delivered.add(key);
      if (this.#delivered.size > REMEMBERED_IDS) this.#delivered.delete(this.#delivered.values().next().value);
    }
    if (type === 'gap') {
      // The old cursor means nothing to this gateway: ids may have begun anew. The
      // place that `ready` told just before is good. A topic's gap is its own.
      if (data?.topic) this.#forget(data.topic);
      else this.#delivered.clear();
      if (!data?.topic) this.#cursor = this.#readyId;
    } else if (id) {
      this.#cursor = id;
    }
    if (type === 'bye') {
      this.#reason = data?.reason ?? '';
      this.#retryAtLeast = Number(data?.retry_ms) || 0;
      const turn = this.#turn;
      setTimeout(() => this.#lost(turn, this.#reason), 1_000);
    }
    this.#announce({ type, id, data, at, delay: this.#delayOf(type, data, at) });
  }

  #forget(topic) {
    for (const key of this.#delivered) if (key.startsWith(`message ${topic} `)) this.#delivered.delete(key);
  }

  #ready(data, id, at) {
    clearTimeout(this.#timers.ready);
    this.#timers.steady = setTimeout(() => { this.#attempt = 0; }, STEADY_MS);
    this.#readyId = id;
    this.#readyTime = Date.parse(data?.server_time) || at + this.#clock.offset;
    this.#reason = '';
    this.#report({ name: 'live', since: at, user: data?.user_id || undefined, session: data?.session });
    this.#measureClock();
  }

  /** What was stored before this connection began is late for another reason, and counts for nothing. */
  #delayOf(type, data, at) {
    let stamp;
    if (type === 'notification') {
      stamp = Date.parse(data?.created_at);
      if (stamp < this.#readyTime) return undefined;
    } else if (type === 'tick') {
      const ticks = Array.isArray(data) ? data : [data];
      if (ticks.length === 0 || ticks[0].kind === 'replay') return undefined;
      stamp = Math.max(...ticks.map((tick) => Date.parse(tick.time)));
    }
    const delay = at + this.#clock.offset - stamp;
    if (!(delay > -1_000 && delay < DELAY_BELIEVED_MS)) return undefined;
    return this.#sample(Math.max(0, delay));
  }

  #sample(delay) {
    this.#delays.push(delay);
    if (this.#delays.length > DELAY_SAMPLES) this.#delays.shift();
    return delay;
  }

  /**
   * Compares the two clocks by one request: the server read its own half a
   * round trip ago. Clocks that agree within that doubt are taken as one.
   */
  async #measureClock() {
    try {
      const asked = Date.now();
      const answer = await fetch(`${this.#base}/status`, { cache: 'no-store', signal: AbortSignal.timeout(5_000) });
      const answered = Date.now();
      const server = Date.parse((await answer.json()).server_time);
      const roundTrip = answered - asked;
      if (Number.isNaN(server) || roundTrip >= this.#clock.roundTrip * 2) return;
      const offset = server - (asked + answered) / 2;
      this.#clock = { offset: Math.abs(offset) <= roundTrip / 2 + 1 ? 0 : offset, roundTrip };
    } catch {
      // Without an answer the last comparison stands; the stream does not depend on it.
    }
  }

  #lost(turn, reason) {
    if (turn !== this.#turn) return;
    this.#drop();
    const limit = Math.min(BACKOFF_LAST_MS, BACKOFF_FIRST_MS * 2 ** this.#attempt);
    this.#attempt += 1;
    const wait = this.#retryAtLeast + Math.random() * limit;
    this.#retryAtLeast = 0;
    this.#timers.retry = setTimeout(() => this.#connect(), wait);
    this.#report({ name: 'waiting', attempt: this.#attempt, nextTry: Date.now() + wait, reason: (this.#reason || reason) + this.#advice() });
  }

  /**
   * A browser does not tell a page of another origin why it was refused. Before the
   * first event the reason may be that the gateway does not know the page's origin.
   */
  #advice() {
    const here = globalThis.location?.origin;
    const there = new URL(this.#base).origin;
    if (this.#readyTime || !here || here === 'null' || here === there) return '';
    return `: does ${there} answer, and does its CRIER_ALLOWED_ORIGINS have ${here}?`;
  }

  /** Ends the connection there is, if any, and everything that waits on it. */
  #drop() {
    this.#turn += 1;
    for (const timer of Object.values(this.#timers)) clearTimeout(timer);
    this.#link?.close();
    this.#link = null;
  }

  #watchPage() {
    this.#watch = new AbortController();
    const { signal } = this.#watch;
    // Workers and programs have neither a document nor pages that are left; Node
    // has no global events at all.
    const { document, addEventListener = () => {} } = globalThis;
    const look = () => {
      if (document?.visibilityState === 'hidden') return;
      if (this.#state.name === 'waiting') this.#connect();
      else if (this.#state.name === 'live') this.#suspect();
    };
    addEventListener('online', look, { signal });
    document?.addEventListener('visibilitychange', look, { signal });
    // A browser keeps a page that was left, with its connection, for "back"; and
    // over HTTP/1.1 it opens six to a server in all: after six pages nothing
    // would go through any more. So a page that is left lets go of its own.
    addEventListener('pagehide', () => { if (this.#state.name !== 'closed') this.#drop(); }, { signal });
    addEventListener('pageshow', (event) => { if (event.persisted && this.#state.name !== 'closed') this.#connect(); }, { signal });
  }

  /** A socket can be asked whether it lives; a silent event stream is cheaper to open anew. */
  #suspect() {
    if (this.#link?.ping) this.#link.ping();
    else if (Date.now() - this.#heardAt > SILENT_MS) this.#connect();
  }

  #report(state) {
    this.#state = { ...state, transport: this.#transport };
    this.#options.onState?.(this.#state);
    this.dispatchEvent(new CustomEvent('state', { detail: this.#state }));
  }

  #announce(detail) {
    this.#options.onEvent?.(detail);
    this.dispatchEvent(new CustomEvent(detail.type, { detail }));
    this.dispatchEvent(new CustomEvent('event', { detail }));
  }
}

/**
 * EventSource without its own reconnecting: it would neither back off nor say
 * when it tries again, so the first error ends it.
 */
function openEventSource(address, handlers) {
  if (!globalThis.EventSource) return readEventStream(address, handlers);
  const source = new EventSource(address);
  for (const type of EVENTS) {
    source.addEventListener(type, (event) => {
      let data;
      try { data = JSON.parse(event.data); } catch { return; }
      // lastEventId is sticky: on an event without an id it repeats the one
      // before, which after a gap would bring back a cursor that means nothing.
      handlers.event(type, WITH_ID.has(type) ? event.lastEventId || undefined : undefined, data);
    });
  }
  source.onerror = () => handlers.end('connection lost');
  return { close: () => source.close() };
}

/**
 * An event stream by fetch, where the platform has no EventSource (Node). Crier
 * writes each line of a stream as `field: value`, ended by a line feed.
 */
function readEventStream(address, handlers) {
  const abort = new AbortController();
  const read = async () => {
    const answer = await fetch(address, { headers: { Accept: 'text/event-stream' }, cache: 'no-store', signal: abort.signal });
    if (!answer.ok) throw new Error(`stream: HTTP ${answer.status}`);
    let text = '';
    const decoder = new TextDecoder();
    for await (const bytes of answer.body) {
      const blocks = (text + decoder.decode(bytes, { stream: true })).split('\n\n');
      text = blocks.pop();
      for (const block of blocks) {
        const fields = Object.fromEntries(block.split('\n').map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1).trimStart()]));
        if (EVENTS.includes(fields.event)) handlers.event(fields.event, WITH_ID.has(fields.event) ? fields.id : undefined, JSON.parse(fields.data));
      }
    }
    throw new Error('connection lost');
  };
  read().catch((error) => { if (!abort.signal.aborted) handlers.end(error.message); });
  return { close: () => abort.abort() };
}

function openSocket(address, handlers) {
  if (!globalThis.WebSocket) throw new Error('this platform has no WebSocket; use the transport sse');
  address.protocol = address.protocol.replace('http', 'ws');
  const socket = new WebSocket(address, ['crier.v1']);
  let asked = 0;
  let answerTimer = 0;
  const send = (message) => { if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message)); };
  const ping = () => {
    if (asked || socket.readyState !== WebSocket.OPEN) return;
    asked = Date.now();
    send({ type: 'ping' });
    answerTimer = setTimeout(() => handlers.end('no pong'), PONG_WITHIN_MS);
  };
  const pinger = setInterval(ping, PING_EVERY_MS);
  socket.onopen = ping;
  socket.onmessage = (event) => {
    let frame;
    try { frame = JSON.parse(event.data); } catch { return; }
    if (frame.type === 'pong') {
      clearTimeout(answerTimer);
      handlers.roundTrip(Date.now() - asked);
      asked = 0;
    } else if (frame.type === 'subscribed' || frame.type === 'unsubscribed') {
      // From now on the cursor speaks of the new topics, too: a connection that
      // is lost before their first message must not lose that.
      handlers.place(frame.id);
    } else if (EVENTS.includes(frame.type)) {
      handlers.event(frame.type, frame.id === undefined ? undefined : String(frame.id), frame.data);
    }
  };
  socket.onclose = (event) => handlers.end(event.reason || 'connection lost');
  return {
    send,
    ping,
    close: () => {
      clearInterval(pinger);
      clearTimeout(answerTimer);
      socket.onopen = socket.onmessage = socket.onclose = null;
      // Closing a socket that is still opening is logged as an error by
      // browsers; it is closed as soon as it is open instead.
      if (socket.readyState === WebSocket.CONNECTING) socket.onopen = () => socket.close(1000);
      else socket.close(1000);
    },
  };
}
