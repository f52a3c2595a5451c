// Send: write a notification, say to whom and when, and watch what becomes of
// it line by line.

import { api } from './api.js';
import { ask } from './ask.js';
import { h } from './dom.js';
import { gatePanel } from './feedback.js';
import { clearProblem, setFieldError, showProblem, whileBusy } from './form.js';
import { shellWord } from './format.js';
import { sendFields } from './send-fields.js';
import { ensureUser } from './session.js';
import { get, on } from './state.js';
import { bearer, command, commands, crier, somebody } from './terminal.js';
import { sendTraced } from './trace.js';

export function sendView(root) {
  const leaving = new AbortController();
  const { signal } = leaving;
  const fields = sendFields(refresh);
  const { controls } = fields;
  const summary = h('p', { class: 'problem', role: 'alert', hidden: true, 'data-testid': 'send-problem' });
  const submit = h('button', { class: 'primary', 'data-testid': 'send-submit' }, 'Send');
  const trace = h('ol', { class: 'trace', 'aria-live': 'polite', 'data-testid': 'send-trace' });
  const rest = h('p', { class: 'hint' }, 'Each line appears when it has happened: accepted by Kafka, stored in the inbox, shown on this page, pushed, mailed.');
  const result = h('section', { class: 'card result' }, h('h2', {}, 'What becomes of it'), rest, trace);
  const cli = command('');
  const curl = command('');

  const form = h('form', { novalidate: true, class: 'card', 'data-testid': 'send-form', onsubmit: (event) => { event.preventDefault(); whileBusy(submit, send); } },
    fields.nodes, summary, h('div', { class: 'actions' }, submit));
  const outer = h('div', { class: 'page' },
    h('header', { class: 'head' }, h('h1', { tabindex: '-1' }, 'Send')),
    h('div', { class: 'columns' }, h('div', {}, form),
      h('div', {}, result,
        h('section', { class: 'from-terminal' }, h('h2', {}, 'The same from a terminal'), commands(['With Crier itself', cli], ['Over HTTP', curl])))));

  function refresh() {
    const { record } = fields.wish();
    if (record.user_id === '') record.user_id = somebody();
    if (record.topic === '') record.topic = 'news';
    cli.set(crier(`send ${flags(record)}`));
    // To oneself a token is enough.
    const mine = record.user_id !== undefined && record.user_id === somebody();
    curl.set(`curl ${mine ? bearer() : '-H "X-API-Key: $CRIER_API_KEY"'} -H 'Content-Type: application/json' -d ${shellWord(JSON.stringify(record))} ${location.origin}/api/v1/notifications`);
    submit.textContent = record.deliver_at ? 'Send then' : 'Send';
  }

  async function send() {
    clearProblem(controls, summary);
    const fault = fields.fault();
    if (fault) {
      setFieldError(fault.control, fault.message);
      openFaulty();
      fault.control.focus();
      return;
    }
    const key = fields.key();
    try {
      if (fields.wish().record.everyone && !(await confirmEveryone(fields.wish().record, key))) return;
      rest.hidden = true;
      if (!key && !(await ensureUser())) return;
      fields.follow();
      result.scrollIntoView({ block: 'nearest' }); // below the form where there is no room beside it
      await sendTraced(trace, fields.wish().record, key ? { 'X-API-Key': key } : {});
    } catch (error) {
      // A key is named by no field of the API's.
      if (error.status === 401 || error.status === 403) setFieldError(controls.key, error.message);
      showProblem(error, controls, summary);
      openFaulty();
    }
  }

  function openFaulty() {
    for (const fold of form.querySelectorAll('details')) if (fold.querySelector('.invalid')) fold.open = true;
  }

  const draw = () => {
    const barred = !get('user') && get('status')?.users === 'external';
    root.replaceChildren(barred ? gatePanel('send', 'Send', 'A signed-in person may send to themself, a service to anyone.') : outer);
    refresh();
  };
  on('user', () => { fields.follow(); refresh(); }, signal);
  on('status', () => { if (!outer.isConnected) draw(); }, signal);
  draw();
  return { update() {}, leave: () => leaving.abort() };
}

const people = (count) => `${count.toLocaleString('en')} ${count === 1 ? 'person' : 'people'}`;

/** Says how many people get it before they do. */
async function confirmEveryone(record, key) {
  const { inboxes, emails } = await api('GET', '/notifications/everyone', undefined, { headers: { 'X-API-Key': key } });
  const mailed = record.channels?.includes('email');
  const text = [
    `It is stored in ${inboxes.toLocaleString('en')} ${inboxes === 1 ? 'inbox' : 'inboxes'}${mailed ? `, and goes by email to ${people(emails)}` : ', and to nobody by email'}.`,
    record.deliver_at ? 'Until it is due it can be cancelled.' : `It cannot be taken back afterwards${mailed ? ', mail least of all' : ''}.`,
  ];
  return ask('Send it to everyone?', text, `Send to ${people(inboxes)}`);
}

/** The record as flags of `crier send`. */
function flags(record) {
  const to = record.everyone ? '--everyone' : record.topic !== undefined ? `--topic ${shellWord(record.topic)}` : `--user ${shellWord(record.user_id)}`;
  const names = { title: '--title', body: '--body', url: '--url', kind: '--kind', priority: '--priority', deliver_at: '--deliver-at', expires_at: '--expires-at', collapse_key: '--collapse-key' };
  const rest = Object.entries(names).filter(([name]) => record[name]).map(([name, flag]) => `${flag} ${shellWord(record[name])}`);
  if (record.payload !== undefined) rest.push(`--payload ${shellWord(JSON.stringify(record.payload))}`);
  if (record.channels) rest.push(`--channels ${record.channels.join(',')}`);
  return [to, ...rest].join(' ');
}
