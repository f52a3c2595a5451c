// What must be known wherever one is on the page: that the prices are not
// real, and that the device is offline. It stands above every view and cannot
// be closed.

import { h, icon } from './dom.js';
import { api } from './api.js';
import { get, on, set } from './state.js';
import { setTransport } from './stream.js';

// How soon a feed that went from live to simulated is noticed.
const STATUS_EVERY_MS = 15_000;

const place = document.getElementById('banners');

export async function loadStatus() {
  try {
    set('status', await api('GET', '/status'));
    set('statusError', null);
  } catch (error) {
    set('statusError', error);
  }
}

function show() {
  const feeds = get('status')?.feeds ?? [];
  const of = (kind) => feeds.filter((feed) => feed.kind === kind).map(({ source }) => source);
  const lines = [];
  if (of('simulated').length > 0) {
    lines.push(['simulated', 'Simulated prices.', 'Made up by this server.']);
  }
  if (of('replay').length > 0) {
    lines.push(['replay', 'Replayed prices.', 'Recorded earlier.']);
  }
  // Other producers of ticks have intervals of their own: the age is shown beside the price.
  const stale = feeds.filter((feed) => feed.stale && feed.kind !== 'external').map(({ source }) => source);
  if (stale.length > 0) {
    lines.push(['stale', `No new prices from ${stale.join(', ')}.`, 'What is shown is the last that came.']);
  }
  const error = get('statusError');
  if (error && navigator.onLine) {
    lines.push(['away', error.unreachable ? 'The server does not answer.' : 'The server is in trouble.', 'This page tries again by itself and catches up as soon as it can.']);
  }
  if (!navigator.onLine) {
    lines.push(['offline', 'This device is offline.', 'What you see is what was here before; it catches up by itself.']);
  }
  if (get('connection').name === 'queued') {
    lines.push(['queued', 'This tab is not live.', 'Five other tabs of this browser follow this server; with one more, none could send a request (HTTP/1.1 allows six connections). It goes live when one of them is closed.',
      ['Use WebSocket instead', () => setTransport('ws')]]);
  }
  const words = lines.map((line) => line.slice(0, 3).join(' ')).join(' ');
  if (place.dataset.words === words) return;
  place.dataset.words = words;
  place.replaceChildren(...lines.map(([kind, title, text, [label, act] = []]) =>
    h('p', { class: `banner ${kind}`, 'data-testid': 'banner', 'data-kind': kind }, icon('warning'), h('span', {}, h('strong', {}, title), ` ${text} `, label && h('button', { type: 'button', class: 'link', onclick: act }, label)))));
}

// On a phone the page scrolls below these lines; what sticks under them has to
// know how high they are.
new ResizeObserver(() => {
  document.documentElement.style.setProperty('--banners', `${place.offsetHeight}px`);
}).observe(place);

on('status', show);
on('connection', show);
on('statusError', show);
addEventListener('online', show);
addEventListener('offline', show);
on('stream-ready', () => { loadStatus(); });
setInterval(() => { if (document.visibilityState === 'visible') loadStatus(); }, STATUS_EVERY_MS);
