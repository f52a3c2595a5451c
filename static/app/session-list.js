// Where the person is signed in, and the way to end that, one by one or all.

import { api } from './api.js';
import { ask } from './ask.js';
import { h } from './dom.js';
import { failedPanel, skeleton } from './feedback.js';
import { whileBusy } from './form.js';
import { exactText } from './format.js';
import { confirmGuestLeaves } from './person.js';
import { go } from './router.js';
import { endBy } from './session.js';
import { get } from './state.js';
import { announce, sayFailed } from './toast.js';

export function sessionList(signal) {
  const list = h('ul', { class: 'sessions' });
  const place = h('div', {}, skeleton(2));
  const all = h('button', { type: 'button', 'data-testid': 'end-all', onclick: () => confirmAll(all) }, 'Log out everywhere');

  async function load() {
    try {
      const { results } = await api('GET', '/sessions');
      if (signal.aborted) return;
      list.replaceChildren(...results.sort((a, b) => b.current - a.current).map((session) => row(session, load)));
      place.replaceChildren(list);
    } catch (error) {
      if (!signal.aborted) place.replaceChildren(failedPanel('The sessions could not be loaded.', error, load));
    }
  }
  document.addEventListener('sessions-changed', load, { signal });
  load();
  return h('section', { class: 'card', 'data-testid': 'sessions' }, h('h2', {}, 'Where you are signed in'), place, h('div', { class: 'actions' }, all));
}

function row(session, reload) {
  const end = h('button', { type: 'button', class: 'link', 'data-testid': 'session-end', 'aria-label': `End the session of ${device(session.user_agent)}`, onclick: () => whileBusy(end, async () => {
    try {
      await api('DELETE', `/sessions/${session.id}`);
      announce('The session has ended.');
      await reload();
    } catch (error) {
      sayFailed('The session goes on.', error);
    }
  }) }, 'End');
  return h('li', { 'data-testid': 'session', 'data-current': String(session.current) },
    h('span', { title: session.user_agent }, device(session.user_agent)),
    session.current ? h('span', { class: 'tag live' }, 'this one') : end,
    h('span', { class: 'hint', title: exactText(session.created_at) }, `since ${exactText(session.created_at).slice(0, 16)}`));
}

/** This session ends, too; a guest loses the account with it. */
async function confirmAll(button) {
  const sure = get('user')?.guest
    ? await confirmGuestLeaves()
    : await ask('Log out everywhere?', 'All your sessions end, this one too.', 'Log out everywhere');
  if (!sure) return;
  whileBusy(button, async () => {
    try {
      await endBy(() => api('POST', '/logout', { all: true }));
      go('/login', { replace: true });
    } catch (error) {
      sayFailed('Your sessions go on.', error);
    }
  });
}

const BROWSERS = [['Edg/', 'Edge'], ['OPR/', 'Opera'], ['SamsungBrowser/', 'Samsung Internet'], ['Firefox/', 'Firefox'], ['FxiOS/', 'Firefox'], ['CriOS/', 'Chrome'], ['Chrome/', 'Chrome'], ['Safari/', 'Safari'], ['curl/', 'curl'], ['Go-http-client', 'A Go program'], ['python', 'A Python program']];
const SYSTEMS = [['iPhone', 'iPhone'], ['iPad', 'iPad'], ['Android', 'Android'], ['CrOS', 'ChromeOS'], ['Windows', 'Windows'], ['Mac OS X', 'macOS'], ['Linux', 'Linux']];

/** "Firefox on Linux", as far as a user agent tells it. */
export function device(agent) {
  const find = (table) => table.find(([sign]) => agent.includes(sign))?.[1];
  const browser = find(BROWSERS);
  const system = find(SYSTEMS);
  if (browser && system) return `${browser} on ${system}`;
  return browser ?? system ?? (agent.slice(0, 60) || 'An unnamed program');
}
