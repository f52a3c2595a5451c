// Forms of the data pusher: a new account, and a destination, new or changed.

import { destinations } from './destination-store.js';
import { h } from './dom.js';
import { clearProblem, field, setFieldError, showProblem, whileBusy } from './form.js';
import { get } from './state.js';

const METHODS = ['POST', 'PUT', 'PATCH', 'DELETE', 'GET'];

/** Runs `send` when the form is sent, and puts what it is refused with where it belongs. */
function form(attributes, controls, submit, send, ...children) {
  const summary = h('p', { class: 'problem', role: 'alert', hidden: true, 'data-testid': 'form-problem' });
  return h('form', {
    ...attributes,
    class: 'card',
    novalidate: true,
    onsubmit: (event) => {
      event.preventDefault();
      whileBusy(submit, async () => {
        clearProblem(controls, summary);
        try {
          await send();
        } catch (error) {
          // A header is named by its field: headers.Host
          for (const [name, message] of Object.entries(error.fields ?? {})) {
            if (name.startsWith('headers.') && controls.headers) error.fields = { ...error.fields, headers: `${name.slice(8)} ${message}` };
          }
          showProblem(error, controls, summary);
        }
      });
    },
  }, children, summary);
}

export function accountForm(made) {
  const name = h('input', { id: 'account-name', autocomplete: 'organization', 'data-testid': 'account-name' });
  const email = h('input', { id: 'account-email', type: 'email', autocomplete: 'email', value: get('user')?.email ?? '', 'data-testid': 'account-email' });
  const submit = h('button', { class: 'primary', 'data-testid': 'account-create' }, 'Create account');
  const controls = { account_name: name, email };
  const send = async () => made(await destinations.addAccount({ account_name: name.value.trim(), email: email.value.trim() }));
  return form({ 'data-testid': 'account-form', 'aria-label': 'New account' }, controls, submit, send,
    field('Name', name, 'Whom the data is for: a shop, a service.'), field('Email', email), h('div', { class: 'actions' }, submit));
}

/** One header a line: "Authorization: Bearer …" */
function parseHeaders(text) {
  const headers = {};
  for (const line of text.split('\n').map((part) => part.trim()).filter(Boolean)) {
    const colon = line.indexOf(':');
    if (colon < 1) throw new Error(`“${line}” is no header: write Name: value.`);
    headers[line.slice(0, colon).trim()] = line.slice(colon + 1).trim();
  }
  return headers;
}

const headerLines = (headers) => Object.entries(headers).map(([name, value]) => `${name}: ${value}`).join('\n');

/** `destination` is the one to change, or absent; `done(destination)` is called with what the server made of it. */
export function destinationForm({ account, destination, done, cancel }) {
  const url = h('input', { id: 'destination-url', type: 'url', placeholder: 'https://example.org/hook', autocomplete: 'off', spellcheck: 'false', value: destination?.url ?? '', 'data-testid': 'destination-url' });
  const method = h('select', { id: 'destination-method', 'data-testid': 'destination-method' }, METHODS.map((name) => h('option', { value: name }, name)));
  method.value = destination?.http_method ?? 'POST';
  const headers = h('textarea', { id: 'destination-headers', rows: '2', spellcheck: 'false', placeholder: 'Authorization: Bearer …', 'data-testid': 'destination-headers' });
  headers.value = headerLines(destination?.headers ?? {});
  const rate = h('input', { id: 'destination-rate', inputmode: 'decimal', size: '6', value: destination?.rate ? String(destination.rate) : '', placeholder: 'any', 'data-testid': 'destination-rate' });
  const ordered = h('input', { id: 'destination-ordered', type: 'checkbox', 'data-testid': 'destination-ordered' });
  ordered.checked = destination?.ordered ?? false;
  const submit = h('button', { class: 'primary', 'data-testid': 'destination-save' }, destination ? 'Save' : 'Add the destination');
  const controls = { url, http_method: method, headers, rate };

  const send = async () => {
    const fields = { url: url.value.trim(), http_method: method.value, ordered: ordered.checked, rate: Number(rate.value || 0) };
    if (Number.isNaN(fields.rate)) {
      setFieldError(rate, 'A rate is a number of deliveries a second.');
      return;
    }
    try {
      fields.headers = parseHeaders(headers.value);
    } catch (error) {
      setFieldError(headers, error.message);
      headers.focus();
      return;
    }
    if (destination) {
      await destinations.change(destination, fields);
      done(destinations.find(destination.id));
    } else {
      done(await destinations.add(account.id, fields));
    }
  };
  const node = form({ 'data-testid': 'destination-form', 'aria-label': destination ? 'Change the destination' : 'New destination' }, controls, submit, send,
    field('Address', url), field('Method', method, 'GET gets the data as the query, the others as a JSON body.'), field('Headers', headers, 'One a line.'),
    field('Deliveries a second at most', rate),
    h('label', { class: 'check' }, ordered, ' In order: an item that fails holds those behind it'),
    h('div', { class: 'actions' }, submit, h('button', { type: 'button', onclick: cancel }, 'Cancel')));
  node.focusFirst = () => url.focus();
  return node;
}
