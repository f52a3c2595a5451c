// A new alert, written as a sentence. Beside it stands how far the price has
// to go, or that the alert would fire at once, and under it a chart in which its
// marks can be dragged.

import { alertCommand, alertRequest, CONDITIONS, distanceText, firstText, isMet, markOf, needsOf } from './alert-words.js';
import { api } from './api.js';
import { priceChart } from './chart.js';
import { h, setText } from './dom.js';
import { clearProblem, setFieldError, showProblem, whileBusy } from './form.js';
import { moved, priceText, typedPrice } from './format.js';
import { ensureUser } from './session.js';
import { get, on } from './state.js';
import { command } from './terminal.js';
import { priceOf, symbols } from './ticks.js';

const QUICK = [['−1 %', -10_000], ['now', 0], ['+1 %', 10_000]];
const WINDOWS = [['5m', '5 minutes'], ['1h', 'an hour'], ['24h', 'a day'], ['168h', 'a week']];
const HELD = [['', 'at once'], ['10s', '10 seconds'], ['1m', 'a minute'], ['5m', '5 minutes'], ['3 ticks', '3 ticks']];
// What stands in the terminal's command while a field is empty.
const EXAMPLES = { target: '70000', percent: '5', low: '60000', high: '70000', window: '1h' };

/** `created(alert)` is called with what the server made of it. */
export function alertForm(signal, created) {
  const chooser = (id, label, options) => h('select', { id: `alert-${id}`, 'data-testid': `alert-${id}`, 'aria-label': label, onchange: refresh }, options.map(([value, words]) => h('option', { value }, words)));
  const figure = (id, label, placeholder) => {
    const input = h('input', { id: `alert-${id}`, 'data-testid': `alert-${id}`, 'aria-label': label, 'aria-describedby': `alert-${id}-note`, inputmode: 'decimal', autocomplete: 'off', size: '9', placeholder,
      oninput: () => { setFieldError(input, ''); refresh(); } });
    return input;
  };
  const symbol = chooser('symbol', 'Symbol', []);
  const condition = chooser('condition', 'Condition', Object.entries(CONDITIONS).map(([name, { words }]) => [name, words]));
  const target = figure('target', 'Target price', 'price');
  const percent = figure('percent', 'Per cent', '5');
  const low = figure('low', 'From', 'low');
  const high = figure('high', 'To', 'high');
  const within = chooser('window', 'Within', WINDOWS);
  const confirm = chooser('confirm', 'Must hold for', HELD);
  const hysteresis = figure('hysteresis', 'Again only after so much back', 'none');
  const message = h('input', { id: 'alert-message', 'data-testid': 'alert-message', 'aria-label': 'Message', 'aria-describedby': 'alert-message-note', placeholder: '{symbol} is at {price}', size: '34', oninput: refresh });
  const byEmail = h('input', { type: 'checkbox', id: 'alert-by-email', 'data-testid': 'alert-by-email', onchange: refresh });
  const email = h('input', { id: 'alert-email', type: 'email', 'data-testid': 'alert-email', 'aria-label': 'Email address', 'aria-describedby': 'alert-email-note', autocomplete: 'email', placeholder: 'you@example.org', size: '22', oninput: refresh });
  const repeat = chooser('repeat', 'How often', [['once', 'once'], ['every', 'every time']]);
  const cooldown = chooser('cooldown', 'At most', [['10s', '10 seconds'], ['60s', 'minute'], ['1h', 'hour']]);
  const note = h('input', { id: 'alert-note', 'data-testid': 'alert-note', 'aria-label': 'Note', 'aria-describedby': 'alert-note-note', placeholder: 'a note to yourself, if you like', size: '30', oninput: refresh });
  cooldown.value = '60s';
  within.value = '1h';
  const figures = { target, percent, low, high };
  const controls = { symbol, condition, ...figures, window: within, confirm, hysteresis, message, email, repeat, cooldown, note };

  const distance = h('p', { class: 'distance', 'data-testid': 'alert-distance', 'aria-live': 'off' });
  const summary = h('p', { class: 'problem', role: 'alert', hidden: true });
  const submit = h('button', { class: 'primary', 'data-testid': 'alert-create' }, 'Set alert');
  const line = command('');
  const part = (needs, ...children) => h('span', { class: 'blank', 'data-needs': needs }, children);
  const mailPart = h('span', { class: 'blank' }, ' at ', email);
  const repeatPart = h('span', { class: 'blank' }, ', at most once in a ', cooldown);
  const quick = h('span', { class: 'quick' }, QUICK.map(([words, millionths]) =>
    h('button', { type: 'button', class: 'link', onclick: () => put(millionths), 'aria-label': `Target: the price ${words}` }, words)));
  const asked = [part('target', target), part('percent', percent, ' %'), part('window', ' within ', within), part('low', low, ' to ', high)];
  const chart = priceChart(signal, {
    symbol: () => symbol.value,
    marks: () => needsOf(condition.value).filter((name) => figures[name] && name !== 'percent').map((name) => ({ name, value: typedPrice(figures[name].value), label: figures[name].getAttribute('aria-label') })),
    moved: (name, value) => { figures[name].value = priceText(value); setFieldError(figures[name], ''); refresh(); },
  });

  const node = h('form', { class: 'sentence-form', novalidate: true, 'data-testid': 'alert-form', 'aria-label': 'New alert', onsubmit: (event) => { event.preventDefault(); whileBusy(submit, create); } },
    h('p', { class: 'sentence' },
      'When ', symbol, ' ', condition, ' ', asked, ' tell me ', repeat, repeatPart, ' here',
      h('label', { class: 'check' }, byEmail, ' and by email'), mailPart, '.'),
    ['target', 'percent', 'low', 'high', 'hysteresis', 'message', 'email', 'note'].map((name) => h('p', { class: 'hint error', id: `alert-${name}-note` })),
    summary,
    h('div', { class: 'sentence-foot' }, submit, distance, quick, note),
    chart.node,
    h('details', { class: 'more-of-it' }, h('summary', { 'data-testid': 'alert-more' }, 'Advanced options'),
      h('p', { class: 'sentence small' }, 'It must hold for ', confirm, '; once met, it counts again only after the price has gone ', hysteresis, ' back. The notification says ', message, '.')),
    line);

  function wish() {
    const values = Object.fromEntries(Object.entries(figures).map(([name, input]) => [name, typedPrice(input.value) ?? '']));
    return alertRequest({
      symbol: symbol.value, condition: condition.value, ...values, window: within.value,
      confirm: confirm.value, hysteresis: typedPrice(hysteresis.value) ?? hysteresis.value.trim(), message: message.value.trim(),
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
    const needs = needsOf(condition.value);
    for (const span of asked) span.hidden = !needs.includes(span.dataset.needs);
    mailPart.hidden = !byEmail.checked;
    repeatPart.hidden = repeat.value !== 'every';
    if (byEmail.checked && !email.value && get('user')?.email) email.value = get('user').email;
    const request = wish();
    const example = { ...request };
    for (const name of needs) example[name] ||= EXAMPLES[name];
    line.set(alertCommand(example));
    paintDistance(request);
    chart?.paint();
  }

  function paintDistance(request) {
    const price = priceOf(symbol.value);
    quick.hidden = !price || request.target === undefined;
    const mark = price && markOf(request, price.price);
    const met = Boolean(mark && request.target && isMet(request.condition, price.price, mark));
    distance.classList.toggle('met', met);
    if (!price) setText(distance, symbol.value ? 'no price yet' : '');
    else if (!mark) setText(distance, `now ${priceText(price.price, price.scale)}`);
    else setText(distance, `now ${priceText(price.price, price.scale)} · ${met ? 'would fire at once' : firstText(request, price.price) || distanceText(price.price, mark)}`);
  }

  async function create() {
    clearProblem(controls, summary);
    const missing = needsOf(condition.value).find((name) => figures[name] && !typedPrice(figures[name].value));
    if (missing) {
      const typed = figures[missing].value.trim();
      setFieldError(figures[missing], typed ? 'A figure is digits, with a point before decimals: 70,000.50' : missing === 'percent' ? 'By how many per cent?' : 'At which price?');
      figures[missing].focus();
      return;
    }
    try {
      const user = await ensureUser();
      if (!user) return;
      const alert = await api('POST', '/alerts', wish());
      for (const input of [...Object.values(figures), note]) input.value = '';
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
  on('prices', (changed) => {
    if (symbol.options.length === 0) fill();
    else if (changed.has(symbol.value)) paintDistance(wish());
  }, signal);
  fill();

  return {
    node,
    /** Takes what an address or another alert says: {symbol, condition, target, percent, window, low, high}. */
    prefill(from) {
      if (from.symbol && ![...symbol.options].some(({ value }) => value === from.symbol)) symbol.append(h('option', { value: from.symbol }, from.symbol));
      if (from.symbol) symbol.value = from.symbol;
      if (CONDITIONS[from.condition]) condition.value = from.condition;
      for (const [name, input] of Object.entries(figures)) if (from[name]) input.value = priceText(from[name]);
      refresh();
    },
    focus: () => (figures[needsOf(condition.value)[0]] ?? target).focus(),
  };
}
