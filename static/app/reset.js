// A forgotten password: asking for the mail, and setting a new one by its link.

import { api } from './api.js';
import { h } from './dom.js';
import { clearProblem, field, setFieldError, showProblem, whileBusy } from './form.js';
import { gatePanel } from './feedback.js';
import { go } from './router.js';
import { signedOut } from './session.js';
import { get, on } from './state.js';
import { toast } from './toast.js';

export function resetView(root, params) {
  const leaving = new AbortController();
  let token = params.token ?? '';
  let shown;
  const draw = () => {
    const barred = get('status')?.users === 'external';
    const key = `${barred} ${token}`;
    if (key === shown) return;
    shown = key;
    root.replaceChildren(barred ? gatePanel('person', 'Sign-in is elsewhere', '') : token ? confirmForm(token) : askForm());
    root.querySelector('input')?.focus({ preventScroll: true });
  };
  on('status', draw, leaving.signal);
  draw();
  return {
    update(next) {
      token = next.token ?? '';
      draw();
    },
    leave: () => leaving.abort(),
  };
}

function askForm() {
  const name = h('input', { id: 'reset-name', 'data-testid': 'reset-name', name: 'username', autocomplete: 'username', autocapitalize: 'none', spellcheck: 'false', required: true });
  const summary = h('p', { class: 'problem', role: 'alert', hidden: true });
  const submit = h('button', { class: 'primary', 'data-testid': 'reset-ask' }, 'Send the mail');
  const ask = async () => {
    clearProblem({ email: name }, summary);
    const login = name.value.trim();
    try {
      await api('POST', '/password/reset', login.includes('@') ? { email: login } : { username: login });
      page.replaceChildren(title('Check your email'),
        h('p', { role: 'status', 'data-testid': 'reset-asked' }, 'If there is such an account with an address, a mail is on its way. Its link is good once, for an hour.'),
        h('p', { class: 'aside' }, get('status')?.mail ? ['On this machine mails go nowhere but into the ', h('a', { href: get('status').mail, target: '_blank', rel: 'noopener', 'data-testid': 'mail-link' }, 'mail catcher'), '.'] : 'It may take a minute; look among what your mail program took for advertisements, too.'),
        h('p', { class: 'aside' }, h('a', { href: '/login' }, 'Back to the login')));
      page.querySelector('h1').focus();
    } catch (error) {
      showProblem(error, { email: name, username: name }, summary);
    }
  };
  const page = h('div', { class: 'page narrow' },
    title('Forgot your password?'),
    h('p', { class: 'aside' }, 'A mail with a link to a new one goes to the address that your account has.'),
    h('form', { class: 'card', novalidate: true, 'data-testid': 'reset-form', onsubmit: (event) => { event.preventDefault(); whileBusy(submit, ask); } },
      field('Username or email', name), summary, h('div', { class: 'actions' }, submit)),
    h('p', { class: 'aside' }, 'You know it again? ', h('a', { href: '/login' }, 'Log in')));
  return page;
}

function confirmForm(token) {
  const input = (id) => h('input', { id, 'data-testid': id, type: 'password', autocomplete: 'new-password', required: true });
  const next = input('reset-password');
  const again = input('reset-again');
  const controls = { new_password: next, again };
  const summary = h('p', { class: 'problem', role: 'alert', hidden: true, 'data-testid': 'reset-problem' });
  const another = h('p', { class: 'aside', hidden: true }, h('a', { href: '/reset' }, 'Ask for another link'));
  const submit = h('button', { class: 'primary', 'data-testid': 'reset-submit' }, 'Set the password');
  const confirm = async () => {
    clearProblem(controls, summary);
    if (next.value !== again.value) {
      setFieldError(again, 'These two differ.');
      again.focus();
      return;
    }
    try {
      await api('POST', '/password/reset/confirm', { token, new_password: next.value });
      signedOut(); // whoever was signed in here with this account is not any more
      go('/login', { replace: true });
      toast('Your password is set. Log in with it.');
    } catch (error) {
      showProblem(error, controls, summary);
      another.hidden = error.status !== 404;
    }
  };
  return h('div', { class: 'page narrow' },
    title('A new password'),
    h('form', { class: 'card', novalidate: true, 'data-testid': 'reset-confirm', onsubmit: (event) => { event.preventDefault(); whileBusy(submit, confirm); } },
      field('New password', next, 'At least 8 characters, not all digits, none of the common ones.'), field('The same again', again),
      summary, another, h('div', { class: 'actions' }, submit)),
    h('p', { class: 'aside' }, 'Setting it ends all sessions of the account.'));
}

const title = (text) => h('h1', { tabindex: '-1' }, text);
