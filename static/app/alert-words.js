// An alert in words, and what its price has to do until it fires.

import { bearer } from './terminal.js';
import { compare, percentBetween, percentText, priceText } from './format.js';

/** The API's conditions, how a person says them, and what each needs. */
export const CONDITIONS = {
  above: { words: 'rises to or above', needs: ['target'] },
  below: { words: 'falls to or below', needs: ['target'] },
  crosses_above: { words: 'crosses up through', needs: ['target'] },
  crosses_below: { words: 'crosses down through', needs: ['target'] },
  percent_up: { words: 'rises by', needs: ['percent', 'window'] },
  percent_down: { words: 'falls by', needs: ['percent', 'window'] },
  enters: { words: 'enters the band', needs: ['low', 'high'] },
  exits: { words: 'leaves the band', needs: ['low', 'high'] },
  trailing_stop: { words: 'falls from its highest price by', needs: ['percent'] },
};

/** What a condition needs: target, percent, window, low or high. */
export const needsOf = (condition) => CONDITIONS[condition]?.needs ?? ['target'];

/** "BTCUSDT rises to or above 70,000", "ETHUSDT rises by 5 % within 1h" */
export function alertSentence(alert) {
  const { symbol, condition, target, percent, low, high } = alert;
  const asked = percent !== undefined ? `${percent} %${alert.window ? ` within ${durationText(alert.window)}` : ''}`
    : low !== undefined ? `${priceText(low)} to ${priceText(high)}` : priceText(target);
  return `${symbol} ${CONDITIONS[condition]?.words ?? condition} ${asked}`;
}

/** What else must hold: "held for 30s · re-armed by 5 · from kraken". */
export function extrasText(alert) {
  return [
    alert.confirm && `held for ${durationText(alert.confirm)}`,
    alert.hysteresis && `again only after ${alert.hysteresis} back`,
    alert.max_firings && `${alert.max_firings} times at most`,
    alert.source && `from ${alert.source} only`,
    alert.snoozed_until && new Date(alert.snoozed_until) > new Date() && `snoozed until ${new Date(alert.snoozed_until).toLocaleString()}`,
  ].filter(Boolean).join(' · ');
}

/** Whether `price` satisfies the alert, exactly as the matcher compares. Only a level can be met by a price alone. */
export function isMet(condition, price, target) {
  if (condition === 'above') return compare(price, target) >= 0;
  return condition === 'below' && compare(price, target) <= 0;
}

/** The price that is nearest to fire the alert, where one price says it. */
export function markOf(alert, price) {
  if (alert.target !== undefined) return alert.target;
  if (alert.low === undefined) return undefined;
  return Math.abs(Number(price) - Number(alert.low)) <= Math.abs(Number(price) - Number(alert.high)) ? alert.low : alert.high;
}

/**
 * What has to happen before the alert can fire: an edge counts only from its other
 * side. '' where nothing has to.
 */
export function firstText({ condition, target, low, high }, price) {
  const inside = low && high && compare(price, low) >= 0 && compare(price, high) <= 0;
  if (condition === 'crosses_above' && target && compare(price, target) >= 0) return `must fall below ${priceText(target)} first`;
  if (condition === 'crosses_below' && target && compare(price, target) <= 0) return `must rise above ${priceText(target)} first`;
  if (condition === 'enters' && inside) return 'already in the band: must leave it first';
  if (condition === 'exits' && low && high && !inside) return 'already outside: must come into the band first';
  return '';
}

/** From what a percentage or a trailing stop is measured: "from 66,000, fires at 69,300". */
export function measuredText({ reference, fires_at: firesAt, source }) {
  const digits = (figure) => priceText(figure.replace(/(\.\d{6})\d+$/, '$1'));
  return `from ${digits(reference)}, fires at ${digits(firesAt)} (${source})`;
}

/** "0.42 % to go" */
export function distanceText(price, target) {
  return `${percentText(percentBetween(price, target))} to go`;
}

/** An alert's state as the API has it, in words. */
export const stateText = (state) => ({ created: 'active', triggered: 'fired' }[state] ?? state);

/** "once" or "every time, at most once in 10m" */
export function repeatText({ repeat, cooldown }) {
  if (repeat !== 'every') return 'once';
  return cooldown ? `every time, at most once in ${durationText(cooldown)}` : 'every time';
}

/** The API writes one hour as 1h0m0s; nobody says it so. */
export const durationText = (text) => text.replace(/(\D)0s$/, '$1').replace(/(\D)0m$/, '$1');

/** The request for a new alert from the sentence's parts; nothing empty is sent. */
export function alertRequest({ symbol, condition, note, email, repeat, cooldown, ...rest }) {
  const request = { symbol, condition };
  for (const name of needsOf(condition)) request[name] = rest[name] ?? '';
  for (const name of ['confirm', 'hysteresis', 'message']) if (rest[name]) request[name] = rest[name];
  return {
    ...request,
    ...(note ? { note } : {}),
    ...(email ? { email } : {}),
    ...(repeat === 'every' ? { repeat, ...(cooldown ? { cooldown } : {}) } : {}),
  };
}

/** The same from a terminal, with a token minted on the spot. */
export function alertCommand(request) {
  const json = JSON.stringify(request).replaceAll("'", "'\\''");
  return `curl ${bearer()} -H 'Content-Type: application/json' -d '${json}' ${location.origin}/api/v1/alerts`;
}
