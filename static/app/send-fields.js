// The fields of a notification that is written by hand: to whom, what, and,
// folded away, what most do not need.

import { h } from './dom.js';
import { field } from './form.js';
import { get } from './state.js';

const TO = [['me', 'Me'], ['person', 'Person'], ['topic', 'Topic'], ['everyone', 'Everyone']];
const WHO = {
  me: 'It comes to your own inbox. Nothing else is needed.',
  person: 'Into one inbox. People may write to themselves only, so this takes a service’s key.',
  topic: 'To whoever follows the topic now or comes back to it; nobody’s inbox holds it. That is a service’s business and takes its key.',
  everyone: 'Into every inbox there is. That is a service’s business and takes its key.',
};

/** `changed` is called on each change; wish() is the record as it stands. */
export function sendFields(changed) {
  let to = 'me';
  const input = (id, attributes = {}) => h('input', { id, dir: 'auto', 'data-testid': id, autocomplete: 'off', oninput: changed, ...attributes });
  const area = (id, attributes, text = '') => h('textarea', { id, dir: 'auto', 'data-testid': id, rows: '3', oninput: changed, ...attributes }, text);
  const title = input('send-title', { value: 'Hello' });
  const body = area('send-body', {}, 'Sent from this page.');
  const user = input('send-user', { spellcheck: 'false' });
  const topic = input('send-topic', { spellcheck: 'false', autocapitalize: 'none', placeholder: 'news' });
  const key = input('send-key', { type: 'password', autocomplete: 'off', spellcheck: 'false' });
  const url = input('send-url', { type: 'url', placeholder: 'https://…' });
  const kind = input('send-kind', { placeholder: 'message' });
  const payload = area('send-payload', { spellcheck: 'false', placeholder: '{"version":"2.3"}' });
  const priority = h('select', { id: 'send-priority', 'data-testid': 'send-priority', onchange: changed }, ['low', 'normal', 'high', 'urgent'].map((name) => h('option', { value: name, selected: name === 'normal' }, name)));
  const mail = h('input', { type: 'checkbox', id: 'send-mail', 'data-testid': 'send-mail', onchange: changed });
  const hook = h('input', { type: 'checkbox', id: 'send-hook', 'data-testid': 'send-hook', onchange: changed });
  const deliver = input('send-deliver', { type: 'datetime-local', step: '1' });
  const expires = input('send-expires', { type: 'datetime-local', step: '1' });
  const collapse = input('send-collapse', { spellcheck: 'false', placeholder: 'deploy-api' });
  const controls = { title, body, user_id: user, topic, key, url, kind, payload, priority, deliver_at: deliver, expires_at: expires, collapse_key: collapse };

  const who = h('p', { class: 'hint', id: 'send-who', role: 'status' });
  const choice = h('fieldset', { class: 'segments', 'aria-describedby': 'send-who' }, h('legend', { class: 'unseen' }, 'To whom'), TO.map(([value, words]) => h('label', {},
    h('input', { type: 'radio', name: 'send-to', value, 'data-testid': `send-to-${value}`, checked: value === to, onchange: () => { to = value; show(); changed(); } }), h('span', {}, words))));
  const userField = field('User id', user, 'As “listen” and the account view name it.');
  const topicField = field('Topic', topic, 'Letters a to z, digits, dots, - and _.');
  const keyField = field('Service key', key);
  const mailField = h('p', { class: 'actions' }, h('label', { class: 'check', for: 'send-mail' }, mail, 'By email, too'), h('label', { class: 'check', for: 'send-hook' }, hook, 'To the user’s destinations, too'));
  const when = h('details', { class: 'more-fields' }, h('summary', {}, 'Deliver at, expires, collapse key'),
    field('Deliver at', deliver, 'Stored in the inbox at that time. Until then it can be cancelled.'),
    field('Expires', expires, 'It leaves the inbox then; if it is over before it is stored, it does not come at all.'),
    field('Collapse key', collapse, 'Replaces an unread notification that has the same key.'));
  const more = h('details', { class: 'more-fields' }, h('summary', {}, 'Link, kind, priority, payload'),
    field('Link', url), field('Kind', kind), field('Priority', priority), field('Payload (JSON)', payload), mailField);
  show();

  function show() {
    who.textContent = WHO[to];
    userField.hidden = to !== 'person';
    topicField.hidden = to !== 'topic';
    keyField.hidden = to === 'me';
    mailField.hidden = to === 'topic';
    keyField.dataset.hint = get('status')?.embedded ? 'Printed where Crier was started. It goes with this request only and is not kept.' : 'It goes with this request only and is not kept.';
    keyField.querySelector('.hint').textContent = keyField.dataset.hint;
  }

  /** A field's value on this machine's clock, as the API wants it. */
  const moment = (control) => (control.value && !Number.isNaN(Date.parse(control.value)) ? new Date(control.value).toISOString().replace('.000Z', 'Z') : '');

  function wish() {
    const whole = {
      ...{ me: { user_id: get('user')?.id ?? '' }, person: { user_id: user.value.trim() }, topic: { topic: topic.value.trim() }, everyone: { everyone: true } }[to],
      title: title.value.trim(), body: body.value.trim(), url: url.value.trim(), kind: kind.value.trim(),
      priority: priority.value === 'normal' ? '' : priority.value,
      deliver_at: moment(deliver), expires_at: moment(expires), collapse_key: collapse.value.trim(),
      channels: to !== 'topic' && (mail.checked || hook.checked) ? ['inbox', ...(mail.checked ? ['email'] : []), ...(hook.checked ? ['webhook'] : [])] : '',
    };
    const always = ['user_id', 'topic', 'everyone', 'title', 'body'];
    const record = Object.fromEntries(Object.entries(whole).filter(([name, value]) => value !== '' || always.includes(name)));
    let readable = true;
    if (payload.value.trim()) {
      try { record.payload = JSON.parse(payload.value); } catch { readable = false; }
    }
    return { record, readable };
  }

  /** What can be told before anything is sent. */
  function fault() {
    const { record, readable } = wish();
    if (to === 'person' && record.user_id === '') return { control: user, message: 'Whose inbox?' };
    if (to === 'topic' && record.topic === '') return { control: topic, message: 'Which topic?' };
    if (to !== 'me' && key.value === '' && record.user_id !== get('user')?.id) return { control: key, message: 'Sending to others takes a service’s key.' };
    if (!readable) return { control: payload, message: 'This is not JSON.' };
    return null;
  }

  return { nodes: [choice, who, userField, topicField, keyField, field('Title', title), field('Body', body), when, more], controls, wish, fault, follow: show, key: () => (to === 'me' ? '' : key.value) };
}
