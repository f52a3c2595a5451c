// One list, one detail: beside each other where there is room, on a phone the
// detail unfolds under the row it belongs to.

import { h } from './dom.js';

const narrow = matchMedia('(max-width: 720px)');

/**
 * `list` is the element that holds the rows. place(row) puts the detail where
 * it belongs: `row` is the selected row's element, or null where it is not in
 * the list; undefined where nothing is selected.
 */
export function split(listPane, list, signal) {
  const detail = h('section', { class: 'detail-pane', 'aria-label': 'Detail' });
  const node = h('div', { class: 'split' }, listPane, detail);
  let selected;

  const place = (row = selected) => {
    selected = row;
    node.classList.toggle('selected', row !== undefined);
    if (!narrow.matches || row === undefined) {
      if (detail.parentElement !== node) node.append(detail);
    } else if (row === null) {
      if (detail.nextElementSibling !== list) list.before(detail);
    } else if (detail.parentElement !== row) {
      row.append(detail);
      // An address that was opened directly may name a row far down.
      requestAnimationFrame(() => row.scrollIntoView({ block: 'nearest' }));
    }
  };
  narrow.addEventListener('change', () => place(), { signal });
  return {
    node,
    detail,
    select: place,
    clear: () => { selected = undefined; place(); },
  };
}
