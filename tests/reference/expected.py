#!/usr/bin/env python3
"""Computes the numbers that the tests expect, with scikit-learn, from the data sets that fetch-data fetches.

  expected.py NANNYML_FOLDER            writes expected/*.json anew
  expected.py --check NANNYML_FOLDER    recomputes and compares; exit code 1 and the first difference if they differ

Nothing here is shared with modelbeat: rows are read with Python's csv, grouped by the calendar month or day (UTC) of the
prediction's timestamp, and handed to scikit-learn. Classes are text, as they stand in the file.

Undefined numbers (0/0) are null. An average over classes takes such a class as 0, which is scikit-learn's default.
"""

import collections
import csv
import hashlib
import json
import pathlib
import sys
import warnings

import numpy
import sklearn
from sklearn import metrics

EXPECTED = pathlib.Path(__file__).parent / "expected"
# A day may have one class only; that is a fact of the data.
warnings.filterwarnings("ignore", message="A single label was found")
TOLERANCE = 1e-12  # other builds of numpy add up in another order

SETS = {
    "binary": {
        "predictions": "synthetic_sample_analysis.csv", "labels": "synthetic_sample_analysis_gt.csv",
        "actual": "work_home_actual", "positive": "1", "slice": "salary_range", "lengths": ["1mo"],  # days: 1,220 of them
    },
    "multiclass": {
        "predictions": "mc_analysis.csv", "labels": "mc_analysis_gt.csv",
        "actual": "y_true", "slice": "app_channel", "lengths": ["1mo", "1d"],
    },
    "regression": {
        "predictions": "regression_synthetic_analysis.csv", "labels": "regression_synthetic_analysis_targets.csv",
        "actual": "y_true", "regression": True, "slice": "fuel", "lengths": ["1mo", "1d"],
    },
}


def read(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def window_start(timestamp, length):
    """`2017-08-31 04:20:00` → the first moment of its month or day."""
    day = timestamp[:8] + "01" if length == "1mo" else timestamp[:10]
    return f"{day}T00:00:00.000Z"


def windows(spec, predictions, actual_by_id, length):
    """(start, slice value or None for all, predicted, actual) in order of time."""
    rows = collections.defaultdict(list)
    for row in predictions:
        pair = (row["y_pred"], actual_by_id[row["id"]])
        start = window_start(row["timestamp"], length)
        rows[start, ""].append(pair)
        rows[start, row[spec["slice"]]].append(pair)
    for (start, value), pairs in sorted(rows.items()):
        predicted, actual = zip(*pairs)
        yield start, value or None, predicted, actual


def defined(number):
    """A number for JSON; null where it is undefined."""
    return None if numpy.isnan(number) else float(number)


def averages(actual, predicted):
    result = {}
    for average in ("macro", "micro", "weighted"):
        precision, recall, f1, _ = metrics.precision_recall_fscore_support(
            actual, predicted, average=average, zero_division=0)
        result[average] = {"precision": float(precision), "recall": float(recall), "f1": float(f1)}
    return result


def per_class(actual, predicted):
    classes = sorted(set(actual) | set(predicted))
    columns = metrics.precision_recall_fscore_support(
        actual, predicted, labels=classes, average=None, zero_division=numpy.nan)
    matrix = metrics.confusion_matrix(actual, predicted, labels=classes)
    result = {}
    for i, name in enumerate(classes):
        precision, recall, f1, support = (column[i] for column in columns)
        tp = int(matrix[i, i])
        result[name] = {
            "tp": tp, "fp": int(matrix[:, i].sum()) - tp, "fn": int(matrix[i, :].sum()) - tp, "support": int(support),
            "precision": defined(precision), "recall": defined(recall), "f1": defined(f1),
        }
    confusion = [[a, p, int(matrix[i, j])] for i, a in enumerate(classes) for j, p in enumerate(classes) if matrix[i, j]]
    return result, confusion


def classification(spec, actual, predicted):
    classes, confusion = per_class(actual, predicted)
    counts = {
        "predictions": len(actual), "labelled": len(actual),
        "correct": sum(a == p for a, p in zip(actual, predicted)),
    }
    quality = {"accuracy": float(metrics.accuracy_score(actual, predicted))} | averages(actual, predicted)
    if "positive" in spec:
        positive = spec["positive"]
        truth, answer = ([value == positive for value in column] for column in (actual, predicted))
        tn, fp, fn, tp = metrics.confusion_matrix(truth, answer, labels=[False, True]).ravel()
        counts |= {"tp": int(tp), "fp": int(fp), "fn": int(fn), "tn": int(tn)}
        scores = {"precision": metrics.precision_score, "recall": metrics.recall_score, "f1": metrics.f1_score}
        quality |= {name: defined(score(truth, answer, zero_division=numpy.nan)) for name, score in scores.items()}
    return {"counts": counts, "quality": quality, "classes": classes, "confusion": confusion}


def regression(actual, predicted):
    truth, answer = numpy.array(actual, float), numpy.array(predicted, float)
    quality = {
        "mae": float(metrics.mean_absolute_error(truth, answer)),
        "rmse": float(metrics.root_mean_squared_error(truth, answer)),
        "r2": float(metrics.r2_score(truth, answer)) if len(truth) > 1 else None,
        "bias": float(numpy.mean(answer - truth)),  # positive: the model says too much
        "mape": float(metrics.mean_absolute_percentage_error(truth, answer)),
    }
    return {"counts": {"predictions": len(truth), "labelled": len(truth)}, "quality": quality}


def compute(spec, folder):
    predictions = read(folder / spec["predictions"])
    actual_by_id = {row["id"]: row[spec["actual"]] for row in read(folder / spec["labels"])}
    result = []
    for length in spec["lengths"]:
        for start, value, predicted, actual in windows(spec, predictions, actual_by_id, length):
            numbers = regression(actual, predicted) if spec.get("regression") else classification(spec, actual, predicted)
            name = "_all" if value is None else spec["slice"]
            result.append({"start": start, "length": length, "slice": {"name": name, "value": value}} | numbers)
    inputs = {spec[part]: hashlib.sha256((folder / spec[part]).read_bytes()).hexdigest() for part in ("predictions", "labels")}
    versions = {"python": sys.version.split()[0], "numpy": numpy.__version__, "scikit-learn": sklearn.__version__}
    return {"computed_with": versions, "inputs": inputs, "predictions": len(predictions), "windows": result}


def render(expected):
    """JSON with one window a line: a change shows as the lines it changes."""
    head = json.dumps({key: value for key, value in expected.items() if key != "windows"}, indent=1)
    lines = ",\n".join(json.dumps(window, ensure_ascii=False, separators=(",", ":")) for window in expected["windows"])
    return f'{head[:-2]},\n "windows": [\n{lines}\n]}}\n'


def difference(ours, theirs, path=""):
    """Where two JSON values differ, or None."""
    if isinstance(ours, dict) and isinstance(theirs, dict) and ours.keys() == theirs.keys():
        pairs = [(ours[key], theirs[key], f"{path}.{key}") for key in ours if key != "computed_with"]
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        pairs = [(a, b, f"{path}[{i}]") for i, (a, b) in enumerate(zip(ours, theirs))]
    elif isinstance(ours, float) and isinstance(theirs, float) and abs(ours - theirs) <= TOLERANCE * max(1, abs(ours)):
        return None
    else:
        return None if ours == theirs else f"{path}: {ours!r} is not {theirs!r}"
    return next(filter(None, (difference(*pair) for pair in pairs)), None)


def main(arguments):
    check = arguments[:1] == ["--check"]
    [folder] = map(pathlib.Path, arguments[check:])
    EXPECTED.mkdir(exist_ok=True)
    for name, spec in SETS.items():
        path, computed = EXPECTED / f"{name}.json", compute(spec, folder)
        if not check:
            path.write_text(render(computed), encoding="utf-8")
        elif where := difference(computed, json.loads(path.read_text(encoding="utf-8"))):
            sys.exit(f"expected.py: {path.name} differs at {where}")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(sys.argv[1:])
