// What must not go unnoticed outside of the inbox: a fired alert, a mention, a
// notification of high priority. It is shown wherever one is, and heard if wished.

import { go } from './router.js';
import { kept, on } from './state.js';
import { toast } from './toast.js';

const TOGETHER_MS = 300; // what comes within is one line
const BEEP_MS = 180;

let first = null; // of those that were not shown yet
let count = 0;
let audio = null;

export const soundOn = () => kept.get('sound') === 'on';

/** Called in answer to a press: browsers give sound to no page that was not touched. */
export function setSound(wanted) {
  kept.set('sound', wanted ? 'on' : null);
  if (wanted) beep();
}

const loud = ({ kind, priority }) => kind === 'alert' || kind === 'mention' || priority === 'high' || priority === 'urgent';

function show() {
  if (count === 0 || document.visibilityState !== 'visible') return;
  const [one, many] = [first, count > 1];
  const text = many ? `${count.toLocaleString('en')} new notifications` : one.title || one.body || one.kind;
  forget();
  if (/^\/(inbox(\/|$)|$)/.test(location.pathname)) return; // they are in view there
  toast(text, { undo: () => go(many ? '/inbox' : `/inbox/${one.id}`), undoLabel: 'Show' });
}

function forget() {
  first = null;
  count = 0;
}

on('notification', (notification) => {
  if (!loud(notification)) return;
  first ??= notification;
  count += 1;
  if (count === 1) setTimeout(show, TOGETHER_MS);
  if (notification.kind === 'alert' && soundOn()) sound(notification.event_id);
});
on('user', forget);
document.addEventListener('visibilitychange', show);

/** Of several tabs one is heard: the one that gets the lock first. */
function sound(id) {
  if (!navigator.locks) {
    beep();
    return;
  }
  navigator.locks.request(`crier-sound-${id}`, { ifAvailable: true }, (lock) => {
    if (!lock) return undefined;
    beep();
    return new Promise((done) => { setTimeout(done, 5_000); });
  });
}

function beep() {
  audio ??= new AudioContext();
  audio.resume().then(() => {
    const tone = audio.createOscillator();
    const volume = audio.createGain();
    tone.frequency.value = 880;
    volume.gain.setValueAtTime(0.15, audio.currentTime);
    volume.gain.exponentialRampToValueAtTime(0.001, audio.currentTime + BEEP_MS / 1_000);
    tone.connect(volume).connect(audio.destination);
    tone.start();
    tone.stop(audio.currentTime + BEEP_MS / 1_000);
  }).catch(() => {}); // no device, or not allowed before a press
}
