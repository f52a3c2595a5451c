// The table of prices. It paints at most once a frame, only rows that changed,
// and only while it is on the page.

import { h, setText } from './dom.js';
import { clockText, exactText, percentBetween, percentText, priceText, relativeText } from './format.js';
import { sparkline } from './sparkline.js';
import { get, on } from './state.js';
import { kindOf, priceOf, symbols } from './ticks.js';

const TINT_MS = 300;
// A figure this old is worth a word: every watched symbol trades more often.
const OLD_MS = 60_000;
const AGE_MS = 5_000;

/** A table that keeps itself up to date until `signal` ends it. */
export function priceTable(signal, { alertLinks = true } = {}) {
  const body = h('tbody');
  const rows = new Map();
  const note = h('p', { class: 'hint waiting-note' }, 'Waiting for the first price.');
  // The roles are said outright because a phone's layout is no table any more.
  const table = h('table', { class: 'prices', role: 'table' },
    h('caption', { class: 'unseen' }, 'Prices now'),
    h('thead', {}, h('tr', {},
      h('th', { scope: 'col' }, 'Symbol'), h('th', { scope: 'col', class: 'figure' }, 'Price'), h('th', { scope: 'col', class: 'figure change' }, 'Change'),
      h('th', { scope: 'col', class: 'trend' }, 'Trend'), h('th', { scope: 'col' }, 'Source'), alertLinks && h('th', { scope: 'col', class: 'figure' }, h('span', { class: 'unseen' }, 'Actions')))),
    body);

  const paint = (changed) => {
    const known = symbols();
    note.hidden = known.some((symbol) => priceOf(symbol)?.price);
    for (const symbol of known) {
      let row = rows.get(symbol);
      if (!row) {
        row = makeRow(symbol, alertLinks);
        rows.set(symbol, row);
        body.append(row.node);
        row.paint();
      } else if (!changed || changed.has(symbol)) {
        row.paint();
      }
    }
  };
  on('prices', paint, signal);
  on('status', () => paint(), signal);
  const ages = setInterval(() => paint(), AGE_MS);
  signal.addEventListener('abort', () => clearInterval(ages));
  paint();
  return h('div', { class: 'price-table' }, table, note);
}

function makeRow(symbol, alertLinks) {
  const digits = h('span', {}, '–');
  const figure = h('td', { class: 'figure price', role: 'cell' }, h('span', { class: 'turn', 'aria-hidden': 'true' }), digits);
  const change = h('td', { class: 'figure change', role: 'cell' });
  const trend = sparkline();
  const source = h('td', { class: 'source', role: 'cell' });
  const node = h('tr', { role: 'row', 'data-testid': 'price-row', 'data-symbol': symbol },
    h('th', { scope: 'row', role: 'rowheader' }, symbol), figure, change, h('td', { class: 'trend', role: 'cell' }, trend.node), source,
    alertLinks && h('td', { class: 'figure act', role: 'cell' }, h('a', { class: 'button quiet', href: `/alerts?symbol=${encodeURIComponent(symbol)}`, 'aria-label': `Set alert for ${symbol}` }, 'Set alert')));
  let shown;
  let tint = 0;

  const paint = () => {
    const price = priceOf(symbol);
    if (!price?.price) return;
    if (price.price !== shown) {
      const first = shown === undefined;
      shown = price.price;
      node.dataset.price = shown;
      setText(digits, priceText(shown, price.scale));
      if (!first && price.direction !== 0 && Date.now() - price.changedAt < TINT_MS) {
        figure.dataset.turn = price.direction > 0 ? 'up' : 'down';
        clearTimeout(tint);
        tint = setTimeout(() => { delete figure.dataset.turn; }, TINT_MS);
      }
    }
    paintChange(change, price);
    trend.paint(price.history);
    paintSource(source, price);
  };
  return { node, paint };
}

/** The server's change over a day, else what happened since this page was opened; the title says which. */
function paintChange(cell, price) {
  const day = price.change24h !== undefined;
  const percent = day ? Number(price.change24h) : percentBetween(price.history[0][1], Number(price.price));
  const way = percent > 0 ? 'up' : percent < 0 ? 'down' : 'flat';
  const arrow = { up: '▲', down: '▼', flat: '·' }[way];
  cell.dataset.turn = way;
  setText(cell, `${arrow} ${percentText(percent)}`);
  cell.title = day ? 'over 24 hours' : `since ${clockText(price.history[0][0])}, over this page's window`;
}

/** "live · binance"; a replay's source says its kind already: "replay · trades.csv". */
function sourceText(kind, source) {
  if (!kind || kind === source) return source;
  return `${kind} · ${source.startsWith(`${kind}:`) ? source.slice(kind.length + 1) : source}`;
}

function paintSource(cell, price) {
  const kind = kindOf(price);
  const feed = get('status')?.feeds?.find(({ source }) => source === price.source);
  // A replayed tick is old by nature; there it counts when it came.
  const since = kind === 'replay' ? price.heardAt : Date.parse(price.time);
  const age = Date.now() - since;
  const old = feed?.stale || age > OLD_MS;
  const late = kind === 'external' ? '' : 'stale, '; // others tick as they like
  const key = `${price.source} ${kind} ${old}`;
  if (cell.dataset.key !== key) {
    cell.dataset.key = key;
    cell.replaceChildren(
      h('span', { class: `tag ${kind ?? ''}`, title: price.source }, sourceText(kind, price.source)),
      old ? h('span', { class: 'old', title: exactText(price.time) }) : '');
  }
  if (old) setText(cell.querySelector('.old'), age > AGE_MS ? `${late}${relativeText(since)} old` : 'stale');
}
