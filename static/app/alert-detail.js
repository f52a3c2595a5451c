// One alert in full: its sentence, its place in Kafka from which it holds, and
// the tick behind each of its firings.

import { alertSentence, extrasText, isMet, measuredText, needsOf, repeatText, stateText } from './alert-words.js';
import { alerts } from './alert-store.js';
import { api } from './api.js';
import { ask } from './ask.js';
import { priceChart } from './chart.js';
import { h, icon } from './dom.js';
import { failedPanel, skeleton } from './feedback.js';
import { clearProblem, field, showProblem, whileBusy } from './form.js';
import { exactText, positionText, priceText, typedPrice } from './format.js';
import { on } from './state.js';
import { priceOf } from './ticks.js';
import { sayFailed, toast } from './toast.js';

/** Shows alert `id` in `root` until the signal ends. */
export async function showAlert(root, id, signal, { left, again }) {
  root.replaceChildren(skeleton(2));
  let alert;
  try {
    alert = alerts.find(id) ?? await alerts.one(id);
  } catch (error) {
    if (signal.aborted) return;
    root.replaceChildren(error.status === 404
      ? h('div', { class: 'panel' }, h('h2', {}, `No alert ${id}`), h('p', {}, 'You have none with that number.'), h('a', { class: 'button', href: '/alerts' }, 'Back to the alerts'))
      : failedPanel('The alert could not be loaded.', error, () => showAlert(root, id, signal, { left, again })));
    return;
  }
  if (signal.aborted) return;
  const firings = h('section', { class: 'firings', 'data-testid': 'firings' });
  const head = h('div', { class: 'detail-head' });
  let dragged = {}; // marks on their way to another price
  const chart = priceChart(signal, {
    symbol: () => alert.symbol,
    marks: () => needsOf(alert.condition).filter((name) => ['target', 'low', 'high'].includes(name)).map((name) => ({ name, value: dragged[name] ?? alert[name], label: name === 'target' ? 'Target' : name })),
    moved: ['created', 'paused'].includes(alert.state) ? (name, value, done) => {
      dragged = { [name]: value };
      chart.say(firesAtOnce(alert, value) ? `At ${priceText(value)} it would fire at once.` : '');
      if (done) move(alert, name, value).finally(() => { dragged = {}; chart.say(''); chart.paint(); });
    } : undefined,
  });
  const describe = () => {
    head.replaceChildren(...headOf(alert, { left, again }));
    chart.paint();
    loadFirings(firings, alert, signal);
  };
  on('alert-changed', (changed) => { if (changed.id === id) { alert = changed; describe(); } }, signal);
  on('alert-references', () => { const ref = alerts.references.get(id); for (const node of head.querySelectorAll('.measured')) node.textContent = ref ? measuredText(ref) : '–'; }, signal);
  describe();
  root.replaceChildren(h('article', { class: 'detail', 'data-testid': 'alert-detail', 'data-id': id }, h('a', { class: 'back', href: '/alerts' }, icon('back'), 'Close'), head, chart.node, firings));
}

/** Whether the price now meets the alert with another target. */
function firesAtOnce({ symbol, condition, state }, target) {
  const price = priceOf(symbol)?.price;
  return price !== undefined && state === 'created' && isMet(condition, price, target);
}

/** Asks where the price now meets the alert with another target. */
async function mayFire(alert, target) {
  return !firesAtOnce(alert, target)
    || ask(`Fire alert ${alert.id} now?`, `The price is ${priceText(priceOf(alert.symbol).price)}: at ${priceText(target)} the alert would fire at once.`, `Set it to ${priceText(target)}`);
}

/** Saves a mark that was dragged: after a question where it fires at once, with Undo elsewhere. */
async function move(alert, name, value) {
  const was = alert[name];
  if (value === was || !(await mayFire(alert, value))) return;
  try {
    await alerts.change(alert.id, { [name]: value });
  } catch (error) {
    sayFailed(`The alert stays at ${priceText(was)}.`, error);
    return;
  }
  toast(`Alert ${alert.id} is set to ${priceText(value)}`, { undo: () => alerts.change(alert.id, { [name]: was }).catch((error) => sayFailed(`The alert stays at ${priceText(value)}.`, error)) });
}

function headOf(alert, { left, again }) {
  const edit = editor(alert);
  const turn = (state) => alerts.change(alert.id, { state }).catch((error) => sayFailed('Nothing was changed.', error));
  const actions = h('div', { class: 'actions' },
    alert.state === 'created' && h('button', { type: 'button', 'data-testid': 'alert-pause', onclick: () => turn('paused') }, icon('pause'), 'Pause'),
    alert.state === 'paused' && h('button', { type: 'button', 'data-testid': 'alert-resume', onclick: () => turn('created') }, icon('play'), 'Resume'),
    ['created', 'paused'].includes(alert.state) && h('button', { type: 'button', 'data-testid': 'alert-edit', onclick: () => edit.open() }, 'Edit'),
    ['created', 'triggered'].includes(alert.state) && h('button', { type: 'button', 'data-testid': 'alert-snooze', title: 'Silent for an hour, then active again', onclick: () => alerts.snooze(alert.id, '1h').catch((error) => sayFailed('It was not snoozed.', error)) }, icon('snooze'), 'Snooze 1 h'),
    alert.state === 'triggered' && h('button', { type: 'button', 'data-testid': 'alert-again', onclick: () => turn('created') }, icon('play'), 'Reactivate'),
    alert.state === 'expired' && h('button', { type: 'button', onclick: () => again(alert) }, 'Copy to a new alert'),
    h('button', { type: 'button', 'data-testid': 'alert-delete', onclick: () => { alerts.remove(alert); left(); } }, icon('delete'), 'Delete'));
  return [
    h('h2', {}, `When ${alertSentence(alert)}`),
    alert.note && h('p', { class: 'full', dir: 'auto' }, alert.note),
    extrasText(alert) && h('p', { class: 'hint' }, extrasText(alert)),
    actions,
    edit.node,
    h('dl', { class: 'facts' },
      fact('Number', alert.id), fact('State', stateText(alert.state)), fact('Repeat', repeatText(alert)),
      alert.percent !== undefined && alert.state === 'created' ? fact('Measured', h('span', { class: 'measured' }, alerts.references.has(alert.id) ? measuredText(alerts.references.get(alert.id)) : '–')) : '',
      alert.email ? fact('Email', alert.email) : '',
      fact('Set', exactText(alert.created_at)), alert.triggered_at ? fact('Triggered', exactText(alert.triggered_at)) : '',
      alert.place ? fact('Active from', positionText({ topic: 'ticks', partition: alert.place.partition, offset: alert.place.offset })) : ''),
  ].filter(Boolean);
}

const FIELDS = { target: 'Target', percent: 'Per cent', low: 'From', high: 'To' };

function editor(alert) {
  const names = needsOf(alert.condition).filter((name) => name !== 'window');
  const figures = Object.fromEntries(names.map((name) => [name, h('input', { id: `edit-${name}`, value: priceText(alert[name]), inputmode: 'decimal', autocomplete: 'off', 'data-testid': `edit-${name}` })]));
  const note = h('input', { id: 'edit-note', dir: 'auto', value: alert.note ?? '', 'data-testid': 'edit-note' });
  const summary = h('p', { class: 'problem', role: 'alert', hidden: true });
  const save = h('button', { class: 'primary', 'data-testid': 'edit-save' }, 'Save');
  const controls = { ...figures, note };
  const node = h('form', {
    class: 'card', hidden: true, novalidate: true,
    onsubmit: (event) => {
      event.preventDefault();
      whileBusy(save, async () => {
        clearProblem(controls, summary);
        const typed = Object.entries(figures).map(([name, input]) => [name, typedPrice(input.value) ?? input.value]);
        const changes = {
          ...Object.fromEntries(typed.filter(([name, value]) => value !== alert[name])),
          ...(note.value.trim() !== (alert.note ?? '') ? { note: note.value.trim() } : {}),
        };
        try {
          if (Object.keys(changes).length === 0) node.hidden = true;
          else if (changes.target === undefined || await mayFire(alert, changes.target)) await alerts.change(alert.id, changes);
        } catch (error) {
          showProblem(error, controls, summary);
        }
      });
    },
  },
  names.map((name) => field(FIELDS[name], figures[name])), field('Note', note), summary,
  h('div', { class: 'actions' }, save, h('button', { type: 'button', onclick: () => { node.hidden = true; } }, 'Cancel')));
  return { node, open: () => { node.hidden = false; figures[names[0]].focus(); figures[names[0]].select(); } };
}

async function loadFirings(root, alert, signal) {
  if (alert.firings === 0) {
    root.replaceChildren(h('h3', {}, 'Firings'), h('p', { class: 'hint' }, 'None yet. Each firing will stand here with the tick that met it and its place in Kafka.'));
    return;
  }
  try {
    const { results } = await api('GET', `/alerts/${alert.id}/firings`);
    if (signal.aborted) return;
    root.replaceChildren(h('h3', {}, 'Firings'), h('ol', { class: 'firing-list' }, results.map(firingLine)));
  } catch (error) {
    if (signal.aborted) return;
    root.replaceChildren(h('h3', {}, 'Firings'), h('p', { class: 'problem' }, `${error.message} `, h('button', { type: 'button', class: 'link', onclick: () => loadFirings(root, alert, signal) }, 'Try again')));
  }
}

function firingLine(firing) {
  return h('li', { 'data-testid': 'firing' },
    h('span', { class: 'number' }, `${firing.firing}`),
    h('span', {}, h('strong', {}, priceText(firing.price, 2)), ` at ${exactText(firing.time)} from ${firing.source}`, h('br'),
      firing.change ? `${firing.change} % from ${priceText(firing.reference ?? firing.before?.price, 2)} · ` : '',
      firing.before ? [h('span', { 'data-testid': 'firing-before' }, `before it ${priceText(firing.before.price, 2)} `, `(offset ${firing.before.offset})`), ' → '] : '',
      positionText(firing),
      firing.notification_id !== undefined && [' → ', h('a', { href: `/inbox/${firing.notification_id}` }, `number ${firing.notification_id}`)]));
}

const fact = (name, value) => h('div', {}, h('dt', {}, name), h('dd', {}, value));
