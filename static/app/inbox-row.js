// One notification in the list.

import { h, icon, setText } from './dom.js';
import { inbox } from './inbox-store.js';
import { attributesOf, safeLink } from './links.js';
import { setTime, timeTag } from './time.js';

export function createRow(item) {
  const parts = {
    title: h('span', { class: 'title', dir: 'auto' }),
    body: h('span', { class: 'body', dir: 'auto' }),
    priority: h('span', { class: 'tag' }),
    time: timeTag(item.created_at),
    unread: h('span', { class: 'unseen' }, 'Unread. '),
  };
  const mark = h('button', { type: 'button', class: 'icon-button', 'data-testid': 'toggle-read', onclick: () => inbox.setRead(item.id, !node.item.read_at) });
  const archive = h('button', { type: 'button', class: 'icon-button', title: 'Archive', 'aria-label': 'Archive', 'data-testid': 'archive', onclick: () => { ((node.nextElementSibling ?? node.previousElementSibling)?.querySelector('a') ?? document.querySelector('main h1'))?.focus(); inbox.archive(item.id); } }, icon('archive'));
  // A notification about something leads there; its details are a button away.
  const target = safeLink(item.url);
  const details = target && h('a', { class: 'button icon-button', title: 'Details', 'aria-label': 'Details', 'data-testid': 'details' }, icon('details'));
  const node = h('li', { class: 'row', 'data-testid': 'inbox-item', 'data-id': item.id },
    h('a', { class: 'row-link', ...(target ? attributesOf(target) : {}), onclick: () => { if (target && !node.item.read_at) inbox.setRead(item.id, true); } },
      h('span', { class: 'dot' }), h('span', { class: 'text' }, parts.unread, h('span', { class: 'first-line' }, parts.title, parts.priority), parts.body)),
    h('span', { class: 'side' }, parts.time, h('span', { class: 'row-actions' }, details, mark, archive)));
  node.addEventListener('keydown', (event) => key(event, node));
  Object.assign(node, { parts, mark, details });
  if (item.fresh) node.classList.add('arriving');
  return node;
}

export function updateRow(node, item, selected) {
  const { parts, mark } = node;
  node.item = item;
  const unread = !item.read_at;
  setText(parts.title, item.title || item.body || item.kind);
  setText(parts.body, (item.title && item.body ? item.body : '').replaceAll('\n', ' · '));
  const loud = item.priority === 'high' || item.priority === 'urgent';
  parts.priority.hidden = !loud;
  parts.priority.className = `tag ${loud ? item.priority : ''}`;
  setText(parts.priority, loud ? item.priority : '');
  setTime(parts.time, item.created_at);
  parts.unread.hidden = !unread;
  node.classList.toggle('unread', unread);
  const link = node.firstElementChild;
  (node.details ?? link).setAttribute('href', inbox.address(item.id));
  if (selected) link.setAttribute('aria-current', 'true');
  else link.removeAttribute('aria-current');
  const label = unread ? 'Mark as read' : 'Mark as unread';
  if (mark.title !== label) {
    mark.title = label;
    mark.setAttribute('aria-label', label);
    mark.replaceChildren(icon(unread ? 'read' : 'unread'));
  }
}

/** Arrows go from row to row; E archives and U turns the mark, while a row has focus. */
function key(event, node) {
  if (event.altKey || event.ctrlKey || event.metaKey || event.target.tagName !== 'A') return;
  const beside = { ArrowDown: node.nextElementSibling, ArrowUp: node.previousElementSibling }[event.key];
  if (beside?.classList.contains('row')) {
    event.preventDefault();
    beside.querySelector('a').focus();
  } else if (event.key === 'e' || event.key === 'u') {
    event.preventDefault();
    const neighbour = node.nextElementSibling ?? node.previousElementSibling;
    if (event.key === 'u') inbox.setRead(node.item.id, Boolean(!node.item.read_at));
    else {
      neighbour?.querySelector('a')?.focus();
      inbox.archive(node.item.id);
    }
  }
}
