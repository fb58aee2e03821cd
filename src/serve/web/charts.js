// Charts: probabilities, errors against thresholds, heat maps of blocks and experts, curves, the accuracy matrix.
// What a chart shows by shape and colour stands beside it as text or as a table too.
import {count, h, newId, percent, short, svg} from './dom.js';

const clamp = (x) => Math.min(1, Math.max(0, x));

/** Labels with their probabilities, the most probable first. */
export function probabilityList(labels) {
  return h('ol', {class: 'bars'}, labels.map(({name, probability}) => h('li', {},
    h('span', {class: 'bar-name'}, name), ' ',
    h('span', {class: 'bar-value'}, percent(probability)),
    h('span', {class: 'bar', 'aria-hidden': 'true'}, h('span', {vars: {width: `${100 * clamp(probability)}%`}})))));
}

/** Each task's error against its threshold; a bar that stays before its mark fits.
 * rows: [{name, error, threshold|null, chosen}]. */
export function errorChart(rows, label) {
  const values = rows.flatMap((r) => [r.error, r.threshold]).filter((x) => Number.isFinite(x));
  // A very bad fit would squeeze the rest together: its bar is cut off at three times the largest threshold.
  const thresholds = rows.map((r) => r.threshold).filter((x) => Number.isFinite(x));
  const most = Math.max(...values, 0) || 1;
  const scale = 1.06 * (thresholds.length ? Math.min(most, 3 * Math.max(...thresholds)) : most);
  return h('ul', {class: 'errors', 'aria-label': label}, rows.map((row) => {
    const limited = Number.isFinite(row.threshold);
    const fits = limited && row.error <= row.threshold;
    const cut = row.error > scale;
    const verdict = limited ? `, threshold ${short(row.threshold)}: ${fits ? 'fits' : 'too far'}` : '';
    return h('li', {class: row.chosen ? 'chosen' : ''},
      h('span', {class: 'error-name'}, row.name, row.chosen && h('span', {class: 'mark'}, 'answers')), ' ',
      h('span', {class: 'error-value'}, `error ${short(row.error)}${verdict}`),
      h('span', {class: `error-bar ${!limited ? 'free' : fits ? '' : 'above'} ${cut ? 'cut' : ''}`, 'aria-hidden': 'true'},
        h('span', {class: 'error-fill', vars: {width: `${100 * clamp(row.error / scale)}%`}}),
        limited && h('span', {class: 'threshold', vars: {left: `${100 * clamp(row.threshold / scale)}%`}})));
  }));
}

const firing = (row, show) => {
  const used = row.map((value, expert) => ({value, expert})).filter(({value}) => value > 0).sort((a, b) => b.value - a.value);
  return used.map(({value, expert}) => `${expert} (${show(value)})`).join(', ') || 'none';
};

/**
 * A heat map of blocks (rows) by experts (columns). values: [blocks][experts]; most: what the darkest colour stands for;
 * show(value): the value as text; frozen: [blocks][experts] or null. With a table of the same for those who cannot see it.
 */
export function heatMap({values, most, show, frozen, title, heading}) {
  const n = Math.max(0, ...values.map((row) => row.length));
  const id = newId('map');
  const every = n > 30 ? 10 : n > 12 ? 5 : 1;
  const grid = h('div', {class: 'heat', role: 'img',
    'aria-label': `${title}: ${values.length} blocks by ${n} experts. The table below has the numbers.`, vars: {'--n': n}},
  h('span', {class: 'heat-corner'}, 'block'),
  Array.from({length: n}, (_, e) => h('span', {class: 'heat-column'}, e % every === 0 ? String(e) : '')),
  values.map((row, b) => [
    h('span', {class: 'heat-row'}, String(b)),
    Array.from({length: n}, (_, e) => h('span', {
      class: `heat-cell ${frozen?.[b]?.[e] ? 'frozen' : ''}`,
      title: `block ${b}, expert ${e}: ${show(row[e] || 0)}${frozen?.[b]?.[e] ? ', frozen' : ''}`,
      vars: {'--v': `${100 * clamp((row[e] || 0) / (most || 1))}%`}})),
  ]));
  const table = h('table', {class: 'plain'},
    h('caption', {}, `${title}, as numbers`),
    h('thead', {}, h('tr', {}, h('th', {scope: 'col'}, 'Block'), h('th', {scope: 'col'}, heading),
      frozen && h('th', {scope: 'col'}, 'Frozen'))),
    h('tbody', {}, values.map((row, b) => h('tr', {}, h('th', {scope: 'row'}, String(b)), h('td', {}, firing(row, show)),
      frozen && h('td', {}, frozen[b].map((f, e) => (f ? e : -1)).filter((e) => e >= 0).join(', ') || 'none')))));
  return h('div', {class: 'heat-box', id},
    h('p', {class: 'axis', 'aria-hidden': 'true'}, 'expert'), grid,
    h('div', {class: 'scale', 'aria-hidden': 'true'}, show(0), h('span', {class: 'ramp'}), show(most),
      frozen && h('span', {class: 'frozen-key'}, h('span', {class: 'heat-cell frozen'}), 'frozen for good')),
    h('details', {class: 'as-table'}, h('summary', {}, 'As a table'), table));
}

/** The accuracy matrix: a row after each task, a column for each data set that was tested. */
export function matrixTable({columns, rows}, taught) {
  const cell = (value, isNew) => (value === null || value === undefined
    ? h('td', {class: 'none'}, h('span', {class: 'hidden-text'}, 'not measured'), h('span', {'aria-hidden': 'true'}, '–'))
    : h('td', {class: isNew ? 'heat-text new' : 'heat-text', vars: {'--v': `${clamp(value / 100) * 100}%`}}, value.toFixed(1),
      isNew && h('span', {class: 'hidden-text'}, ' just learned')));
  const known = new Set(taught);
  return h('div', {class: 'scroll', role: 'region', tabindex: '0', 'aria-label': 'Accuracy matrix'},
    h('table', {class: 'matrix'},
      h('caption', {}, 'Accuracy in percent: what was tested (columns), after which task (rows)'),
      h('thead', {}, h('tr', {}, h('th', {scope: 'col'}, 'After'),
        columns.map((name) => h('th', {scope: 'col', class: known.has(name) ? '' : 'held'}, name)))),
      h('tbody', {}, rows.map((row) => h('tr', {}, h('th', {scope: 'row'}, row.after),
        row.accuracy.map((value, c) => cell(value, columns[c] === row.after)))))));
}

// --- curves ---------------------------------------------------------------------------------------------------------

const HEIGHT = 240;
const N_STYLES = 6;

function niceTicks(low, high, about = 4) {
  const raw = (high - low) / about || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= raw);
  const ticks = [];
  for (let t = Math.ceil(low / step) * step; t <= high + step * 1e-6; t += step) ticks.push(Number(t.toPrecision(12)));
  return ticks;
}

const markers = [
  (x, y) => svg('circle', {cx: x, cy: y, r: 4}),
  (x, y) => svg('rect', {x: x - 3.5, y: y - 3.5, width: 7, height: 7}),
  (x, y) => svg('path', {d: `M${x} ${y - 5}l5 8h-10z`}),
  (x, y) => svg('path', {d: `M${x} ${y - 5}l5 5l-5 5l-5 -5z`}),
  (x, y) => svg('path', {d: `M${x} ${y + 5}l5 -8h-10z`}),
  (x, y) => svg('path', {d: `M${x - 4} ${y - 1.5}h8v3h-8z`}),
];

function draw(chart, width) {
  const {series, low, high, xLow, xHigh, xTicks, yLabel, xLabel, title, dots} = chart;
  const left = 44, right = 16, top = 30, bottom = 44;
  const X = (x) => left + (xHigh === xLow ? 0.5 : (x - xLow) / (xHigh - xLow)) * (width - left - right);
  const Y = (y) => top + (1 - (y - low) / (high - low || 1)) * (HEIGHT - top - bottom);
  const room = Math.max(1, Math.floor((width - left - right) / 70));
  const every = Math.ceil(xTicks.length / room);
  const box = {width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`};
  return svg('svg', {class: 'curves', ...box, role: 'img', 'aria-label': title},
    niceTicks(low, high).map((t) => [
      svg('line', {class: 'gridline', x1: left, x2: width - right, y1: Y(t), y2: Y(t)}),
      svg('text', {class: 'tick', x: left - 8, y: Y(t) + 4, 'text-anchor': 'end'}, short(t)),
    ]),
    xTicks.filter((_, i) => i % every === 0).map(({at, text}) => svg('text', {class: 'tick', x: X(at), y: HEIGHT - 24,
      'text-anchor': X(at) < left + 30 ? 'start' : X(at) > width - right - 30 ? 'end' : 'middle'},
    text.length > 14 ? `${text.slice(0, 13)}…` : text)),
    svg('text', {class: 'tick axis-name', x: width - right, y: HEIGHT - 6, 'text-anchor': 'end'}, xLabel),
    svg('text', {class: 'tick axis-name', x: left, y: 12}, yLabel),
    series.map(({points, style}) => svg('g', {class: `series s${style}`},
      svg('polyline', {points: points.map(([x, y]) => `${X(x).toFixed(1)},${Y(y).toFixed(1)}`).join(' ')}),
      dots && points.map(([x, y]) => markers[style](X(x), Y(y))))));
}

/** A chart that is drawn as wide as its place is. Gives {node, update(chart)}. */
function fitted(className) {
  const place = h('div', {class: className});
  let chart = null, width = 0;
  const redraw = () => chart && width > 0 && place.replaceChildren(draw(chart, width));
  new ResizeObserver(() => {
    const now = Math.floor(place.clientWidth);
    if (now === width) return;
    width = now;
    redraw();
  }).observe(place);
  return {node: place, update(next) { chart = next; redraw(); }};
}

/** Each data set's accuracy over the stages. */
export function accuracyCurves({columns, rows}, taught) {
  const known = new Set(taught);
  const series = columns.map((name, c) => ({name, style: c % N_STYLES, held: !known.has(name),
    points: rows.flatMap((row, r) => (Number.isFinite(row.accuracy[c]) ? [[r, row.accuracy[c]]] : []))}));
  const spoken = series.map(({name, points}) => {
    const values = points.map(([r, y]) => `${y.toFixed(1)} after ${rows[r].after}`);
    return `${name}: ${values.join(', ') || 'not measured'}`;
  });
  const place = fitted('curve-place');
  place.update({series, dots: true, low: 0, high: 100, xLow: 0, xHigh: Math.max(0, rows.length - 1), yLabel: 'accuracy in %',
    xLabel: 'after learning', xTicks: rows.map((row, at) => ({at, text: row.after})),
    title: `Accuracy over the stages. ${spoken.join('. ')}.`});
  const key = h('ul', {class: 'key', 'aria-label': 'Curves'}, series.map(({name, style, held}) => h('li', {},
    svg('svg', {class: `series s${style}`, width: 34, height: 14, 'aria-hidden': 'true'},
      svg('polyline', {points: '1,7 33,7'}), markers[style](17, 7)),
    h('span', {class: held ? 'held' : ''}, held ? `${name} (never learned)` : name))));
  return h('div', {}, place.node, key);
}

/** The loss over the steps so far. Gives {node, add(step, loss), clear()}. */
export function lossChart() {
  const place = fitted('curve-place loss');
  let points = [];
  const show = () => {
    if (!points.length) return;
    const values = points.map((p) => p[1]);
    const low = Math.min(...values), high = Math.max(...values), pad = (high - low || Math.abs(high) || 1) * 0.08;
    const end = points[points.length - 1][0];
    const at = ([step, loss]) => `${short(loss)} at step ${count(step)}`;
    place.update({series: [{points, style: 0}], dots: points.length === 1, low: Math.max(0, low - pad), high: high + pad,
      xLow: 0, xHigh: end || 1,
      yLabel: 'loss', xLabel: 'step', xTicks: niceTicks(0, end).map((at) => ({at, text: count(at)})),
      title: `Loss: ${at(points[0])}, ${at(points[points.length - 1])}, lowest ${short(low)}.`});
  };
  return {
    node: place.node,
    clear() { points = []; place.node.replaceChildren(); },
    add(step, loss) {
      const last = points[points.length - 1];
      if (!Number.isFinite(loss) || (last && last[0] >= step)) return;
      points.push([step, loss]);
      if (points.length > 600) points = points.filter((_, i) => i % 2 === 0 || i === points.length - 1);
      show();
    },
  };
}
