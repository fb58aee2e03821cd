// One job of learning, as it goes: the stage, a progress bar, numbers, the curve of the loss, and how it ended.
import * as api from './api.js';
import {announce, count, duration, h, percent, plural, short, showError} from './dom.js';
import {lossChart} from './charts.js';

const STATES = {queued: 'waiting to start', learning: 'learning', evaluating: 'testing', done: 'learned',
  failed: 'failed', cancelled: 'cancelled', uploading: 'uploading'};
const PHASES = {check: 'Looking through the pictures', selector: 'Training the task selector', reference: 'Looking at the reference set', probe: 'Finding out how many experts it needs',
  train: 'Training the experts', exemplars: 'Choosing the pictures to keep', evaluate: 'Testing all tasks'};

const REPORT = [
  ['final_loss', 'Final loss', short], ['iterations', 'Steps', count],
  ['images', 'Pictures seen', count], ['broken', 'Damaged pictures', count], ['threshold', 'Selector threshold', short],
  ['seconds', 'Time to learn', duration], ['trainable', 'Numbers trained', count],
];

const pair = (name, value) => h('div', {}, h('dt', {}, name), h('dd', {}, value));

/** A card for a job: {node, uploading(sent, total), update(job), fail(message), cancelUpload}. */
export function jobCard(name, {onCancel}) {
  const state = h('span', {class: 'state'}, 'starting');
  const bar = h('progress', {max: 100, 'aria-label': `Progress of ${name}`});
  const phase = h('p', {class: 'phase'}, 'Starting');
  const numbers = h('dl', {class: 'numbers'});
  const loss = lossChart();
  const lossBox = h('section', {class: 'figure', hidden: true}, h('h4', {}, 'Loss'), loss.node);
  const error = h('p', {class: 'error', role: 'alert', hidden: true});
  const cancel = h('button', {type: 'button', class: 'danger'}, 'Cancel');
  const node = h('article', {class: 'card job', 'data-state': 'starting', 'aria-label': `Learning ${name}`},
    h('div', {class: 'job-head'}, h('h3', {}, name), state), phase, bar, numbers, lossBox, error,
    h('div', {class: 'row'}, cancel));
  let curvePhase = '', spokenPhase = '', spokenQuarter = 0, over = false;

  function say(job, share) {
    const quarter = Math.floor(share * 4);
    if (job.phase !== spokenPhase) {
      spokenPhase = job.phase;
      spokenQuarter = quarter;
      if (PHASES[job.phase]) announce(`${name}: ${PHASES[job.phase].toLowerCase()}.`);
    } else if (quarter > spokenQuarter && quarter < 4) {
      spokenQuarter = quarter;
      announce(`${name}: ${25 * quarter} percent of this stage.`);
    }
  }

  function setState(value) {
    state.textContent = STATES[value] || value;
    node.dataset.state = value;
  }

  function setBar(share) {
    if (share === null) bar.removeAttribute('value');
    else bar.value = 100 * share;
  }

  function showNumbers(job) {
    const rate = job.seconds > 0 && job.images > 0 ? job.images / job.seconds : null;
    const left = job.step > 0 && job.n_steps > job.step ? (job.seconds / job.step) * (job.n_steps - job.step) : null;
    numbers.replaceChildren(
      pair('Step', job.n_steps ? `${count(job.step)} of ${count(job.n_steps)}` : '–'),
      pair('Loss', short(job.loss)), pair('Learning rate', short(job.learning_rate)),
      pair('Pictures a second', rate === null ? '–' : short(rate)),
      pair('Waiting for pictures', job.seconds > 0 ? percent(Math.min(1, job.waited_seconds / job.seconds), 0) : '–'),
      pair('Time, and left', `${duration(job.seconds)}${left === null ? '' : `, ${duration(left)} left`}`));
  }

  function showEnd(job) {
    over = true;
    cancel.hidden = true;
    bar.hidden = true;
    if (job.state === 'done') {
      const report = job.report || {};
      phase.textContent = `${name} is learned. It answers for its pictures from now on.`;
      const known = REPORT.filter(([key]) => Number.isFinite(report[key]));
      numbers.replaceChildren(...known.map(([key, text, show]) => pair(text, show(report[key]))));
      if (job.left_out > 0) numbers.append(pair('Not used: another kind, or in no class', plural(job.left_out, 'picture')));
    } else if (job.state === 'cancelled') {
      phase.textContent = 'Cancelled. What was learned before is as it was.';
      numbers.replaceChildren();
    } else {
      phase.textContent = 'It did not work. What was learned before is as it was.';
      numbers.replaceChildren();
      showError(error, job.error || 'The server gave no reason.');
    }
  }

  cancel.addEventListener('click', async () => {
    cancel.disabled = true;
    cancel.textContent = 'Cancelling';
    try {
      await onCancel();
    } catch (problem) {
      cancel.disabled = false;
      cancel.textContent = 'Cancel';
      showError(error, problem.message);
    }
  });

  return {
    node,
    get over() { return over; },
    uploading(sent, total) {
      setState('uploading');
      setBar(total ? sent / total : null);
      phase.textContent = sent < total
        ? `Uploading, ${percent(sent / total, 0)}` : 'Uploaded; the server is looking through the pictures';
    },
    update(job) {
      setState(job.state);
      if (api.isOver(job)) return showEnd(job);
      const share = job.n_steps > 0 ? Math.min(1, job.step / job.n_steps) : null;
      setBar(job.state === 'queued' ? null : share);
      phase.textContent = job.state === 'queued' ? 'Waiting to start' : PHASES[job.phase] || job.phase || 'Preparing';
      showNumbers(job);
      if (job.phase && job.phase !== curvePhase && Number.isFinite(job.loss)) {
        curvePhase = job.phase;
        loss.clear();
      }
      if (Number.isFinite(job.loss)) {
        lossBox.hidden = false;
        loss.add(job.step, job.loss);
      }
      say(job, share || 0);
      return undefined;
    },
    fail(message) {
      over = true;
      setState('failed');
      bar.hidden = true;
      cancel.hidden = true;
      phase.textContent = 'Its progress cannot be shown any more.';
      showError(error, message);
    },
    /** After the end. accuracy: of the new task, in percent, where it was measured. */
    ended(job, accuracy) {
      if (job.state === 'done' && Number.isFinite(accuracy)) {
        numbers.prepend(pair('Accuracy of this task', `${accuracy.toFixed(1)} %`));
      }
      const how = {done: `${name} is learned.`, cancelled: `Learning ${name} was cancelled.`,
        failed: `Learning ${name} failed: ${job.error || ''}`};
      announce(how[job.state] || '');
    },
  };
}

/** What a plan will be uploaded as, in words. */
export const planText = (plan) => `${plural(plan.classes.length, 'class', 'classes')}, ${plural(plan.files.length, 'picture')}`;
