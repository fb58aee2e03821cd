// The view of what has been learned: each task, the accuracy matrix, its curves, and how the experts were used.
import {byId, count, h, plural, short, showError} from './dom.js';
import {accuracyCurves, heatMap, matrixTable} from './charts.js';
import {refreshTasks, store, whenChanged} from './store.js';
import {whenShown} from './tabs.js';

const FEW = 12;

const pair = (name, value) => h('div', {}, h('dt', {}, name), h('dd', {}, value));
const chips = (names) => h('ul', {class: 'chip-list', 'aria-label': 'Classes'},
  names.map((name) => h('li', {class: 'chip still'}, name)));

function classesOf(task) {
  if (task.classes.length <= FEW) return chips(task.classes);
  return h('details', {class: 'more'}, h('summary', {}, `All ${count(task.classes.length)} classes`), chips(task.classes));
}

function promptsOf(templates) {
  const more = templates.length > 3 ? ` and ${plural(templates.length - 3, 'other')}` : '';
  return `${templates.length === 1 ? 'Prompt' : 'Prompts'}: ${templates.slice(0, 3).join(' | ')}${more}`;
}

const taskCard = (task, number) => h('li', {class: 'card task'},
  h('div', {class: 'task-head'}, h('span', {class: 'number', 'aria-hidden': 'true'}, String(number + 1)),
    h('h3', {}, task.name)),
  h('dl', {class: 'numbers'},
    pair('Classes', count(task.classes.length)), pair('Pictures', count(task.images)),
    pair('Iterations', count(task.iterations)), pair('Selector threshold', short(task.threshold))),
  classesOf(task),
  h('p', {class: 'hint'}, promptsOf(task.templates)));

const TOWERS = {image: 'Image tower', text: 'Text tower'};

function expertUse(task) {
  const towers = ['image', 'text'].filter((tower) => task.expert_use.some((use) => use.tower === tower));
  return h('section', {class: 'card'},
    h('h3', {}, 'Experts that ', task.name, ' used'),
    h('p', {class: 'hint'}, 'How many samples of the task learned last gave each expert a share. '
      + 'The most used are frozen for good: later tasks may use them but not change them.'),
    h('div', {class: 'figures'}, towers.map((tower) => {
      const blocks = task.expert_use.filter((use) => use.tower === tower).sort((a, b) => a.block - b.block);
      return h('section', {class: 'figure'}, h('h4', {}, TOWERS[tower]),
        heatMap({values: blocks.map((b) => b.counts), most: Math.max(0, ...blocks.flatMap((b) => b.counts)), show: count,
          frozen: blocks.map((b) => b.frozen), title: `${TOWERS[tower]}: samples of each expert`,
          heading: 'Experts and their samples'}));
    })));
}

function accuracy(matrix, taught) {
  return h('section', {class: 'card'},
    h('h3', {}, 'Accuracy, task after task'),
    h('div', {class: 'figures wide'},
      h('div', {class: 'figure'}, matrixTable(matrix, taught),
        h('p', {class: 'hint'}, 'Framed: right after the task was learned. Slanted: never learned.')),
      h('div', {class: 'figure'}, accuracyCurves(matrix, taught))));
}

let drawn = '';

function render({tasks, matrix, loaded}) {
  if (!loaded) return;
  const now = JSON.stringify([tasks, matrix]);
  if (now === drawn) return; // what is open or focused stays so
  drawn = now;
  const place = byId('tasks-content');
  if (!tasks.length) {
    place.replaceChildren(h('div', {class: 'empty'}, h('p', {class: 'empty-title'}, 'No task has been learned yet'),
      h('p', {}, 'Teach one in the view Teach. Until then, pictures are answered zero-shot, with labels of your own.')));
    return;
  }
  const taught = tasks.map((t) => t.name);
  const last = tasks[tasks.length - 1];
  place.replaceChildren(...[
    matrix && matrix.rows.length > 0 ? accuracy(matrix, taught) : null,
    h('ul', {class: 'task-list', 'aria-label': 'Tasks in the order in which they were learned'}, tasks.map(taskCard)),
    last.expert_use?.length ? expertUse(last) : null,
  ].filter(Boolean));
}

export function startTasks() {
  whenChanged(render);
  whenShown('tasks', () => {
    if (!store.loaded) return;
    refreshTasks().then(() => showError(byId('tasks-error'), ''), (error) => showError(byId('tasks-error'), error.message));
  });
}
