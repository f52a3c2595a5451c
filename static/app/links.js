// Addresses that others have written: links only where following them is harmless.

import { h } from './dom.js';

const ADDRESS = /https?:\/\/[^\s<>"']+[^\s<>"'.,;:!?)]/g;

/** Text with its addresses as links; all else stays text. */
export function withLinks(text) {
  const out = [];
  let end = 0;
  for (const found of text.matchAll(ADDRESS)) {
    const link = safeLink(found[0]);
    if (!link) continue;
    out.push(text.slice(end, found.index), h('a', { ...attributesOf(link), class: 'address' }, found[0]));
    end = found.index + found[0].length;
  }
  return [...out, text.slice(end)];
}

/** A sender's address, or null where following it is not harmless. */
export function safeLink(url) {
  try {
    const link = new URL(url, location.origin);
    return url && ['http:', 'https:'].includes(link.protocol) ? link : null;
  } catch {
    return null;
  }
}

/** What leads to this page itself stays in it. */
export function attributesOf(link) {
  if (link.origin === location.origin) return { href: link.pathname + link.search + link.hash };
  return { href: link.href, target: '_blank', rel: 'noopener noreferrer' };
}
