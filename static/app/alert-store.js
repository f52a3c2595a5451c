// The person's alerts as far as they are loaded, newest first.

import { api } from './api.js';
import { emit, on } from './state.js';
import { sayFailed, toast } from './toast.js';

// Firings of alerts that are not in the list; the list's next loading forgets them.
const EARLY_KEPT = 1_000;

class Alerts {
  items = [];
  next = null;
  phase = 'loading'; // loading, ready, failed
  error = null;
  references = new Map(); // id of a percentage or a trailing stop -> what it is measured from
  #turn = 0;
  #firedEarly = new Set();
  #leaving = new Map(); // alerts that were deleted here and can still come back: id -> end()

  async load() {
    const turn = ++this.#turn;
    if (this.items.length === 0) this.#become('loading');
    try {
      const page = await api('GET', '/alerts');
      if (turn !== this.#turn) return;
      this.items = page.results.filter((alert) => this.#stays(alert));
      this.#firedEarly.clear();
      this.next = page.next;
      this.#become('ready');
    } catch (error) {
      if (turn !== this.#turn) return;
      this.error = error;
      this.#become(this.items.length > 0 ? 'ready' : 'failed');
    }
  }

  async more() {
    if (!this.next) return;
    const turn = this.#turn;
    const page = await api('GET', this.next);
    if (turn !== this.#turn) return;
    this.items.push(...page.results.filter((alert) => this.#stays(alert) && !this.find(alert.id)));
    this.next = page.next;
    emit('alerts');
  }

  /** From what percentages and trailing stops are measured now; nothing is asked for where there are none. */
  async loadReferences() {
    if (!this.items.some(({ state, percent }) => state === 'created' && percent !== undefined)) return;
    const { results } = await api('GET', '/alerts/references');
    this.references = new Map(results.map((reference) => [reference.alert_id, reference]));
    emit('alert-references');
  }

  find(id) { return this.items.find((alert) => alert.id === id); }

  /** From the list, or from the server; a fresh answer also corrects the list. */
  async one(id) {
    const alert = await api('GET', `/alerts/${id}`);
    this.put(alert);
    return alert;
  }

  /** Puts an alert as the server now has it in its place; a new one on top. */
  put(alert, { isNew = false } = {}) {
    const place = this.items.findIndex(({ id }) => id === alert.id);
    // Answers overtake each other: one that knows of fewer firings is older.
    if (place >= 0 && alert.firings < this.items[place].firings) return;
    if (place >= 0) this.items[place] = alert;
    else if (isNew) this.items.unshift({ ...alert, fresh: true });
    emit('alerts');
    emit('alert-changed', alert);
    // It fired before the answer to its making was here.
    if (this.#firedEarly.delete(alert.id)) this.one(alert.id).catch(() => {});
  }

  /** A firing changes the alert's state and its number of firings. */
  fired(id) {
    if (this.find(id)) this.one(id).catch(() => {});
    else if (this.#firedEarly.size < EARLY_KEPT) this.#firedEarly.add(id);
  }

  /** Silent for so long; one that has fired holds again afterwards. */
  async snooze(id, duration) {
    this.put(await api('POST', `/alerts/${id}/snooze`, { for: duration }));
  }

  async change(id, fields) {
    const alert = await api('PATCH', `/alerts/${id}`, fields);
    this.put(alert);
    return alert;
  }

  /**
   * Deleting cannot be undone on the server, so for the seconds in which it
   * can be undone here the alert is only paused, and cannot fire meanwhile.
   */
  async remove(alert) {
    const { id } = alert;
    const waiting = alert.state === 'created';
    try {
      if (waiting) await api('PATCH', `/alerts/${id}`, { state: 'paused' });
    } catch (error) {
      sayFailed('The alert is still there.', error);
      return;
    }
    this.items = this.items.filter((other) => other.id !== id);
    emit('alerts');
    const end = toast(`Deleted alert ${id}`, {
      undo: async () => {
        this.#leaving.delete(id);
        try {
          if (waiting) await api('PATCH', `/alerts/${id}`, { state: 'created' });
        } catch (error) {
          sayFailed('The alert is back, but paused.', error);
        }
        this.load();
      },
      done: async () => {
        this.#leaving.delete(id);
        try {
          await api('DELETE', `/alerts/${id}`, undefined, { keepalive: true });
        } catch (error) {
          if (error.status !== 404) sayFailed('The alert was not deleted.', error);
          this.load();
        }
      },
    });
    this.#leaving.set(id, end);
  }

  /** The page is going: what was deleted here is deleted now. */
  settle() {
    for (const end of this.#leaving.values()) end();
  }

  reset() {
    this.settle();
    this.#turn += 1;
    this.items = [];
    this.references.clear();
    this.next = null;
    this.phase = 'loading';
  }

  #stays(alert) { return alert.state !== 'deleted' && !this.#leaving.has(alert.id); }

  #become(phase) {
    this.phase = phase;
    emit('alerts');
  }
}

export const alerts = new Alerts();

addEventListener('pagehide', () => alerts.settle());
on('user', () => alerts.reset());
on('stream-ready', ({ user_id: user }) => { if (user && alerts.phase !== 'loading') alerts.load(); });
on('notification', ({ kind, payload }) => {
  if (kind === 'alert' && payload?.alert_id !== undefined) alerts.fired(payload.alert_id);
});
