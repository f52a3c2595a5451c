// Builds elements without markup strings: text stays text, whoever wrote it,
// and the content security policy needs no exception.

const SVG = 'http://www.w3.org/2000/svg';

/** An element: `on…` become listeners, true an empty attribute, false and absent nothing. */
export function h(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else if (name === 'value') node.value = value;
    else node.setAttribute(name, value === true ? '' : String(value));
  }
  node.append(...children.flat(Infinity).filter((child) => child !== undefined && child !== null && child !== false));
  return node;
}

/** One of the symbols that index.html carries, as decoration. */
export function icon(name) {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('class', 'icon');
  svg.setAttribute('aria-hidden', 'true');
  const use = document.createElementNS(SVG, 'use');
  use.setAttribute('href', `#i-${name}`);
  svg.append(use);
  return svg;
}

export function svg(tag, attributes = {}) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, String(value));
  return node;
}

/** Writes text only where it differs, so that an unchanged figure costs no layout. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/**
 * Makes the children of `parent` those of `items`, keeping the node of every
 * key that stays: focus, scroll position and running transitions survive.
 * `update(node, item)` is called for all.
 */
export function reconcile(parent, items, keyOf, create, update) {
  const known = parent.rows ?? new Map();
  const kept = new Map();
  // What goes, goes first: else all that follows would be moved around it, and
  // an element that is moved loses the focus.
  const staying = new Set(items.map(keyOf));
  for (const [key, node] of known) if (!staying.has(key)) node.remove();
  let place = parent.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    let node = known.get(key);
    if (!node) node = create(item);
    kept.set(key, node);
    if (node === place) place = place.nextElementSibling;
    else parent.insertBefore(node, place);
    update(node, item);
  }
  parent.rows = kept;
}
