// Fields with their labels, and errors beside the field they belong to.

import { h } from './dom.js';

/** A labelled control; `hint` stands below it until an error takes its place. */
export function field(label, control, hint = '') {
  const note = h('p', { class: 'hint', id: `${control.id}-note` }, hint);
  control.setAttribute('aria-describedby', note.id);
  const node = h('div', { class: 'field' }, h('label', { for: control.id }, label), control, note);
  node.dataset.hint = hint;
  return node;
}

/** Shows one message at a control, or takes it away. */
export function setFieldError(control, message) {
  const note = document.getElementById(control.getAttribute('aria-describedby'));
  const box = control.closest('.field') ?? control.parentElement;
  box.classList.toggle('invalid', Boolean(message));
  control.setAttribute('aria-invalid', message ? 'true' : 'false');
  if (note) note.textContent = message || (box.dataset.hint ?? '');
}

/**
 * Puts an ApiError where it belongs: beside the fields it names, else in
 * `summary`. `controls` maps the API's field names to controls.
 */
export function showProblem(error, controls, summary) {
  let first = null;
  const rest = [];
  for (const [name, message] of Object.entries(error.fields ?? {})) {
    if (controls[name]) {
      setFieldError(controls[name], sentence(controls[name], message));
      first ??= controls[name];
    } else {
      rest.push(`${name}: ${message}`);
    }
  }
  summary.textContent = first ? rest.join(' ') : [error.message, ...rest].join(' ');
  summary.hidden = summary.textContent === '';
  first?.focus();
}

/** The API says "is taken" and leaves the name to the field: "Username is taken". */
function sentence(control, message) {
  if (!/^[a-z]/.test(message)) return message;
  const label = control.getAttribute('aria-label') ?? control.labels?.[0]?.textContent ?? '';
  return `${label.split(/[,(]/)[0].trim()} ${message}`;
}

export function clearProblem(controls, summary) {
  for (const control of Object.values(controls)) setFieldError(control, '');
  summary.hidden = true;
  summary.textContent = '';
}

/** Runs `work` with the form's button out of reach, so that one press is one request. */
export async function whileBusy(button, work) {
  if (button.getAttribute('aria-disabled') === 'true') return;
  button.setAttribute('aria-disabled', 'true');
  try {
    await work();
  } finally {
    button.removeAttribute('aria-disabled');
  }
}
