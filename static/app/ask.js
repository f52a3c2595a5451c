// A question that is answered before something happens that cannot be undone.

import { h } from './dom.js';

/**
 * Asks, and resolves with whether the answer is yes. `yes` is the label of the
 * button that says so; `others` are further buttons or links.
 */
export function ask(title, text, yes, { danger = false, others = [] } = {}) {
  return new Promise((resolve) => {
    const end = (answer) => { dialog.returnValue = answer; dialog.close(answer); };
    const dialog = h('dialog', { class: 'question', 'aria-labelledby': 'question-title', 'data-testid': 'question', onclose: () => { dialog.remove(); resolve(dialog.returnValue === 'yes'); } },
      h('h2', { id: 'question-title' }, title),
      [text].flat().map((line) => h('p', {}, line)),
      h('div', { class: 'actions' },
        h('button', { type: 'button', class: danger ? 'danger' : 'primary', 'data-testid': 'question-yes', onclick: () => end('yes') }, yes),
        others.map((other) => { other.addEventListener('click', () => end('no')); return other; }),
        h('button', { type: 'button', autofocus: true, 'data-testid': 'question-no', onclick: () => end('no') }, 'Cancel')));
    document.body.append(dialog);
    dialog.showModal();
  });
}
