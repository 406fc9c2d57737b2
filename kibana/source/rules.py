"""Alert rules to start from: as the alerting API takes them, switched off, without connectors.

A rule over windows asks for windows written again in the last minutes whose own interval says that they are bad: no
average of ratios, and a window that a late label makes bad is found too. Each agent's windows are judged by themselves.
"""

from __future__ import annotations

import json


def windows(*, name: str, conditions: list[dict], dataset: str = "quality") -> dict:
    everything = [{"term": {"event.dataset": f"modelbeat.{dataset}"}}, {"term": {"slice.name": "_all"}},
                  {"term": {"window.length": "1h"}}, *conditions]
    query = {"query": {"bool": {"filter": everything, "must_not": [{"exists": {"field": "window.every"}}]}}}
    params = {
        "searchType": "esQuery", "index": ["modelbeat-quality-*"], "timeField": "event.ingested",
        "esQuery": json.dumps(query, sort_keys=True, separators=(",", ":")), "size": 10, "timeWindowSize": 10,
        "timeWindowUnit": "m", "thresholdComparator": ">", "threshold": [0], "aggType": "count", "groupBy": "all",
        "excludeHitsFromPreviousRun": True,
    }
    return rule(name, ".es-query", params)


def threshold(*, name: str, index: str, aggregation: dict, comparator: str, limit: float, minutes: int) -> dict:
    params = {
        "index": [index], "timeField": "@timestamp", **aggregation, "timeWindowSize": minutes, "timeWindowUnit": "m",
        "thresholdComparator": comparator, "threshold": [limit],
    }
    return rule(name, ".index-threshold", params)


def rule(name: str, kind: str, params: dict) -> dict:
    return {
        "name": f"[modelbeat] {name}", "rule_type_id": kind, "consumer": "stackAlerts", "enabled": False,
        "tags": ["modelbeat"], "schedule": {"interval": "5m"}, "params": params, "actions": [],
    }


def below(field: str, limit: float) -> dict:
    return {"range": {field: {"lt": limit}}}


ENOUGH = {"range": {"counts.judged": {"gte": 100}}}

RULES = [
    windows(name="Accuracy below 90 %", conditions=[ENOUGH, below("interval.accuracy.high", 0.9)]),
    windows(name="Recall below 70 %", conditions=[ENOUGH, below("interval.recall.high", 0.7)]),
    windows(name="Precision below 70 %", conditions=[ENOUGH, below("interval.precision.high", 0.7)]),
    windows(name="Half of the labels never came", conditions=[
        {"term": {"window.final": True}}, below("quality.coverage", 0.5)]),
    windows(name="A version is worse than its baseline", dataset="comparison", conditions=[
        below("comparison.accuracy.difference", 0), below("comparison.accuracy.p_adjusted", 0.01)]),
    threshold(name="No predictions for 15 minutes", index="modelbeat-predictions-*",
              aggregation={"aggType": "count", "groupBy": "all"}, comparator="<", limit=1, minutes=15),
    threshold(name="Memory of a host above 95 %", index="modelbeat-host-*", comparator=">", limit=0.95, minutes=5,
              aggregation={"aggType": "avg", "aggField": "system.memory.actual.used.pct", "groupBy": "top",
                           "termField": "host.name", "termSize": 20}),
]
