// Shows new mails without loading the page again: focus, selection and the place
// that one has scrolled to stay.

const EVERY_MS = 5_000;

const count = document.getElementById('count');
const main = document.querySelector('main');

async function look() {
  if (document.visibilityState !== 'visible') return;
  let next;
  try {
    const answer = await fetch('/', { cache: 'no-store' });
    if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
    next = new DOMParser().parseFromString(await answer.text(), 'text/html');
  } catch {
    count.textContent = 'The mail catcher does not answer. This page keeps trying.';
    return;
  }
  document.title = next.title;
  const text = next.getElementById('count').textContent;
  if (count.textContent !== text) count.textContent = text;
  document.getElementById('delete').hidden = next.getElementById('delete').hidden;
  const list = next.querySelector('main');
  if (main.innerHTML === list.innerHTML) return;
  const focused = main.contains(document.activeElement) && document.activeElement.getAttribute('href');
  main.replaceChildren(...list.childNodes);
  if (focused) [...main.querySelectorAll('a')].find((a) => a.getAttribute('href') === focused)?.focus({ preventScroll: true });
}

setInterval(look, EVERY_MS);
document.addEventListener('visibilitychange', look);
