// Starts the page: learns what the gateway is and who is here, opens the
// stream, and shows the view that the address names.

import { loginView, signupView } from './account.js';
import { alertsView } from './alerts.js';
import { loadStatus } from './banner.js';
import { mountChip } from './chip.js';
import { destinationsView } from './destinations.js';
import { h, setText } from './dom.js';
import { emptyPanel } from './feedback.js';
import { inboxView } from './inbox.js';
import { mountPerson } from './person.js';
import { pricesView } from './prices.js';
import { profileView } from './profile.js';
import { resetView } from './reset.js';
import { MAX_UNREAD, rooms } from './room-store.js';
import { roomsView } from './rooms.js';
import { refresh, start } from './router.js';
import { sendView } from './send.js';
import { resumeSession } from './session.js';
import { get, on } from './state.js';
import { startStream } from './stream.js';
import { welcomeView } from './welcome.js';

const VIEWS = {
  prices: { title: 'Prices', view: pricesView },
  alerts: { title: 'Alerts', view: alertsView },
  destinations: { title: 'Destinations', view: destinationsView },
  rooms: { title: 'Rooms', view: roomsView },
  send: { title: 'Send', view: sendView },
  login: { title: 'Log in', view: loginView },
  signup: { title: 'Sign up', view: signupView },
  reset: { title: 'New password', view: resetView },
  account: { title: 'Account', view: profileView },
  missing: { title: 'Not found', view: missingView },
};

/** The inbox is somebody's; to a stranger its address is the front door. */
function resolve(name) {
  if (name !== 'inbox') return { key: name, ...VIEWS[name] };
  const user = get('user');
  return user ? { key: `inbox ${user.id}`, title: 'Inbox', view: inboxView } : { key: 'welcome', title: 'Welcome', view: welcomeView };
}

function missingView(root) {
  root.append(h('div', { class: 'page' }, emptyPanel('warning', 'No such page', 'This address leads nowhere.', h('a', { class: 'button', href: '/inbox' }, 'To the inbox'))));
  return { update() {}, leave() {} };
}

function paintTitle() {
  const { unread } = get('counts');
  document.title = `${unread > 0 ? `(${unread}) ` : ''}${get('title')} · Crier`;
}

function paintUnread() {
  const badge = document.getElementById('unread');
  const { unread } = get('counts');
  setText(badge, String(unread));
  badge.hidden = unread === 0 || !get('user');
  badge.title = `${unread} unread`;
}

function paintRooms() {
  const badge = document.getElementById('rooms-unread');
  const { unread } = rooms;
  setText(badge, unread >= MAX_UNREAD ? `${MAX_UNREAD}+` : String(unread));
  badge.hidden = unread === 0 || !get('user');
  badge.title = `${unread} unread in rooms`;
}

on('rooms', paintRooms);
on('counts', paintUnread);
on('counts', paintTitle);
on('title', paintTitle);
on('user', () => {
  paintUnread();
  refresh();
});

mountChip(document.getElementById('chip-holder'));
mountPerson(document.getElementById('person-holder'));

// The status comes first: it says what the stream that opens with the session
// follows. Without it the stream would open twice.
await loadStatus();
await resumeSession();
// A session that was found has opened the stream already.
if (!get('user')) startStream();
start(document.getElementById('main'), resolve);
