// The first visit's card: three things that show what Crier does, each a
// click, each with the command that does the same. It is one element for the
// whole visit, so that what it has shown survives becoming a guest.

import { api } from './api.js';
import { alertCommand, alertRequest, CONDITIONS } from './alert-words.js';
import { h, icon } from './dom.js';
import { clockText, compare, moved, percentBetween, percentText, priceText } from './format.js';
import { whileBusy } from './form.js';
import { ensureUser } from './session.js';
import { get, kept, on } from './state.js';
import { lastId } from './stream.js';
import { command, crier, somebody } from './terminal.js';
import { priceOf, symbols } from './ticks.js';
import { sendTraced } from './trace.js';

// Far enough to be a wait, near enough that the wait is short: 5 in 100,000.
const ALERT_AWAY_MILLIONTHS = 50;

const steps = [];
let card = null;

export function stepsCard() {
  card ??= makeCard();
  showOrHide();
  return card;
}

/** Hidden by the person, or useless: where nobody can sign in here, none of the steps can be taken. */
function showOrHide() {
  const user = get('user');
  card.hidden = user ? Boolean(kept.get('steps-hidden')) : get('status')?.users === 'external';
}

/** Brings the card back after it was hidden. */
export function showSteps() {
  kept.set('steps-hidden', null);
  stepsCard();
}

function makeCard() {
  steps.push(sendStep(), alertStep(), restartStep());
  const hide = h('button', { type: 'button', class: 'link', 'data-testid': 'steps-hide', onclick: () => { kept.set('steps-hidden', 'yes'); node.hidden = true; } }, 'Hide');
  const node = h('section', { class: 'steps', 'aria-label': 'First steps', 'data-testid': 'steps' }, hide, h('ol', {}, steps.map((step) => step.node)));
  const refresh = () => {
    hide.hidden = !get('user');
    for (const step of steps) step.refresh();
    if (card) showOrHide();
  };
  on('user', refresh);
  on('status', refresh);
  refresh();
  return node;
}

function step(number, title, text, button, trace, ...rest) {
  const mark = h('span', { class: 'number' }, String(number));
  const problem = h('p', { class: 'problem', role: 'alert', hidden: true });
  const node = h('li', { class: 'first-step' }, h('h2', {}, mark, title), text, button && h('div', { class: 'actions' }, button), problem, trace, ...rest);
  return {
    node,
    done: () => { mark.replaceChildren(icon('check')); node.classList.add('done'); },
    run: (work) => whileBusy(button, async () => {
      problem.hidden = true;
      try {
        await work();
      } catch (error) {
        problem.textContent = error.message;
        problem.hidden = false;
      }
    }),
  };
}

function sendStep() {
  const trace = h('ol', { class: 'trace', 'aria-live': 'polite' });
  const line = command('');
  const text = h('p', {});
  const button = h('button', { type: 'button', class: 'primary', 'data-testid': 'step-send', onclick: () => self.run(send) }, 'Send yourself a notification');
  const self = step(1, 'Send', text, button, trace, line);

  async function send() {
    const user = await ensureUser();
    if (!user) return;
    await sendTraced(trace, { user_id: user.id, title: 'Hello from Crier', body: 'This went through Kafka into your inbox in Postgres and from there to this page.' });
    self.done();
  }
  self.refresh = () => {
    const user = get('user');
    text.textContent = user || !get('status')?.embedded
      ? 'It goes through Kafka into your inbox and from there to this page.'
      : 'It goes through Kafka into your inbox and from there to this page. A guest account is made for it.';
    line.set(crier(`send --user ${somebody()} --title "Hello" --body "From a terminal"`));
  };
  return self;
}

function alertStep() {
  const trace = h('ol', { class: 'trace', 'aria-live': 'polite' });
  const line = command('');
  const text = h('p', {});
  const button = h('button', { type: 'button', class: 'primary', 'data-testid': 'step-alert', onclick: () => self.run(create) }, 'Set an alert');
  const self = step(2, 'Create an alert', text, button, trace, line);

  const wish = () => {
    const symbol = symbols().find((name) => priceOf(name)?.price);
    const price = symbol && priceOf(symbol);
    return price && alertRequest({ symbol, condition: 'above', target: moved(price.price, ALERT_AWAY_MILLIONTHS) });
  };
  // What is set is what the sentence names, as long as the price has not got there.
  let named;
  const ahead = () => named && compare(priceOf(named.symbol).price, named.target) < 0;
  async function create() {
    const user = await ensureUser();
    if (!user) return;
    if (!ahead()) self.refresh(); // the price has gone past what was named meanwhile
    const request = named ?? wish();
    const alert = await api('POST', '/alerts', request);
    self.done();
    trace.replaceChildren(
      h('li', { class: 'step done' }, h('span', { class: 'mark' }), h('span', {}, h('strong', {}, 'set'), ` at ${priceText(alert.target)}, `, h('a', { href: `/alerts/${alert.id}` }, `alert ${alert.id}`))),
      waitFor(alert));
  }
  function waitFor(alert) {
    const line = h('span', {}, h('strong', {}, 'waiting'), ' for the price');
    const node = h('li', { class: 'step pending' }, h('span', { class: 'mark' }), line);
    const ended = new AbortController();
    on('notification', ({ id, kind, payload }) => {
      if (kind !== 'alert' || payload?.alert_id !== alert.id) return;
      ended.abort();
      node.className = 'step done';
      line.replaceChildren(h('strong', {}, 'fired'), ` at ${priceText(payload.price)}: `, h('a', { href: `/inbox/${id}` }, `number ${id}`));
    }, ended.signal);
    return node;
  }
  self.refresh = () => {
    const request = wish();
    named = request;
    button.disabled = !request;
    if (!request) {
      text.textContent = 'Waiting for a first price to set it at.';
      line.set('');
      return;
    }
    const away = percentText(percentBetween(priceOf(request.symbol).price, request.target));
    text.textContent = `When ${request.symbol} ${CONDITIONS.above.words} ${priceText(request.target)}, ${away} from here: one notification.`;
    line.set(alertCommand(request));
  };
  // The sentence follows the price, but no faster than it can be read.
  setInterval(() => { if (self.node.isConnected) self.refresh(); }, 2_000);
  on('prices', () => { if (self.node.isConnected && named && !ahead()) self.refresh(); });
  return self;
}

function restartStep() {
  const trace = h('ol', { class: 'trace', 'aria-live': 'polite' });
  const line = command('');
  const button = h('button', { type: 'button', 'data-testid': 'step-restart', onclick: () => watch() }, 'Watch the restart');
  const text = h('p', {}, 'Stop the server with Ctrl-C and start it again: see that nothing is lost.');
  const self = step(3, 'Stop and start', text, button, trace, line);
  let watching = false;
  let before = '';

  const write = (state, strong, rest) => {
    const waiting = trace.querySelector('.pending');
    waiting?.remove();
    trace.append(h('li', { class: `step ${state}` }, h('span', { class: 'mark' }), h('span', {}, h('strong', {}, strong), ` ${rest}`)));
  };
  function watch() {
    watching = true;
    before = '';
    trace.replaceChildren();
    write('pending', 'now', 'press Ctrl-C where Crier runs');
  }
  on('connection', (state) => {
    if (!watching) return;
    if (state.name === 'waiting' && before === '') {
      before = lastId() || 'none';
      write('done', 'stopped', `at ${clockText(Date.now())}${get('user') ? `, last id ${before}` : ''}`);
      write('pending', 'now', 'start it again with the command below');
    }
  });
  on('stream-ready', () => {
    if (!watching || before === '') return;
    watching = false;
    self.done();
    if (get('user')) {
      write('done', 'back', `at ${clockText(Date.now())}, last id was ${before}`);
      write('pending', 'asking', 'for what was missed');
      return;
    }
    // A stranger has no inbox, so there was nothing to miss.
    before = '';
    write('done', 'back', `at ${clockText(Date.now())}; with an inbox, what it missed would come now: send yourself something first`);
  });
  on('catchUp', (how) => {
    if (!how || before === '' || watching) return;
    before = '';
    write('done', how.gap ? 'reloaded' : 'caught up,', how.gap ? 'the inbox: the server no longer kept all of it' : `${how.missed.toLocaleString('en')} missed, nothing lost`);
  });
  self.refresh = () => {
    self.node.hidden = get('status')?.embedded === false;
    line.set(get('status')?.start_command ?? '');
  };
  return self;
}
