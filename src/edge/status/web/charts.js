// Charts over time, all on one axis and with one cursor: lines of sound windows with their intervals, and what is not sound
// beside the line. Windows of few labels are grey rings, open ones coloured rings: neither may look like a fall in quality.
/* global uPlot */

import { keep, make, setData, setText } from "./tables.js";
import * as words from "./words.js";

const HEIGHT = 180;
/** So many weak windows between two sound ones are bridged by the line; more are a gap. */
const BRIDGED = 2;
const charts = new Map();
const sync = "modelbeat";

const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** The colour of the n-th version. */
export const colour = (at) => style("--line-" + (1 + (at % 4)));

/**
 * Draws `specs` into `parent`: `{name, title, lines, bars, format, limits, note}`, where a line is `{label, colour, points}` and a
 * point `{x, start, end, value, low, high, kind}`, kind being `sound`, `weak` or `open`; x in seconds. `range` is the axis of all.
 */
export function draw(parent, specs, range) {
  const found = new Map(specs.map((spec) => [spec.name, spec]));
  keep(parent, found.keys(), create, (figure, name) => update(figure, found.get(name), range));
  for (const [name, chart] of charts) {
    if (!found.has(name)) {
      chart.plot?.destroy();
      charts.delete(name);
    }
  }
}

/** After a change of colours: all are made anew with the next numbers. */
export function forget() {
  for (const chart of charts.values()) {
    chart.plot?.destroy();
    chart.plot = undefined;
  }
}

function create(name) {
  const figure = make("figure", { data: { chart: name } });
  const caption = make("figcaption", {}, make("h3"), make("p", { class: "readout" }));
  const box = make("div", { class: "plot" });
  const numbers = make("details", {}, make("summary", { text: "As a table" }), make("div", { class: "scroll", tabindex: "0" }));
  figure.append(caption, box, numbers);
  const chart = { figure, box, numbers, readout: caption.querySelector(".readout") };
  numbers.addEventListener("toggle", () => tell(chart));
  new ResizeObserver(() => {
    if (chart.plot && box.clientWidth > 0) chart.plot.setSize({ width: box.clientWidth, height: HEIGHT });
  }).observe(box);
  charts.set(name, chart);
  return figure;
}

function update(figure, spec, range) {
  const chart = charts.get(spec.name);
  chart.spec = spec;
  chart.range = range;
  const many = (kind) => spec.lines.reduce((sum, line) => sum + line.points.filter((point) => point.kind === kind && point.value !== undefined).length, 0);
  setData(figure, { points: many("sound"), hollow: many("weak"), open: many("open") });
  setText(figure.querySelector("h3"), spec.title);
  figure.classList.toggle("empty", spec.lines.every((line) => line.points.every((point) => point.value === undefined)));
  const { xs, data, shape } = columns(spec, range);
  if (chart.plot && chart.shape !== shape) {
    chart.plot.destroy();
    chart.plot = undefined;
  }
  chart.xs = xs;
  if (chart.plot) {
    chart.plot.setData(data);
  } else {
    chart.shape = shape;
    chart.plot = new uPlot(options(chart), data, chart.box);
    const root = chart.plot.root;
    root.tabIndex = 0;
    root.setAttribute("role", "img");
    root.setAttribute("aria-roledescription", "chart");
    root.addEventListener("keydown", (event) => walk(chart, event));
  }
  chart.plot.root.setAttribute("aria-label", summary(spec));
  read(chart, chart.plot.cursor.idx);
  if (chart.numbers.open) tell(chart);
}

/** Columns as uPlot wants them: x; bars, behind all else; for each line low, high, line, weak, open. `undefined` is passed over, `null` is a gap. */
function columns(spec, range) {
  const places = new Set();
  for (const line of spec.lines) for (const point of line.points) places.add(point.x);
  const sorted = [...places].sort((a, b) => a - b);
  const steps = sorted.slice(1).map((x, at) => x - sorted[at]).sort((a, b) => a - b);
  const step = steps[Math.floor(steps.length / 2)] || 1;
  // Where nothing was for a while, the line ends.
  const xs = [];
  for (const x of sorted) {
    if (xs.length > 0 && x - xs[xs.length - 1] > step * 3.5) xs.push(xs[xs.length - 1] + step);
    xs.push(x);
  }
  const at = new Map(xs.map((x, place) => [x, place]));
  const data = [xs];
  if (spec.bars) {
    const bars = new Array(xs.length).fill(null);
    for (const bar of spec.bars.points) if (at.has(bar.x)) bars[at.get(bar.x)] = bar.value;
    data.push(bars);
  }
  const [low, high] = limits(spec, range);
  const clamp = (value) => (value === undefined ? undefined : Math.min(high, Math.max(low, value)));
  for (const line of spec.lines) {
    const [lows, highs, sound, weak, open] = Array.from({ length: 5 }, () => new Array(xs.length).fill(undefined));
    for (const x of xs) if (!places.has(x)) for (const column of [lows, highs, sound]) column[at.get(x)] = null;
    for (const point of line.points) {
      const place = at.get(point.x);
      if (point.value === undefined) continue;
      if (point.kind === "weak") weak[place] = clamp(point.value);
      else if (point.kind === "open") open[place] = clamp(point.value);
      else {
        sound[place] = point.value;
        lows[place] = point.low;
        highs[place] = point.high;
      }
    }
    part(sound, weak, [lows, highs, sound]);
    data.push(lows, highs, sound, weak, open);
  }
  return { xs, data, shape: JSON.stringify([spec.lines.map((line) => [line.label, line.colour]), Boolean(spec.bars), words.isShare(spec.name)]) };
}

/** Ends the line where too many weak windows follow one another. */
function part(sound, weak, lines) {
  let [from, many] = [0, 0];
  for (let place = 0; place <= weak.length; place += 1) {
    if (place < weak.length && sound[place] === undefined) {
      many += weak[place] === undefined ? 0 : 1;
      continue;
    }
    if (many > BRIDGED) for (const column of lines) column.fill(null, from, place);
    [from, many] = [place + 1, 0];
  }
}

/** Of the axis: what sound windows and their intervals need, and of the others what there is room for. */
function limits(spec) {
  if (spec.limits) return spec.limits;
  let [low, high] = [Infinity, -Infinity];
  const take = (value) => {
    if (value === undefined) return;
    low = Math.min(low, value);
    high = Math.max(high, value);
  };
  const points = spec.lines.flatMap((line) => line.points);
  const sound = points.filter((point) => point.kind === "sound" && point.value !== undefined);
  for (const point of sound.length > 0 ? sound : points) {
    for (const value of [point.value, point.low, point.high]) take(value);
  }
  if (low > high) return [0, 1];
  const pad = Math.max((high - low) * 0.08, spec.share ? 0.02 : Math.abs(high) * 0.02 || 0.01);
  [low, high] = [low - pad, high + pad];
  if (spec.share) return [Math.max(0, low), Math.min(1, high)];
  return [spec.positive ? Math.max(0, low) : low, high];
}

function options(chart) {
  const { spec } = chart;
  const ink = style("--quiet");
  const grid = { stroke: style("--grid"), width: 1 };
  const font = "11px " + style("--font");
  const axis = { stroke: ink, grid, ticks: { show: false }, font };
  const series = [{}];
  const bands = [];
  if (spec.bars) series.push({ scale: "bars", fill: style("--bar"), width: 0, points: { show: false }, paths: uPlot.paths.bars({ size: [0.7, 24], align: 0 }) });
  for (const line of spec.lines) {
    const first = series.length;
    const hidden = { stroke: "transparent", width: 0, points: { show: false } };
    const ring = (stroke, fill) => ({ stroke, width: 0, paths: () => null, points: { show: true, size: 6, width: 1.2, stroke, fill } });
    series.push(
      { ...hidden }, { ...hidden },
      { stroke: line.colour, width: 2, dash: line.dash, points: { show: (plot, at, from, to) => to - from < 40, size: 5, fill: line.colour } },
      ring(style("--weak"), style("--card")),
      ring(line.colour, style("--card")),
    );
    bands.push({ series: [first + 1, first], fill: line.colour + "26" });
  }
  const scales = { x: { time: true, range: () => chart.range }, y: { range: () => limits(chart.spec) } };
  const axes = [{ ...axis, space: 64, size: 36, values: (plot, ticks) => ticks.map(tickTime) }, { ...axis, size: 52, space: 24, values: (plot, ticks) => ticks.map((tick) => spec.axis(tick)) }];
  // Bars have no axis, which would shift this chart's time against the others': the readout says how many.
  if (spec.bars) scales.bars = { range: (plot, low, high) => [0, (high || 1) * 1.05] };
  return {
    width: chart.box.clientWidth || 300, height: HEIGHT, padding: [10, 16, 0, 0],
    tzDate: (at) => uPlot.tzDate(new Date(at * 1000), "Etc/UTC"),
    cursor: { sync: { key: sync, setSeries: false }, points: { show: false }, drag: { x: false, y: false }, y: false },
    legend: { show: false }, select: { show: false },
    scales, axes, series, bands,
    hooks: { setCursor: [(plot) => read(chart, plot.cursor.idx)] },
  };
}

/** The hour, and under it the day where it begins or the axis does. */
function tickTime(tick, at, ticks) {
  const [date, time] = [words.day(tick * 1000), words.clock(tick * 1000)];
  const isNew = at === 0 || words.day(ticks[at - 1] * 1000) !== date;
  const short = words.shortDay(tick * 1000);
  if (ticks.length > 1 && ticks[1] - ticks[0] >= 86400) return short;
  const hour = time.endsWith(":00") ? time.slice(0, 5) : time;
  return isNew ? hour + "\n" + short : hour;
}

/** The point of a line at the cursor. */
const pointAt = (line, x) => line.points.find((point) => point.x === x);

/** What is under the cursor, or what was last. */
function read(chart, at) {
  const { spec } = chart;
  const pointed = at !== null && at !== undefined && chart.xs ? chart.xs[at] : undefined;
  const shown = spec.lines.map((line) => (pointed === undefined ? last(line) : pointAt(line, pointed)));
  const first = shown.find((point) => point && point.value !== undefined);
  const parts = spec.lines.map((line, place) => {
    const point = shown[place];
    if (!point || point.value === undefined) return undefined;
    const key = make("span", { class: "key" });
    key.style.setProperty("--colour", line.colour);
    const extent = point.low === undefined ? "" : " (" + spec.format(point.low) + " – " + spec.format(point.high) + ")";
    return [make("span", { class: "reading" }, key, line.label + " ", make("strong", { text: spec.format(point.value) }), extent + remark(point) + (point.x === first.x ? "" : ", " + spec.when(point))), point];
  }).filter(Boolean);
  const bar = parts.length > 0 && spec.bars?.points.find(({ x }) => x === parts[0][1].x);
  if (bar) parts.push([make("span", { class: "reading" }, make("strong", { text: spec.bars.format(bar.value) }), " " + spec.bars.label), parts[0][1]]);
  const when = parts.length > 0 ? make("time", { text: spec.when(parts[0][1]) }) : make("span", { text: spec.note || "no value yet" });
  chart.readout.replaceChildren(when, ...parts.map(([part]) => part));
}

const remark = (point) => ({ weak: ", few labels", open: ", still open", sound: "" })[point.kind];

const last = (line) => line.points.findLast((point) => point.kind === "sound" && point.value !== undefined) || line.points.findLast((point) => point.value !== undefined);

/** Arrow keys go from window to window. */
function walk(chart, event) {
  const step = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
  if (step === undefined || !chart.xs?.length) return;
  event.preventDefault();
  const from = chart.plot.cursor.idx ?? chart.xs.length - 1;
  const to = Math.min(chart.xs.length - 1, Math.max(0, from + step));
  chart.plot.setCursor({ left: chart.plot.valToPos(chart.xs[to], "x"), top: 10 }, true, true);
}

/** A chart in a sentence. */
function summary(spec) {
  const lines = spec.lines.map((line) => {
    const sound = line.points.filter((point) => point.kind === "sound" && point.value !== undefined);
    if (sound.length === 0) return line.label + ": no sound window yet";
    const values = sound.map((point) => point.value);
    return line.label + ": last " + spec.format(values[values.length - 1]) + ", lowest " + spec.format(Math.min(...values)) + ", highest " + spec.format(Math.max(...values)) + ", " + sound.length + " points";
  });
  if (lines.length === 0) return spec.title + " over time: " + (spec.note || "no value yet") + ".";
  return spec.title + " over time. " + lines.join("; ") + ". Arrow keys move through it; the same as a table follows.";
}

/** The same numbers as a table, newest first; made when it is opened. */
function tell(chart) {
  if (!chart.numbers.open) return;
  const { spec } = chart;
  const points = new Map();
  for (const line of spec.lines) for (const point of line.points) points.set(point.x, point);
  const head = make("tr", {}, make("th", { text: "Time", scope: "col" }), ...spec.lines.map((line) => make("th", { text: line.label, scope: "col", class: "number" })));
  const rows = [...points.keys()].sort((a, b) => b - a).map((x) => {
    const cells = spec.lines.map((line) => {
      const point = pointAt(line, x);
      const text = !point || point.value === undefined ? "–" : spec.format(point.value) + remark(point);
      return make("td", { text, class: "number", data: { value: point?.value } });
    });
    return make("tr", {}, make("th", { text: spec.when(points.get(x)), scope: "row" }), ...cells);
  });
  const table = make("table", {}, make("caption", { text: spec.title, class: "quiet" }), make("thead", {}, head), make("tbody", {}, ...rows));
  chart.numbers.querySelector("div").replaceChildren(table);
}
