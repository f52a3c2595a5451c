// Log in and sign up: one form, two views.

import { h } from './dom.js';
import { clearProblem, field, showProblem, whileBusy } from './form.js';
import { gatePanel } from './feedback.js';
import { go } from './router.js';
import { ensureUser, logIn, signUp } from './session.js';
import { get, on } from './state.js';

export const loginView = (root, params) => view(root, params, false);
export const signupView = (root, params) => view(root, params, true);

function view(root, params, isNew) {
  const leaving = new AbortController();
  const next = safeNext(params.next);
  const draw = () => {
    if (get('status')?.users === 'external') root.replaceChildren(gatePanel('person', 'Sign-in is elsewhere', ''));
    else if (!root.firstElementChild) root.append(form(next, isNew, params.ended === 'yes'));
    root.querySelector('[data-testid=guest-entry]')?.toggleAttribute('hidden', !get('status')?.embedded);
    root.querySelector('[data-testid=invite-field]')?.toggleAttribute('hidden', !get('status')?.invite);
    root.querySelector('[data-testid=other-way]')?.toggleAttribute('hidden', !isNew && get('status')?.signup === false);
  };
  on('status', draw, leaving.signal);
  draw();
  root.querySelector('#username')?.focus({ preventScroll: true });
  return { update() {}, leave: () => leaving.abort() };
}

/** Only a path of this page: an address from outside must not say where a sign-in leads. */
function safeNext(next) {
  return next && /^\/(?![/\\])/.test(next) ? next : '/inbox';
}

function form(next, isNew, hasEnded) {
  const username = h('input', { id: 'username', name: 'username', autocomplete: 'username', autocapitalize: 'none', spellcheck: 'false', required: true });
  const password = h('input', { id: 'password', name: 'password', type: 'password', autocomplete: isNew ? 'new-password' : 'current-password', required: true });
  const email = h('input', { id: 'email', name: 'email', type: 'email', autocomplete: 'email' });
  const invite = h('input', { id: 'invite', name: 'invite', autocomplete: 'off', autocapitalize: 'none', spellcheck: 'false' });
  const controls = isNew ? { username, password, email, invite } : { username, email: username, password };
  const summary = h('p', { class: 'problem', role: 'alert', hidden: true, 'data-testid': 'form-problem' });
  const submit = h('button', { class: 'primary', 'data-testid': isNew ? 'signup-submit' : 'login-submit' }, isNew ? 'Sign up' : 'Log in');

  const enter = (work) => whileBusy(submit, async () => {
    clearProblem(controls, summary);
    try {
      await work();
      go(next, { replace: true });
    } catch (error) {
      showProblem(error, controls, summary);
    }
  });

  const other = isNew ? ['Already have an account?', '/login', 'Log in'] : ['No account yet?', '/signup', 'Sign up'];
  return h('div', { class: 'page narrow' },
    h('h1', { tabindex: '-1' }, isNew ? 'Sign up' : 'Log in'),
    hasEnded && h('p', { class: 'lead small', role: 'status', 'data-testid': 'session-ended' }, 'Your session has ended. Log in to go on where you were.'),
    h('form', {
      novalidate: true,
      class: 'card',
      'data-testid': isNew ? 'signup-form' : 'login-form',
      onsubmit: (event) => {
        event.preventDefault();
        enter(() => (isNew ? signUp(username.value.trim(), password.value, email.value.trim(), invite.value.trim()) : logIn(username.value.trim(), password.value)));
      },
    },
    field(isNew ? 'Username' : 'Username or email', username),
    field('Password', password, isNew ? 'At least 8 characters, not all digits, none of the common ones.' : ''),
    isNew && field('Email, if notifications shall reach you by mail', email),
    isNew && h('div', { hidden: true, 'data-testid': 'invite-field' }, field('Invitation', invite, 'The code that you were given: signing up needs one here.')),
    summary,
    h('div', { class: 'actions' }, submit)),
    !isNew && h('p', { class: 'aside' }, h('a', { href: '/reset', 'data-testid': 'forgot' }, 'Forgot your password?')),
    h('p', { class: 'aside', 'data-testid': 'other-way' }, `${other[0]} `, h('a', { href: `${other[1]}?next=${encodeURIComponent(next)}` }, other[2])),
    h('p', { class: 'aside', 'data-testid': 'guest-entry', hidden: true }, 'Only looking? ',
      h('button', { type: 'button', class: 'link', 'data-testid': 'guest', onclick: () => enter(ensureUser) }, 'Go on as a guest')));
}
