// Making elements, and texts in the page's one number format. Everything from outside goes in as text, never as HTML.

const SVG = 'http://www.w3.org/2000/svg';

function fill(node, props, children) {
  for (const [key, value] of Object.entries(props || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (key === 'on') for (const [event, handler] of Object.entries(value)) node.addEventListener(event, handler);
    else if (key === 'vars') for (const [name, v] of Object.entries(value)) node.style.setProperty(name, v);
    else node.setAttribute(key, value === true ? '' : String(value));
  }
  node.append(...children.flat(Infinity).filter((c) => c !== null && c !== undefined && c !== false));
  return node;
}

/** h('p', {class: 'hint', on: {click}, vars: {'--v': 0.5}}, 'text', child): strings become text nodes. */
export const h = (tag, props, ...children) => fill(document.createElement(tag), props, children);
export const svg = (tag, props, ...children) => fill(document.createElementNS(SVG, tag), props, children);

export const byId = (id) => document.getElementById(id);

let lastId = 0;
export const newId = (prefix) => `${prefix}-${++lastId}`;

/** Shows a message in a place made for it, or hides the place. A field that it belongs to is marked. */
export function showError(place, message, field) {
  place.textContent = message || '';
  place.hidden = !message;
  if (field) {
    if (message) field.setAttribute('aria-invalid', 'true');
    else field.removeAttribute('aria-invalid');
  }
}

/** Says something to screen readers. The same text twice is said twice. */
export function announce(text) {
  const live = byId('live');
  live.textContent = live.textContent === text ? `${text}\u00a0` : text;
}

const whole = new Intl.NumberFormat('en', {maximumFractionDigits: 0});
export const count = (n) => whole.format(n);
export const plural = (n, one, many) => `${count(n)} ${n === 1 ? one : many || `${one}s`}`;

const isNumber = (x) => typeof x === 'number' && Number.isFinite(x);
export const percent = (share, digits = 1) => (isNumber(share) ? `${(100 * share).toFixed(digits)} %` : '–');

/** Three significant digits, no needless zeros: 0.0123, 1.65, 250, 5e-7. */
export function short(x) {
  if (!isNumber(x)) return '–';
  const size = Math.abs(x);
  if (size !== 0 && (size < 1e-4 || size >= 1e6)) return x.toExponential(1).replace('e+', 'e');
  return String(Number(x.toPrecision(3)));
}

export function duration(seconds) {
  if (!isNumber(seconds)) return '–';
  const s = Math.max(0, Math.round(seconds));
  const two = (n) => String(n).padStart(2, '0');
  const minutes = Math.floor(s / 60);
  return s < 3600 ? `${minutes}:${two(s % 60)}` : `${Math.floor(s / 3600)}:${two(minutes % 60)}:${two(s % 60)}`;
}

export function bytes(n) {
  if (n < 1e6) return `${count(Math.max(1, n / 1e3))} kB`;
  return n < 1e9 ? `${(n / 1e6).toFixed(1)} MB` : `${(n / 1e9).toFixed(2)} GB`;
}
