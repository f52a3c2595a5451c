// What more than one part of the page needs to know, and the bus over which
// the parts hear of it. A value is announced under its own name when it is
// set; things that happen (a notification, a tick) are announced the same way
// and leave nothing behind.

const bus = new EventTarget();

const values = {
  user: null, // {id, username, email} or null
  status: null, // the answer of GET /status
  statusError: null,
  counts: { unread: 0, unseen: 0, version: 0 },
  connection: { name: 'connecting', transport: 'sse' },
  title: '', // of the view that is shown
  catchUp: null, // how the last reconnect went: {missed} or {gap}, and at
};

export const get = (name) => values[name];

export function set(name, value) {
  values[name] = value;
  emit(name, value);
}

export function emit(name, detail) {
  bus.dispatchEvent(new CustomEvent(name, { detail }));
}

export function on(name, listener, signal) {
  bus.addEventListener(name, (event) => listener(event.detail), { signal });
}

/** Counts come from the stream and from answers, in any order: the newest version holds. */
export function setCounts(counts) {
  if (counts.version !== undefined && counts.version < values.counts.version) return;
  set('counts', { ...values.counts, ...counts });
}

/** The browser may refuse storage (private windows, full disk): preferences are then forgotten, nothing else. */
export const kept = {
  get(name) {
    try { return localStorage.getItem(`crier.${name}`); } catch { return null; }
  },
  set(name, value) {
    try {
      if (value === null) localStorage.removeItem(`crier.${name}`);
      else localStorage.setItem(`crier.${name}`, value);
    } catch { /* as above */ }
  },
};
