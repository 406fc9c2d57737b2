#!/usr/bin/env python3
"""Expected alarms and figures for src/flow/detect, from river and scipy.

    python3 -m venv /tmp/ref-venv && /tmp/ref-venv/bin/pip install -r tests/reference/requirements.txt
    /tmp/ref-venv/bin/python tests/reference/detect.py              writes tests/reference/detect.json anew
    /tmp/ref-venv/bin/python tests/reference/detect.py --check      recomputes and compares; exit code 1 if they differ

Streams: errors (0/1) and values that river models make on the data sets in river's wheel, each learning from a row after it
was tested on it; and simulated ones, of which the JSON holds the seed, since the Rust test makes them by the same
generator (SplitMix64). Numbers are text as Python writes them, so that reading them rounds nothing. The chart's limits are
sums over all windows with their weights written out, not recursions.
"""

import hashlib
import json
import math
import pathlib
import sys

import numpy as np
import river
import scipy
from river import datasets, drift, linear_model, naive_bayes, preprocessing, tree
from river.datasets import synth
from scipy import special, stats
from scipy.spatial import distance

TARGET = pathlib.Path(__file__).with_name("detect.json")
EVERY = 251  # records between two looks at a detector's sums
MASK = (1 << 64) - 1


class SplitMix64:
    """Steele, Lea & Flood 2014; the uniform numbers have 53 bits."""

    def __init__(self, seed):
        self.state = seed

    def uniform(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        mixed = self.state
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & MASK
        return ((mixed ^ (mixed >> 31)) >> 11) * 2.0**-53


def simulated_errors(seed, parts):
    chance = SplitMix64(seed)
    return [1.0 if chance.uniform() < rate else 0.0 for rate, count in parts for _ in range(count)]


def simulated_values(seed, parts):
    """Twelve uniform numbers, added one by one, are nearly normal with variance 1 around 6."""
    chance, values = SplitMix64(seed), []
    for mean, deviation, count in parts:
        for _ in range(count):
            total = 0.0
            for _ in range(12):
                total += chance.uniform()
            values.append(mean + deviation * (total - 6.0))
    return values


def errors_of(model, rows):
    found = []
    for x, y in rows:
        said = model.predict_one(x)
        if said is not None:
            found.append(0.0 if said == y else 1.0)
        model.learn_one(x, y)
    return found


def absolute_errors_of(model, rows):
    found = []
    for x, y in rows:
        found.append(float(abs(model.predict_one(x) - y)))
        model.learn_one(x, y)
    return found


def frozen_errors(model, rows, learns):
    """A model that stops learning: what a server runs."""
    found = []
    for at, (x, y) in enumerate(rows):
        found.append(0.0 if model.predict_one(x) == y else 1.0)
        if at < learns:
            model.learn_one(x, y)
    return found


def scaled(model):
    return preprocessing.StandardScaler() | model


def sea():
    before, after = synth.SEA(variant=0, seed=1), synth.SEA(variant=3, seed=2)
    return synth.ConceptDriftStream(before, after, seed=3, position=3_000, width=50).take(6_000)


def bundled():
    """Name → (stream, the files of the wheel it was made of)."""
    logistic = linear_model.LogisticRegression
    flow = [float(y) for _, y in datasets.WaterFlow() if y is not None]
    return {
        "phishing, logistic regression": (errors_of(scaled(logistic()), datasets.Phishing()), ["phishing.csv.gz"]),
        "bananas, naive Bayes": (errors_of(naive_bayes.GaussianNB(), datasets.Bananas()), ["banana.zip"]),
        "image segments, Hoeffding tree": (errors_of(tree.HoeffdingTreeClassifier(), datasets.ImageSegments()), ["segment.csv.zip"]),
        "shuttle, logistic regression": (errors_of(scaled(logistic()), datasets.Shuttle().take(8_000)), ["shuttle.csv.gz"]),
        "shuttle, stopped learning": (frozen_errors(scaled(logistic()), datasets.Shuttle().take(8_000), 500), ["shuttle.csv.gz"]),
        "water flow": (flow, ["water-flow.csv"]),
        "airline passengers": ([float(y) for _, y in datasets.AirlinePassengers()], ["airline-passengers.csv"]),
        "Trump's approval, linear regression": (
            absolute_errors_of(scaled(linear_model.LinearRegression()), datasets.TrumpApproval()), ["trump_approval.csv.gz"]),
        "SEA generator, stopped learning": (frozen_errors(naive_bayes.GaussianNB(), sea(), 2_000), []),
    }


SIMULATED = {
    "errors rise by 10 points": ("errors", 1, [(0.1, 2_000), (0.2, 2_000)]),
    "errors fall": ("errors", 2, [(0.3, 3_000), (0.05, 2_000)]),
    "errors, steady": ("errors", 3, [(0.1, 20_000)]),
    "errors, rare": ("errors", 4, [(0.002, 6_000), (0.02, 4_000)]),
    "errors, up and down": ("errors", 5, [(0.1, 700), (0.4, 700), (0.1, 700), (0.4, 700), (0.9, 700), (0.0, 700)]),
    "errors, slowly": ("errors", 6, [(0.1 + 0.005 * step, 200) for step in range(40)]),
    "none, then all": ("errors", 7, [(0.0, 500), (1.0, 500), (0.0, 500)]),
    "values, a step": ("values", 8, [(0.0, 1.0, 1_500), (0.5, 1.0, 1_500)]),
    "values, steps": ("values", 9, [(10.0, 2.0, 400), (14.0, 2.0, 400), (-3.0, 2.0, 400), (1e6, 2.0, 400)]),
    "values, wider": ("values", 10, [(5.0, 0.1, 1_000), (5.0, 3.0, 1_000)]),
    "values, constant": ("values", 11, [(3.25, 0.0, 2_000)]),
}

ADWIN = [
    {},
    {"clock": 1},
    {"delta": 0.05, "clock": 1, "max_buckets": 2, "min_window_length": 1, "grace_period": 0},
    {"delta": 0.5, "clock": 8, "max_buckets": 3, "min_window_length": 2, "grace_period": 30},
    {"delta": 1e-6, "clock": 32, "max_buckets": 10, "min_window_length": 30, "grace_period": 200},
]
PAGE_HINKLEY = [
    {},
    {"threshold": 10.0, "mode": "up"},
    {"threshold": 5.0, "delta": 0.01, "alpha": 0.999, "mode": "down"},
    {"threshold": 20.0, "delta": 0.02, "alpha": 1.0, "min_instances": 100},
    {"threshold": 1.0, "delta": 0.0, "alpha": 0.9, "min_instances": 1, "mode": "both"},
]


def text(value):
    return repr(float(value))


def run(detector, stream, sums):
    alarms, looks = [], []
    for at, value in enumerate(stream):
        detector.update(value)
        if detector.drift_detected:
            alarms.append(at)
        if at % EVERY == EVERY - 1 or at == len(stream) - 1:
            looks.append([at, *sums(detector)])
    return {"alarms": alarms, "looks": looks}


def adwin_sums(detector):
    return [int(detector.width), text(detector._helper.get_variance()), text(detector.total)]


def page_hinkley_sums(detector):
    return [text(detector._sum_increase), text(detector._sum_decrease), text(detector._x_mean.get())]


def detected(stream):
    return {
        "adwin": [{"settings": s, **run(drift.ADWIN(**s), stream, adwin_sums)} for s in ADWIN],
        "page_hinkley": [{"settings": s, **run(drift.PageHinkley(**s), stream, page_hinkley_sums)} for s in PAGE_HINKLEY],
    }


def written(stream):
    return "".join(str(int(v)) for v in stream) if set(stream) <= {0.0, 1.0} else " ".join(text(v) for v in stream)


def streams():
    folder = pathlib.Path(datasets.__file__).parent
    for name, (stream, files) in bundled().items():
        inputs = {file: hashlib.sha256((folder / file).read_bytes()).hexdigest() for file in files}
        yield {"name": name, "inputs": inputs, "stream": written(stream), **detected(stream)}
    for name, (kind, seed, parts) in SIMULATED.items():
        stream = simulated_errors(seed, parts) if kind == "errors" else simulated_values(seed, parts)
        digest = hashlib.sha256(np.array(stream, dtype="<f8").tobytes()).hexdigest()
        yield {"name": name, "kind": kind, "seed": seed, "parts": parts, "sha256": digest, "last": text(stream[-1]), **detected(stream)}


def histogram(reference, current):
    p, q = np.array(reference, dtype=float), np.array(current, dtype=float)
    there = (p + q) > 0
    p, q = p[there], q[there]
    js = float(distance.jensenshannon(p, q, base=2))
    smooth_p, smooth_q = (p + 0.5) / (p + 0.5).sum(), (q + 0.5) / (q + 0.5).sum()
    psi = special.rel_entr(smooth_q, smooth_p).sum() + special.rel_entr(smooth_p, smooth_q).sum()
    freedom = len(p) - 1
    chance = [stats.chi2.isf(stats.norm.sf(z), freedom) * (1 / p.sum() + 1 / q.sum()) if freedom else 0.0 for z in (1, 2, 3, 4)]
    return {"reference": reference, "current": current, "psi": float(psi), "js_distance": js, "js_divergence": js * js,
            "bins": int(there.sum()), "by_chance": [float(c) for c in chance]}


def histograms():
    chance = SplitMix64(12)

    def drawn(weights, count):
        edges, counts = np.cumsum(weights) / sum(weights), [0] * len(weights)
        for _ in range(count):
            counts[min(int(np.searchsorted(edges, chance.uniform(), side="right")), len(weights) - 1)] += 1
        return counts

    falling = [20 - bar for bar in range(20)]
    yield histogram(drawn(falling, 5_000), drawn(falling, 2_000))
    yield histogram(drawn(falling, 5_000), drawn(falling[::-1], 2_000))
    yield histogram(drawn([1] * 20, 100_000), drawn([1] * 19 + [1.2], 50_000))
    yield histogram([500, 500], [450, 550])
    yield histogram([1_000, 0, 0], [0, 0, 1_000])
    yield histogram([0, 300, 0, 700], [0, 290, 10, 700])
    yield histogram([40], [99])
    yield histogram(drawn([1] * 50, 4_000), drawn([1] * 40 + [3] * 10, 4_000))
    yield histogram([10**15, 10**15], [10**15, 3 * 10**15])


def chart(settings, kind, windows):
    """Limits by their definition: every window's weight is written out."""
    lam, limit, learns = settings["lambda"], settings["limit"], settings["baseline_windows"]
    base, rest = windows[:learns], windows[learns:]
    n = np.array([w[-1] for w in base], dtype=float)
    x = np.array([w[0] / w[1] if kind == "share" else w[0] for w in base])
    total, skew = n.sum(), 0.0
    mean = (n * x).sum() / total
    between = (n * (x - mean) ** 2).sum() / (learns - 1)
    if kind == "share":
        center = (sum(w[0] for w in base) + 0.5) / (total + 1)
        explained = center * (1 - center)
        skew = (1 - 2 * center) / math.sqrt(explained)
    elif kind == "mean":
        center = mean
        explained = sum(w[1] * (w[2] - 1) for w in base) / (total - learns)
    else:
        center, explained = mean, between
    variance = max(explained, between)
    readings = []
    for i in range(1, len(rest) + 1):
        weights = np.array([lam * (1 - lam) ** (i - 1 - j) for j in range(i)])
        sizes = np.array([w[-1] for w in rest[:i]], dtype=float)
        values = np.array([w[0] / w[1] if kind == "share" else w[0] for w in rest[:i]])
        level = float((weights * values).sum() + (1 - weights.sum()) * center)
        spread = (weights**2 / sizes).sum()
        gamma = skew * (weights**3 / sizes**2).sum() / spread**1.5
        deviation = math.sqrt(variance * (spread + weights.sum() ** 2 / total))
        low = center - deviation * max(limit - (limit**2 - 1) * gamma / 6, limit / 2)
        high = center + deviation * max(limit + (limit**2 - 1) * gamma / 6, limit / 2)
        if kind == "share":
            low, high = min(max(low, 0.0), center), max(min(high, 1.0), center)
        turn = "up" if level > high else "down" if level < low else None
        readings.append([level, float(low), float(high), turn])
    return {"kind": kind, "settings": settings, "windows": windows, "center": float(center), "readings": readings}


def charts():
    chance = SplitMix64(13)

    def shares(rates):
        found = []
        for rate in rates:
            trials = 50 + int(chance.uniform() * 900)
            found.append([sum(chance.uniform() < rate for _ in range(trials)), trials])
        return found

    def normal():
        return sum(chance.uniform() for _ in range(12)) - 6

    usual = {"lambda": 0.2, "limit": 3.5, "baseline_windows": 20}
    yield chart(usual, "share", shares([0.1] * 40 + [0.2] * 6 + [0.1] * 10))
    yield chart({**usual, "limit": 3.0}, "share", shares([0.002] * 40 + [0.02] * 10))
    yield chart(usual, "share", shares([0.9] * 30 + [0.8] * 10))
    yield chart({**usual, "lambda": 0.5}, "share", shares([0.05, 0.15] * 20 + [0.3] * 6))
    yield chart({**usual, "lambda": 1.0, "limit": 3.0}, "share", shares([0.0] * 30 + [0.01] * 10))
    means = []
    for window in range(40):
        values = [(3.0 if window < 33 else 3.4) + normal() for _ in range(40 + int(chance.uniform() * 200))]
        means.append([float(np.mean(values)), float(np.var(values, ddof=1)), len(values)])
    yield chart({**usual, "baseline_windows": 12}, "mean", means)
    singles = [[0.4 + 0.05 * normal() + (0.3 if window > 45 else 0.0), 1] for window in range(55)]
    yield chart({**usual, "limit": 3.0, "baseline_windows": 30}, "single", singles)


def main():
    found = {
        "made_with": {"river": river.__version__, "scipy": scipy.__version__, "numpy": np.__version__},
        "every": EVERY,
        "streams": list(streams()),
        "histograms": list(histograms()),
        "charts": list(charts()),
    }
    parts = []
    for key, value in found.items():
        # One case a line: a change shows where it is.
        if isinstance(value, list):
            lines = ",\n".join(json.dumps(item, separators=(",", ":")) for item in value)
            parts.append(f'"{key}":[\n{lines}\n]')
        else:
            parts.append(f'"{key}":{json.dumps(value, separators=(",", ":"))}')
    output = "{" + ",\n".join(parts) + "}\n"
    if "--check" in sys.argv[1:]:
        sys.exit(None if TARGET.read_text() == output else f"{TARGET.name} differs from what was computed now")
    TARGET.write_text(output)


if __name__ == "__main__":
    main()
