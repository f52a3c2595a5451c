// Send: write a notification, and watch what becomes of it line by line.

import { h } from './dom.js';
import { gatePanel } from './feedback.js';
import { clearProblem, field, setFieldError, showProblem, whileBusy } from './form.js';
import { shellWord } from './format.js';
import { ensureUser } from './session.js';
import { get, on } from './state.js';
import { command, commands } from './terminal.js';
import { sendTraced } from './trace.js';

export function sendView(root) {
  const leaving = new AbortController();
  const { signal } = leaving;
  const input = (id, attributes = {}) => h('input', { id, 'data-testid': id, autocomplete: 'off', oninput: refresh, ...attributes });
  const title = input('send-title', { value: 'Hello', maxlength: '200' });
  const body = h('textarea', { id: 'send-body', 'data-testid': 'send-body', rows: '3', oninput: refresh }, 'Sent from this page.');
  const user = input('send-user', { spellcheck: 'false', oninput: () => { touched = true; refresh(); } });
  const key = input('send-key', { type: 'password', autocomplete: 'off', spellcheck: 'false' });
  const url = input('send-url', { type: 'url', placeholder: 'https://…' });
  const kind = input('send-kind', { placeholder: 'message' });
  const payload = h('textarea', { id: 'send-payload', 'data-testid': 'send-payload', rows: '3', spellcheck: 'false', placeholder: '{"version":"2.3"}', oninput: refresh });
  const priority = h('select', { id: 'send-priority', 'data-testid': 'send-priority', onchange: refresh }, ['low', 'normal', 'high', 'urgent'].map((name) => h('option', { value: name, selected: name === 'normal' }, name)));
  const controls = { title, body, user_id: user, url, kind, payload, priority };
  const summary = h('p', { class: 'problem', role: 'alert', hidden: true });
  const submit = h('button', { class: 'primary', 'data-testid': 'send-submit' }, 'Send');
  const trace = h('ol', { class: 'trace', 'aria-live': 'polite', 'data-testid': 'send-trace' });
  const rest = h('p', { class: 'hint' }, 'Each line appears when it has happened: accepted by Kafka, stored in the inbox, shown on this page.');
  const cli = command('');
  const curl = command('');
  let touched = false;

  const form = h('form', { novalidate: true, class: 'card', 'data-testid': 'send-form', onsubmit: (event) => { event.preventDefault(); whileBusy(submit, send); } },
    field('Title', title), field('Body', body),
    h('details', { class: 'more-fields' }, h('summary', {}, 'Someone else, link, priority, payload'),
      field('User id', user, 'Your own, unless a service key is given.'),
      field('Service key', key, 'Sent as X-API-Key with this request only; it is not kept.'),
      field('Link', url), field('Kind', kind), field('Priority', priority), field('Payload (JSON)', payload)),
    summary,
    h('div', { class: 'actions' }, submit));
  const outer = h('div', { class: 'page' },
    h('header', { class: 'head' }, h('h1', { tabindex: '-1' }, 'Send')),
    h('div', { class: 'columns' }, h('div', {}, form),
      h('div', {}, h('section', { class: 'card' }, h('h2', {}, 'What becomes of it'), rest, trace),
        h('section', { class: 'from-terminal' }, h('h2', {}, 'The same from a terminal'), commands(['With Crier itself', cli], ['Over HTTP, with a service key', curl])))));

  function wish() {
    let extra = {};
    if (payload.value.trim()) {
      try { extra = { payload: JSON.parse(payload.value) }; } catch { extra = { payload: undefined, unreadable: true }; }
    }
    return {
      user_id: user.value.trim(), title: title.value.trim(), body: body.value.trim(),
      ...(url.value.trim() ? { url: url.value.trim() } : {}), ...(kind.value.trim() ? { kind: kind.value.trim() } : {}),
      ...(priority.value !== 'normal' ? { priority: priority.value } : {}), ...extra,
    };
  }

  function refresh() {
    if (!touched) user.value = get('user')?.id ?? '';
    const { unreadable, ...record } = wish();
    const to = record.user_id || 'ID';
    cli.set(`go run . send --user ${shellWord(to)} --title ${shellWord(record.title)} --body ${shellWord(record.body)}`);
    curl.set(`curl -H "X-API-Key: $CRIER_API_KEY" -H 'Content-Type: application/json' -d ${shellWord(JSON.stringify({ ...record, user_id: to }))} ${location.origin}/api/v1/notifications`);
  }

  async function send() {
    clearProblem({ ...controls, key }, summary);
    const first = wish();
    if (first.unreadable) {
      setFieldError(payload, 'This is not JSON.');
      payload.focus();
      return;
    }
    rest.hidden = true;
    try {
      if (!key.value && !(await ensureUser())) return;
      refresh();
      await sendTraced(trace, wish(), key.value ? { 'X-API-Key': key.value } : {});
    } catch (error) {
      showProblem(error, controls, summary);
      openFaulty();
    }
  }

  function openFaulty() {
    const fold = form.querySelector('details');
    if (fold.querySelector('.invalid')) fold.open = true;
  }

  const draw = () => {
    const barred = !get('user') && get('status')?.users === 'external';
    root.replaceChildren(barred ? gatePanel('send', 'Send', 'A signed-in person may send to themself, a service to anyone.') : outer);
    refresh();
  };
  on('user', refresh, signal);
  on('status', () => { if (!outer.isConnected) draw(); }, signal);
  draw();
  return { update() {}, leave: () => leaving.abort() };
}
