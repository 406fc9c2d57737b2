"""The Grafana dashboard over /metrics: panels as rows of sizes and queries; what Grafana wants besides is written here once.

One row a version: its panels repeat with the variable, so that an interval's band lies behind its own line.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

SOURCE = {"type": "prometheus", "uid": "${datasource}"}
HEIGHT = 8
# What the variables choose; `=~` takes several, and All.
AGENT = 'pipeline=~"$pipeline"'
MODEL = f'{AGENT},model=~"$model",window="$window",slice="$slice",slice_value="$slice_value"'
VERSION = f'{MODEL},version="$version"'
RATE = "$__rate_interval"


@dataclass
class Query:
    expression: str
    legend: str


@dataclass
class Panel:
    title: str
    queries: list[Query]
    unit: str = "short"
    width: int = 8
    kind: str = "timeseries"
    ceiling: float | None = None
    band: bool = False
    note: str = ""
    mappings: dict[str, str] = field(default_factory=dict)

    def saved(self, number: int, x: int, y: int) -> dict:
        defaults: dict = {"unit": self.unit}
        if self.kind == "timeseries":
            defaults["min"] = 0
            defaults["custom"] = {"lineWidth": 2, "fillOpacity": 0, "showPoints": "never", "spanNulls": True}
        if self.ceiling is not None:
            defaults["max"] = self.ceiling
        if self.mappings:
            options = {value: {"text": text, "index": at} for at, (value, text) in enumerate(self.mappings.items())}
            defaults["mappings"] = [{"type": "value", "options": options}]
        panel = {
            "id": number, "type": self.kind, "title": self.title, "datasource": SOURCE,
            "gridPos": {"x": x, "y": y, "w": self.width, "h": HEIGHT if self.kind == "timeseries" else HEIGHT // 2},
            "targets": [
                {"refId": chr(ord("A") + at), "datasource": SOURCE, "expr": query.expression, "legendFormat": query.legend,
                 "range": self.kind == "timeseries", "instant": self.kind != "timeseries"}
                for at, query in enumerate(self.queries)
            ],
            "fieldConfig": {"defaults": defaults, "overrides": band() if self.band else []},
            "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}}
            if self.kind == "timeseries"
            else {"reduceOptions": {"calcs": ["lastNotNull"]}, "graphMode": "none", "textMode": "value_and_name"},
        }
        if self.note:
            panel["description"] = self.note
        return panel


def band() -> list[dict]:
    """From the upper end down to the lower: shaded, without lines of their own."""

    def override(name: str, properties: dict) -> dict:
        return {"matcher": {"id": "byName", "options": name},
                "properties": [{"id": key, "value": value} for key, value in properties.items()]}

    hidden = {"custom.lineWidth": 0, "color": {"mode": "fixed", "fixedColor": "blue"},
              "custom.hideFrom": {"legend": True, "tooltip": False, "viz": False}}
    return [
        override("value", {"color": {"mode": "fixed", "fixedColor": "blue"}}),
        override("lower end", hidden),
        override("upper end", {**hidden, "custom.fillBelowTo": "lower end", "custom.fillOpacity": 20}),
    ]


@dataclass
class Row:
    title: str
    panels: list[Panel]
    repeat: str | None = None


def metric(title: str, name: str, interval: bool = True, unit: str = "percentunit", note: str = "") -> Panel:
    queries = [Query(f"modelbeat_{name}{{{VERSION}}}", "value")]
    if interval:
        queries.append(Query(f"modelbeat_{name}_lower{{{VERSION}}}", "lower end"))
        queries.append(Query(f"modelbeat_{name}_upper{{{VERSION}}}", "upper end"))
    ceiling = 1 if unit == "percentunit" else None
    return Panel(title, queries, unit=unit, ceiling=ceiling, band=interval, note=note)


def rate(name: str, labels: str = AGENT, by: str = "pipeline") -> str:
    return f"sum by ({by}) (rate({name}{{{labels}}}[{RATE}]))"


def increase(name: str, labels: str = AGENT, by: str = "pipeline") -> str:
    return f"sum by ({by}) (increase({name}{{{labels}}}[{RATE}]))"


def gauge(name: str, labels: str = AGENT) -> str:
    return f"{name}{{{labels}}}"


ROWS = [
    Row("Now", [
        Panel("Agents up", [Query("sum(up * on (instance, job) group_left () max by (instance, job) (modelbeat_build_info))", "agents")],
              kind="stat", width=4),
        Panel("Events a second", [Query(f"sum({rate('modelbeat_events_total')})", "events")], unit="reqps", kind="stat", width=4),
        Panel("Oldest input waits", [Query(f"max({gauge('modelbeat_input_lag_seconds')})", "lag")], unit="s", kind="stat", width=4),
        Panel("Open predictions", [Query(f"sum({gauge('modelbeat_open_predictions')})", "open")], kind="stat", width=4),
        Panel("Documents in flight", [Query(f"sum({gauge('modelbeat_documents_in_flight')})", "in flight")], kind="stat", width=4),
        Panel("Needs a person", [Query(f"max({gauge('modelbeat_shipping_needs_a_person')})", "shipping")], kind="stat", width=4,
              mappings={"0": "no", "1": "yes"}),
    ]),
    Row("Version against version", [
        Panel("Accuracy", [Query(f"modelbeat_accuracy{{{MODEL}}}", "{{pipeline}} {{model}} {{version}}")],
              unit="percentunit", ceiling=1, width=12,
              note="Of the newest window that has ended and has enough labels (quality.min_support)"),
        Panel("Coverage", [Query(f"modelbeat_coverage{{{MODEL}}}", "{{pipeline}} {{model}} {{version}}")],
              unit="percentunit", ceiling=1, width=12, note="Labels that came, of the predictions of the same window"),
    ]),
    Row("Version $version", repeat="version", panels=[
        metric("Accuracy", "accuracy", note="The band is the 95 % interval"),
        metric("Precision", "precision"),
        metric("Recall", "recall"),
        metric("F1", "f1"),
        metric("Coverage", "coverage", note="Labels that came, of the predictions of the same window"),
        Panel("Predictions of the window", [
            Query(f"modelbeat_window_predictions{{{VERSION}}}", "predictions"),
            Query(f"modelbeat_window_labelled_predictions{{{VERSION}}}", "with a label"),
            Query(f"modelbeat_window_judged_predictions{{{VERSION}}}", "judged"),
        ]),
        Panel("Labels come after", [Query(f"modelbeat_label_delay_seconds{{{VERSION}}}", "{{percentile}} %")], unit="s"),
        Panel("Latency", [Query(f"modelbeat_prediction_latency_seconds{{{VERSION}}}", "{{percentile}} %")], unit="s"),
        Panel("Errors of a regression", [
            Query(f"modelbeat_mae{{{VERSION}}}", "mean absolute error"),
            Query(f"modelbeat_rmse{{{VERSION}}}", "root mean squared error"),
            Query(f"modelbeat_bias{{{VERSION}}}", "bias"),
        ]),
    ]),
    Row("Inputs", [
        Panel("Events by what became of them", [Query(rate("modelbeat_events_total", by="pipeline, outcome"), "{{pipeline}} {{outcome}}")],
              unit="reqps"),
        Panel("Oldest input waits", [Query(gauge("modelbeat_input_lag_seconds"), "{{pipeline}} {{input}}")], unit="s"),
        Panel("Bytes behind the last checkpoint", [
            Query(gauge("modelbeat_input_unacknowledged_bytes"), "{{pipeline}} {{input}}")], unit="bytes",
            note="A crash would read them again"),
        Panel("HTTP answers", [Query(rate("modelbeat_http_requests_total", by="pipeline, status"), "{{pipeline}} {{status}}")],
              unit="reqps"),
        Panel("Journal", [
            Query(f"{gauge('modelbeat_journal_bytes')} / {gauge('modelbeat_journal_bytes_max')}", "{{pipeline}} {{input}}")],
            unit="percentunit", ceiling=1, note="When it is full, posts are answered 429"),
        Panel("Labels without a prediction, predictions without a label", [
            Query(rate("modelbeat_labels_orphaned_total"), "{{pipeline}} orphans"),
            Query(rate("modelbeat_predictions_expired_total"), "{{pipeline}} expired"),
        ], unit="reqps"),
    ]),
    Row("Shipping", [
        Panel("Documents", [
            Query(rate("modelbeat_documents_total"), "{{pipeline}} made"),
            Query(rate("modelbeat_documents_stored_total"), "{{pipeline}} stored"),
            Query(rate("modelbeat_documents_retried_total"), "{{pipeline}} sent again"),
        ], unit="reqps"),
        Panel("Time to an answer", [
            Query(f"histogram_quantile(0.5, {rate('modelbeat_bulk_request_duration_seconds_bucket', by='pipeline, le')})", "{{pipeline}} half"),
            Query(f"histogram_quantile(0.95, {rate('modelbeat_bulk_request_duration_seconds_bucket', by='pipeline, le')})", "{{pipeline}} 95 %"),
        ], unit="s"),
        Panel("Documents in flight", [
            Query(gauge("modelbeat_documents_in_flight"), "{{pipeline}} in flight"),
            Query(gauge("modelbeat_spool_documents"), "{{pipeline}} in the spool"),
        ]),
        Panel("Dead letters", [Query(rate("modelbeat_dead_letters_total", by="pipeline, kind"), "{{pipeline}} {{kind}}")], unit="reqps"),
        Panel("Queues", [
            Query(f"{gauge('modelbeat_queue_bytes')} / {gauge('modelbeat_queue_bytes_max')}", "{{pipeline}} {{queue}}")],
            unit="percentunit", ceiling=1, note="The one that is full is where it waits"),
        Panel("Age of the last checkpoint", [Query(gauge("modelbeat_checkpoint_age_seconds"), "{{pipeline}}")], unit="s"),
    ]),
    Row("Alerts", [
        Panel("Alerts that are not over", [
            Query(f"sum by (pipeline, phase, severity) ({gauge('modelbeat_alerts')})", "{{pipeline}} {{phase}} {{severity}}")], width=12),
        Panel("Notices that wait, and tries that failed", [
            Query(gauge("modelbeat_notices_waiting"), "{{pipeline}} {{notifier}} waiting"),
            Query(increase("modelbeat_notices_failed_total", by="pipeline, notifier"), "{{pipeline}} {{notifier}} failed"),
            Query(increase("modelbeat_notices_given_up_total", by="pipeline, notifier"), "{{pipeline}} {{notifier}} given up"),
        ], width=12),
    ]),
    Row("Host", [
        Panel("CPU", [
            Query(gauge("modelbeat_host_cpu_utilization_ratio"), "{{pipeline}} host"),
            Query(gauge("modelbeat_host_process_cpu_utilization_ratio"), "{{pipeline}} model server"),
        ], unit="percentunit", ceiling=1),
        Panel("Memory", [
            Query(f"{gauge('modelbeat_host_memory_used_bytes')} / {gauge('modelbeat_host_memory_total_bytes')}", "{{pipeline}}")],
            unit="percentunit", ceiling=1),
        Panel("Load", [Query(gauge("modelbeat_host_load1"), "{{pipeline}}")]),
        Panel("GPU", [Query(gauge("modelbeat_host_gpu_utilization_ratio"), "{{pipeline}}")], unit="percentunit", ceiling=1,
              note="The busiest"),
        Panel("GPU memory", [
            Query(f"{gauge('modelbeat_host_gpu_memory_used_bytes')} / {gauge('modelbeat_host_gpu_memory_total_bytes')}", "{{pipeline}}")],
            unit="percentunit", ceiling=1),
        Panel("GPU power and temperature", [
            Query(gauge("modelbeat_host_gpu_power_watts"), "{{pipeline}} watts"),
            Query(gauge("modelbeat_host_gpu_temperature_celsius"), "{{pipeline}} °C, the hottest"),
        ]),
    ]),
    Row("Agent", [
        Panel("Memory of modelbeat", [Query("process_resident_memory_bytes * on (instance, job) group_left () max by (instance, job) (modelbeat_build_info)", "{{instance}}")],
              unit="bytes", width=12),
        Panel("CPU of modelbeat", [
            Query(f"rate(process_cpu_seconds_total[{RATE}]) * on (instance, job) group_left () max by (instance, job) (modelbeat_build_info)", "{{instance}}")],
            width=12, note="1 is one core"),
    ]),
]

WINDOWS = "modelbeat_window_predictions"


def variable(name: str, label: str, query: str, several: bool) -> dict:
    return {
        "name": name, "label": label, "type": "query", "datasource": SOURCE, "refresh": 2, "sort": 1,
        "query": {"query": query, "refId": name}, "definition": query, "multi": several, "includeAll": several,
        "current": {"text": "All", "value": "$__all"} if several else {},
    }


VARIABLES = [
    {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "current": {}},
    variable("pipeline", "Pipeline", "label_values(modelbeat_documents_total, pipeline)", True),
    variable("model", "Model", f"label_values({WINDOWS}{{{AGENT}}}, model)", True),
    variable("window", "Window", f"label_values({WINDOWS}{{{AGENT}}}, window)", False),
    variable("slice", "Slice", f"label_values({WINDOWS}{{{AGENT}}}, slice)", False),
    variable("slice_value", "Slice value", f'label_values({WINDOWS}{{{AGENT},slice="$slice"}}, slice_value)', False),
    variable("version", "Version", f'label_values({WINDOWS}{{{AGENT},model=~"$model",window="$window"}}, version)', True),
]
# The whole, of which the value of the slice is empty, is what one looks at first.
VARIABLES[4]["current"] = {"text": "_all", "value": "_all"}


def panels() -> list[dict]:
    placed, y = [], 0
    for row in ROWS:
        heading = {"id": len(placed) + 1, "type": "row", "title": row.title, "collapsed": False, "panels": [],
                   "gridPos": {"x": 0, "y": y, "w": 24, "h": 1}}
        if row.repeat:
            heading["repeat"] = row.repeat
        placed.append(heading)
        y += 1
        x = tallest = 0
        for panel in row.panels:
            if x + panel.width > 24:
                x, y = 0, y + tallest
            saved = panel.saved(len(placed) + 1, x, y)
            placed.append(saved)
            x, tallest = x + panel.width, saved["gridPos"]["h"]
        y += tallest
    return placed


def dashboard() -> str:
    saved = {
        "uid": "modelbeat", "title": "modelbeat", "tags": ["modelbeat"], "schemaVersion": 39, "version": 1, "editable": True,
        "description": "Model quality and the agents' health, from /metrics", "time": {"from": "now-6h", "to": "now"},
        "refresh": "30s", "timezone": "browser", "graphTooltip": 1, "annotations": {"list": []}, "links": [],
        "templating": {"list": VARIABLES}, "panels": panels(),
    }
    return json.dumps(saved, ensure_ascii=False, indent=1) + "\n"
