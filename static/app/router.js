// Every view has its own address; this file maps addresses to views and
// follows links, the back button and calls of go(). A view is a function
// (root, params) that returns { update(params), leave() }; it stays mounted
// while only its params change, so a list keeps its place while its detail
// goes from one item to the next.

import { set } from './state.js';

const ROUTES = [
  [/^\/(?:inbox)?$/, 'inbox'],
  [/^\/inbox\/(?<id>\d+)$/, 'inbox'],
  [/^\/prices$/, 'prices'],
  [/^\/alerts$/, 'alerts'],
  [/^\/alerts\/(?<id>\d+)$/, 'alerts'],
  [/^\/rooms$/, 'rooms'],
  [/^\/rooms\/(?<room>[\w-]+)$/, 'rooms'],
  [/^\/send$/, 'send'],
  [/^\/destinations$/, 'destinations'],
  [/^\/destinations\/(?<id>\d+)$/, 'destinations'],
  [/^\/login$/, 'login'],
  [/^\/signup$/, 'signup'],
  [/^\/reset$/, 'reset'],
  [/^\/account$/, 'account'],
];

let resolve = () => null; // route name -> {key, title, view}, given to start()
let root;
let current = null;

export function start(main, resolver) {
  root = main;
  resolve = resolver;
  addEventListener('popstate', () => refresh());
  document.addEventListener('click', follow);
  refresh();
}

/** Goes to an address of this page. */
export function go(path, { replace = false } = {}) {
  const here = location.pathname + location.search;
  if (path !== here) history[replace ? 'replaceState' : 'pushState'](null, '', path);
  refresh({ moved: true });
}

/** Shows what the address says, after a change of address or of the person. */
export function refresh({ moved = false } = {}) {
  if (!root) return;
  const { name, params } = match();
  const { key, title, view } = resolve(name);
  for (const link of document.querySelectorAll('[data-view]')) {
    if (link.dataset.view === name) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  if (current?.key === key) {
    current.update(params);
    return;
  }
  current?.leave();
  root.replaceChildren();
  set('title', title);
  current = { key, ...view(root, params) };
  // Whoever reads by ear hears the new view's heading; the first view of a
  // visit is announced by the document itself.
  if (moved && !root.contains(document.activeElement)) root.querySelector('h1')?.focus({ preventScroll: true });
}

function match() {
  const query = Object.fromEntries(new URLSearchParams(location.search));
  const path = location.pathname.replace(/(.)\/$/, '$1');
  for (const [pattern, name] of ROUTES) {
    const found = pattern.exec(path);
    if (found) return { name, params: { ...query, ...found.groups } };
  }
  return { name: 'missing', params: query };
}

function follow(event) {
  if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const link = event.target.closest?.('a[href]');
  if (!link || link.target || link.origin !== location.origin || link.hasAttribute('download')) return;
  if (!ROUTES.some(([pattern]) => pattern.test(link.pathname))) return;
  event.preventDefault();
  go(link.pathname + link.search);
}
