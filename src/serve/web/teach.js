// The view that teaches: what to learn from, its name and options, the upload, and the jobs.
import * as api from './api.js';
import {announce, byId, bytes, count, h, plural, showError} from './dom.js';
import {dropZone} from './classify.js';
import {isArchive, planFolder, readDrop, readInput} from './folder.js';
import {jobCard, planText} from './job.js';
import {refreshHealth, refreshTasks, store} from './store.js';

const cards = new Map(); // by the job's id
let source = null; // {plan} or {archive}
let showTab;

const OPTIONS = [
  ['iterations', 'iterations', 'Iterations', 1, 1000000, true], ['batch', 'batch', 'Batch size', 1, 4096, true],
  ['learning-rate', 'learning_rate', 'Learning rate', 0, 1, false], ['epochs', 'epochs', 'Epochs', 1, 10000, true],
];

// --- what to learn from -----------------------------------------------------------------------------------------------

function classTable(plan) {
  const few = plan.classes.filter((c) => c.train < 2).length;
  return [
    h('details', {class: 'more'}, h('summary', {}, 'Classes and pictures'),
      h('div', {class: 'scroll tall', role: 'region', tabindex: '0', 'aria-label': 'Classes and pictures'},
        h('table', {class: 'plain'},
          h('thead', {}, h('tr', {}, h('th', {scope: 'col'}, 'Class'),
            h('th', {scope: 'col'}, plan.split ? 'Training' : 'Pictures'),
            plan.split && h('th', {scope: 'col'}, 'Test'))),
          h('tbody', {}, plan.classes.map((c) => h('tr', {}, h('th', {scope: 'row'}, c.name), h('td', {}, count(c.train)),
            plan.split && h('td', {}, count(c.test)))))))),
    few > 0 && h('p', {class: 'note'}, `${plural(few, 'class has', 'classes have')} fewer than two pictures to train on.`),
    plan.others > 0 && h('p', {class: 'hint'}, `${plural(plan.others, 'other file')} will not be sent.`),
  ];
}

function showSource() {
  const place = byId('source');
  place.hidden = !source;
  if (!source) return place.replaceChildren();
  const {plan, archive} = source;
  const click = () => { setSource(null); byId('folder').focus(); };
  const remove = h('button', {type: 'button', class: 'quiet', on: {click}}, 'Remove');
  place.replaceChildren(
    h('div', {class: 'source-head'},
      h('p', {}, h('b', {}, plan ? plan.name || 'Chosen folders' : archive.name), h('br'),
        h('span', {class: 'hint'}, plan ? `${planText(plan)}, ${bytes(plan.bytes)}` : bytes(archive.size))), remove),
    ...(plan ? classTable(plan).filter(Boolean) : []));
  const text = plan ? planText(plan) : archive.name;
  announce(`Chosen to learn from: ${text}.`);
  return undefined;
}

function setSource(next) {
  source = next;
  showError(byId('source-error'), '');
  const name = byId('task-name');
  const suggested = next?.plan?.name || next?.archive?.name.replace(/\.zip$/i, '') || '';
  if (suggested && !name.value.trim()) name.value = suggested.replace(/_/g, ' ');
  showSource();
}

function take(files) {
  try {
    setSource({plan: planFolder(files)});
  } catch (error) {
    setSource(null);
    showError(byId('source-error'), error.message);
  }
}

function takeArchive(file) {
  if (isArchive(file)) return setSource({archive: file});
  return showError(byId('source-error'), `${file.name} is not a .zip.`);
}

async function takeDrop(data) {
  try {
    const found = await readDrop(data);
    if (found.archive) takeArchive(found.archive);
    else take(found.files);
  } catch (error) {
    showError(byId('source-error'), error.message || 'This folder could not be read.');
  }
}

// --- what is asked ----------------------------------------------------------------------------------------------------

const lines = (text) => text.split('\n').map((line) => line.trim()).filter(Boolean);

/** The options as {name: value}; throws a sentence and the field that it is about. */
function readOptions() {
  const out = {};
  for (const [id, key, text, low, high, whole] of OPTIONS) {
    const field = byId(id);
    if (field.value.trim() === '' && !field.validity.badInput) continue;
    const value = Number(field.value);
    const inRange = value >= low && value <= high && (whole ? Number.isInteger(value) : value !== 0);
    if (field.validity.badInput || !inRange) {
      const wanted = whole ? `a whole number from ${count(low)} to` : 'a number above 0, up to';
      throw Object.assign(new Error(`${text}: ${wanted} ${count(high)}.`), {field});
    }
    out[key] = value;
  }
  const templates = lines(byId('teach-templates').value);
  if (templates.some((t) => !t.includes('{}'))) {
    throw Object.assign(new Error('Each prompt template needs {} where the class goes.'), {field: byId('teach-templates')});
  }
  if (templates.length) out.templates = templates;
  if (byId('method').value) out.method = byId('method').value;
  return out;
}

function bodyOf(name, options, path) {
  if (!source) return {name, path, ...options};
  const form = new FormData();
  form.append('name', name);
  for (const [key, value] of Object.entries(options)) {
    form.append(key, key === 'templates' ? JSON.stringify(value) : String(value));
  }
  if (source.archive) form.append('archive', source.archive, source.archive.name);
  else for (const {path: inside, file} of source.plan.files) form.append('file', file, inside);
  return form;
}

/** Checks the form and marks what is wrong. Gives {name, options, path}, or null. */
function readForm() {
  const nameField = byId('task-name'), name = nameField.value.trim(), path = byId('server-path').value.trim();
  const taken = store.tasks.some((t) => t.name === name);
  document.querySelectorAll('#teach-form [aria-invalid]').forEach((field) => field.removeAttribute('aria-invalid'));
  showError(byId('teach-error'), '');
  const used = taken ? `There is a task named ${name} already: choose another name.` : '';
  showError(byId('name-error'), name ? used : 'Give the task a name.', nameField);
  const lacking = !source && !path;
  if (lacking) showError(byId('source-error'), 'Choose a folder or a .zip to learn from first.');
  else showError(byId('source-error'), '');
  let options = null;
  try {
    options = readOptions();
  } catch (error) {
    showError(byId('teach-error'), error.message, error.field);
    const box = error.field.closest('details');
    if (box) box.open = true;
    error.field.focus();
  }
  if (!name || taken) nameField.focus();
  if (lacking) byId('folder').focus();
  return !name || taken || lacking || !options ? null : {name, options, path};
}

// --- jobs -------------------------------------------------------------------------------------------------------------

function addCard(card) {
  byId('jobs').prepend(card.node);
  byId('jobs-empty').hidden = true;
}

function newestAccuracy(name) {
  const column = store.matrix ? store.matrix.columns.indexOf(name) : -1;
  return column < 0 ? null : store.matrix.rows[store.matrix.rows.length - 1]?.accuracy[column];
}

/** The server still tidies up for a moment after a job's end: until it says that it is ready. */
async function settle() {
  for (let i = 0; i < 30; i++) {
    const health = await refreshHealth().catch(() => null);
    if (!health?.learning || [...cards.values()].some((card) => !card.over)) return;
    await new Promise((resolve) => { setTimeout(resolve, 1000); });
  }
}

/** Shows a job to its end, then what is new everywhere. */
async function watch(id, card) {
  cards.set(id, card);
  refreshHealth().catch(() => {});
  try {
    const last = await api.follow(id, (job) => card.update(job));
    // The page knows the new task before it says that it is learned.
    await refreshTasks();
    settle();
    card.ended(last, newestAccuracy(last.name));
    if (last.state === 'done') {
      card.node.append(h('div', {class: 'row'},
        h('button', {type: 'button', class: 'primary', on: {click: () => showTab('classify', true)}}, 'Classify pictures'),
        h('button', {type: 'button', on: {click: () => showTab('tasks', true)}}, 'See the tasks')));
    }
  } catch (error) {
    card.fail(error.message);
  }
}

function busy(on) {
  byId('teach-button').disabled = on;
  byId('teach-button').textContent = on ? 'Uploading' : 'Teach';
}

async function teach() {
  const asked = readForm();
  if (!asked) return;
  const upload = new AbortController();
  let id = null;
  const card = jobCard(asked.name, {onCancel: () => (id === null ? upload.abort() : api.cancel(id))});
  addCard(card);
  if (source) card.uploading(0, 1);
  busy(true);
  try {
    const job = await api.learn(bodyOf(asked.name, asked.options, asked.path), card.uploading, upload.signal);
    id = job.id;
    setSource(null);
    byId('teach-form').reset();
    card.update(job);
    card.node.scrollIntoView({block: 'nearest'});
    watch(id, card);
  } catch (error) {
    card.node.remove();
    byId('jobs-empty').hidden = byId('jobs').children.length > 0;
    if (error.name === 'AbortError') {
      announce('The upload was cancelled.');
    } else {
      const aboutName = error.status === 409 && /name/i.test(error.message);
      showError(byId(aboutName ? 'name-error' : 'teach-error'), error.message, aboutName ? byId('task-name') : undefined);
    }
  }
  busy(false);
}

/** Jobs that the server has from before, or that someone else started. */
export async function resumeJobs() {
  let all = [];
  try {
    all = await api.jobs();
  } catch {
    return; // the views that need them say what is wrong
  }
  all.sort((a, b) => Number(a.id) - Number(b.id)); // the newest ends up on top
  for (const job of all) {
    if (cards.has(job.id)) continue;
    const card = jobCard(job.name, {onCancel: () => api.cancel(job.id)});
    addCard(card);
    card.update(job);
    cards.set(job.id, card);
    if (!api.isOver(job)) watch(job.id, card);
  }
}

export function startTeach(show) {
  showTab = show;
  const folder = byId('folder'), archive = byId('archive');
  folder.addEventListener('change', () => {
    const files = readInput(folder);
    folder.value = '';
    if (files.length) take(files);
  });
  archive.addEventListener('change', () => {
    const [file] = archive.files;
    archive.value = '';
    if (file) takeArchive(file);
  });
  dropZone(byId('teach'), takeDrop);
  byId('teach-form').addEventListener('submit', (event) => {
    event.preventDefault();
    teach();
  });
}
