// Figures and times as people read them. A price is a decimal string from the
// feed to the screen: it is compared and moved with integers of any size and
// never becomes a floating-point number, except where only a percentage is
// wanted.

const DECIMAL = /^(-?)(\d+)(?:\.(\d+))?$/;

function parts(text) {
  const match = DECIMAL.exec(text);
  return match && { minus: match[1], whole: match[2].replace(/^0+(?=\d)/, ''), fraction: match[3] ?? '' };
}

function units(text, scale) {
  const { minus, whole, fraction } = parts(text);
  return BigInt(minus + whole + fraction.padEnd(scale, '0'));
}

/** -1, 0 or 1, exactly. */
export function compare(a, b) {
  const scale = Math.max(parts(a).fraction.length, parts(b).fraction.length);
  const [left, right] = [units(a, scale), units(b, scale)];
  return left === right ? 0 : left < right ? -1 : 1;
}

/** Digits behind the point that say something: 2 for "70000.50000000". */
export function scaleOf(text) {
  const price = parts(text);
  return price ? price.fraction.replace(/0+$/, '').length : 0;
}

/** "70000.5" at scale 2: "70,000.50". No digit is dropped but closing zeros. */
export function priceText(text, scale = 0) {
  const price = parts(text ?? '');
  if (!price) return String(text ?? '–');
  const grouped = price.whole.replace(/\B(?=(\d{3})+$)/g, ',');
  const fraction = price.fraction.replace(/0+$/, '').padEnd(scale, '0');
  return price.minus + grouped + (fraction && `.${fraction}`);
}

/** What a person typed as a price, as the API wants it, or null: "70,000.5" is "70000.5". */
export function typedPrice(text) {
  const bare = text.trim().replace(/(\d)[\s_](?=\d)/g, '$1');
  const signed = bare.replace('\u2212', '-'); // a price may be negative: a spread, a rate, a temperature
  if (/^-?\d{1,3}(,\d{3})+(\.\d+)?$/.test(signed)) return signed.replaceAll(',', '');
  return /^-?\d+(\.\d+)?$/.test(signed) ? signed : null;
}

/** The price moved by so many millionths, at least one step of its last digit. */
export function moved(price, millionths) {
  const scale = scaleOf(price);
  const { minus, whole, fraction } = parts(price);
  const from = units(`${minus}${whole}.${fraction.slice(0, scale).padEnd(scale || 1, '0')}`, scale || 1);
  let step = (from * BigInt(millionths)) / 1_000_000n;
  if (step === 0n && millionths !== 0) step = millionths > 0 ? 1n : -1n;
  const digits = String(from + step).padStart((scale || 1) + 1, '0');
  return priceOf(digits, scale || 1);
}

function priceOf(digits, scale) {
  const fraction = digits.slice(-scale).replace(/0+$/, '');
  return digits.slice(0, -scale) + (fraction && `.${fraction}`);
}

/** How far `to` is from `from`, in per cent of `from`. */
export function percentBetween(from, to) {
  return ((Number(to) - Number(from)) / Number(from)) * 100;
}

/** "0.42 %"; small shares keep a figure that says something. */
export function percentText(percent) {
  const size = Math.abs(percent);
  if (size >= 1_000) return `${Math.round(size).toLocaleString('en')}\u202f%`;
  const digits = size === 0 || size >= 0.1 ? 2 : size >= 0.01 ? 3 : 4;
  return `${size.toFixed(digits)}\u202f%`;
}

export function delayText(ms) {
  if (ms === undefined) return '';
  if (ms < 1) return '<\u202f1\u202fms';
  return ms < 1_000 ? `${Math.round(ms)}\u202fms` : `${(ms / 1_000).toFixed(1)}\u202fs`;
}

const pad = (number, width = 2) => String(number).padStart(width, '0');

/** 12:03:07, on this machine's clock. */
export function clockText(time) {
  const date = new Date(time);
  return `${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}`;
}

/** 2026-11-21 12:03:07.123 */
export function exactText(time) {
  const date = new Date(time);
  const day = `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())}`;
  return `${day} ${clockText(date)}.${pad(date.getMilliseconds(), 3)}`;
}

/** "Today", "Yesterday", or "Monday, 2026-11-16". */
export function dayText(time, now = new Date()) {
  const date = new Date(time);
  const days = Math.round((new Date(now).setHours(0, 0, 0, 0) - new Date(date).setHours(0, 0, 0, 0)) / 86_400_000);
  if (days === 0) return 'Today';
  if (days === 1) return 'Yesterday';
  return `${date.toLocaleDateString('en', { weekday: 'long' })}, ${exactText(date).slice(0, 10)}`;
}

export function relativeText(time, now = Date.now()) {
  const seconds = Math.max(0, Math.round((now - new Date(time)) / 1_000));
  if (seconds < 5) return 'now';
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3_600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3_600)} h`;
  if (seconds < 7 * 86_400) return `${Math.floor(seconds / 86_400)} d`;
  return exactText(time).slice(0, 10);
}

/** "1 notification", "2 notifications" */
export function plural(number, noun) {
  return `${number.toLocaleString('en')} ${noun}${number === 1 ? '' : 's'}`;
}

/** A word for a POSIX shell, quoted only where it must be. */
export function shellWord(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

/** Where a record is in Kafka. */
export const positionText = ({ topic, partition, offset }) => `${topic}, partition ${partition}, offset ${offset}`;
