// A new alert, written as a sentence. Beside it stands how far the price has
// to go, or that the alert would fire at once.

import { alertCommand, alertRequest, CONDITIONS, distanceText, isMet } from './alert-words.js';
import { api } from './api.js';
import { h, setText } from './dom.js';
import { clearProblem, setFieldError, showProblem, whileBusy } from './form.js';
import { moved, priceText, typedPrice } from './format.js';
import { ensureUser } from './session.js';
import { get, on } from './state.js';
import { command } from './terminal.js';
import { priceOf, symbols } from './ticks.js';

const QUICK = [['−1 %', -10_000], ['now', 0], ['+1 %', 10_000]];

/** `created(alert)` is called with what the server made of it. */
export function alertForm(signal, created) {
  const symbol = h('select', { id: 'alert-symbol', 'data-testid': 'alert-symbol', 'aria-label': 'Symbol', onchange: refresh });
  const condition = h('select', { id: 'alert-condition', 'data-testid': 'alert-condition', 'aria-label': 'Condition', onchange: refresh },
    Object.entries(CONDITIONS).map(([name, words]) => h('option', { value: name }, words)));
  const target = h('input', { id: 'alert-target', 'data-testid': 'alert-target', 'aria-label': 'Target price', 'aria-describedby': 'alert-target-note', inputmode: 'decimal', autocomplete: 'off', size: '9', placeholder: 'price', oninput: () => { setFieldError(target, ''); refresh(); } });
  const byEmail = h('input', { type: 'checkbox', id: 'alert-by-email', 'data-testid': 'alert-by-email', onchange: refresh });
  const email = h('input', { id: 'alert-email', type: 'email', 'data-testid': 'alert-email', 'aria-label': 'Email address', 'aria-describedby': 'alert-email-note', autocomplete: 'email', placeholder: 'you@example.org', size: '22', oninput: refresh });
  const repeat = h('select', { id: 'alert-repeat', 'data-testid': 'alert-repeat', 'aria-label': 'How often', onchange: refresh }, h('option', { value: 'once' }, 'once'), h('option', { value: 'every' }, 'every time'));
  const cooldown = h('select', { id: 'alert-cooldown', 'data-testid': 'alert-cooldown', 'aria-label': 'At most', onchange: refresh },
    [['10s', '10 seconds'], ['60s', 'minute'], ['1h', 'hour']].map(([value, words]) => h('option', { value }, words)));
  const note = h('input', { id: 'alert-note', 'data-testid': 'alert-note', 'aria-label': 'Note', 'aria-describedby': 'alert-note-note', placeholder: 'a note to yourself, if you like', maxlength: '200', size: '30', oninput: refresh });
  cooldown.value = '60s';
  const controls = { symbol, condition, target, email, repeat, cooldown, note };

  const distance = h('p', { class: 'distance', 'data-testid': 'alert-distance', 'aria-live': 'off' });
  const summary = h('p', { class: 'problem', role: 'alert', hidden: true });
  const submit = h('button', { class: 'primary', 'data-testid': 'alert-create' }, 'Set alert');
  const line = command('');
  const mailPart = h('span', { class: 'blank' }, ' at ', email);
  const repeatPart = h('span', { class: 'blank' }, ', at most once in a ', cooldown);
  const quick = h('span', { class: 'quick' }, QUICK.map(([words, millionths]) =>
    h('button', { type: 'button', class: 'link', onclick: () => put(millionths), 'aria-label': `Target: the price ${words}` }, words)));

  const node = h('form', { class: 'sentence-form', novalidate: true, 'data-testid': 'alert-form', 'aria-label': 'New alert', onsubmit: (event) => { event.preventDefault(); whileBusy(submit, create); } },
    h('p', { class: 'sentence' },
      'When ', symbol, ' ', condition, ' ', h('span', { class: 'blank' }, target), ' tell me ', repeat, repeatPart, ' here',
      h('label', { class: 'check' }, byEmail, ' and by email'), mailPart, '.'),
    h('p', { class: 'hint error', id: 'alert-target-note' }), h('p', { class: 'hint error', id: 'alert-email-note' }), h('p', { class: 'hint error', id: 'alert-note-note' }),
    summary,
    h('div', { class: 'sentence-foot' }, submit, distance, quick, note),
    line);

  function wish() {
    return alertRequest({
      symbol: symbol.value, condition: condition.value, target: typedPrice(target.value) ?? '',
      note: note.value.trim(), email: byEmail.checked ? email.value.trim() : '',
      repeat: repeat.value, cooldown: cooldown.value,
    });
  }

  function put(millionths) {
    const price = priceOf(symbol.value);
    if (!price) return;
    target.value = priceText(millionths === 0 ? price.price : moved(price.price, millionths));
    setFieldError(target, '');
    refresh();
  }

  function refresh() {
    mailPart.hidden = !byEmail.checked;
    repeatPart.hidden = repeat.value !== 'every';
    if (byEmail.checked && !email.value && get('user')?.email) email.value = get('user').email;
    const request = wish();
    line.set(alertCommand({ ...request, target: request.target || '70000' }, get('user')?.id));
    paintDistance(request);
  }

  function paintDistance({ condition: way, target: wanted }) {
    const price = priceOf(symbol.value);
    quick.hidden = !price;
    const met = Boolean(price && wanted && isMet(way, price.price, wanted));
    distance.classList.toggle('met', met);
    if (!price) setText(distance, symbol.value ? 'no price yet' : '');
    else if (!wanted) setText(distance, `now ${priceText(price.price, price.scale)}`);
    else setText(distance, `now ${priceText(price.price, price.scale)} · ${met ? 'would fire at once' : distanceText(price.price, wanted)}`);
  }

  async function create() {
    clearProblem(controls, summary);
    if (!typedPrice(target.value)) {
      setFieldError(target, target.value.trim() ? 'A price is digits, with a point before decimals: 70,000.50' : 'At which price?');
      target.focus();
      return;
    }
    try {
      const user = await ensureUser();
      if (!user) return;
      const alert = await api('POST', '/alerts', wish());
      target.value = '';
      note.value = '';
      refresh();
      created(alert);
    } catch (error) {
      showProblem(error, controls, summary);
    }
  }

  function fill() {
    const known = symbols();
    const chosen = symbol.value;
    if (known.join() !== [...symbol.options].map(({ value }) => value).join()) {
      symbol.replaceChildren(...known.map((name) => h('option', { value: name }, name)));
      if (chosen) symbol.value = chosen;
    }
    refresh();
  }
  on('status', fill, signal);
  on('user', refresh, signal);
  on('prices', (changed) => { if (changed.has(symbol.value) || symbol.options.length === 0) fill(); }, signal);
  fill();

  return {
    node,
    /** Takes what an address or another alert says: {symbol, condition, target}. */
    prefill(from) {
      if (from.symbol && ![...symbol.options].some(({ value }) => value === from.symbol)) symbol.append(h('option', { value: from.symbol }, from.symbol));
      if (from.symbol) symbol.value = from.symbol;
      if (CONDITIONS[from.condition]) condition.value = from.condition;
      if (from.target) target.value = priceText(from.target);
      refresh();
    },
    focus: () => target.focus(),
  };
}
