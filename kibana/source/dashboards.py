"""What people see in Kibana: data views, searches and dashboards, each number a formula over counts.

A prediction is counted once a window length and slice, so a number over several lengths or slices would count it several
times. Panels over windows therefore stand under two controls of which one value only can be chosen, `Window` and `Slice`;
windows that overlap (`window.every`) are left out. Sums are right for any time range, filter and number of agents.
"""

from __future__ import annotations

from formula import Expression, Z, count, sqrt, total, where_zero, wilson, within_0_and_1
from lens import (
    AS_IN_VIEW, BYTES, DURATION, MILLISECONDS, PERCENT, TENTHS, WHOLE, Chart, Column, Control, Dashboard, Listing, Words,
    by, figure, formula, heatmap, lines, metric, over_time, ranges, search, table, view,
)

QUALITY, PREDICTIONS, HOST, LABELS = (f"modelbeat-{kind}" for kind in ("quality", "predictions", "host", "labels"))

# Which rows of an index a panel is about.


def rows_of(dataset: str) -> str:
    return f'event.dataset: "modelbeat.{dataset}" and not window.every: *'


WINDOWS, CLASSES, CELLS, SWEEP = (rows_of(each) for each in (
    "quality", "quality.class", "confusion", "quality.threshold"))
NAMED_SLICES = f'{WINDOWS} and not slice.name: "_all"'

# What the numbers are. Names as in the documents.

tp, fp, fn, tn = (total(f"counts.{name}") for name in ("tp", "fp", "fn", "tn"))
predictions, labelled, judged, correct = (
    total(f"counts.{name}") for name in ("predictions", "labelled", "judged", "correct"))

COVERAGE = labelled / predictions
ACCURACY = correct / judged
PRECISION = tp / (tp + fp)
RECALL = tp / (tp + fn)
SPECIFICITY = tn / (tn + fp)
F1 = (2 * tp) / (2 * tp + fp + fn)


def f1_end(sign: int) -> Expression:
    """An end of F1's 95 % interval, as flow/quality/intervals.rs has it.

    By Var = F(1 - F)(2 - F) / (2TP + FP + FN); where that variance is 0, by Wilson's interval of J = TP / (TP + FP + FN).
    """
    reach = Z * sqrt(F1 * (1 - F1) * (2 - F1) / (2 * tp + fp + fn))
    jaccard = wilson(tp, tp + fp + fn, sign)
    return where_zero(tp * (fp + fn), (2 * jaccard) / (1 + jaccard), within_0_and_1(F1 - reach if sign < 0 else F1 + reach))


def with_interval(name: str, key: str, value: Expression, low: Expression, high: Expression) -> Chart:
    columns = [over_time(), formula(key, name, value), formula("low", "95 % low", low), formula("high", "95 % high", high)]
    return lines(f"{name} over time", QUALITY, WINDOWS, columns, thin=("low", "high"), ceiling=1,
                 note=f"{name} of the judged predictions of each interval, and the ends of its 95 % interval")


def proportion(name: str, key: str, hits: Expression, trials: Expression) -> Chart:
    return with_interval(name, key, hits / trials, wilson(hits, trials, -1), wilson(hits, trials, 1))


def qualities() -> list[Column]:
    """Counts and ratios of whatever a row of a table is about; the first is what it is ordered by."""
    return [
        metric("predictions", "Predictions", "sum", "counts.predictions", WHOLE),
        formula("coverage", "Coverage", COVERAGE), formula("accuracy", "Accuracy", ACCURACY),
        formula("precision", "Precision", PRECISION), formula("recall", "Recall", RECALL), formula("f1", "F1", F1),
    ]


def number(name: str, key: str, expression: Expression) -> Chart:
    return figure(name, QUALITY, WINDOWS, formula(key, name, expression))


MODEL_CONTROLS = [Control("pipeline", "Pipeline"), Control("model.name", "Model"), Control("model.version", "Version")]
AGENT_CONTROLS = [Control("pipeline", "Pipeline"), Control("agent.name", "Agent")]
WINDOW_CONTROL = Control("window.length", "Window", chosen="1h")

COUNTED_ONCE = """**Each prediction counts once** as long as one *Window* and one *Slice* are chosen above. `_all` is everything; \
with another slice, *Slice value* says which part of it. A cumulative window stands at its latest prediction.
Ratios are sums of counts divided by sums of counts: right for any time range and any number of agents. \
[By slice](#/view/modelbeat-slices) · [Labels](#/view/modelbeat-labels-board) · [Host and latency](#/view/modelbeat-host-board) · \
[Predictions](#/view/modelbeat-predictions-board) · [Agents](#/view/modelbeat-agents)"""

MODEL_QUALITY = Dashboard(
    "modelbeat-model-quality", "[modelbeat] Model quality",
    "How good a model is: accuracy, precision, recall and F1 with intervals, the confusion matrix, classes, versions",
    QUALITY,
    [*MODEL_CONTROLS, WINDOW_CONTROL, Control("slice.name", "Slice", chosen="_all"), Control("slice.value", "Slice value")],
    [
        (4, [(48, Words(COUNTED_ONCE))]),
        (6, [
            (8, figure("Predictions", QUALITY, WINDOWS,
                       metric("predictions", "Predictions", "sum", "counts.predictions", WHOLE))),
            (8, number("Coverage", "coverage", COVERAGE)), (8, number("Accuracy", "accuracy", ACCURACY)),
            (8, number("Precision", "precision", PRECISION)), (8, number("Recall", "recall", RECALL)),
            (8, number("F1", "f1", F1)),
        ]),
        (11, [
            (24, proportion("Accuracy", "accuracy", correct, judged)),
            (24, proportion("Coverage", "coverage", labelled, predictions)),
        ]),
        (11, [
            (16, proportion("Precision", "precision", tp, tp + fp)), (16, proportion("Recall", "recall", tp, tp + fn)),
            (16, with_interval("F1", "f1", F1, f1_end(-1), f1_end(1))),
        ]),
        (11, [
            (24, lines("Accuracy, version against version", QUALITY, WINDOWS, [
                over_time(), by("version", "Version", "model.version", 5, "predictions"),
                formula("accuracy", "Accuracy", ACCURACY),
                metric("predictions", "Predictions", "sum", "counts.predictions", WHOLE),
            ], split="version", right=("predictions",), ceiling=1)),
            (24, table("Versions", QUALITY, WINDOWS, [
                by("model", "Model", "model.name", 10, "predictions"),
                by("version", "Version", "model.version", 10, "predictions"), *qualities()])),
        ]),
        (13, [
            (20, heatmap("Confusion matrix", QUALITY, CELLS,
                         by("predicted", "Predicted", "confusion.predicted", 20),
                         by("actual", "Actual", "confusion.actual", 20),
                         metric("count", "Labelled predictions", "sum", "confusion.count", WHOLE))),
            (28, table("Classes, each against the rest", QUALITY, CLASSES, [
                by("class", "Class", "class.name", 50, "support"),
                metric("support", "Labels", "sum", "counts.support", WHOLE),
                metric("predicted", "Predicted", "sum", "counts.predicted", WHOLE),
                formula("precision", "Precision", PRECISION), formula("recall", "Recall", RECALL),
                formula("f1", "F1", F1), formula("specificity", "Specificity", SPECIFICITY)])),
        ]),
        (12, [
            (24, lines("Had the threshold been another", QUALITY, SWEEP, [
                by("threshold", "Threshold", "threshold.value", 25, data_type="number"),
                formula("precision", "Precision", PRECISION), formula("recall", "Recall", RECALL),
                formula("f1", "F1", F1),
            ], x="threshold", ceiling=1, note="Binary tasks with scores: all labelled predictions, judged at each threshold")),
            (24, lines("Score distribution by truth", QUALITY, SWEEP, [
                by("threshold", "Score at least", "threshold.value", 25, data_type="number"),
                formula("positives", "Of the positives", RECALL),
                formula("negatives", "Of the negatives", fp / (fp + tn)),
            ], x="threshold", ceiling=1, note="The part of each class whose score is at least that: the further apart, the better")),
        ]),
        (11, [(48, lines("Accuracy by value of the chosen slice", QUALITY, WINDOWS, [
            over_time(), by("value", "Value", "slice.value", 10, "predictions"), formula("accuracy", "Accuracy", ACCURACY),
            metric("predictions", "Predictions", "sum", "counts.predictions", WHOLE),
        ], split="value", right=("predictions",), ceiling=1, note="Empty for `_all`: choose a slice above"))]),
        (11, [(48, Listing("Versions compared, newest first", "modelbeat-comparisons"))]),
    ],
)

SLICES = Dashboard(
    "modelbeat-slices", "[modelbeat] Slices",
    "The same numbers for each value of each slice: where a model is worse than elsewhere",
    QUALITY, [*MODEL_CONTROLS, WINDOW_CONTROL, Control("slice.name", "Slice"), Control("slice.value", "Slice value")],
    [
        (18, [(48, table("Slices", QUALITY, NAMED_SLICES, [
            by("slice", "Slice", "slice.name", 20), by("value", "Value", "slice.value", 50, "predictions"), *qualities()]))]),
        (14, [(48, table("Slices, version against version", QUALITY, NAMED_SLICES, [
            by("slice", "Slice", "slice.name", 20), by("value", "Value", "slice.value", 20, "predictions"),
            by("version", "Version", "model.version", 5, "predictions"), *qualities()]))]),
    ],
)

# Of single predictions: a document is a prediction, so counts of documents are right under any filter.

JOINED = 'label.state: "joined"'
ALL_PREDICTIONS = 'event.dataset: "modelbeat.prediction"'
SEEN_COVERAGE = count(JOINED) / count()
SEEN_ACCURACY = count("outcome.correct: true") / count("outcome.correct: *")


def percentiles(key: str, what: str, source: str, style: dict, ranks=(50, 95, 99)) -> list[Column]:
    return [metric(f"{key}{rank}", f"{what}, {rank} %", "percentile", source, style, percentile=rank) for rank in ranks]


LABELS_BOARD = Dashboard(
    "modelbeat-labels-board", "[modelbeat] Labels",
    "Whether the truth arrives: coverage, how long labels take, late and corrected ones, labels for nobody",
    PREDICTIONS, AGENT_CONTROLS,
    [
        (6, [
            (12, figure("Coverage", PREDICTIONS, ALL_PREDICTIONS, formula("coverage", "Coverage", SEEN_COVERAGE))),
            (12, figure("Corrected", PREDICTIONS, ALL_PREDICTIONS,
                        formula("corrected", "Corrected, of the labelled", count("label.revision > 1") / count(JOINED)))),
            (12, figure("Median delay", PREDICTIONS, ALL_PREDICTIONS,
                        metric("delay", "Half of the labels took at most", "percentile", "label.delay_ms", AS_IN_VIEW,
                               percentile=50))),
            (12, figure("Orphans", LABELS, 'event.dataset: "modelbeat.label"',
                        metric("orphans", "Labels whose prediction never came", "count", "___records___", WHOLE))),
        ]),
        (11, [
            (24, lines("Coverage by time of prediction", PREDICTIONS, ALL_PREDICTIONS, [
                over_time(), by("model", "Model", "model.name", 5, "predictions"),
                formula("coverage", "Coverage", SEEN_COVERAGE),
                metric("predictions", "Predictions", "count", "___records___", WHOLE),
            ], split="model", right=("predictions",), ceiling=1)),
            (24, lines("Delay of labels by time of prediction", PREDICTIONS, ALL_PREDICTIONS, [
                over_time(), *percentiles("delay", "Delay", "label.delay_ms", AS_IN_VIEW)])),
        ]),
        (11, [
            (24, lines("Late labels, by length of window", QUALITY, f'{WINDOWS} and slice.name: "_all"', [
                over_time(), by("length", "Window", "window.length", 5),
                metric("late", "Came after their window was over", "sum", "counts.late_labels", WHOLE),
            ], split="length", series="bar_stacked")),
            (24, lines("Corrected labels, by length of window", QUALITY, f'{WINDOWS} and slice.name: "_all"', [
                over_time(), by("length", "Window", "window.length", 5),
                metric("corrected", "Corrected", "sum", "counts.corrected_labels", WHOLE),
            ], split="length", series="bar_stacked")),
        ]),
        (11, [
            (24, lines("Orphans by time of label", LABELS, 'event.dataset: "modelbeat.label"', [
                over_time(), by("pipeline", "Pipeline", "pipeline", 5),
                metric("orphans", "Orphans", "count", "___records___", WHOLE),
            ], split="pipeline", series="bar_stacked")),
            (24, table("State of labels", PREDICTIONS, ALL_PREDICTIONS, [
                by("model", "Model", "model.name", 10, "predictions"),
                by("version", "Version", "model.version", 10, "predictions"),
                metric("predictions", "Predictions", "count", "___records___", WHOLE),
                metric("joined", "Joined", "count", "___records___", WHOLE, JOINED),
                metric("pending", "Pending", "count", "___records___", WHOLE, 'label.state: "pending"'),
                metric("expired", "Expired", "count", "___records___", WHOLE, 'label.state: "expired"'),
                formula("coverage", "Coverage", SEEN_COVERAGE)])),
        ]),
    ],
)

CPU, MEMORY = "system.cpu.total.norm.pct", "system.memory.actual.used.pct"
READINGS = 'event.dataset: "modelbeat.host"'
PROCESS = "system.process"

HOST_BOARD = Dashboard(
    "modelbeat-host-board", "[modelbeat] Host and latency",
    "What the host did while the model was right or wrong: quality, latency, CPU, memory and GPUs on one time axis",
    PREDICTIONS, AGENT_CONTROLS,
    [
        (12, [(48, lines("Accuracy beside CPU and memory", PREDICTIONS, ALL_PREDICTIONS, [
            over_time(), formula("accuracy", "Accuracy", SEEN_ACCURACY), metric("cpu", "CPU", "average", CPU, PERCENT),
            metric("memory", "Memory", "average", MEMORY, PERCENT),
        ], ceiling=1, note="CPU and memory as they were when the predictions were made; accuracy of those that have a label"))]),
        (11, [(48, lines("Accuracy beside latency", PREDICTIONS, ALL_PREDICTIONS, [
            over_time(), formula("accuracy", "Accuracy", SEEN_ACCURACY),
            *percentiles("latency", "Latency", "prediction.latency_ms", MILLISECONDS),
        ], right=("latency50", "latency95", "latency99")))]),
        (11, [
            (24, lines("CPU of the host", HOST, READINGS, [
                over_time(), by("host", "Host", "host.name", 10), metric("cpu", "CPU", "average", CPU, PERCENT),
            ], split="host", ceiling=1)),
            (24, lines("Memory of the host", HOST, READINGS, [
                over_time(), by("host", "Host", "host.name", 10), metric("memory", "Memory", "average", MEMORY, PERCENT),
            ], split="host", ceiling=1)),
        ]),
        (11, [
            (24, lines("Load and the fullest disk", HOST, READINGS, [
                over_time(), metric("load", "Load, 1 minute", "average", "system.load.1", TENTHS),
                metric("disk", "Fullest disk", "max", "system.filesystem.used.pct", PERCENT),
            ], right=("disk",))),
            (24, table("Latency, version against version", PREDICTIONS, ALL_PREDICTIONS, [
                by("model", "Model", "model.name", 10, "predictions"),
                by("version", "Version", "model.version", 10, "predictions"),
                metric("predictions", "Predictions", "count", "___records___", WHOLE),
                *percentiles("latency", "Latency", "prediction.latency_ms", MILLISECONDS)])),
        ]),
        (11, [
            (24, lines("The model server's process", HOST, READINGS, [
                over_time(), metric("rss", "Memory", "average", f"{PROCESS}.memory.rss.bytes", BYTES),
                metric("cpu", "CPU", "average", f"{PROCESS}.cpu.total.norm.pct", PERCENT),
            ], right=("cpu",))),
            (24, lines("Its threads and open files", HOST, READINGS, [
                over_time(), metric("threads", "Threads", "max", f"{PROCESS}.num_threads", WHOLE),
                metric("files", "Open files", "max", f"{PROCESS}.fd.open", WHOLE)])),
        ]),
        (11, [
            (24, lines("GPUs", HOST, READINGS, [
                over_time(), metric("busy", "The busiest", "average", "gpu.utilization.pct", PERCENT),
                metric("memory", "Memory of all", "average", "gpu.memory.used.pct", PERCENT),
            ], ceiling=1)),
            (24, lines("Heat and power of the GPUs", HOST, READINGS, [
                over_time(), metric("heat", "The hottest, °C", "max", "gpu.temperature.celsius", WHOLE),
                metric("power", "All together, W", "average", "gpu.power.watts", TENTHS),
            ], right=("power",))),
        ]),
    ],
    since="now-24h",
)

PREDICTIONS_BOARD = Dashboard(
    "modelbeat-predictions-board", "[modelbeat] Predictions",
    "Single predictions, the worst mistakes first; how scores are spread", PREDICTIONS,
    [*MODEL_CONTROLS, Control("label.state", "Label"), Control("outcome.correct", "Correct")],
    [
        (11, [
            (24, lines("Scores", PREDICTIONS, ALL_PREDICTIONS, [
                ranges("score", "Score", "prediction.score"), by("truth", "Truth", "label.value", 5),
                metric("predictions", "Predictions", "count", "___records___", WHOLE),
            ], x="score", split="truth", series="bar_stacked", note="Predictions that have a label and a score")),
            (24, lines("Predicted classes", PREDICTIONS, ALL_PREDICTIONS, [
                over_time(), by("predicted", "Predicted", "prediction.value", 10, "predictions"),
                metric("predictions", "Predictions", "count", "___records___", WHOLE),
            ], split="predicted", series="bar_stacked")),
        ]),
        (11, [(48, lines("How far off, where numbers are predicted", PREDICTIONS, f"{ALL_PREDICTIONS} and outcome.error: *", [
            over_time(), metric("mae", "Mean absolute error", "average", "mistake", AS_IN_VIEW),
            metric("off95", "95 % are off by at most", "percentile", "mistake", AS_IN_VIEW, percentile=95),
            metric("bias", "Bias: predicted minus actual", "average", "outcome.error", AS_IN_VIEW),
        ]))]),
        (18, [(48, Listing("Worst mistakes first", "modelbeat-mistakes"))]),
        (18, [(48, Listing("All predictions, newest first", "modelbeat-all-predictions"))]),
    ],
    since="now-24h",
)

AGENTS = Dashboard(
    "modelbeat-agents", "[modelbeat] Agent health",
    "Which agents are there, whether they are heard from, and how far behind they are", PREDICTIONS, AGENT_CONTROLS,
    [
        (10, [
            (24, lines("Heard from", HOST, READINGS, [
                over_time(), by("agent", "Agent", "agent.name", 20),
                metric("readings", "Readings of the host", "count", "___records___", WHOLE),
            ], split="agent", series="bar_stacked", note="Every agent reads its host all the time: a gap is an agent that was down")),
            (24, lines("Predictions by agent", PREDICTIONS, ALL_PREDICTIONS, [
                over_time(), by("agent", "Agent", "agent.name", 20, "predictions"),
                metric("predictions", "Predictions", "count", "___records___", WHOLE),
            ], split="agent", series="bar_stacked")),
        ]),
        (11, [
            (24, lines("From prediction to document", PREDICTIONS, ALL_PREDICTIONS, [
                over_time(), *percentiles("behind", "Behind", "ingest_delay_ms", AS_IN_VIEW)],
                note="How old a prediction was when its document was first written. A backfill is old on purpose")),
            (24, table("Agents", HOST, READINGS, [
                by("agent", "Agent", "agent.name", 50), by("host", "Host", "host.name", 5),
                by("version", "Version", "agent.version", 5),
                metric("readings", "Readings", "count", "___records___", WHOLE),
                metric("cpu", "CPU", "average", CPU, PERCENT), metric("memory", "Memory", "average", MEMORY, PERCENT)])),
        ]),
        (11, [(48, table("What was odd in the input", QUALITY, f'{WINDOWS} and slice.name: "_all"', [
            by("length", "Window", "window.length", 5), by("agent", "Agent", "agent.name", 20, "predictions"),
            metric("predictions", "Predictions", "sum", "counts.predictions", WHOLE),
            metric("duplicates", "Duplicates", "sum", "counts.duplicates", WHOLE),
            metric("unanswered", "Without an answer", "sum", "counts.unanswered", WHOLE),
            metric("late", "Late labels", "sum", "counts.late_labels", WHOLE),
            metric("corrected", "Corrected labels", "sum", "counts.corrected_labels", WHOLE),
        ], note="Every length of window counts everything: compare within one length"))]),
    ],
    since="now-24h",
)

# How wrong: the distance of a number, or, for a wrong class, of the score from 0.5.
MISTAKE = """\
if (doc['outcome.error'].size() > 0) { emit(Math.abs(doc['outcome.error'].value)); } \
else if (doc['outcome.correct'].size() > 0 && !doc['outcome.correct'].value) { \
emit(doc['prediction.score'].size() > 0 ? Math.abs(doc['prediction.score'].value - 0.5) : 0.0); }"""
BEHIND = """\
if (doc['event.ingested'].size() > 0 && doc['@timestamp'].size() > 0) { \
emit(doc['event.ingested'].value.toInstant().toEpochMilli() - doc['@timestamp'].value.toInstant().toEpochMilli()); }"""

VIEWS = [
    view(QUALITY, "modelbeat-quality-*", "modelbeat: quality windows", {}),
    view(PREDICTIONS, "modelbeat-predictions-*", "modelbeat: predictions", {
        CPU: {"id": "percent"}, MEMORY: {"id": "percent"}, "label.delay_ms": DURATION, "ingest_delay_ms": DURATION,
    }, {
        "mistake": {"type": "double", "script": {"source": MISTAKE}},
        "ingest_delay_ms": {"type": "long", "script": {"source": BEHIND}},
    }),
    view(HOST, "modelbeat-host-*", "modelbeat: host readings", {f"{PROCESS}.memory.rss.bytes": {"id": "bytes"}}),
    view(LABELS, "modelbeat-labels-*", "modelbeat: orphan labels", {}),
]

SEEN = ["model.name", "model.version", "prediction.id", "prediction.value", "prediction.number", "prediction.score"]
TRUTH = ["label.state", "label.value", "label.number", "outcome.correct", "outcome.error"]

SEARCHES = [
    search("modelbeat-mistakes", "[modelbeat] Worst mistakes first",
           "Wrong classes by how sure the model was, numbers by how far off they were",
           PREDICTIONS, f"{ALL_PREDICTIONS} and (outcome.correct: false or outcome.error: *)",
           ["mistake", *SEEN, *TRUTH[1:], "prediction.latency_ms", CPU], [["mistake", "desc"], ["@timestamp", "desc"]]),
    search("modelbeat-all-predictions", "[modelbeat] Predictions", "Every prediction with its label, newest first",
           PREDICTIONS, ALL_PREDICTIONS, [*SEEN, *TRUTH, "label.delay_ms", "prediction.latency_ms", CPU],
           [["@timestamp", "desc"]]),
    search("modelbeat-comparisons", "[modelbeat] Versions compared",
           "Two versions in the same window: difference in accuracy and how sure it is", QUALITY,
           'event.dataset: "modelbeat.comparison" and not window.every: *',
           ["model.name", "slice.name", "slice.value", "comparison.baseline", "comparison.candidate",
            "comparison.accuracy.baseline", "comparison.accuracy.candidate", "comparison.accuracy.difference",
            "comparison.accuracy.low", "comparison.accuracy.high", "comparison.accuracy.p_adjusted"],
           [["@timestamp", "desc"]]),
]

DASHBOARDS = [MODEL_QUALITY, SLICES, LABELS_BOARD, HOST_BOARD, PREDICTIONS_BOARD, AGENTS]
