// A field for a list of labels: a chip for each, typed or pasted, parted by commas, line ends or Enter.
import {announce, byId, h} from './dom.js';

const MOST = 1000;

export function labelField(changed) {
  const list = byId('label-list'), input = byId('label-input'), clear = byId('labels-clear'), box = byId('label-chips');
  let labels = [];

  function show() {
    list.replaceChildren(...labels.map((label) => h('li', {class: 'chip'}, h('span', {}, label),
      h('button', {type: 'button', 'aria-label': `Remove the label ${label}`, on: {click: () => remove(label)}},
        h('span', {'aria-hidden': 'true'}, '×')))));
    list.hidden = labels.length === 0;
    clear.hidden = labels.length < 2;
    changed();
  }

  function remove(label) {
    const at = labels.indexOf(label);
    labels = labels.filter((l) => l !== label);
    show();
    announce(`Label ${label} removed.`);
    (list.querySelectorAll('button')[Math.min(at, labels.length - 1)] || input).focus();
  }

  function add(text) {
    const fresh = text.split(/[,;\n\r\t]+/).map((l) => l.trim()).filter(Boolean);
    const before = labels.length;
    labels = [...new Set([...labels, ...fresh])].slice(0, MOST);
    if (labels.length !== before) show();
  }

  /** Takes what is still being typed too. */
  function commit() {
    add(input.value);
    input.value = '';
  }

  input.addEventListener('keydown', (event) => {
    if (event.isComposing) return;
    if (event.key === 'Enter' && input.value.trim()) {
      event.preventDefault();
      commit();
    } else if (event.key === 'Backspace' && !input.value && labels.length) {
      const last = labels[labels.length - 1];
      labels = labels.slice(0, -1);
      show();
      announce(`Label ${last} removed.`);
    }
  });
  input.addEventListener('input', () => {
    const at = input.value.search(/[,;]/);
    if (at < 0) return;
    const cut = input.value.lastIndexOf(input.value.match(/[,;](?=[^,;]*$)/)[0]);
    add(input.value.slice(0, cut));
    input.value = input.value.slice(cut + 1).trimStart();
  });
  input.addEventListener('paste', (event) => {
    const text = event.clipboardData?.getData('text') || '';
    if (!/[,;\n\r\t]/.test(text)) return;
    event.preventDefault();
    add(`${input.value}${text}`);
    input.value = '';
  });
  input.addEventListener('blur', commit);
  clear.addEventListener('click', () => {
    labels = [];
    show();
    announce('All labels removed.');
    input.focus();
  });
  box.addEventListener('click', (event) => event.target === box && input.focus());
  list.hidden = true;
  return {commit, get values() { return labels; }};
}
