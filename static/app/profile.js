// The person's account: who one is, the password, where one is signed in, and
// the ways to take one's data along or to leave.

import { api } from './api.js';
import { h, icon } from './dom.js';
import { gatePanel } from './feedback.js';
import { clearProblem, field, setFieldError, showProblem, whileBusy } from './form.js';
import { go } from './router.js';
import { sessionList } from './session-list.js';
import { endBy, keepAccount, loadProfile } from './session.js';
import { get, on } from './state.js';
import { announce, sayFailed, toast } from './toast.js';

export function profileView(root) {
  const leaving = new AbortController();
  const { signal } = leaving;
  const outer = h('div', { class: 'page' });
  root.append(outer);
  let shown;

  function draw() {
    const user = get('user');
    const key = `${user?.id} ${user?.email} ${user?.email_confirmed} ${user?.guest} ${get('status')?.users}`;
    if (key === shown) return;
    shown = key;
    if (!user) {
      outer.replaceChildren(gatePanel('person', 'Nobody is signed in', 'An account has a name, a password, and the list of where it is signed in.'));
      return;
    }
    const own = get('status')?.users !== 'external';
    outer.replaceChildren(
      h('header', { class: 'head' }, h('h1', { tabindex: '-1' }, 'Account')),
      h('div', { class: 'columns' },
        h('div', {}, identity(user, own), own && (user.guest ? keepForm() : passwordForm(user))),
        h('div', {}, sessionList(signal), own && leaveForm(user))));
  }
  on('user', draw, signal);
  on('status', draw, signal);
  draw();
  if (get('user')) loadProfile().catch(() => {});
  return { update() {}, leave: () => leaving.abort() };
}

const fact = (name, value, attributes = {}) => h('div', {}, h('dt', {}, name), h('dd', attributes, value));

function identity(user, own) {
  const button = h('button', { type: 'button', 'data-testid': 'export', onclick: () => whileBusy(button, takeAlong) }, icon('download'), 'Download my data');
  return h('section', { class: 'card' },
    h('h2', {}, 'You'),
    h('dl', { class: 'facts' },
      fact('Username', user.username, { 'data-testid': 'account-username' }), fact('User id', user.id),
      fact('Email', user.email || 'none: a forgotten password cannot be mailed', { 'data-testid': 'account-email' })),
    own && user.email && !user.email_confirmed && unconfirmed(user),
    own && h('div', { class: 'actions' }, button),
    own && h('p', { class: 'hint' }, 'One file of JSON: notifications, alerts and their firings, your messages in rooms, sessions, destinations.'));
}

/** An address gets mail once its owner has followed the link in the first one. */
function unconfirmed(user) {
  const again = h('button', { type: 'button', 'data-testid': 'confirm-again', onclick: () => whileBusy(again, ask) }, 'Send it again');
  const ask = async () => {
    try {
      await api('POST', '/profile/confirmation');
      toast(`Check the mail to ${user.email}. If the last one went less than a day ago, no other is sent.`);
    } catch (error) {
      sayFailed('The mail was not sent.', error);
    }
  };
  return h('p', { class: 'hint', 'data-testid': 'unconfirmed' }, 'This address is not confirmed: follow the link in the mail to it. Until then it gets no other mail, and is no name to sign in by. ', again);
}

/** Fetched and not just linked: a refusal is then told here, and not in a file. */
async function takeAlong() {
  try {
    const data = await api('GET', '/export', undefined, { patient: true });
    const address = URL.createObjectURL(new Blob([JSON.stringify(data, null, 2)], { type: 'application/json' }));
    const link = h('a', { href: address, download: `crier-${get('user').username}.json` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
    announce('The file was downloaded.');
  } catch (error) {
    sayFailed('Your data could not be fetched.', error);
  }
}

/** A guest has no password to give: a name and one of their own are all that is asked for. */
function keepForm() {
  const input = (id, attributes) => h('input', { id, 'data-testid': id, ...attributes });
  const username = input('keep-username', { autocomplete: 'username', autocapitalize: 'none', spellcheck: 'false', required: true });
  const password = input('keep-password', { type: 'password', autocomplete: 'new-password', required: true });
  const email = input('keep-email', { type: 'email', autocomplete: 'email' });
  const controls = { username, password, email };
  const summary = h('p', { class: 'problem', role: 'alert', hidden: true });
  const submit = h('button', { class: 'primary', 'data-testid': 'keep-submit' }, 'Keep this account');
  const keep = async () => {
    clearProblem(controls, summary);
    try {
      await keepAccount(username.value.trim(), password.value, email.value.trim());
      toast('The account is yours. Log in with this name and password from now on.');
    } catch (error) {
      showProblem(error, controls, summary);
    }
  };
  return h('form', { class: 'card', novalidate: true, 'data-testid': 'keep-form', onsubmit: (event) => { event.preventDefault(); whileBusy(submit, keep); } },
    h('h2', {}, 'Keep this account'),
    h('p', {}, 'You are a guest. With a name and a password you can log in again, here and elsewhere; your inbox and your alerts stay.'),
    field('Username', username), field('Password', password, 'At least 8 characters, not all digits, none of the common ones.'), field('Email (optional)', email, 'For notifications by email, and for a forgotten password.'),
    summary, h('div', { class: 'actions' }, submit));
}

function passwordForm(user) {
  const input = (id, complete) => h('input', { id, 'data-testid': id, type: 'password', autocomplete: complete, required: true });
  const present = input('password-now', 'current-password');
  const next = input('password-new', 'new-password');
  const again = input('password-again', 'new-password');
  const controls = { password: present, new_password: next, again };
  const summary = h('p', { class: 'problem', role: 'alert', hidden: true, 'data-testid': 'password-problem' });
  const submit = h('button', { class: 'primary', 'data-testid': 'password-submit' }, 'Change the password');
  const change = async () => {
    clearProblem(controls, summary);
    if (next.value !== again.value) {
      setFieldError(again, 'These two differ.');
      again.focus();
      return;
    }
    try {
      await api('POST', '/password', { password: present.value, new_password: next.value });
      for (const control of Object.values(controls)) control.value = '';
      toast('The password is changed. Your other sessions have ended.');
      document.dispatchEvent(new CustomEvent('sessions-changed'));
    } catch (error) {
      if (error.status === 401 || error.code === 'invalid_credentials') {
        setFieldError(present, 'This is not your current password.');
        present.focus();
      } else {
        showProblem(error, controls, summary);
      }
    }
  };
  return h('form', { class: 'card', novalidate: true, 'data-testid': 'password-form', onsubmit: (event) => { event.preventDefault(); whileBusy(submit, change); } },
    h('h2', {}, 'Password'),
    h('input', { type: 'text', class: 'unseen', autocomplete: 'username', value: user.username, tabindex: '-1', 'aria-hidden': 'true', readonly: true }),
    field('Current password', present), field('New password', next, 'At least 8 characters, not all digits, none of the common ones.'), field('Repeat the new password', again),
    summary, h('div', { class: 'actions' }, submit));
}

function leaveForm(user) {
  const name = h('input', { id: 'leave-name', 'data-testid': 'leave-name', autocomplete: 'off', autocapitalize: 'none', spellcheck: 'false', oninput: () => { submit.disabled = name.value !== user.username; } });
  const submit = h('button', { class: 'danger', 'data-testid': 'leave-submit', disabled: true }, 'Delete my account for good');
  const leave = async () => {
    try {
      await endBy(() => api('DELETE', '/profile'));
      go('/', { replace: true });
      toast('Your account is deleted, with everything that was yours.');
    } catch (error) {
      sayFailed('Your account is still there.', error);
    }
  };
  return h('form', { class: 'card', 'data-testid': 'leave-form', onsubmit: (event) => { event.preventDefault(); if (name.value === user.username) whileBusy(submit, leave); } },
    h('h2', {}, 'Leave'),
    h('p', {}, 'Your inbox, alerts, destinations and sessions are removed with the account. It cannot be undone.'),
    h('p', { class: 'hint' }, 'What you said in rooms stays there, under your name.'),
    field(`Type ${user.username} to go on`, name),
    h('div', { class: 'actions' }, submit));
}

