// The tabs: arrow keys, Home and End move between them and show what they stand for; the address keeps the place.
import {byId} from './dom.js';

const shown = new Map();

/** Calls back when the tab of that name is shown. */
export const whenShown = (name, callback) => shown.set(name, callback);

const tabs = () => [...document.querySelectorAll('[role=tab]')];

export function showTab(name, focus = false) {
  const chosen = byId(`tab-${name}`);
  if (!chosen || chosen.getAttribute('role') !== 'tab') return;
  for (const tab of tabs()) {
    const on = tab === chosen;
    tab.setAttribute('aria-selected', String(on));
    tab.tabIndex = on ? 0 : -1;
    byId(tab.getAttribute('aria-controls')).hidden = !on;
  }
  if (focus) chosen.focus();
  document.title = `${chosen.textContent} – moeclip`;
  // Not the panel's id: the browser would start the reader there, after the head.
  history.replaceState(null, '', `#/${name}`);
  shown.get(name)?.();
}

const nameOf = (tab) => tab.getAttribute('aria-controls');

export function startTabs() {
  const list = document.querySelector('[role=tablist]');
  list.addEventListener('click', (event) => {
    const tab = event.target.closest('[role=tab]');
    if (tab) showTab(nameOf(tab));
  });
  list.addEventListener('keydown', (event) => {
    const all = tabs();
    const at = all.indexOf(event.target.closest('[role=tab]'));
    const to = {ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: all.length - 1}[event.key];
    if (at < 0 || to === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    showTab(nameOf(all[(to + all.length) % all.length]), true);
  });
  const fromAddress = () => location.hash.replace(/^#\/?/, '');
  window.addEventListener('hashchange', () => showTab(fromAddress()));
  showTab(byId(`tab-${fromAddress()}`) ? fromAddress() : 'classify');
}
