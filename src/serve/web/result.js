// One picture's answer: labels with probabilities, who gave them, and why.
import {h, percent, plural, short} from './dom.js';
import {errorChart, heatMap, probabilityList} from './charts.js';

const nearestOf = (errors) => errors.reduce((best, e) => (!best || e.error < best.error ? e : best), null);

/** Why this task, or none, in a sentence, where no selector looked at the picture. */
function withoutSelector({task}, {asked, method}) {
  if (asked === 'none' || method === null) return 'The untouched CLIP answered; no selector was asked.';
  if (asked !== 'auto') return `You chose the task ${task ?? asked}, so nothing else was asked.`;
  switch (method) {
    case 'moe': return 'This state has no selector, so the untouched CLIP answered.';
    case 'zero-shot': return 'Nothing is trained by the method zero-shot: the untouched CLIP answered.';
    case 'analytic':
    case 'linear-probe':
      if (task === null) return 'The untouched CLIP sees something here that was never taught, so its answer stands.';
      return method === 'analytic'
        ? `Regression on the picture's features decided, among what all tasks taught; the first label is of ${task}.`
        : `Each task has a classifier of its own; that of ${task} has the most probable label.`;
    case 'icarl':
      return task === null ? 'CLIP, trained on all tasks, answered by the texts.'
        : `The kept pictures of a class of ${task} are the nearest to this one.`;
    default: return `CLIP itself was trained (${method}), and answers for all tasks.`;
  }
}

/** Why this task, or none, in a sentence. */
function reason(item) {
  const {answer} = item;
  const {errors, reference_error: reference} = answer.explanation;
  const nearest = nearestOf(errors);
  if (!nearest) return withoutSelector(answer, item);
  const share = percent(nearest.error / nearest.threshold, 0);
  if (answer.task !== null) return `${answer.task} has the lowest error, ${share} of its threshold, so it answers.`;
  if (reference !== null && reference !== undefined && reference < nearest.error) {
    return `The reference pictures, which belong to no task, fit better than ${nearest.task}, the nearest task, `
      + 'so the untouched CLIP answers.';
  }
  return `The nearest task, ${nearest.task}, is at ${share} of its threshold: too far. So the untouched CLIP answers.`;
}

function why(item, open) {
  const {answer} = item;
  const {errors, reference_error: reference, gates} = answer.explanation;
  const rows = errors.map((e) => ({name: e.task, error: e.error, threshold: e.threshold, chosen: e.task === answer.task}));
  if (errors.length && reference !== null && reference !== undefined) {
    rows.push({name: 'reference pictures', error: reference, threshold: null, chosen: false});
  }
  const fired = gates.some((row) => row.some((g) => g > 0));
  const most = Math.max(0, ...gates.flat());
  return h('details', {class: 'why', open},
    h('summary', {}, 'Why this answer'),
    h('p', {class: 'reason'}, reason(item)),
    h('div', {class: 'figures'},
      rows.length > 0 && h('section', {class: 'figure'},
        h('h4', {}, 'Which task the picture fits'),
        h('p', {class: 'hint'}, 
          'Reconstruction error of each task. The lowest wins, if it stays left of its threshold, the mark.'),
        errorChart(rows, 'Reconstruction errors')),
      gates.length > 0 && h('section', {class: 'figure'},
        h('h4', {}, 'Which experts answered'),
        fired
          ? [h('p', {class: 'hint'}, 'Share of each expert in each block of the image tower.'),
            heatMap({values: gates, most, show: (g) => percent(g, 0), frozen: null, title: 'Experts that answered',
              heading: 'Experts and their share'})]
          : h('p', {class: 'hint'}, 'None: the untouched CLIP uses no experts.'))));
}

function who(answer) {
  return answer.task === null
    ? h('span', {class: 'who zero'}, 'zero-shot')
    : h('span', {class: 'who'}, 'task ', h('b', {}, answer.task));
}

/** A sentence for the live region. */
export function spoken(item) {
  if (item.error) return `${item.file.name} could not be classified: ${item.error}`;
  const best = item.answer.labels[0];
  const by = item.answer.task === null ? 'zero-shot' : `by task ${item.answer.task}`;
  return `${item.file.name}: ${best ? `${best.name}, ${percent(best.probability, 0)}` : 'no label'}, ${by}.`;
}

/** item: {file, url, answer, error, pending, asked: 'auto', 'none' or a task; method: of the state that answered}. */
export function resultCard(item, open) {
  const image = h('img', {src: item.url, alt: `Picture ${item.file.name}`, width: 112, height: 112});
  // A picture that this browser cannot show may still be one that the server can read.
  const none = {class: 'no-thumb', role: 'img', 'aria-label': `No preview of ${item.file.name}`};
  image.addEventListener('error', () => image.replaceWith(h('span', none, '?')));
  const {answer} = item;
  let body;
  if (item.error) body = h('p', {class: 'error'}, item.error);
  else if (!answer) body = h('p', {class: 'waiting'}, item.pending ? 'Classifying' : 'Waiting for Classify');
  else body = probabilityList(answer.labels);
  return h('li', {class: 'card result', 'aria-busy': item.pending ? 'true' : 'false'},
    h('div', {class: 'result-main'},
      h('div', {class: 'thumb'}, image),
      h('div', {class: 'result-body'},
        h('div', {class: 'result-head'}, h('h3', {}, item.file.name),
          answer && who(answer),
          answer && answer.score !== null && h('span', {class: 'score',
            title: 'Error of the nearest task over its threshold; above 1 it is turned away'},
            `selector ${short(answer.score)}`)),
        body)),
    answer?.explanation && why(item, open));
}

export const summary = (items) => {
  const good = items.filter((i) => i.answer), bad = items.filter((i) => i.error);
  const parts = [`${plural(good.length, 'picture')} classified.`];
  if (bad.length) parts.push(`${plural(bad.length, 'picture')} could not be.`);
  return [...parts, ...items.slice(0, 3).map(spoken)].join(' ');
};
