// The rooms there are, and what is unread in each. The stream follows them all,
// so the figures are kept up without asking again.

import { api } from './api.js';
import { emit, get, on } from './state.js';

const REFRESH_AFTER_MS = 400;
const READ_AFTER_MS = 400;
export const MAX_UNREAD = 100; // the server counts no further

class Rooms {
  list = [];
  phase = 'loading'; // loading, ready, failed
  error = null;
  #turn = 0;
  #refreshTimer = 0;
  #reads = new Map(); // room -> {to, timer}

  find(name) { return this.list.find((room) => room.name === name); }

  get unread() { return this.list.reduce((sum, { unread }) => sum + unread, 0); }

  async load() {
    if (!get('user')) return;
    const turn = ++this.#turn;
    try {
      const { results } = await api('GET', '/rooms');
      if (turn !== this.#turn) return;
      const before = this.list.map(({ name }) => name).join();
      // What has come over the stream while the answer was on its way is not in it.
      this.list = results.map((room) => {
        const known = this.find(room.name);
        return known && known.last_id > room.last_id ? { ...room, last_id: known.last_id, unread: known.unread } : room;
      });
      this.phase = 'ready';
      if (before !== this.list.map(({ name }) => name).join()) emit('rooms-listed');
    } catch (error) {
      if (turn !== this.#turn) return;
      this.error = error;
      if (this.phase !== 'ready') this.phase = 'failed';
    }
    emit('rooms');
  }

  refresh() {
    clearTimeout(this.#refreshTimer);
    this.#refreshTimer = setTimeout(() => this.load(), REFRESH_AFTER_MS);
  }

  /** Something happened in a room, said once. */
  heard(name, event) {
    const room = this.find(name);
    if (!room) return this.refresh();
    if (event.id <= room.last_id) return undefined;
    room.last_id = event.id;
    // Only who has opened a room once has something to catch up with in it.
    const counts = event.kind === 'message' && event.user_id !== get('user')?.id && room.read_to !== undefined;
    if (counts) room.unread = Math.min(MAX_UNREAD, room.unread + 1);
    if (event.kind === 'deleted' || event.kind === 'closed' || event.kind === 'joined' || event.kind === 'parted') this.refresh();
    if (counts) emit('rooms');
    return undefined;
  }

  /** The person has read up to a place; the server is told of the last of several. */
  read(name, to) {
    const room = this.find(name);
    const waiting = this.#reads.get(name);
    if (!room || to <= (waiting?.to ?? room.read_to ?? -1)) return;
    clearTimeout(waiting?.timer);
    this.#reads.set(name, { to, timer: setTimeout(() => this.#tell(name), READ_AFTER_MS) });
    if (to >= room.last_id && room.unread > 0) {
      room.unread = 0;
      emit('rooms');
    }
  }

  async #tell(name) {
    const { to } = this.#reads.get(name);
    this.#reads.delete(name);
    try {
      await api('POST', `/rooms/${name}/read`, { id: to }, { keepalive: true });
    } catch {
      return; // the next one that is read says it again
    }
    const room = this.find(name);
    if (!room) return;
    room.read_to = Math.max(room.read_to ?? 0, to);
    if (room.unread > 0) this.refresh();
  }

  /** The page is going: what was read is told now. */
  settle() {
    for (const [name, { timer }] of this.#reads) {
      clearTimeout(timer);
      this.#tell(name);
    }
  }

  reset() {
    this.#turn += 1;
    clearTimeout(this.#refreshTimer);
    for (const { timer } of this.#reads.values()) clearTimeout(timer);
    this.#reads.clear();
    this.list = [];
    this.phase = 'loading';
    emit('rooms');
  }
}

export const rooms = new Rooms();

export const ROOM = 'room:';

addEventListener('pagehide', () => rooms.settle());
on('user', () => rooms.reset());
on('message', (event) => { if (event.topic?.startsWith(ROOM)) rooms.heard(event.topic.slice(ROOM.length), event); });
// What came between the list and the stream's first moment, and what was read
// on another device, only the server knows.
on('stream-ready', ({ user_id: user }) => { if (user) rooms.load(); });
// A room that the stream follows may be gone from a gateway that was set up
// anew, which then refuses the stream: the names are asked for again.
on('status', () => { if (get('connection').name === 'waiting') rooms.load(); });
