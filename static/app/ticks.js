// Prices as they stand, and their recent past. However many ticks come, each
// symbol is worked out once a frame: a newer tick replaces one that was not
// shown yet.

import { api } from './api.js';
import { compare, scaleOf } from './format.js';
import { emit, get, on } from './state.js';

// The sparkline's window, and one point a second in it.
export const WINDOW_MS = 5 * 60_000;
const POINT_MS = 1_000;
// 173 stands as 173.00 among prices with cents, so that the digits align.
const LEAST_SCALE = 2;

// symbol -> {symbol, price, time, source, kind, scale, direction, changedAt, change24h, history: [[ms, number]], heardAt}
const prices = new Map();
const waiting = new Map(); // newest tick of each symbol that the next frame shows
let frame = 0;

export const priceOf = (symbol) => prices.get(symbol);

/** Watched symbols in the server's order, then any other that ticks. */
export function symbols() {
  const watched = get('status')?.symbols ?? [];
  return [...watched, ...[...prices.keys()].filter((symbol) => !watched.includes(symbol))];
}

/** live, simulated, replay or external: what the feed says of itself, else what the tick says. */
export function kindOf(price) {
  const feed = get('status')?.feeds?.find(({ source }) => source === price.source);
  return price.kind ?? feed?.kind;
}

export function takeTicks(ticks) {
  for (const tick of ticks) waiting.set(tick.symbol, tick);
  frame ||= requestAnimationFrame(settle);
}

function settle() {
  frame = 0;
  const now = Date.now();
  for (const tick of waiting.values()) place(tick, now);
  const changed = new Set(waiting.keys());
  waiting.clear();
  emit('prices', changed);
}

function place(tick, now) {
  const price = prices.get(tick.symbol) ?? { symbol: tick.symbol, scale: 0, direction: 0, changedAt: 0, history: [] };
  const turn = price.price === undefined ? 0 : compare(tick.price, price.price);
  if (turn !== 0) Object.assign(price, { direction: turn, changedAt: now });
  Object.assign(price, {
    price: tick.price,
    time: tick.time,
    source: tick.source,
    kind: tick.kind,
    scale: Math.max(price.scale, LEAST_SCALE, scaleOf(tick.price)),
    change24h: tick.change_24h ?? price.change24h,
    heardAt: now,
  });
  remember(price.history, now, Number(tick.price));
  prices.set(tick.symbol, price);
}

function remember(history, now, value) {
  const last = history.at(-1);
  if (last && now - last[0] < POINT_MS) last[1] = value;
  else history.push([now, value]);
  while (history.length > 0 && now - history[0][0] > WINDOW_MS) history.shift();
}

/** The last prices the server knows, for symbols that have not ticked here yet. */
export async function loadPrices() {
  const { results } = await api('GET', '/prices');
  const now = Date.now();
  for (const price of results) {
    const known = prices.get(price.symbol);
    if (known) known.change24h = price.change_24h ?? known.change24h;
    else place(price, now);
  }
  emit('prices', new Set(results.map(({ symbol }) => symbol)));
}

// A figure that was known before the server went away is shown as what it is:
// nothing is cleared, the age beside it grows.
on('stream-ready', () => { loadPrices().catch(() => {}); });
