// Who is here. The session itself lives in an HttpOnly cookie that this page
// cannot read; it keeps only a mark that there was one, so that a stranger's
// first visit does not begin with a refused request.

import { api } from './api.js';
import { emit, get, kept, on, set } from './state.js';
import { go } from './router.js';
import { toast } from './toast.js';

// Views that need no session, and so stay when it ends.
const OPEN_TO_ALL = ['/prices', '/login', '/signup', '/reset'];

/** Asks who is signed in. A change was made elsewhere, and is shown. */
export async function loadProfile() {
  let user = null;
  try {
    user = await api('GET', '/profile');
  } catch (error) {
    if (error.status !== 401) throw error;
  }
  if (get('user') && !user) {
    ended();
    return;
  }
  const another = get('user') && get('user').id !== user?.id;
  become(user);
  if (another) toast(`Somebody else has signed in in this browser. This page now shows what is ${user.username}’s.`, { failed: true });
}

/** The session has ended elsewhere: the way back leads to what was shown. */
function ended() {
  const here = location.pathname + location.search;
  become(null);
  if (OPEN_TO_ALL.includes(location.pathname)) toast('Your session has ended. Log in to go on.', { failed: true });
  else go(`/login?ended=yes&next=${encodeURIComponent(here)}`);
}

/** At the start: only where a session is likely. The stream's `ready` corrects the guess. */
export async function resumeSession() {
  if (kept.get('session')) await loadProfile().catch(() => {});
}

export async function logIn(name, password) {
  const who = name.includes('@') ? { email: name } : { username: name };
  become((await api('POST', '/login', { ...who, password })).user);
}

export async function signUp(username, password, email, invite) {
  await api('POST', '/signup', { username, password, ...(email ? { email } : {}), ...(invite ? { invite } : {}) });
  await logIn(username, password);
}

/** Gives a guest's account a name and a password. */
export async function keepAccount(username, password, email) {
  set('user', await api('POST', '/guest/keep', { username, password, ...(email ? { email } : {}) }));
}

export const logOut = () => endBy(() => api('POST', '/logout'));

/**
 * Makes a request that ends this session. The stream is let go first: the server
 * ends it too, and it would come back, and be refused, before the answer is here.
 */
export async function endBy(request) {
  emit('session-ending');
  ending = true;
  try {
    await request();
  } catch (error) {
    if (error.status === 401) {
      ended();
      return;
    }
    emit('session-stays');
    throw error;
  } finally {
    ending = false;
  }
  become(null);
}

// While this page ends the session, what else it has asked may be refused for that.
let ending = false;

/** The session has ended by another request. */
export const signedOut = () => become(null);

/**
 * The person, made on the spot as a guest where the gateway runs on its
 * embedded defaults; elsewhere the login page comes first and null is returned.
 */
export async function ensureUser() {
  if (get('user')) return get('user');
  // Another tab may have signed in meanwhile: a guest would replace that user.
  if (kept.get('session')) await loadProfile();
  if (get('user')) return get('user');
  if (get('status')?.embedded) {
    become((await api('POST', '/guest')).user);
    return get('user');
  }
  go(`/login?next=${encodeURIComponent(location.pathname)}`);
  return null;
}

function become(user) {
  kept.set('session', user ? 'yes' : null);
  const before = get('user');
  if (JSON.stringify(before) === JSON.stringify(user)) return;
  set('counts', { unread: 0, unseen: 0, version: 0 });
  set('user', user);
}

// A request that was refused means that the session ended elsewhere. Login
// itself answers 401 too, for a wrong password.
on('unauthorized', (path) => {
  if (get('user') && !ending && path !== '/login' && path !== '/profile' && path !== '/password') ended();
});
on('wrong-user', () => { loadProfile().catch(() => {}); });
