// Numbers and moments as people read them. All times are UTC: windows are cut there.

const UNITS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];

/** Metrics that are no share of something. */
const PLAIN = new Set(["mcc", "mae", "rmse", "bias", "r2"]);

/** What a metric is called. */
export const NAMES = {
  coverage: "Coverage", accuracy: "Accuracy", precision: "Precision", recall: "Recall", f1: "F1",
  "macro.precision": "Precision (macro)", "macro.recall": "Recall (macro)", "macro.f1": "F1 (macro)",
  mae: "Mean absolute error", rmse: "RMSE", bias: "Bias", r2: "R²",
};

/** What quality is read by, of each task. */
export const METRICS = {
  binary: ["accuracy", "precision", "recall", "f1"],
  multiclass: ["accuracy", "macro.precision", "macro.recall", "macro.f1"],
  regression: ["mae", "rmse", "bias", "r2"],
};

export function share(value) {
  if (value === undefined) return "–";
  return (value * 100).toFixed(1) + " %";
}

export function count(value) {
  return value === undefined ? "–" : value.toLocaleString("en-GB");
}

export function plain(value) {
  if (value === undefined) return "–";
  const size = Math.abs(value);
  if (size >= 1e6 || (size > 0 && size < 1e-3)) return value.toExponential(2);
  return value.toFixed(size >= 100 ? 1 : 3);
}

export function metric(name, value) {
  return PLAIN.has(name) ? plain(value) : share(value);
}

/** How bad an alert is: a mark that can be told apart without colours, and a word. */
export const severity = (name) => ({ critical: "▲ ", warning: "◆ " }[name] || "○ ") + name;

/** True where 0 and 1 are the ends of what can be. */
export const isShare = (name) => !PLAIN.has(name);

export function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  while (value >= 1024 && at < units.length - 1) { value /= 1024; at += 1; }
  return (at === 0 ? value : value.toFixed(1)) + " " + units[at];
}

/** Milliseconds as the two largest units that say something. */
export function span(ms) {
  if (ms === undefined) return "–";
  if (ms < 1000) return Math.round(ms) + " ms";
  let seconds = Math.round(ms / 1000);
  const parts = [];
  for (const [size, unit] of UNITS) {
    const many = Math.floor(seconds / size);
    if (many > 0 && parts.length < 2) parts.push(many + " " + unit);
    seconds -= many * size;
  }
  return parts.join(" ") || "0 s";
}

export function ago(moment, now) {
  return span(Math.max(0, now - moment)) + " ago";
}

const iso = (moment) => new Date(moment).toISOString();
export const day = (moment) => iso(moment).slice(0, 10);
export const shortDay = (at) => new Date(at).toLocaleDateString("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });
export const clock = (moment) => iso(moment).slice(11, 19);
export const moment = (at) => day(at) + " " + clock(at);

/** From when to when, as short as it can be said. */
export function stretch(start, end) {
  const hm = (at) => (at % 60000 === 0 ? iso(at).slice(11, 16) : clock(at));
  if (start % 86400000 === 0 && end % 86400000 === 0) {
    return end - start === 86400000 ? day(start) : day(start) + " – " + day(end - 1);
  }
  const until = day(start) === day(end) || end - start <= 86400000 ? hm(end) : day(end) + " " + hm(end);
  return day(start) + " " + hm(start) + "–" + until;
}

/** How long a window is, in seconds, from how the pipeline file writes it; endless: Infinity. */
export function seconds(length) {
  const found = /^(\d+)(ms|s|mo|m|h|d)/.exec(length);
  if (!found) return Infinity;
  return Number(found[1]) * { ms: 0.001, s: 1, m: 60, h: 3600, d: 86400, mo: 2629800 }[found[2]];
}
