// A line of the last minutes. Its horizontal axis is time, so a pause in the
// ticks is a pause in the line and not a jump.

import { setText, svg } from './dom.js';
import { relativeText } from './format.js';
import { WINDOW_MS } from './ticks.js';

const WIDTH = 120;
const HEIGHT = 28;
const MARGIN = 3;
const PAUSE_MS = 15_000;
const YOUNG_MS = 20_000;
// The line changes by a pixel in this time; painting it oftener is wasted.
const REPAINT_MS = 1_000;

export function sparkline() {
  const line = svg('path', { class: 'line' });
  const end = svg('circle', { class: 'end', r: 2, visibility: 'hidden' }); // until there is a point
  const title = svg('title');
  const node = svg('svg', { class: 'sparkline', viewBox: `0 0 ${WIDTH} ${HEIGHT}`, 'aria-hidden': 'true' });
  node.append(title, line, end);
  let paintedAt = 0;

  const paint = (history) => {
    const now = Date.now();
    if (history.length === 0 || now - paintedAt < REPAINT_MS) return;
    paintedAt = now;
    const values = history.map(([, value]) => value);
    const low = Math.min(...values);
    const spread = Math.max(...values) - low || 1;
    const flat = Math.max(...values) === low;
    // A young page uses the whole width for what it has seen, and says how much that is.
    const span = Math.min(WINDOW_MS, Math.max(YOUNG_MS, now - history[0][0]));
    setText(title, `The last ${relativeText(now - span, now)}`);
    const x = (time) => WIDTH - MARGIN - ((now - time) / span) * (WIDTH - 2 * MARGIN);
    const y = (value) => (flat ? HEIGHT / 2 : HEIGHT - MARGIN - ((value - low) / spread) * (HEIGHT - 2 * MARGIN));
    let path = '';
    let before = -Infinity;
    for (const [time, value] of history) {
      path += `${time - before > PAUSE_MS ? 'M' : 'L'}${x(time).toFixed(1)} ${y(value).toFixed(1)}`;
      before = time;
    }
    line.setAttribute('d', path);
    const [lastTime, lastValue] = history.at(-1);
    end.removeAttribute('visibility');
    end.setAttribute('cx', x(lastTime).toFixed(1));
    end.setAttribute('cy', y(lastValue).toFixed(1));
  };
  return { node, paint };
}
