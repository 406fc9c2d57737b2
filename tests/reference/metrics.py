"""Expected numbers for src/flow/quality, from scikit-learn, scipy and statsmodels.

    python3 -m venv /tmp/ref-venv && /tmp/ref-venv/bin/pip install -r tests/reference/requirements.txt
    /tmp/ref-venv/bin/python tests/reference/metrics.py        # writes tests/reference/metrics.json

Rows are part of the output, so the Rust test needs no generator. `null` means: undefined, must be absent with a reason.
Where no library has the number (expected calibration error, F1's interval, sMAPE, bias) it is written out here by definition.
"""

import json
import math
import pathlib
import random
import warnings

import numpy as np
import scipy
import sklearn
import statsmodels
from scipy import stats
from sklearn import metrics as m
from statsmodels.stats import contingency_tables, multitest, proportion, weightstats

warnings.filterwarnings("ignore")
CLIP = 1e-15
Z = stats.norm.ppf(0.975)


def number(value):
    value = float(value)
    return value if math.isfinite(value) else None


def wilson(hits, trials):
    if trials == 0:
        return None
    low, high = proportion.proportion_confint(hits, trials, 0.05, method="wilson")
    return [max(float(low), 0.0), min(float(high), 1.0)]


def f1_interval(tp, fp, fn):
    if tp + fp + fn == 0:
        return None
    f1 = 2 * tp / (2 * tp + fp + fn)
    if f1 in (0.0, 1.0):
        return [2 * end / (1 + end) for end in wilson(tp, tp + fp + fn)]
    spread = Z * math.sqrt(f1 * (1 - f1) * (2 - f1) / (2 * tp + fp + fn))
    return [max(f1 - spread, 0.0), min(f1 + spread, 1.0)]


def calibration_error(confidence, hit):
    confidence, hit = np.asarray(confidence), np.asarray(hit, dtype=float)
    bins = np.minimum(np.floor(confidence * 15), 14)
    parts = [(bins == b) for b in range(15)]
    return sum(p.sum() / len(hit) * abs(confidence[p].mean() - hit[p].mean()) for p in parts if p.any())


def area(function, truth, score):
    truth = np.asarray(truth)
    if truth.all() and function is m.roc_auc_score or not truth.any():
        return None
    return number(function(truth, score))


def per_class(actual, predicted, label):
    truth, said = np.array(actual) == label, np.array(predicted) == label
    tp, fp = int((truth & said).sum()), int((~truth & said).sum())
    fn, tn = int((truth & ~said).sum()), int((~truth & ~said).sum())
    options = {"zero_division": np.nan, "pos_label": True}
    one_sided = truth.all() or not truth.any() or said.all() or not said.any()
    return {
        "counts": {"tp": tp, "fp": fp, "fn": fn, "tn": tn},
        "values": {
            "precision": number(m.precision_score(truth, said, **options)),
            "recall": number(m.recall_score(truth, said, **options)),
            "specificity": number(m.recall_score(~truth, ~said, **options)),
            "f1": number(m.f1_score(truth, said, **options)),
            "f0_5": number(m.fbeta_score(truth, said, beta=0.5, **options)),
            "f2": number(m.fbeta_score(truth, said, beta=2, **options)),
            "balanced_accuracy": number(m.balanced_accuracy_score(truth, said)),
            "mcc": None if one_sided else number(m.matthews_corrcoef(truth, said)),
        },
        "intervals": {
            "precision": wilson(tp, tp + fp),
            "recall": wilson(tp, tp + fn),
            "specificity": wilson(tn, tn + fp),
            "f1": f1_interval(tp, fp, fn),
        },
    }


def averages(actual, predicted):
    """Macro and weighted with scikit-learn's default for a class without a value: it counts as 0."""
    found = {}
    for average in ("macro", "micro", "weighted"):
        options = {"average": average, "zero_division": 0}
        found[average] = {
            "precision": number(m.precision_score(actual, predicted, **options)),
            "recall": number(m.recall_score(actual, predicted, **options)),
            "f1": number(m.f1_score(actual, predicted, **options)),
            "f0_5": number(m.fbeta_score(actual, predicted, beta=0.5, **options)),
            "f2": number(m.fbeta_score(actual, predicted, beta=2, **options)),
        }
    return found


def classification(actual, predicted):
    """What binary and multiclass share."""
    labels = sorted(set(actual) | set(predicted))
    right = sum(a == p for a, p in zip(actual, predicted))
    spread = len(set(actual)) > 1 and len(set(predicted)) > 1
    matrix = m.confusion_matrix(actual, predicted, labels=labels)
    return {
        "values": {
            "accuracy": number(m.accuracy_score(actual, predicted)),
            "balanced_accuracy": number(m.balanced_accuracy_score(actual, predicted)),
            "mcc": number(m.matthews_corrcoef(actual, predicted)) if spread else None,
        },
        "intervals": {"accuracy": wilson(right, len(actual))},
        "averages": averages(actual, predicted),
        "classes": {label: per_class(actual, predicted, label) for label in labels},
        "cells": [
            [a, p, int(matrix[i, j])]
            for i, a in enumerate(labels)
            for j, p in enumerate(labels)
            if matrix[i, j]
        ],
    }


def binary(name, rows, positive="yes"):
    """rows: [actual, predicted, score or None]"""
    actual, predicted = [r[0] for r in rows], [r[1] for r in rows]
    expected = classification(actual, predicted)
    own = per_class(actual, predicted, positive)
    own["values"].update(expected["values"])
    expected["values"], expected["counts"] = own["values"], own["counts"]
    expected["intervals"].update(own["intervals"])
    if rows[0][2] is not None:
        truth = np.array([a == positive for a in actual])
        score = np.array([r[2] for r in rows])
        both = np.column_stack([1 - score, score]).clip(CLIP, 1 - CLIP)
        expected["values"].update(
            log_loss=number(m.log_loss(truth, both, labels=[False, True])),
            brier=number(m.brier_score_loss(truth, score, pos_label=True)),
            ece=number(calibration_error(score, truth)),
        )
        expected["areas"] = {
            "roc_auc": area(m.roc_auc_score, truth, score),
            "average_precision": area(m.average_precision_score, truth, score),
        }
        expected["sweep"] = [
            [step / 20, int((truth & (score >= step / 20)).sum()), int((~truth & (score >= step / 20)).sum())]
            for step in range(21)
        ]
    return {"name": name, "task": "binary", "positive": positive, "rows": rows, "expected": expected}


def multiclass(name, rows, columns=None):
    """rows: [actual, predicted, scores or None], scores in the order of columns, which is sorted."""
    actual, predicted = [r[0] for r in rows], [r[1] for r in rows]
    expected = classification(actual, predicted)
    if columns:
        score = np.array([r[2] for r in rows])
        truth = np.array([[a == c for c in columns] for a in actual])
        highest = score.shape[1] - 1 - score[:, ::-1].argmax(axis=1)
        hit = [columns[h] == a for h, a in zip(highest, actual)]
        expected["values"].update(
            log_loss=number(m.log_loss(actual, score.clip(CLIP, 1 - CLIP), labels=columns)),
            brier=number(m.brier_score_loss(actual, score, labels=columns)),
            ece=number(calibration_error(score.max(axis=1), hit)),
        )
        for k in (2, 3, 5):
            fits = k < len(columns)
            value = number(m.top_k_accuracy_score(actual, score, k=k, labels=columns)) if fits else None
            expected["values"][f"top_{k}_accuracy"] = value
        areas = {
            c: [area(f, truth[:, i], score[:, i]) for f in (m.roc_auc_score, m.average_precision_score)]
            for i, c in enumerate(columns)
        }
        expected["class_areas"] = {c: dict(zip(("roc_auc", "average_precision"), a)) for c, a in areas.items()}
        expected["average_areas"] = {
            average: {
                "roc_auc": number(m.roc_auc_score(truth, score, average=average)),
                "average_precision": number(m.average_precision_score(truth, score, average=average)),
            }
            for average in ("macro", "micro", "weighted")
        }
    return {"name": name, "task": "multiclass", "columns": columns, "rows": rows, "expected": expected}


def regression(name, rows):
    """rows: [actual, predicted]"""
    actual, predicted = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    error = predicted - actual
    fit = actual != 0
    size = np.abs(actual) + np.abs(predicted)
    symmetric = np.divide(2 * np.abs(error), size, out=np.zeros(len(rows)), where=size > 0)
    several = len(rows) > 1
    mean = lambda values: [float(end) for end in weightstats.DescrStatsW(values).zconfint_mean()] if several else None
    return {
        "name": name,
        "task": "regression",
        "rows": rows,
        "expected": {
            "values": {
                "mae": number(m.mean_absolute_error(actual, predicted)),
                "mse": number(m.mean_squared_error(actual, predicted)),
                "rmse": number(m.root_mean_squared_error(actual, predicted)),
                "bias": number(error.mean()),
                "mape": number(m.mean_absolute_percentage_error(actual[fit], predicted[fit])) if fit.any() else None,
                "smape": number(symmetric.mean()),
                "r2": number(m.r2_score(actual, predicted)) if len(set(actual)) > 1 else None,
            },
            "intervals": {"mae": mean(np.abs(error)), "bias": mean(error)},
            "sketched": {
                f"absolute_error_p{q}": float(np.quantile(np.abs(error), q / 100, method="lower")) for q in (50, 95)
            },
        },
    }


def comparison(name, first, second):
    """(hits, trials) of the baseline and of the candidate."""
    counts, trials = [second[0], first[0]], [second[1], first[1]]
    low, high = proportion.confint_proportions_2indep(*second, *first, method="newcomb", compare="diff")
    z, p = proportion.proportions_ztest(counts, trials)
    return {"name": name, "first": first, "second": second, "interval": [float(low), float(high)], "z": number(z), "p": number(p)}


def mcnemar(b, c):
    # statsmodels does not stop the continuity correction at 0, so b = c is left to the Rust unit test.
    exact = b + c < 25
    found = contingency_tables.mcnemar([[7, b], [c, 9]], exact=exact, correction=True)
    return {"b": b, "c": c, "chi_squared": None if exact else float(found.statistic), "p": float(found.pvalue)}


def compare_errors(first, second):
    """Absolute errors of two versions."""
    pair = weightstats.CompareMeans(weightstats.DescrStatsW(second), weightstats.DescrStatsW(first))
    z, p = pair.ztest_ind(usevar="unequal")
    low, high = pair.zconfint_diff(usevar="unequal")
    return {"first": first, "second": second, "interval": [float(low), float(high)], "z": float(z), "p": float(p)}


def scored_rows(chance, count, share, noise, digits):
    rows = []
    for _ in range(count):
        truth = chance.random() < share
        score = min(max(chance.gauss(0.62 if truth else 0.38, noise), 0.0), 1.0)
        score = round(score, digits)
        rows.append(["yes" if truth else "no", "yes" if score >= 0.5 else "no", score])
    return rows


def probability_rows(chance, count, columns, digits):
    rows = []
    for _ in range(count):
        truth = chance.choice(columns)
        raw = [chance.random() ** 2 + (0.5 if c == truth else 0.0) for c in columns]
        score = [round(r / sum(raw), digits) for r in raw]
        highest = max(range(len(columns)), key=lambda i: (score[i], i))
        rows.append([truth, columns[highest], score])
    return rows


def class_rows(chance, count, labels, right):
    rows = []
    for _ in range(count):
        truth = chance.choice(labels)
        rows.append([truth, truth if chance.random() < right else chance.choice(labels), None])
    return rows


def number_rows(chance, count, centre, spread):
    rows = []
    for _ in range(count):
        actual = round(chance.gauss(centre, spread), 4)
        rows.append([actual, round(actual + chance.gauss(0.1, 0.5) * spread, 4)])
    return rows


def main():
    chance = random.Random(2026)
    letters = ["a", "b", "c", "d", "e", "f"]
    many = [f"class-{i:03}" for i in range(200)]
    never = class_rows(chance, 150, ["a", "b", "c"], 0.7)
    never = [[a, "a" if p == "c" else p, s] for a, p, s in never]
    cases = [
        binary("balanced", scored_rows(chance, 800, 0.5, 0.2, 6)),
        binary("balanced, scores of two decimals", scored_rows(chance, 400, 0.5, 0.2, 2)),
        binary("skewed", scored_rows(chance, 1000, 0.02, 0.15, 6)),
        binary("without scores", [[a, p, None] for a, p, _ in scored_rows(chance, 200, 0.3, 0.3, 3)]),
        binary("only the positive class", [["yes", "yes", 0.75]] * 12),
        binary("only the other class", [["no", "no", 0.25]] * 12),
        binary("positive never predicted", [[a, "no", s] for a, _, s in scored_rows(chance, 100, 0.3, 0.2, 4)]),
        binary("one row, right", [["yes", "yes", 0.9]]),
        binary("one row, wrong", [["yes", "no", 0.1]]),
        binary("all scores equal", [["yes" if i % 3 else "no", "yes", 0.5] for i in range(60)]),
        binary("scores exactly 0 and 1", [["yes" if i % 4 else "no", "yes" if i % 5 else "no", 1.0 if i % 5 else 0.0] for i in range(80)]),
        binary("scores on the thresholds", [["yes" if i % 2 else "no", "yes" if i >= 10 else "no", i / 20] for i in range(21)] * 4),
        binary("everything wrong", [["yes", "no", 0.0], ["no", "yes", 1.0]] * 10),
        multiclass("three classes", class_rows(chance, 300, ["a", "b", "c"], 0.8)),
        multiclass("a class never predicted", never),
        multiclass("a class predicted but never true", [["a", "a", None], ["b", "c", None], ["b", "b", None], ["a", "b", None]] * 9),
        multiclass("only one class", [["a", "a", None]] * 7),
        multiclass("one row", [["a", "b", None]]),
        multiclass("200 classes", class_rows(chance, 3000, many, 0.6)),
        multiclass("probabilities", probability_rows(chance, 500, letters, 5), letters),
        multiclass("probabilities of three classes", probability_rows(chance, 200, letters[:3], 3), letters[:3]),
        multiclass("equal probabilities", [[letters[i % 4], "d", [0.25] * 4] for i in range(40)], letters[:4]),
        regression("ordinary", number_rows(chance, 500, 10.0, 5.0)),
        regression("far from zero", number_rows(chance, 300, 5e6, 0.5)),
        regression("small numbers", [[a * 1e-12, p * 1e-12] for a, p in number_rows(chance, 100, 1.0, 2.0)]),
        regression("with zeros", [[0.0, 0.0], [0.0, 1.5], [2.0, 1.0], [-3.0, -2.5], [4.0, 4.0]]),
        regression("all actual values equal", [[2.5, 2.0], [2.5, 3.5], [2.5, 2.5]]),
        regression("one row", [[3.0, 2.0]]),
        regression("perfect", [[1.0, 1.0], [2.0, 2.0], [-7.25, -7.25]]),
    ]
    tests = {
        "shares": [
            comparison("ordinary", [820, 1000], [861, 1010]),
            comparison("no difference", [50, 100], [50, 100]),
            comparison("small", [7, 9], [3, 11]),
            comparison("one side wholly right", [10, 10], [6, 9]),
            comparison("both wholly right", [10, 10], [12, 12]),
            comparison("both wholly wrong", [0, 10], [0, 1]),
            comparison("large", [48_000, 100_000], [49_500, 100_000]),
        ],
        "mcnemar": [mcnemar(b, c) for b, c in [(0, 1), (1, 1), (3, 9), (0, 24), (12, 12), (10, 15), (40, 22), (300, 410), (5, 400)]],
        "holm": [
            {"p": p, "adjusted": [float(a) for a in multitest.multipletests(p, method="holm")[1]]}
            for p in ([0.01, 0.04, 0.03, 0.005], [0.5], [0.9, 0.8, 0.02, 0.02, 1e-12], [0.3, 0.3, 0.3])
        ],
        "errors": compare_errors(
            [round(abs(chance.gauss(0, 2)), 4) for _ in range(80)], [round(abs(chance.gauss(0, 3)), 4) for _ in range(120)]
        ),
    }
    delays = [round(math.exp(chance.gauss(3, 1.5)), 3) for _ in range(700)] + [0.0, 0.0]
    quantiles = {f"p{q}": float(np.quantile(delays, q / 100, method="lower")) for q in (50, 95, 99)}
    found = {
        "made_with": {"numpy": np.__version__, "scikit-learn": sklearn.__version__, "scipy": scipy.__version__, "statsmodels": statsmodels.__version__},
        "cases": cases,
        "tests": tests,
        "durations": {"values": delays, "expected": quantiles, "mean": float(np.mean(delays))},
    }
    path = pathlib.Path(__file__).with_name("metrics.json")
    parts = []
    for key, value in found.items():
        # One case a line: a change shows where it is.
        if isinstance(value, list):
            lines = ",\n".join(json.dumps(item, separators=(",", ":")) for item in value)
            parts.append(f'"{key}":[\n{lines}\n]')
        else:
            parts.append(f'"{key}":{json.dumps(value, separators=(",", ":"))}')
    path.write_text("{" + ",\n".join(parts) + "}\n")


if __name__ == "__main__":
    main()
