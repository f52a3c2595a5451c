// What a stranger sees: what this is in one sentence, the first steps, and
// prices that already tick.

import { h } from './dom.js';
import { priceTable } from './price-table.js';
import { get, on } from './state.js';
import { stepsCard } from './steps.js';

export function welcomeView(root) {
  const leaving = new AbortController();
  const source = h('p', { class: 'lead small' });
  const describe = () => {
    const feeds = get('status')?.feeds ?? [];
    const live = feeds.filter(({ kind }) => kind === 'live').map(({ source: name }) => name);
    source.textContent = live.length > 0 ? `Live from ${live.join(', ')}.` : '';
  };
  on('status', describe, leaving.signal);
  describe();
  root.append(h('div', { class: 'page welcome' },
    h('header', {},
      h('h1', { tabindex: '-1' }, 'Live notifications from Kafka to the browser'),
      h('p', { class: 'lead' }, 'Crier takes notifications from Kafka, keeps them in an inbox in Postgres, and pushes them to browsers. Price alerts, chat rooms and webhooks are built on top.')),
    stepsCard(),
    h('section', {}, h('header', { class: 'head' }, h('h2', {}, 'Prices now'), source), priceTable(leaving.signal))));
  return { update() {}, leave: () => leaving.abort() };
}
