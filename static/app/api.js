// Requests to the gateway. The session cookie says who asks; the header
// X-Crier-CSRF shows that the request was made by this page and not by a form
// on another one, so it goes with every request. All tabs share the cookie: X-Crier-User says for
// whom this one asks, so that nothing happens to whoever signed in elsewhere.

import { emit, get } from './state.js';

// Longer than any answer takes that still helps the person who waits for it.
const ANSWER_WITHIN_MS = 10_000;

// Asked for to learn or to change who is here.
const ANYBODYS = ['/profile', '/login', '/signup', '/guest', '/status'];

/** A refused or unanswered request. `fields` maps a field's name to its message. */
export class ApiError extends Error {
  constructor(status, problem = {}) {
    super(problem.detail || problem.title || `HTTP ${status}`);
    this.status = status;
    this.code = problem.code;
    this.fields = Object.fromEntries((problem.errors ?? []).map(({ field, message }) => [field, message]));
  }

  /** Nobody answered: the server is away, or the network is. */
  get unreachable() { return this.status === 0; }
}

export async function api(method, path, body, { headers = {}, keepalive = false, patient = false } = {}) {
  const url = path.startsWith('/api/') ? path : `/api/v1${path}`;
  let answer;
  try {
    answer = await fetch(url, {
      method,
      keepalive,
      cache: 'no-store',
      headers: {
        Accept: 'application/json',
        'X-Crier-CSRF': '1',
        ...(get('user') && !ANYBODYS.includes(path) ? { 'X-Crier-User': get('user').id } : {}),
        ...(body === undefined ? {} : { 'Content-Type': 'application/json' }),
        ...headers,
      },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(patient ? 6 * ANSWER_WITHIN_MS : ANSWER_WITHIN_MS),
    });
  } catch (error) {
    const detail = error.name === 'TimeoutError' ? 'The server did not answer in time.' : 'The server cannot be reached.';
    throw new ApiError(0, { code: 'unreachable', detail });
  }
  const text = await answer.text();
  let data;
  try { data = text ? JSON.parse(text) : undefined; } catch { data = undefined; }
  if (answer.ok && text && data === undefined) throw new ApiError(502, { code: 'foreign_answer', detail: 'The answer is not Crier’s: something else answered in its place.' });
  if (answer.ok) return data;
  if (answer.status === 401) emit('unauthorized', path);
  if (data?.code === 'wrong_user') {
    emit('wrong-user');
    data.detail = 'It was for the user who was signed in here before.';
  }
  throw new ApiError(answer.status, data);
}
