// A symbol's last hours as a line, with an alert's marks drawn in it. A mark can
// be taken by its handle, with the pointer or the arrow keys, and set anew.

import { api } from './api.js';
import { h, setText, svg } from './dom.js';
import { clockText, percentBetween, percentText, priceText, scaleOf } from './format.js';
import { on } from './state.js';
import { priceOf } from './ticks.js';
import { retrier } from './retry.js';

const HEIGHT = 180;
const LEFT = 8;
const RIGHT = 78; // for the figures
const TOP = 10;
const BOTTOM = 22; // for the times
const SPANS = { '1h': ['1s', 3_600], '4h': ['1m', 14_400], '7d': ['1h', 604_800] };
const REPAINT_MS = 1_000;
// A mark far away would press the line flat: it waits at the edge.
const REACH = 3;

/**
 * `marks()` gives [{name, value, label}] as decimal strings; `moved(name, value,
 * done)` is told where one is dragged to, and with done that it was let go.
 */
export function priceChart(signal, { symbol, marks, moved }) {
  const title = svg('title');
  title.textContent = 'Price chart'; // until there are candles
  const line = svg('path', { class: 'line' });
  const now = svg('circle', { class: 'end', r: 3 });
  const axis = svg('g', { class: 'axis', 'aria-hidden': 'true' });
  const over = svg('g');
  const node = svg('svg', { class: 'chart-plot', role: moved ? 'group' : 'img' }); // an image's parts are hidden from screen readers
  node.append(title, axis, line, now, over);
  const note = h('p', { class: 'hint chart-note' }, '');
  const choice = h('span', { class: 'quick' }, Object.keys(SPANS).map((name) => h('button', { type: 'button', class: 'link', 'data-span': name, onclick: () => { span = name; load(); } }, name)));
  const root = h('figure', { class: 'chart', 'data-testid': 'chart' }, node, h('figcaption', {}, note, choice));
  let width = 640; // of the place it has
  let span = '4h';
  let points = [];
  let shown = ''; // the symbol whose candles are here
  let asked = ''; // the symbol that was asked for last
  let turn = 0;
  let held = null; // the mark under the pointer
  let range = [0, 1];
  let paintedAt = 0;

  const again = retrier(() => load(), signal);

  async function load() {
    const wanted = symbol();
    asked = wanted;
    if (!wanted || signal.aborted) return;
    const mine = ++turn;
    const [interval, seconds] = SPANS[span];
    for (const button of choice.children) button.toggleAttribute('aria-current', button.dataset.span === span);
    try {
      const path = `/prices/${encodeURIComponent(wanted)}/candles?interval=${interval}&limit=${interval === '1s' ? 3_600 : 500}`;
      const { results } = await api('GET', path);
      if (mine !== turn || signal.aborted) return;
      again.succeeded();
      shown = wanted;
      const end = results.length > 0 ? Date.parse(results.at(-1).start) : 0;
      points = results.map(({ start, close }) => [Date.parse(start), Number(close)]).filter(([at]) => at >= end - seconds * 1_000);
      setText(note, points.length > 0 ? '' : 'No candles yet: they come with the next ticks.');
    } catch (error) {
      if (mine !== turn || signal.aborted) return;
      setText(note, `The chart could not be loaded. ${error.message}`);
      again.failed();
    }
    paint(true);
  }

  const y = (value) => HEIGHT - BOTTOM - ((value - range[0]) / (range[1] - range[0] || 1)) * (HEIGHT - TOP - BOTTOM);

  function scale(list, lines) {
    const values = list.map(([, value]) => value);
    let [low, high] = [Math.min(...values), Math.max(...values)];
    const spread = high - low || Math.abs(high) * 0.002 || 1;
    for (const value of lines) {
      if (value > high && value < high + REACH * spread) high = value;
      if (value < low && value > low - REACH * spread) low = value;
    }
    const margin = (high - low || spread) * 0.08;
    return [low - margin, high + margin];
  }

  function paint(force = false) {
    if (!force && (held || Date.now() - paintedAt < REPAINT_MS)) return;
    paintedAt = Date.now();
    if (asked !== symbol()) load();
    if (shown !== symbol()) return;
    const live = priceOf(shown);
    const list = points.slice();
    if (live?.price && list.length > 0) list.push([Math.max(Date.parse(live.time), list.at(-1)[0]), Number(live.price)]);
    node.classList.toggle('empty', list.length < 2);
    if (list.length < 2) {
      for (const part of [axis, over]) part.replaceChildren();
      line.setAttribute('d', '');
      return;
    }
    const drawn = marks().filter(({ value }) => value);
    if (!held) range = scale(list, drawn.map(({ value }) => Number(value)));
    const [begin, end] = [list[0][0], list.at(-1)[0]];
    const x = (time) => LEFT + ((time - begin) / (end - begin || 1)) * (width - LEFT - RIGHT);
    line.setAttribute('d', list.map(([time, value], i) => `${i ? 'L' : 'M'}${x(time).toFixed(1)} ${y(value).toFixed(1)}`).join(''));
    now.setAttribute('cx', x(end).toFixed(1));
    now.setAttribute('cy', y(list.at(-1)[1]).toFixed(1));
    setText(title, `${shown}, ${clockText(begin)} to ${clockText(end)}`);
    paintAxis(begin, end, live?.scale ?? 2);
    paintMarks(drawn, live);
  }

  function paintAxis(begin, end, digits) {
    const labels = [];
    for (const share of [0.1, 0.5, 0.9]) {
      const value = range[0] + (range[1] - range[0]) * share;
      const text = svg('text', { x: width - RIGHT + 8, y: (y(value) + 4).toFixed(1) });
      text.textContent = priceText(value.toFixed(Math.min(8, digits)), 0);
      labels.push(svg('line', { x1: LEFT, x2: width - RIGHT, y1: y(value).toFixed(1), y2: y(value).toFixed(1) }), text);
    }
    for (const [time, at, anchor] of [[begin, LEFT, 'start'], [end, width - RIGHT, 'end']]) {
      const text = svg('text', { x: at, y: HEIGHT - 6, 'text-anchor': anchor });
      text.textContent = span === '7d' ? new Date(time).toLocaleDateString() : clockText(time);
      labels.push(text);
    }
    axis.replaceChildren(...labels);
  }

  function paintMarks(list, live) {
    const focused = document.activeElement?.dataset?.mark;
    over.replaceChildren(...list.map((mark) => markOn(mark, live)));
    if (focused) over.querySelector(`[data-mark="${focused}"]`)?.focus();
  }

  function markOn({ name, value, label }, live) {
    const at = Math.min(HEIGHT - BOTTOM, Math.max(TOP, y(Number(value))));
    const g = svg('g', { class: `mark${moved ? ' movable' : ''}${at !== y(Number(value)) ? ' beyond' : ''}`, 'data-mark': name, 'data-testid': `mark-${name}` });
    if (moved) {
      for (const [key, text] of Object.entries({ tabindex: '0', role: 'slider', 'aria-label': label, 'aria-orientation': 'vertical', 'aria-valuenow': value, 'aria-valuetext': priceText(value) })) g.setAttribute(key, text);
    }
    const text = svg('text', { x: width - RIGHT + 8, y: (at + 4).toFixed(1) });
    text.textContent = priceText(value);
    const away = svg('title');
    away.textContent = live?.price ? `${label}: ${percentText(percentBetween(live.price, value))} away` : label;
    g.append(away, svg('rect', { class: 'grip', x: LEFT, y: (at - 9).toFixed(1), width: width - LEFT, height: 18 }),
      svg('line', { x1: LEFT, x2: width - RIGHT, y1: at.toFixed(1), y2: at.toFixed(1) }),
      svg('rect', { class: 'tag', x: width - RIGHT + 3, y: (at - 9).toFixed(1), width: RIGHT - 5, height: 18, rx: 4 }), text);
    return g;
  }

  /** A value of the plot, with the digits the symbol is quoted in. */
  const worded = (value) => {
    const digits = Math.max(scaleOf(priceOf(shown)?.price ?? '0'), range[1] - range[0] < 1 ? 4 : 2);
    return value.toFixed(Math.min(digits, 12)).replace(/(\.\d*?)0+$/, '$1').replace(/\.$/, '');
  };
  const valueAt = (event) => {
    const box = node.getBoundingClientRect();
    const at = ((event.clientY - box.top) / box.height) * HEIGHT;
    const share = (HEIGHT - BOTTOM - at) / (HEIGHT - TOP - BOTTOM);
    return worded(range[0] + Math.min(1, Math.max(0, share)) * (range[1] - range[0]));
  };
  if (moved) {
    over.addEventListener('pointerdown', (event) => {
      const mark = event.target.closest('[data-mark]');
      if (!mark || event.button !== 0) return;
      held = mark.dataset.mark;
      node.setPointerCapture(event.pointerId);
      node.classList.add('dragging');
      event.preventDefault();
    });
    node.addEventListener('pointermove', (event) => {
      if (!held) return;
      moved(held, valueAt(event), false);
      paint(true);
    });
    const drop = (event) => {
      if (!held) return;
      const name = held;
      held = null;
      node.classList.remove('dragging');
      if (event.type === 'pointerup') moved(name, valueAt(event), true);
      paint(true);
    };
    node.addEventListener('pointerup', drop);
    node.addEventListener('pointercancel', drop);
    over.addEventListener('keydown', (event) => {
      const name = event.target.dataset?.mark;
      const way = { ArrowUp: 1, ArrowDown: -1, PageUp: 10, PageDown: -10 }[event.key];
      const mark = name && way && marks().find((one) => one.name === name);
      if (!mark) return;
      event.preventDefault();
      moved(name, worded(Number(mark.value) + (way * (range[1] - range[0])) / 100), false);
      paint(true);
    });
    over.addEventListener('keyup', (event) => {
      const name = event.target.dataset?.mark;
      const mark = name && event.key === 'Enter' && marks().find((one) => one.name === name);
      if (mark) moved(name, mark.value, true);
    });
  }
  const sized = new ResizeObserver(([{ contentRect }]) => {
    width = Math.max(240, Math.round(contentRect.width));
    node.setAttribute('viewBox', `0 0 ${width} ${HEIGHT}`);
    paint(true);
  });
  sized.observe(root);
  signal.addEventListener('abort', () => sized.disconnect());
  on('prices', (changed) => { if (changed.has(symbol())) paint(); }, signal);
  const fresh = setInterval(load, 60_000);
  signal.addEventListener('abort', () => clearInterval(fresh));
  load();
  return { node: root, paint: () => paint(true), say: (text) => setText(note, text) };
}
