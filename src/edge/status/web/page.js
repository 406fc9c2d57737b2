// The page: asks the agent every two seconds, and shows what it answers. Whatever comes from there is text, never markup.

import * as charts from "./charts.js";
import { keep, make, setData, setText, table } from "./tables.js";
import * as words from "./words.js";

const EVERY = 2000;
/** Lines in one chart: beyond four, colours cannot be told apart. */
const VERSIONS_MAX = 4;

const by = (id) => document.getElementById(id);
const chosen = new URLSearchParams(location.hash.slice(1));
const order = { by: "predictions", down: true };
const guessed = {};
/** Alerts that have been shown to fire; undefined before the first answer. */
let firing;
let token = sessionStorage.getItem("token");
let answer;
let tag;
let heard = 0;
let gone = false;
let pace = EVERY;

async function ask() {
  const headers = {};
  if (token) headers.authorization = "Bearer " + token;
  if (tag) headers["if-none-match"] = tag;
  try {
    const got = await fetch("/api/v1/status", { headers, cache: "no-store", signal: AbortSignal.timeout(20000) });
    if (got.status === 401) return askToken();
    if (got.status !== 304) {
      if (!got.ok) throw new Error("status " + got.status);
      answer = await got.json();
      tag = got.headers.get("etag");
      show();
    }
    heard = Date.now();
    gone = false;
  } catch {
    gone = true;
  }
  beat();
}

function askToken() {
  const form = by("token");
  setText(form.querySelector(".wrong"), token ? "That is not the token." : "");
  token = null;
  form.hidden = false;
  document.body.dataset.state = "token";
}

by("token").addEventListener("submit", (event) => {
  event.preventDefault();
  token = new FormData(event.target).get("token");
  sessionStorage.setItem("token", token);
  event.target.hidden = true;
  event.target.reset();
  ask();
});

/** How fresh all of it is. */
function beat() {
  if (!answer || document.body.dataset.state === "token") {
    if (gone) setText(by("updated"), "The agent does not answer. Trying again.");
    return;
  }
  const quiet = Date.now() - heard;
  const isStale = gone || quiet > 5 * pace;
  document.body.dataset.state = isStale ? "stale" : "live";
  const finished = answer.pipelines.every((pipeline) => pipeline.verdict === "finished");
  const lost = finished ? "The agent has finished and gone: this is what it said last." : "No answer for " + words.span(quiet) + ": these numbers are old. Trying again.";
  setText(by("updated"), isStale ? lost : "as of " + words.clock(answer.agent.now + quiet) + " UTC");
}

// -- What is looked at -------------------------------------------------------------------------------------------------

const unique = (values) => [...new Set(values)];
const sliceKey = (series) => (series.slice_value === undefined ? series.slice : series.slice + "=" + series.slice_value);
const sound = (series) => series.history.filter((window) => !window.low_support && !window.open).length;

/** The value chosen, if it can be had; else the one guessed before, if that is still a good one; else `best`. */
function pick(name, values, best, isGood = () => true) {
  if (values.includes(chosen.get(name))) return chosen.get(name);
  if (!(values.includes(guessed[name]) && isGood(guessed[name]))) guessed[name] = best();
  return guessed[name];
}

function choices(id, options, value, label = (option) => option) {
  const select = by(id);
  keep(select, options, (option) => make("option", { value: option }), (element, option) => setText(element, label(option)));
  select.value = value;
  select.closest("label").hidden = options.length < 2;
}

function look() {
  const pipelines = answer.pipelines.map((pipeline) => pipeline.pipeline);
  const name = pick("pipeline", pipelines, () => pipelines[0]);
  const pipeline = answer.pipelines.find((one) => one.pipeline === name);
  if (!pipeline) return {};
  const busiest = (values, of) => () => {
    const sums = values.map((value) => [pipeline.series.filter((series) => series.slice === "_all" && of(series) === value).reduce((sum, series) => sum + series.current.predictions, 0), value]);
    return sums.sort((a, b) => b[0] - a[0])[0]?.[1];
  };
  const models = unique(pipeline.series.map((series) => series.model)).sort();
  const model = pick("model", models, busiest(models, (series) => series.model));
  const ofModel = pipeline.series.filter((series) => series.model === model);
  const versions = unique(ofModel.map((series) => series.version)).sort(compare);
  const version = pick("version", versions, busiest(versions, (series) => series.version));
  const lengths = unique(ofModel.map((series) => series.window)).sort((a, b) => words.seconds(a) - words.seconds(b));
  const whole = (length) => ofModel.find((series) => series.window === length && series.version === version && series.slice === "_all");
  const soundIn = (length) => (whole(length) ? sound(whole(length)) : 0);
  const length = pick("window", lengths, () => lengths.find((one) => soundIn(one) > 2) || [...lengths].sort((a, b) => soundIn(b) - soundIn(a))[0], (one) => soundIn(one) > 0 || lengths.every((other) => soundIn(other) === 0));
  const slices = unique(ofModel.filter((series) => series.window === length).map(sliceKey)).sort((a, b) => (b === "_all") - (a === "_all") || compare(a, b));
  const slice = pick("slice", slices, () => "_all", (one) => one === "_all");
  choices("pipeline", pipelines, name);
  choices("model", models, model);
  choices("version", versions, version, (option) => option || "(none)");
  choices("window", lengths, length);
  choices("slice", slices, slice, (option) => (option === "_all" ? "all" : option));
  const shown = ofModel.filter((series) => series.window === length && sliceKey(series) === slice);
  const main = shown.find((series) => series.version === version) || shown[0];
  const others = shown.filter((series) => series !== main).sort((a, b) => b.current.predictions - a.current.predictions);
  const lines = [main, ...others].filter(Boolean).slice(0, VERSIONS_MAX).sort((a, b) => compare(a.version, b.version));
  return { pipeline, model, ofModel, versions, version, length, slice, main, lines, left: others.length + 1 - lines.length, whole: whole(length) };
}

const compare = (a, b) => String(a).localeCompare(String(b), "en", { numeric: true });

for (const id of ["pipeline", "model", "version", "window", "slice"]) {
  by(id).addEventListener("change", (event) => choose({ [id]: event.target.value }));
}

function choose(values) {
  for (const [name, value] of Object.entries(values)) chosen.set(name, value);
  history.replaceState(null, "", "#" + chosen);
  show();
}

// -- Showing it --------------------------------------------------------------------------------------------------------

function show() {
  if (!answer) return;
  const seen = look();
  by("main").hidden = false;
  document.body.dataset.updated = answer.agent.now;
  document.body.dataset.state = "live";
  setText(by("agent"), "v" + answer.agent.version + " on " + answer.agent.host + ", up " + words.span(answer.agent.now - answer.agent.started));
  if (!seen.pipeline) return;
  document.title = seen.pipeline.pipeline + " · modelbeat";
  const metrics = words.METRICS[seen.pipeline.task?.kind] || words.METRICS.binary;
  showVerdict(seen.pipeline);
  showAlerts(seen.pipeline);
  showTiles(seen, metrics);
  showCharts(seen, metrics);
  showConfusion(seen);
  showLabels(seen);
  showSeries(seen, metrics);
  showInputs(seen.pipeline);
  showTotals(seen.pipeline);
  showDeadLetters(seen.pipeline);
}

function showVerdict(pipeline) {
  const element = by("verdict");
  setData(element, { verdict: pipeline.verdict, stage: pipeline.stage });
  setText(element, pipeline.verdict + (pipeline.stage === "stopping" || pipeline.stage === "opening" ? " (" + pipeline.stage + ")" : ""));
  const said = [...pipeline.reasons, ...pipeline.notes];
  by("reasons").hidden = said.length === 0;
  keep(by("reasons"), said, (text) => make("li", { text }), () => {});
}

function showAlerts({ alerts }) {
  by("alerts-section").hidden = !alerts;
  tellOfAlerts();
  if (!alerts) return;
  const { active, left_out: left } = alerts;
  const many = (state) => active.filter((alert) => alert.state === state).length;
  const counts = ["firing", "acknowledged", "pending"].filter((state) => many(state) > 0).map((state) => many(state) + " " + state);
  setText(by("alerts-note"), active.length === 0 ? "No alert fires." : counts.join(", ") + "." + (left > 0 ? " " + words.count(left) + " more are left out." : ""));
  by("alerts").closest(".scroll").hidden = active.length === 0;
  const columns = [
    { name: "rule", label: "Rule" }, { name: "severity", label: "Severity" }, { name: "state", label: "State" }, { name: "about", label: "About" },
    { name: "window", label: "Window" }, { name: "value", label: "Value", number: true }, { name: "since", label: "Since" }, { name: "reason", label: "Why" },
  ];
  table(by("alerts"), columns, active.map((alert) => ({
    key: alert.id,
    data: { alert: alert.id, rule: alert.rule, severity: alert.severity, state: alert.state, model: alert.model, version: alert.version, slice: alert.slice, sliceValue: alert.slice_value },
    cells: [
      { text: alert.rule, head: true }, { text: words.severity(alert.severity), field: "severity" },
      { text: alert.state + (alert.muted ? ", muted" : ""), field: "state" }, { text: about(alert), field: "about", wide: true },
      { text: alert.start === undefined ? "–" : words.stretch(alert.start, alert.end), value: alert.start, field: "window" },
      { text: measured(alert), value: alert.value, field: "value", title: alert.threshold },
      { text: words.moment(alert.fired ?? alert.began), value: alert.fired ?? alert.began, field: "since" },
      { text: alert.reason, field: "reason", wide: true },
    ],
  })));
}

/** Those of all pipelines that fire now and did not at the answer before are said once, to whom the page is read out. */
function tellOfAlerts() {
  const now = answer.pipelines.flatMap((pipeline) => pipeline.alerts?.active || []).filter((alert) => alert.state === "firing");
  const fresh = firing ? now.filter((alert) => !firing.has(alert.id)) : [];
  firing = new Set(now.map((alert) => alert.id));
  if (fresh.length > 0) setText(by("alerts-news"), fresh.map((alert) => alert.severity + ": " + alert.rule + " fires for " + about(alert)).join("; "));
}

function about(alert) {
  if (alert.model === undefined) return "the pipeline";
  return alert.model + (alert.version ? " " + alert.version : "") + (alert.slice_value === undefined ? "" : ", " + alert.slice + " = " + alert.slice_value);
}

function measured({ metric = "", value }) {
  const name = metric.replace(/^quality\./, "");
  return words.NAMES[name] && value !== undefined ? words.metric(name, value) : words.plain(value);
}

function showTiles({ pipeline, main }, metrics) {
  const tiles = by("tiles");
  const current = main?.current;
  setData(tiles, { start: current?.start, end: current?.end, window: main?.window, lowSupport: current?.low_support, open: current?.open, version: main?.version });
  setText(by("now-note"), current ? describe(main, pipeline) : pipeline.totals.predictions > 0 ? "No window yet." : "No prediction has come in yet. Those that do appear here within a second or two.");
  keep(tiles, current ? [...metrics, "coverage"] : [], () => make("div", {}, make("dt"), make("dd", { class: "value" }), make("dd", { class: "extent" })), (tile, name) => {
    const number = current.metrics[name];
    const [term, value, extent] = tile.children;
    setText(term, words.NAMES[name]);
    setData(value, { metric: name, value: number?.value, low: number?.low, high: number?.high });
    setText(value, number ? words.metric(name, number.value) : "–");
    let note = number?.low === undefined ? "" : "95 %: " + words.metric(name, number.low) + " – " + words.metric(name, number.high);
    if (!number) note = current.undefined?.[name] || "no value";
    if (name === "coverage" && number) note = words.count(current.labelled) + " of " + words.count(current.predictions) + " labelled";
    setText(extent, note);
    tile.classList.toggle("weak", Boolean(current.low_support) && name !== "coverage");
  });
}

function describe(series, pipeline) {
  const { current } = series;
  const parts = [(series.version ? "Version " + series.version + ", " : "") + "window " + words.stretch(current.start, current.end)];
  parts.push(words.count(current.predictions) + " predictions, " + words.count(current.judged) + " judged");
  if (current.low_support) parts.push("too few labels to say much (under " + pipeline.min_support + ")");
  if (current.open) parts.push("still open: provisional");
  if (current.final) parts.push("final");
  return parts.join(" · ");
}

/** Windows as points of a metric. */
function points(series, read) {
  return series.history.map((window) => {
    const number = read(window) || {};
    const kind = window.open ? "open" : number.weighs !== false && window.low_support ? "weak" : "sound";
    return { x: (window.start + window.end) / 2000, start: window.start, end: window.end, kind, value: number.value, low: number.low, high: number.high };
  });
}

function showCharts({ pipeline, lines, left, main, whole }, metrics) {
  const windows = lines.flatMap((series) => series.history);
  if (windows.length === 0) {
    setText(by("legend"), "Nothing to draw yet.");
    charts.draw(by("charts"), [], [0, 1]);
    return;
  }
  const range = [Math.min(...windows.map((window) => window.start)) / 1000, Math.max(...windows.map((window) => window.end)) / 1000];
  const named = lines.map((series, at) => ({ series, label: series.version || series.model, colour: charts.colour(at) }));
  const when = (point) => words.stretch(point.start, point.end);
  const specs = metrics.map((name) => ({
    name, title: words.NAMES[name], share: words.isShare(name), positive: name !== "bias" && name !== "r2", when,
    format: (value) => words.metric(name, value), axis: (tick) => (words.isShare(name) ? Math.round(tick * 1000) / 10 + " %" : String(tick)),
    lines: named.map(({ series, label, colour }) => ({ label, colour, points: points(series, (window) => window.metrics[name]) })),
  }));
  const percent = (tick) => Math.round(tick * 100) + " %";
  const volumes = new Map();
  for (const window of windows) {
    const x = (window.start + window.end) / 2000;
    volumes.set(x, (volumes.get(x) || 0) + window.predictions);
  }
  specs.push({
    name: "coverage", title: "Coverage, and predictions behind it", limits: [0, 1], when, format: words.share, axis: percent,
    bars: { label: "predictions", format: words.count, points: [...volumes].map(([x, value]) => ({ x, value })) },
    lines: named.map(({ series, label, colour }) => ({ label, colour, points: points(series, (window) => ({ ...window.metrics.coverage, weighs: false })) })),
  });
  if (pipeline.host.history.length > 0 || windows.some((window) => window.host)) specs.push(host(pipeline, lines, range));
  const timed = whole?.history.some((window) => window.latency_ms) ? whole : undefined;
  if (timed) specs.push(latency(timed, when));
  setText(by("legend"), legend(windows, pipeline, left, main));
  charts.draw(by("charts"), specs, range);
}

function legend(windows, pipeline, left, main) {
  const weak = windows.filter((window) => window.low_support).length;
  const parts = ["Each point is a window of " + main.window + "; the band is its 95 % interval."];
  if (weak > 0) parts.push("Grey rings (" + weak + ") have fewer than " + pipeline.min_support + " judged predictions and are not part of the line.");
  if (windows.some((window) => window.open)) parts.push("Coloured rings are still open: provisional.");
  if (main.history_left_out > 0) parts.push(words.count(main.history_left_out) + " older windows are not shown.");
  if (left > 0) parts.push(left + " more versions are in the table below.");
  return parts.join(" ");
}

/** Window by window, and for the last hour snapshot by snapshot. */
function host(pipeline, lines, [from, until]) {
  const snapshots = pipeline.host.history.filter((snapshot) => snapshot.time / 1000 >= from && snapshot.time / 1000 <= until);
  const first = snapshots.length > 0 ? snapshots[0].time : Infinity;
  const windows = new Map();
  for (const window of lines.flatMap((series) => series.history)) {
    if (window.host && window.end <= first) windows.set(window.start, window);
  }
  const ordered = [...windows.values()].sort((a, b) => a.start - b.start);
  const names = unique([...snapshots.flatMap((snapshot) => Object.keys(snapshot)), ...ordered.flatMap((window) => Object.keys(window.host))]);
  const shares = [["cpu", "CPU"], ["memory", "Memory"], ["process_cpu", "Model's CPU"], ...names.filter((name) => name.startsWith("gpu.") && name.endsWith("pct")).map((name) => [name, "GPU " + name.slice(4).replace(/\.?pct$/, "")])];
  const shown = shares.filter(([name]) => names.includes(name));
  const of = (name) => [
    ...ordered.map((window) => ({ x: (window.start + window.end) / 2000, start: window.start, end: window.end, kind: "sound", value: window.host[name]?.avg })),
    ...snapshots.map((snapshot) => ({ x: snapshot.time / 1000, at: snapshot.time, kind: "sound", value: snapshot[name] })),
  ];
  return {
    name: "host", title: "Host: " + (shown.map(([, label]) => label).join(", ") || "CPU, memory, GPU"), limits: [0, 1],
    when: (point) => (point.at === undefined ? words.stretch(point.start, point.end) : words.moment(point.at)),
    format: words.share, axis: (tick) => Math.round(tick * 100) + " %", note: "no readings in this stretch of time",
    lines: shown.map(([name, label], at) => ({ label, colour: charts.colour(at), points: of(name) })),
  };
}

function latency(series, when) {
  return {
    name: "latency", title: "Latency" + (series.version ? " of " + series.version : ""), positive: true, when, format: (value) => Number(value.toPrecision(3)) + " ms", axis: (tick) => tick + " ms",
    lines: ["p50", "p95", "p99"].map((name, at) => ({ label: name, colour: charts.colour(at), points: points(series, (window) => ({ value: window.latency_ms?.[name], weighs: false })) })),
  };
}

function showConfusion({ main, pipeline }) {
  const element = by("confusion");
  const confusion = main?.confusion;
  element.hidden = !confusion;
  element.closest("section").hidden = pipeline.task?.kind === "regression";
  if (!confusion) {
    setText(by("confusion-note"), main && main.current.judged > 0 ? "Too many classes to show for a slice." : "No labelled prediction in this window yet.");
    element.tBodies[0].replaceChildren();
    return;
  }
  const { classes, counts, classes_left_out: left } = confusion;
  setText(by("confusion-note"), "Rows: what was true. Columns: what was predicted." + (left > 0 ? " " + left + " smaller classes are left out." : ""));
  setText(element.caption, "Labelled predictions of the current window by true and predicted class");
  const head = make("tr", {}, make("td", { text: "true \\ predicted", class: "dim" }), ...classes.map((name) => make("th", { text: name, scope: "col", class: "number" })), make("th", { text: "right", scope: "col", class: "number" }));
  element.tHead.replaceChildren(head);
  const rows = classes.map((actual, at) => {
    const sum = counts[at].reduce((a, b) => a + b, 0);
    const cells = classes.map((predicted, place) => {
      const value = counts[at][place];
      const cell = make("td", { text: words.count(value), class: "number cell " + (at === place ? "right" : "wrong"), data: { actual, predicted, value } });
      cell.style.setProperty("--share", sum > 0 ? value / sum : 0);
      cell.title = words.share(sum > 0 ? value / sum : undefined) + " of what is " + actual;
      return cell;
    });
    return make("tr", {}, make("th", { text: actual, scope: "row" }), ...cells, make("td", { text: sum > 0 ? words.share(counts[at][at] / sum) : "–", class: "number dim" }));
  });
  element.tBodies[0].replaceChildren(...rows);
}

function facts(element, entries, attribute) {
  const found = new Map(entries.map((entry) => [entry[0], entry]));
  keep(element, found.keys(), () => make("div", {}, make("dt"), make("dd")), (place, key) => {
    const [, label, value, text, alarm] = found.get(key);
    setText(place.firstElementChild, label);
    const data = place.lastElementChild;
    setData(data, { [attribute]: key, value });
    setText(data, text);
    place.classList.toggle("alarm", Boolean(alarm));
  });
}

function showLabels({ main }) {
  const current = main?.current;
  const delay = (name) => [name, "Delay " + name, current.label_delay_ms?.[name], words.span(current.label_delay_ms?.[name])];
  const counted = (name, label) => [name, label, current[name], words.count(current[name])];
  const coverage = current?.metrics.coverage?.value;
  facts(by("labels"), current ? [
    ["coverage", "Coverage", coverage, words.share(coverage)], counted("labelled", "Labelled"), counted("late_labels", "Late"), counted("corrected_labels", "Corrected"),
    delay("p50"), delay("p95"), delay("p99"), counted("unanswered", "Unanswered"), counted("duplicates", "Duplicates"),
  ] : [], "label");
}

function showSeries({ pipeline, ofModel, length, main, versions, model }, metrics) {
  const names = ["coverage", ...metrics];
  const rows = (ofModel || []).filter((series) => series.window === length);
  const columns = [
    { name: "version", label: "Version", sort: true }, { name: "slice", label: "Slice", sort: true },
    { name: "start", label: "Window", sort: true },
    { name: "predictions", label: "Predictions", number: true, sort: true }, { name: "judged", label: "Judged", number: true, sort: true },
    ...names.map((name) => ({ name, label: words.NAMES[name], number: true, sort: true })),
  ];
  const read = {
    version: (series) => series.version, slice: (series) => (sliceKey(series) === "_all" ? "" : sliceKey(series)),
    start: (series) => series.current.start, predictions: (series) => series.current.predictions, judged: (series) => series.current.judged,
  };
  const value = read[order.by] || ((series) => series.current.metrics[order.by]?.value);
  rows.sort((a, b) => {
    const [one, other] = [value(a), value(b)];
    // What has no value comes last, whichever way.
    if (one === undefined || other === undefined) return (one === undefined) - (other === undefined);
    const ahead = typeof one === "number" ? one - other : compare(one, other);
    return (order.down ? -ahead : ahead) || compare(a.version, b.version) || compare(sliceKey(a), sliceKey(b));
  });
  const left = pipeline.series_left_out > 0 ? " " + words.count(pipeline.series_left_out) + " more combinations are left out." : "";
  setText(by("series-note"), rows.length > 0 ? "Of each, the newest window of " + length + " that has ended and has " + pipeline.min_support + " judged predictions, or else the newest that has any (grey). " + rows.length + " combinations" + (versions.length > 1 ? " of version and slice" : "") + " of " + model + "." + left : "Nothing yet.");
  table(by("series"), columns, rows.map((series) => ({
    key: [series.version, sliceKey(series), series.window].join("\n"),
    data: { model: series.model, version: series.version, slice: series.slice, sliceValue: series.slice_value, window: series.window, lowSupport: series.current.low_support },
    chosen: series === main,
    cells: [
      { text: series.version || "–", head: true }, { text: sliceKey(series) === "_all" ? "all" : series.slice + " = " + series.slice_value, press: () => choose({ version: series.version, slice: sliceKey(series) }) },
      { text: words.stretch(series.current.start, series.current.end), value: series.current.start, field: "start" },
      { text: words.count(series.current.predictions), value: series.current.predictions, field: "predictions" },
      { text: words.count(series.current.judged), value: series.current.judged, field: "judged" },
      ...names.map((name) => seriesCell(series.current, name)),
    ],
  })), order, (column) => {
    if (order.by === column.name) order.down = !order.down;
    else Object.assign(order, { by: column.name, down: Boolean(column.number) || column.name === "start" });
    show();
  });
}

function seriesCell(current, name) {
  const number = current.metrics[name];
  return {
    text: number ? words.metric(name, number.value) : "–", value: number?.value, metric: name, low: number?.low, high: number?.high,
    dim: current.low_support && name !== "coverage",
    title: number ? (number.low === undefined ? "" : "95 %: " + words.metric(name, number.low) + " – " + words.metric(name, number.high)) : current.undefined?.[name],
  };
}

function showInputs(pipeline) {
  const columns = [{ name: "input", label: "Input" }, ...["Events", "Predictions", "Labels", "Duplicates", "Dead letters", "Ignored", "Lag", "Not yet safe"].map((label) => ({ name: label, label, number: true })), { name: "more", label: "" }];
  const counted = (input, name) => ({ text: words.count(input[name]), value: input[name], field: name });
  table(by("inputs"), columns, pipeline.inputs.map((input) => ({
    key: input.name, data: { input: input.name },
    cells: [
      { text: input.name, head: true },
      ...["events", "predictions", "labels", "duplicates", "dead_letters", "ignored"].map((name) => counted(input, name)),
      { text: input.lag_bytes === 0 ? "0" : words.bytes(input.lag_bytes) + (input.waiting_since ? ", " + words.span(Math.max(0, answer.agent.now - input.waiting_since)) : ""), value: input.lag_bytes, field: "lag_bytes" },
      { text: words.bytes(input.unacknowledged_bytes), value: input.unacknowledged_bytes, field: "unacknowledged_bytes" },
      { text: inputNote(input), wide: true },
    ],
  })));
}

function inputNote(input) {
  if (input.type === "file") return input.files === undefined ? "" : words.count(input.files) + (input.files === 1 ? " file, " : " files, ") + words.bytes(input.read_bytes) + " read";
  const answers = Object.entries(input.answers || {}).map(([status, many]) => words.count(many) + " × " + status);
  return "journal " + words.bytes(input.journal_bytes || 0) + (answers.length > 0 ? "; answers: " + answers.join(", ") : "");
}

function showTotals(pipeline) {
  const { totals, waiting, shipping = {} } = pipeline;
  setText(by("totals-note"), totals.balanced ? "Every event that came in is accounted for." : "The events do not add up: this is a bug, please report it.");
  const of = (from, name, label, alarm) => [name, label, from[name], words.count(from[name]), alarm && from[name] > 0];
  facts(by("totals"), [
    of(totals, "predictions", "Predictions"), of(totals, "labels", "Labels"), of(waiting, "open_predictions", "Open predictions"), of(waiting, "early_labels", "Early labels"),
    of(waiting, "windows", "Windows that may change"), of(totals, "duplicates", "Duplicates"), of(totals, "ignored", "Ignored"), of(totals, "dead_letters", "Dead letters", true),
    of(totals, "orphans", "Orphaned labels"), of(totals, "expired", "Expired predictions"), of(totals, "too_old", "Came too late"), ["lost_bytes", "Lost before read", totals.lost_bytes, words.bytes(totals.lost_bytes), totals.lost_bytes > 0],
    of(shipping, "stored", "Documents stored"), of(shipping, "superseded", "Superseded"), of(shipping, "in_flight", "In flight"), of(shipping, "refused", "Refused", true),
    of(shipping, "retried", "Sent again"), ["spool_documents", "In the spool", shipping.spool_documents, words.count(shipping.spool_documents) + (shipping.spool_bytes_max ? ", " + words.bytes(shipping.spool_bytes) : "")],
    ["checkpoint", "Last checkpoint", shipping.checkpoint_saved, shipping.checkpoint_saved ? words.ago(shipping.checkpoint_saved, answer.agent.now) : "–"],
  ], "total");
}

function showDeadLetters(pipeline) {
  const letters = pipeline.dead_letters?.newest || [];
  by("dead-letters").hidden = letters.length === 0;
  setText(by("dead-note"), letters.length === 0 ? "None: all that came in could be read, and all that was made could be stored." : "The newest " + letters.length + ". `modelbeat dead-letters list` shows them whole, `retry` tries them again.");
  const columns = [{ name: "time", label: "Time" }, { name: "kind", label: "What" }, { name: "reason", label: "Reason" }, { name: "origin", label: "From" }];
  table(by("dead-letters"), columns, letters.map((letter, at) => ({
    key: at, cells: [{ text: letter.time === undefined ? "–" : words.moment(letter.time) }, { text: letter.kind }, { text: letter.reason, wide: true }, { text: letter.origin, wide: true }],
  })));
}

// -- Going on ----------------------------------------------------------------------------------------------------------

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  charts.forget();
  show();
});

async function go() {
  for (;;) {
    const start = Date.now();
    if (document.visibilityState === "visible" && document.body.dataset.state !== "token") await ask();
    // A slow line or a slow phone is asked less of.
    pace = Math.max(EVERY, 5 * (Date.now() - start));
    await new Promise((resume) => setTimeout(resume, pace));
  }
}

document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible") ask();
});
setInterval(beat, 1000);
go();
