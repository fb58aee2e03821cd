// The view that classifies: pictures come in, are sent a few at a time, and each gets its answer.
import * as api from './api.js';
import {announce, byId, h, plural, showError} from './dom.js';
import {PICTURE} from './folder.js';
import {labelField} from './labels.js';
import {resultCard, summary} from './result.js';
import {showTab} from './tabs.js';
import {refreshTasks, whenChanged} from './store.js';

const AT_ONCE = 8;
const MOST = 500;

const state = {items: [], asked: '', running: null};
let labels, store;

const lines = (text) => text.split('\n').map((line) => line.trim()).filter(Boolean);

function options() {
  return {labels: labels.values, templates: lines(byId('templates').value), task: byId('task').value, top: byId('top').value};
}

function render() {
  const list = byId('results');
  const cards = state.items.map((item, i) => {
    // A card is made anew only when its item has changed, so that what is open or focused stays so.
    const version = `${item.pending}|${item.error}|${item.version}`;
    if (!item.card || item.shown !== version) {
      const wasOpen = item.card?.querySelector('details.why')?.open;
      item.card = resultCard(item, wasOpen ?? i === 0);
      item.shown = version;
    }
    return item.card;
  });
  cards.forEach((card, i) => list.children[i] !== card && list.insertBefore(card, list.children[i] || null));
  while (list.children.length > cards.length) list.lastElementChild.remove();
  byId('results-empty').hidden = state.items.length > 0;
  byId('pictures-clear').hidden = state.items.length === 0;
  markStale();
}

function markStale() {
  const answered = state.items.some((item) => item.answer || item.error);
  byId('stale').hidden = !answered || state.running !== null || JSON.stringify(options()) === state.asked;
}

/** What is wrong with the options, or ''. */
function objection(asked) {
  if (asked.templates.some((t) => !t.includes('{}'))) return 'Each prompt template needs {} where the label goes.';
  const top = Number(asked.top);
  if (!Number.isInteger(top) || top < 1 || top > 50) return 'Labels to show: a whole number from 1 to 50.';
  if (store.loaded && store.tasks.length === 0 && asked.labels.length === 0) {
    return 'No task has been learned yet, so there are no classes to choose from: type at least two labels of your own.';
  }
  return '';
}

function formOf(items, asked) {
  const form = new FormData();
  for (const item of items) form.append('image', item.file, item.file.name);
  if (asked.labels.length) form.append('labels', JSON.stringify(asked.labels));
  if (asked.labels.length && asked.templates.length) form.append('templates', JSON.stringify(asked.templates));
  form.append('task', asked.task);
  form.append('top', asked.top);
  form.append('explain', '1');
  return form;
}

function keep(items, answers, asked) {
  items.forEach((item, i) => {
    const answer = answers[i];
    Object.assign(item, {asked: asked.task, method: store.method});
    item.error = answer ? answer.error || '' : 'The server gave no answer for this picture.';
    item.answer = item.error ? null : answer;
  });
}

async function send(items, asked, signal) {
  for (let at = 0; at < items.length; at += AT_ONCE) {
    const some = items.slice(at, at + AT_ONCE);
    const {answers} = await api.classify(formOf(some, asked), signal);
    keep(some, answers, asked);
    for (const item of some) Object.assign(item, {pending: false, version: item.version + 1});
    render();
  }
}

async function classify(items) {
  labels.commit();
  const asked = options();
  const place = byId('classify-error');
  const wrong = items.length ? objection(asked) : 'Choose at least one picture first.';
  showError(place, wrong);
  if (wrong) return render();
  state.running?.abort();
  const run = new AbortController();
  state.running = run;
  state.asked = JSON.stringify(asked);
  for (const item of items) Object.assign(item, {pending: true, answer: null, error: ''});
  byId('classify-button').textContent = 'Classifying';
  render();
  announce(`Classifying ${plural(items.length, 'picture')}.`);
  try {
    await send(items, asked, run.signal);
    announce(summary(items));
  } catch (error) {
    if (error.name === 'AbortError') return undefined; // another run has taken over
    showError(place, error.message);
  }
  for (const item of items) item.pending = false;
  state.running = null;
  byId('classify-button').textContent = 'Classify';
  return render();
}

const looksLikePicture = (file) => /^image\//.test(file.type) || PICTURE.test(file.name);

function add(files) {
  const good = files.filter(looksLikePicture).slice(0, MOST - state.items.length);
  const left = files.length - good.length;
  showError(byId('picture-error'), left > 0
    ? `${plural(left, 'file')} left out: only JPEG, PNG and WebP pictures can be read, ${MOST} at a time.` : '');
  if (!good.length) return;
  const fresh = {answer: null, error: '', pending: false, version: 0};
  const items = good.map((file) => ({file, url: URL.createObjectURL(file), ...fresh}));
  const unanswered = state.items.filter((item) => item.pending || (!item.answer && !item.error));
  state.items = [...items, ...state.items];
  classify([...items, ...unanswered]);
}

function clear() {
  state.running?.abort();
  state.running = null;
  byId('classify-button').textContent = 'Classify';
  for (const item of state.items) URL.revokeObjectURL(item.url);
  state.items = [];
  showError(byId('picture-error'), '');
  showError(byId('classify-error'), '');
  render();
  announce('Pictures cleared.');
  byId('pictures').focus();
}

function showTasks({tasks}) {
  const select = byId('task'), before = select.value || 'auto';
  const option = (value, text) => h('option', {value}, text);
  select.replaceChildren(option('auto', 'Automatic'), option('none', 'No task: zero-shot'),
    ...tasks.map((t) => option(t.name, `Task ${t.name}`)));
  select.value = [...select.options].some((o) => o.value === before) ? before : 'auto';
  markStale();
}

/** Makes a place take dropped things; take(event.dataTransfer) is called at once, as the browser demands. */
export function dropZone(place, take) {
  let depth = 0;
  const hasFiles = (event) => event.dataTransfer?.types.includes('Files');
  place.addEventListener('dragenter', (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    depth++;
    place.classList.add('over');
  });
  place.addEventListener('dragleave', () => {
    depth = Math.max(0, depth - 1);
    if (!depth) place.classList.remove('over');
  });
  place.addEventListener('dragover', (event) => hasFiles(event) && event.preventDefault());
  place.addEventListener('drop', (event) => {
    event.preventDefault();
    event.stopPropagation();
    depth = 0;
    place.classList.remove('over');
    take(event.dataTransfer);
  });
}

export function startClassify(theStore) {
  store = theStore;
  labels = labelField(markStale);
  const input = byId('pictures');
  input.addEventListener('change', () => {
    const files = [...input.files];
    input.value = ''; // so that the same file can be chosen again
    add(files);
  });
  dropZone(byId('classify'), (data) => add([...data.files]));
  // A picture dropped beside the target must not replace the page.
  for (const type of ['dragover', 'drop']) window.addEventListener(type, (event) => event.preventDefault());
  document.addEventListener('paste', (event) => {
    const files = [...(event.clipboardData?.files || [])];
    if (!files.length || !byId('teach').hidden) return;
    event.preventDefault();
    showTab('classify');
    add(files);
  });
  byId('classify-form').addEventListener('submit', (event) => {
    event.preventDefault();
    if (!store.loaded) refreshTasks().catch(() => {});
    classify(state.items);
  });
  byId('classify-form').addEventListener('input', markStale);
  byId('pictures-clear').addEventListener('click', clear);
  whenChanged(showTasks);
}
