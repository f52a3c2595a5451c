// The person at the rail's foot: who is signed in, and the way out; or the
// ways in.

import { ask } from './ask.js';
import { h, icon } from './dom.js';
import { popover } from './popover.js';
import { go } from './router.js';
import { logOut } from './session.js';
import { get, on } from './state.js';
import { showSteps } from './steps.js';
import { sayFailed } from './toast.js';

export function mountPerson(holder) {
  const refresh = () => holder.replaceChildren(...(get('user') ? signedIn(get('user')) : ways()));
  on('user', refresh);
  on('status', () => { if (!get('user')) refresh(); });
  refresh();
}

function ways() {
  const status = get('status');
  if (status?.users === 'external') return [];
  return [h('div', { class: 'ways' },
    h('a', { href: '/login', 'data-testid': 'login-link' }, 'Log in'),
    status?.signup && h('a', { href: '/signup', 'data-testid': 'signup-link' }, 'Sign up'))];
}

function signedIn(user) {
  const status = get('status');
  const button = h('button', { type: 'button', class: 'person', 'data-testid': 'person' }, icon('person'), h('span', { class: 'name', dir: 'auto' }, user.username));
  const panel = h('div', { class: 'popover', id: 'person-panel', role: 'dialog', 'aria-label': 'Account' },
    h('h2', { dir: 'auto' }, user.username),
    h('dl', { class: 'facts' },
      h('div', {}, h('dt', {}, 'User id'), h('dd', { 'data-testid': 'user-id' }, user.id)),
      user.email && h('div', {}, h('dt', {}, 'Email'), h('dd', {}, user.email)),
      status && h('div', {}, h('dt', {}, 'Crier'), h('dd', {}, status.version))),
    h('div', { class: 'actions' },
      h('a', { class: 'button', href: '/account', 'data-testid': 'account-link', onclick: () => menu.close() }, user.guest ? 'Keep this account' : 'Account'),
      h('button', { type: 'button', 'data-testid': 'sign-out', onclick: leave }, 'Sign out'),
      h('button', { type: 'button', onclick: () => { menu.close(); showSteps(); go('/inbox'); } }, 'First steps'),
      h('a', { class: 'button', href: '/swagger/' }, 'API')));
  const menu = popover(button, panel);
  return [button, panel];
}

/** Nobody knows a guest's password: signing out ends the way to the inbox. */
export async function confirmGuestLeaves() {
  const keep = h('button', { type: 'button', 'data-testid': 'question-keep', onclick: () => go('/account') }, 'Keep this account');
  return ask('Sign out and lose this inbox?', 'A guest has no password, so nobody can log in to this account again. Its inbox and its alerts are lost to you.', 'Sign out and lose it', { danger: true, others: [keep] });
}

async function leave() {
  if (get('user').guest && !(await confirmGuestLeaves())) return;
  try {
    await logOut();
    go('/');
  } catch (error) {
    sayFailed('You are still signed in.', error);
  }
}
