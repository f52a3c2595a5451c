// The four things a view can say instead of its data: nothing yet, on its way,
// it did not work, and who are you. Each says what to do next.

import { h, icon } from './dom.js';
import { get } from './state.js';
import { ensureUser } from './session.js';
import { sayFailed } from './toast.js';

export function emptyPanel(glyph, title, text, ...actions) {
  return h('div', { class: 'panel', 'data-testid': 'empty' },
    icon(glyph), h('h2', {}, title), h('p', {}, text),
    actions.length > 0 && h('div', { class: 'actions' }, actions));
}

export function failedPanel(what, error, retry) {
  const advice = error.unreachable
    ? 'If it was stopped, start it again: this view loads as soon as it is back.'
    : 'The server answered with an error; its log says more.';
  return h('div', { class: 'panel failed', role: 'alert', 'data-testid': 'failed' },
    icon('warning'), h('h2', {}, what), h('p', {}, `${error.message} ${advice}`),
    h('div', { class: 'actions' }, h('button', { type: 'button', onclick: retry }, 'Try again')));
}

/** Grey lines where rows will be. They appear only if the answer takes a moment (see .skeleton). */
export function skeleton(rows = 5) {
  return h('div', { class: 'skeleton', 'aria-label': 'Loading', role: 'status' },
    Array.from({ length: rows }, () => h('div', {}, h('span'), h('span'))));
}

/** What this view is for, and the ways in. */
export function gatePanel(glyph, title, text) {
  const status = get('status');
  if (status?.users === 'external') {
    return emptyPanel(glyph, title, `${text} This gateway takes its people from an identity provider: streams and requests need a token of that provider, and this page has no sign-in of its own.`);
  }
  const here = encodeURIComponent(location.pathname);
  return emptyPanel(glyph, title, text,
    status?.embedded && h('button', { type: 'button', class: 'primary', 'data-testid': 'guest', onclick: enterAsGuest }, 'Go on as a guest'),
    h('a', { class: 'button', href: `/login?next=${here}` }, 'Log in'),
    status?.signup && h('a', { class: 'button', href: `/signup?next=${here}` }, 'Sign up'));
}

async function enterAsGuest(event) {
  const button = event.currentTarget;
  button.disabled = true;
  try {
    await ensureUser();
  } catch (error) {
    sayFailed('No guest account was made.', error);
    button.disabled = false;
  }
}
