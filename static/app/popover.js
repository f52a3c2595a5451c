// A panel that belongs to a button: Escape or a press elsewhere closes it, and
// focus goes back to the button.

/** Wires the two; returns { close }. `opened` runs each time before the panel shows. */
export function popover(button, panel, opened = () => {}) {
  const show = (visible) => {
    if (visible) opened();
    panel.hidden = !visible;
    button.setAttribute('aria-expanded', String(visible));
  };
  button.setAttribute('aria-haspopup', 'dialog');
  button.setAttribute('aria-controls', panel.id);
  show(false);
  button.addEventListener('click', () => show(panel.hidden));
  document.addEventListener('pointerdown', (event) => {
    if (!panel.hidden && !panel.contains(event.target) && !button.contains(event.target)) show(false);
  });
  document.addEventListener('keydown', (event) => {
    if (event.key !== 'Escape' || panel.hidden) return;
    show(false);
    button.focus();
  });
  return { close: () => show(false) };
}
