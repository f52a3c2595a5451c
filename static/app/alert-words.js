// An alert in words, and what its price has to do until it fires.

import { compare, percentBetween, percentText, priceText } from './format.js';

/** The API's conditions and how a person says them. */
export const CONDITIONS = {
  above: 'rises to or above',
  below: 'falls to or below',
};

/** "BTCUSDT rises to or above 70,000" */
export function alertSentence({ symbol, condition, target }) {
  return `${symbol} ${CONDITIONS[condition] ?? condition} ${priceText(target)}`;
}

/** Whether `price` satisfies the alert, exactly as the matcher compares. */
export function isMet(condition, price, target) {
  const order = compare(price, target);
  return condition === 'above' ? order >= 0 : order <= 0;
}

/** "0.42 % to go" */
export function distanceText(price, target) {
  return `${percentText(percentBetween(price, target))} to go`;
}

/** "once" or "every time, at most once in 10m" */
export function repeatText({ repeat, cooldown }) {
  if (repeat !== 'every') return 'once';
  return cooldown ? `every time, at most once in ${durationText(cooldown)}` : 'every time';
}

/** The API writes one hour as 1h0m0s; nobody says it so. */
const durationText = (text) => text.replace(/(\D)0s$/, '$1').replace(/(\D)0m$/, '$1');

/** The request for a new alert from the sentence's parts; nothing empty is sent. */
export function alertRequest({ symbol, condition, target, note, email, repeat, cooldown }) {
  return {
    symbol, condition, target,
    ...(note ? { note } : {}),
    ...(email ? { email } : {}),
    ...(repeat === 'every' ? { repeat, ...(cooldown ? { cooldown } : {}) } : {}),
  };
}

/** The same from a terminal, with a token minted on the spot. */
export function alertCommand(request, userId = 'ID') {
  const json = JSON.stringify(request).replaceAll("'", "'\\''");
  return `curl -H "Authorization: Bearer $(go run . token --user ${userId})" -H 'Content-Type: application/json' -d '${json}' ${location.origin}/api/v1/alerts`;
}
