// The person's accounts, each with its destinations, as the server last said.

import { api } from './api.js';
import { emit, get, on } from './state.js';

class Destinations {
  accounts = []; // each with `destinations`
  phase = 'loading'; // loading, ready, failed
  error = null;
  secrets = new Map(); // shown once: kept until the page is left or they are hidden
  #turn = 0;

  async load() {
    const turn = ++this.#turn;
    if (this.accounts.length === 0) this.#become('loading');
    try {
      const { results } = await api('GET', '/accounts?limit=200');
      const lists = await Promise.all(results.map(({ id }) => api('GET', `/accounts/${id}/destinations`)));
      if (turn !== this.#turn) return;
      this.accounts = results.map((account, place) => ({ ...account, destinations: lists[place].results })).reverse();
      this.#become('ready');
    } catch (error) {
      if (turn !== this.#turn) return;
      this.error = error;
      this.#become(this.accounts.length > 0 ? 'ready' : 'failed');
    }
  }

  get all() { return this.accounts.flatMap((account) => account.destinations); }

  find(id) { return this.all.find((destination) => destination.id === id); }

  account(id) { return this.accounts.find((account) => account.id === id); }

  path({ account_id: account, id }) { return `/accounts/${account}/destinations/${id}`; }

  async refresh(destination) {
    this.#put(await api('GET', this.path(destination)));
  }

  async change(destination, fields) {
    this.#put(await api('PATCH', this.path(destination), fields));
  }

  async add(account, fields) {
    const { secret, ...made } = await api('POST', `/accounts/${account}/destinations`, fields);
    this.secrets.set(made.id, secret);
    this.#put(made);
    return made;
  }

  async addAccount(fields) {
    const { secret_token: token, ...made } = await api('POST', '/accounts', fields);
    this.accounts.push({ ...made, destinations: [] });
    this.secrets.set(`account ${made.id}`, token);
    emit('destinations');
    return made;
  }

  async rotate(destination) {
    const answer = await api('POST', `${this.path(destination)}/secret`);
    this.secrets.set(destination.id, answer.secret);
    emit('destinations');
    return answer;
  }

  async remove(destination) {
    await api('DELETE', this.path(destination));
    const account = this.account(destination.account_id);
    if (account) account.destinations = account.destinations.filter(({ id }) => id !== destination.id);
    emit('destinations');
  }

  reset() {
    this.#turn += 1;
    this.accounts = [];
    this.secrets.clear();
    this.phase = 'loading';
  }

  #put(destination) {
    const account = this.account(destination.account_id);
    if (!account) return;
    const place = account.destinations.findIndex(({ id }) => id === destination.id);
    if (place >= 0) account.destinations[place] = destination;
    else account.destinations.push(destination);
    emit('destinations');
    emit('destination-changed', destination);
  }

  #become(phase) {
    this.phase = phase;
    emit('destinations');
  }
}

export const destinations = new Destinations();

on('user', () => destinations.reset());
// One of them was disabled while the person looks on.
on('notification', ({ kind }) => { if (kind === 'destination_disabled' && get('user') && destinations.phase === 'ready') destinations.load(); });
