// Prices: what is watched, what it stands at, and where that comes from. Open
// to everyone, signed in or not.

import { h } from './dom.js';
import { failedPanel } from './feedback.js';
import { priceTable } from './price-table.js';
import { get, on } from './state.js';
import { command, commands } from './terminal.js';
import { loadPrices, priceOf, symbols } from './ticks.js';

export function pricesView(root) {
  const leaving = new AbortController();
  const place = h('div');
  const listen = command('');
  root.append(h('div', { class: 'page' },
    h('header', { class: 'head' }, h('h1', { tabindex: '-1' }, 'Prices')),
    place,
    h('section', { class: 'from-terminal' },
      h('h2', {}, 'The same from a terminal'),
      commands(['Follow every tick', listen], ['The last prices', command(`curl ${location.origin}/api/v1/prices`)]))));

  const table = priceTable(leaving.signal);
  const load = async () => {
    try {
      await loadPrices();
      place.replaceChildren(table);
    } catch (error) {
      // Prices that were here before stay: they carry their own age.
      const known = symbols().some((symbol) => priceOf(symbol));
      place.replaceChildren(known ? table : failedPanel('The prices could not be loaded.', error, load));
    }
  };
  const describe = () => {
    const topics = (get('status')?.symbols ?? ['BTCUSDT']).map((symbol) => `ticks:${symbol}`).join(',');
    listen.set(`curl -N '${location.origin}/api/v1/stream?topics=${topics}'`);
  };
  on('status', describe, leaving.signal);
  on('stream-ready', load, leaving.signal);
  describe();
  place.replaceChildren(table);
  load();
  return { update() {}, leave: () => leaving.abort() };
}
