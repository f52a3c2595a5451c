// The person's inbox as far as it is loaded: newest first, filtered by the
// server, kept up to date by the stream. Arrivals are shown at once while the
// reader is at the top and few come; else they wait in `pending` behind one
// line, so that nothing moves under the eyes.

import { api } from './api.js';
import { emit, get, on, set, setCounts } from './state.js';
import { announce, sayFailed, toast } from './toast.js';

const PAGE = 30;
const PAGE_MOST = 200; // the most that the server puts on one page
// More than this within a second is a burst, and bursts collapse into a line.
const SHOWN_A_SECOND = 5;
// What a page keeps: beyond it the list starts again from its first page.
const ITEMS_KEPT = 500;
const PENDING_KEPT = 200;
const REFRESH_AFTER_MS = 400;

const EVERYTHING = { unread: false, q: '', kind: '' };

class Inbox {
  items = [];
  pending = [];
  pendingCount = 0; // all that wait, also those beyond PENDING_KEPT
  next = null;
  phase = 'loading'; // loading, ready, failed
  error = null;
  filter = EVERYTHING;
  kinds = new Set(); // of all that was seen here
  atTop = true; // told by the view
  shown = false; // told by the view
  #turn = 0;
  #loading = Promise.resolve();
  #shownAt = [];
  #refreshTimer = 0;
  #changes = 0; // requests of this page that change items: begun and ended

  /** Loads the first page under a filter; what is there stays until the answer is. */
  load(filter = this.filter) {
    this.#loading = this.#load(filter);
    return this.#loading;
  }

  async #load(filter) {
    const turn = ++this.#turn;
    if (!this.shows(filter)) this.items = [];
    this.filter = filter;
    if (this.items.length === 0) this.#become('loading');
    try {
      const changes = this.#changes;
      const page = await api('GET', this.#path());
      if (turn !== this.#turn) return;
      if (changes !== this.#changes) {
        await this.#load(filter); // see #change
        return;
      }
      const newest = page.results[0]?.id ?? 0;
      const arrivedMeanwhile = filter.q ? [] : this.items.filter((item) => item.fresh && item.id > newest);
      this.items = [...arrivedMeanwhile, ...page.results];
      this.#noteKinds(page.results);
      this.next = page.next;
      this.#forgetPending();
      this.#become('ready');
    } catch (error) {
      if (turn !== this.#turn) return;
      this.error = error;
      this.#become(this.items.length > 0 ? 'ready' : 'failed');
    }
  }

  async more() {
    await this.#loading; // a list that is being replaced has no next page yet
    if (!this.next) return undefined;
    const turn = this.#turn;
    const { filter } = this;
    const page = await api('GET', this.next);
    // The list was replaced while the page was on its way; under the same filter
    // the reader still wants the rows below it.
    if (turn !== this.#turn) return filter === this.filter ? this.more() : undefined;
    const known = new Set(this.items.map(({ id }) => id));
    this.items.push(...page.results.filter(({ id }) => !known.has(id)));
    this.#noteKinds(page.results);
    this.next = page.next;
    emit('inbox');
    return undefined;
  }

  /** Another device or tab changed something: what is shown is corrected in place. */
  refresh() {
    clearTimeout(this.#refreshTimer);
    this.#refreshTimer = setTimeout(async () => {
      const turn = this.#turn;
      const changes = this.#changes;
      const before = new Set(this.items.map(({ id }) => id));
      const loaded = await this.#loadAgain(this.items.length).catch(() => null);
      if (!loaded || turn !== this.#turn) return;
      if (changes !== this.#changes) {
        this.refresh(); // see #change
        return;
      }
      const newest = loaded.items[0]?.id ?? 0;
      // What was shown before and is not in the answer was deleted.
      const arrivedMeanwhile = this.filter.q ? [] : this.items.filter((item) => item.id > newest && !before.has(item.id));
      // Pages that were asked for meanwhile stay.
      const oldest = loaded.items.at(-1)?.id ?? 0;
      const older = this.items.filter(({ id }) => id < oldest);
      this.items = [...arrivedMeanwhile, ...loaded.items, ...older];
      if (older.length === 0) this.next = loaded.next;
      this.pending = this.pending.map((waiting) => loaded.items.find(({ id }) => id === waiting.id) ?? waiting);
      emit('inbox');
    }, REFRESH_AFTER_MS);
  }

  /** As many as are shown, as the server has them now: rows, badge and server agree. */
  async #loadAgain(count) {
    const limit = Math.min(PAGE_MOST, Math.max(PAGE, count));
    let page = await api('GET', this.#path(limit));
    const items = [...page.results];
    while (page.next && items.length < count) {
      page = await api('GET', page.next);
      items.push(...page.results);
    }
    return { items, next: page.next };
  }

  async one(id) {
    return this.items.find((item) => item.id === id) ?? api('GET', `/notifications/${id}`);
  }

  /** Where the page shows this list, with one of its items in full if it is named. */
  address(id) {
    const query = new URLSearchParams();
    if (this.filter.q) query.set('q', this.filter.q);
    if (this.filter.unread) query.set('unread', 'true');
    if (this.filter.kind) query.set('kind', this.filter.kind);
    return `/inbox${id === undefined ? '' : `/${id}`}${query.size > 0 ? `?${query}` : ''}`;
  }

  find(id) { return this.items.find((item) => item.id === id); }

  arrive(notification) {
    const known = (item) => item.id === notification.id;
    if (this.items.some(known) || this.pending.some(known)) return;
    if (notification.replaces) this.#drop(notification.replaces);
    this.#noteKinds([notification]);
    if (this.filter.kind && notification.kind !== this.filter.kind) {
      emit('inbox');
      return;
    }
    const now = Date.now();
    this.#shownAt = this.#shownAt.filter((time) => now - time < 1_000);
    const waits = this.pendingCount > 0 || (this.shown && !this.atTop) || this.filter.q || this.#shownAt.length >= SHOWN_A_SECOND;
    if (waits) {
      this.pendingCount += 1;
      this.pending.unshift({ ...notification, fresh: true });
      this.pending.length = Math.min(this.pending.length, PENDING_KEPT);
    } else {
      this.#shownAt.push(now);
      this.items.unshift({ ...notification, fresh: true });
      if (this.items.length > ITEMS_KEPT) this.load();
    }
    emit('inbox');
  }

  /** Shows what waits. */
  reveal() {
    if (this.filter.q) return this.load(EVERYTHING);
    if (this.pendingCount > this.pending.length) return this.load();
    this.items = [...this.pending, ...this.items];
    this.#forgetPending();
    emit('inbox');
    return undefined;
  }

  async setRead(id, read) {
    const item = this.find(id);
    const before = item?.read_at;
    this.#mark(id, read ? new Date().toISOString() : undefined);
    try {
      setCounts(await this.#change(`/notifications/${id}/${read ? 'read' : 'unread'}`));
    } catch (error) {
      this.#mark(id, before);
      sayFailed(read ? 'Not marked as read.' : 'Not marked as unread.', error);
    }
  }

  /**
   * Posts a change of items. A list that was requested before the change or during it
   * may be from before it: applied later, it would undo on the page what was changed.
   */
  async #change(path, body) {
    this.#changes += 1;
    try {
      return await api('POST', path, body);
    } finally {
      this.#changes += 1;
    }
  }

  /** Takes the item out of the list at once; it comes back if the server refuses or the person does. */
  async archive(id) {
    const place = this.items.findIndex((item) => item.id === id);
    const item = this.items[place] ?? { id };
    const wasUnread = item.created_at !== undefined && !item.read_at;
    if (place >= 0) this.items.splice(place, 1);
    emit('inbox');
    try {
      setCounts(await this.#change(`/notifications/${id}/archive`));
    } catch (error) {
      if (place >= 0) this.#putBack(item);
      sayFailed('Not archived.', error);
      return;
    }
    toast(`Archived “${item.title || `number ${id}`}”`, { undo: () => this.#unarchive(item, wasUnread) });
  }

  /** Brings it back as it was: archiving marks as read, on the server. */
  async #unarchive(item, wasUnread) {
    try {
      setCounts(await this.#change(`/notifications/${item.id}/unarchive`));
      if (wasUnread) setCounts(await this.#change(`/notifications/${item.id}/unread`));
      if (item.created_at) this.#putBack(item);
    } catch (error) {
      sayFailed('Still archived.', error);
    }
  }

  async readAll() {
    const unread = get('counts').unread;
    let at;
    try {
      const { read_at: readAt, ...counts } = await this.#change('/notifications/read-all');
      at = readAt;
      setCounts(counts);
    } catch (error) {
      sayFailed('Nothing was marked.', error);
      return;
    }
    for (const item of [...this.items, ...this.pending]) {
      if (!item.read_at) this.#mark(item.id, at);
    }
    toast('All marked as read', unread > 0 ? { undo: () => this.#undoReadAll(at) } : {});
  }

  /** The server knows what that one marking has marked, whether it is loaded here or not. */
  async #undoReadAll(at) {
    try {
      setCounts(await this.#change('/notifications/read-all/undo', { read_at: at }));
    } catch (error) {
      sayFailed('All are still read.', error);
      return;
    }
    this.refresh();
  }

  async sawAll() {
    if (get('counts').unseen === 0) return;
    await api('POST', '/notifications/seen').then(setCounts).catch(() => {});
  }

  reset() {
    this.#turn += 1;
    this.items = [];
    this.next = null;
    this.#forgetPending();
    this.phase = 'loading';
    this.filter = EVERYTHING;
    this.kinds.clear();
  }

  /** Says whether the list is under this filter. */
  shows(filter) {
    return Object.entries(filter).every(([name, value]) => this.filter[name] === value);
  }

  showEverything() { return this.load(EVERYTHING); }

  #noteKinds(items) {
    for (const { kind } of items) this.kinds.add(kind);
  }

  /** A newer one with the same collapse key has taken its place. */
  #drop(id) {
    this.items = this.items.filter((item) => item.id !== id);
    const waiting = this.pending.length;
    this.pending = this.pending.filter((item) => item.id !== id);
    this.pendingCount -= waiting - this.pending.length;
  }

  #path(limit = PAGE) {
    const query = new URLSearchParams({ limit: String(limit) });
    if (this.filter.unread) query.set('unread', 'true');
    if (this.filter.q) query.set('q', this.filter.q);
    if (this.filter.kind) query.set('kind', this.filter.kind);
    return `/notifications?${query}`;
  }

  #mark(id, readAt) {
    const item = this.find(id) ?? this.pending.find((waiting) => waiting.id === id);
    if (item) item.read_at = readAt;
    emit('inbox');
    emit('inbox-marked', { id, readAt });
  }

  #putBack(item) {
    if (this.find(item.id)) return;
    const place = this.items.findIndex(({ id }) => id < item.id);
    this.items.splice(place < 0 ? this.items.length : place, 0, item);
    emit('inbox');
  }

  #forgetPending() {
    this.pending = [];
    this.pendingCount = 0;
  }

  #become(phase) {
    this.phase = phase;
    emit('inbox');
  }
}

export const inbox = new Inbox();

const SPOKEN_AFTER_MS = 700;
let unspoken = [];

// One arrival is read out by its title, several together as a number.
function speak(notification) {
  unspoken.push(notification);
  if (unspoken.length > 1) return;
  setTimeout(() => {
    announce(unspoken.length === 1 ? `New: ${notification.title || notification.body || 'notification'}` : `${unspoken.length} new notifications`);
    unspoken = [];
  }, SPOKEN_AFTER_MS);
}

on('notification', (notification) => { inbox.arrive(notification); speak(notification); });
on('user', () => inbox.reset());
// The first time the stream is ready everything since is sure to come over it;
// what came between loading the page and that moment is fetched. After a gap
// the gateway no longer knows what was missed. A plain resume brings all
// arrivals itself, but not what another device has read meanwhile.
on('stream-ready', ({ again, user_id: user, counts }) => {
  if (!user || !get('user')) return;
  if (again && inbox.phase === 'ready') inbox.refresh();
  else inbox.load();
  if (counts) setCounts(counts);
  else api('GET', '/notifications/counts').then(setCounts).catch(() => {});
});
on('catchUp', (how) => {
  if (!how?.gap || !get('user')) return;
  inbox.load();
  // Versions may have begun anew together with the ids.
  api('GET', '/notifications/counts').then((counts) => set('counts', counts)).catch(() => {});
});
on('counts-heard', () => inbox.refresh());
