"""The few shapes of Lens that the dashboards use: columns, charts, panels, dashboards; nothing of what they show.

Shapes are the oldest that say what is needed, so that Kibana 8.12 and every later one can read them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from formula import Expression, Part

CORE_VERSION = "8.8.0"
TYPE_VERSIONS = {"index-pattern": "8.0.0", "search": "8.0.0", "dashboard": "8.9.0"}
LAYER = "rows"
PERCENT = {"id": "percent", "params": {"decimals": 1}}
BYTES = {"id": "bytes", "params": {"decimals": 1}}
MILLISECONDS = {"id": "number", "params": {"decimals": 1, "suffix": " ms"}}
WHOLE = {"id": "number", "params": {"decimals": 0}}
TENTHS = {"id": "number", "params": {"decimals": 1}}
AS_IN_VIEW = None  # the data view says how a field is shown
DURATION = {"id": "duration", "params": {"inputFormat": "milliseconds", "outputFormat": "humanizePrecise"}}


def text(value) -> str:
    """JSON inside JSON, as Kibana keeps it."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def saved(kind: str, name: str, attributes: dict, references: list[dict]) -> dict:
    return {
        "type": kind, "id": name, "attributes": attributes, "references": references,
        "coreMigrationVersion": CORE_VERSION, "typeMigrationVersion": TYPE_VERSIONS[kind],
    }


# Columns: a column is its identifier and what it holds.


@dataclass
class Column:
    key: str
    body: dict
    hidden: dict[str, dict] = field(default_factory=dict)  # parts of a formula

    @property
    def is_bucketed(self) -> bool:
        return self.body["isBucketed"]


def bucket(key: str, label: str, operation: str, source: str, data_type: str, scale: str, params: dict) -> Column:
    return Column(key, {
        "label": label, "customLabel": True, "dataType": data_type, "operationType": operation, "isBucketed": True,
        "scale": scale, "sourceField": source, "params": params,
    })


def over_time(source: str = "@timestamp") -> Column:
    params = {"interval": "auto", "includeEmptyRows": True, "dropPartials": False}
    return bucket("time", source, "date_histogram", source, "date", "interval", params)


def by(key: str, label: str, source: str, size: int, order: str | None = None, data_type: str = "string") -> Column:
    """The `size` largest groups by column `order`, or the first in the alphabet."""
    by_column = {"type": "column", "columnId": order} if order else {"type": "alphabetical"}
    params = {
        "size": size, "orderBy": by_column, "orderDirection": "desc" if order else "asc", "otherBucket": False,
        "missingBucket": False, "parentFormat": {"id": "terms"}, "include": [], "exclude": [],
    }
    return bucket(key, label, "terms", source, data_type, "ordinal", params)


def ranges(key: str, label: str, source: str) -> Column:
    """A histogram of a number."""
    params = {"type": "histogram", "maxBars": "auto", "includeEmptyRows": True,
              "ranges": [{"from": 0, "to": 1000, "label": ""}]}
    return bucket(key, label, "range", source, "number", "interval", params)


def metric(key: str, label: str, operation: str, source: str, style: dict | None, kql: str = "", **params) -> Column:
    """One aggregation: `average`, `max`, `sum`, `count`, `percentile` (with `percentile=95`)."""
    if style:
        params["format"] = style
    body = {
        "label": label, "customLabel": True, "dataType": "number", "operationType": operation, "isBucketed": False,
        "scale": "ratio", "sourceField": source, "params": params,
    }
    if kql:
        body["filter"] = {"query": kql, "language": "kuery"}
    return Column(key, body)


def formula(key: str, label: str, expression: Expression, style: dict = PERCENT) -> Column:
    """A formula, its parts, and the arithmetic over them."""
    written = expression.text()
    parts = list(dict.fromkeys(expression.parts()))
    names = {part: f"{key}X{index}" for index, part in enumerate(parts)}
    hidden = {names[part]: part_column(part, f"Part of {label}") for part in parts}
    last = f"{key}X{len(parts)}"
    tree = {**expression.ast(names), "location": {"min": 0, "max": len(written)}, "text": written}
    common = {"customLabel": True, "dataType": "number", "isBucketed": False, "scale": "ratio"}
    hidden[last] = {**common, "label": f"Part of {label}", "operationType": "math",
                    "params": {"tinymathAst": tree}, "references": list(names.values())}
    body = {**common, "label": label, "operationType": "formula", "references": [last],
            "params": {"formula": written, "isFormulaBroken": False, "format": style}}
    return Column(key, body, hidden)


def part_column(part: Part, label: str) -> dict:
    column = {
        "label": label, "customLabel": True, "dataType": "number", "operationType": part.operation, "isBucketed": False,
        "scale": "ratio", "sourceField": part.source, "params": {"emptyAsNull": False},
    }
    if part.kql:
        column["filter"] = {"query": part.kql, "language": "kuery"}
    return column


# Charts: a chart is a kind, its columns, and how they are drawn. `rows` says, in KQL, which documents it is about.


@dataclass
class Chart:
    title: str
    view: str
    rows: str
    kind: str
    columns: list[Column]
    drawn: dict
    note: str = ""

    def attributes(self) -> dict:
        buckets = [column for column in self.columns if column.is_bucketed]
        metrics = [column for column in self.columns if not column.is_bucketed]
        columns, order = {}, []
        for column in buckets + metrics:
            columns[column.key] = column.body
            order.append(column.key)
        for column in metrics:
            columns.update(column.hidden)
            order.extend(column.hidden)
        return {
            "title": self.title, "description": self.note, "visualizationType": self.kind, "type": "lens",
            "references": [reference(self.view, f"indexpattern-datasource-layer-{LAYER}")],
            "state": {
                "visualization": self.drawn, "query": {"query": self.rows, "language": "kuery"}, "filters": [],
                "internalReferences": [], "adHocDataViews": {},
                "datasourceStates": {"formBased": {"layers": {
                    LAYER: {"columnOrder": order, "columns": columns, "incompleteColumns": {}}}}},
            },
        }


def reference(view: str, name: str) -> dict:
    return {"type": "index-pattern", "id": view, "name": name}


def lines(title: str, view: str, rows: str, columns: list[Column], *, x: str = "time", split: str | None = None,
          right: tuple[str, ...] = (), thin: tuple[str, ...] = (), ceiling: float | None = None,
          series: str = "line", note: str = "") -> Chart:
    """Lines over time. `right`: drawn on the right axis; `thin`: ends of intervals, light; `ceiling`: from 0 to there."""
    metrics = [column.key for column in columns if not column.is_bucketed]
    config = [{"forAccessor": key, "axisMode": "right"} for key in right]
    config += [{"forAccessor": key, "color": "#b0b8c4"} for key in thin]
    layer = {"layerId": LAYER, "layerType": "data", "seriesType": series, "xAccessor": x, "accessors": metrics}
    if split:
        layer["splitAccessor"] = split
    if config:
        layer["yConfig"] = config
    drawn = {
        "preferredSeriesType": series, "legend": {"isVisible": True, "position": "bottom"}, "valueLabels": "hide",
        "fittingFunction": "None", "layers": [layer],
    }
    if ceiling is not None:
        drawn["yLeftExtent"] = {"mode": "custom", "lowerBound": 0, "upperBound": ceiling}
    return Chart(title, view, rows, "lnsXY", columns, drawn, note)


def figure(title: str, view: str, rows: str, column: Column, note: str = "") -> Chart:
    """One number."""
    drawn = {"layerId": LAYER, "layerType": "data", "metricAccessor": column.key}
    return Chart(title, view, rows, "lnsMetric", [column], drawn, note)


def table(title: str, view: str, rows: str, columns: list[Column], note: str = "") -> Chart:
    drawn = {"layerId": LAYER, "layerType": "data", "columns": [{"columnId": column.key} for column in columns]}
    return Chart(title, view, rows, "lnsDatatable", columns, drawn, note)


def heatmap(title: str, view: str, rows: str, x: Column, y: Column, value: Column, note: str = "") -> Chart:
    drawn = {
        "shape": "heatmap", "layerId": LAYER, "layerType": "data", "xAccessor": x.key, "yAccessor": y.key,
        "valueAccessor": value.key, "legend": {"isVisible": True, "position": "right", "type": "heatmap_legend"},
        "gridConfig": {
            "type": "heatmap_grid", "isCellLabelVisible": True, "isYAxisLabelVisible": True,
            "isXAxisLabelVisible": True, "isYAxisTitleVisible": True, "isXAxisTitleVisible": True,
        },
    }
    return Chart(title, view, rows, "lnsHeatmap", [y, x, value], drawn, note)


# Panels and dashboards.


@dataclass
class Words:
    """A panel of text (Markdown)."""

    markdown: str


@dataclass
class Listing:
    """A panel that is a saved search."""

    title: str
    search: str


@dataclass
class Control:
    """A list to choose from, above the panels. `chosen`: what is chosen at first; then one only can be."""

    field: str
    title: str
    chosen: str | None = None


@dataclass
class Dashboard:
    """`rows`: rows of (width, panel), of one height each; a dashboard is 48 wide. `controls_view`: where controls look."""

    name: str
    title: str
    description: str
    controls_view: str
    controls: list[Control]
    rows: list[tuple[int, list[tuple[int, Chart | Words | Listing]]]]
    since: str = "now-7d"

    def saved(self) -> dict:
        panels, references, y = [], [], 0
        for height, row in self.rows:
            x = 0
            for width, panel in row:
                key = f"p{len(panels) + 1}"
                place = {"x": x, "y": y, "w": width, "h": height, "i": key}
                panels.append({"panelIndex": key, "gridData": place, **embedded(panel, key, references)})
                x += width
            y += height
        controls = self.control_group(references)
        attributes = {
            "title": self.title, "description": self.description, "hits": 0, "version": 1, "timeRestore": True,
            "timeFrom": self.since, "timeTo": "now", "refreshInterval": {"pause": True, "value": 60_000},
            "kibanaSavedObjectMeta": {"searchSourceJSON": text(
                {"query": {"query": "", "language": "kuery"}, "filter": []})},
            "optionsJSON": text({"useMargins": True, "syncColors": True, "syncCursor": True, "syncTooltips": False,
                                 "hidePanelTitles": False}),
            "panelsJSON": text(panels), "controlGroupInput": controls,
        }
        return saved("dashboard", self.name, attributes, references)

    def control_group(self, references: list[dict]) -> dict:
        panels = {}
        for order, control in enumerate(self.controls):
            key = f"c{order + 1}"
            references.append(reference(self.controls_view, f"controlGroup_{key}:optionsListDataView"))
            chosen = {"selectedOptions": [control.chosen], "singleSelect": True} if control.chosen else {}
            panels[key] = {
                "type": "optionsListControl", "order": order, "width": "medium", "grow": True,
                "explicitInput": {"id": key, "fieldName": control.field, "title": control.title, "enhancements": {},
                                  **chosen},
            }
        ignore = {"ignoreFilters": False, "ignoreQuery": False, "ignoreTimerange": False, "ignoreValidations": False}
        return {"controlStyle": "oneLine", "chainingSystem": "HIERARCHICAL", "ignoreParentSettingsJSON": text(ignore),
                "panelsJSON": text(panels)}


def embedded(panel: Chart | Words | Listing, key: str, references: list[dict]) -> dict:
    """What a panel is, and, into `references`, what it needs."""
    if isinstance(panel, Words):
        source = {"query": {"query": "", "language": "kuery"}, "filter": []}
        vis = {"title": "", "description": "", "type": "markdown", "uiState": {},
               "params": {"fontSize": 12, "openLinksInNewTab": False, "markdown": panel.markdown},
               "data": {"aggs": [], "searchSource": source}}
        return {"type": "visualization", "embeddableConfig": {"enhancements": {}, "savedVis": vis}}
    if isinstance(panel, Listing):
        references.append({"type": "search", "id": panel.search, "name": f"{key}:panel_{key}"})
        return {"type": "search", "title": panel.title, "panelRefName": f"panel_{key}",
                "embeddableConfig": {"enhancements": {}}}
    attributes = panel.attributes()
    references += [{**each, "name": f"{key}:{each['name']}"} for each in attributes["references"]]
    return {"type": "lens", "title": panel.title, "embeddableConfig": {"enhancements": {}, "attributes": attributes}}


def view(name: str, pattern: str, title: str, formats: dict[str, dict], runtime: dict[str, dict] | None = None) -> dict:
    attributes = {
        "title": pattern, "name": title, "timeFieldName": "@timestamp", "allowHidden": False, "fieldAttrs": "{}",
        "fieldFormatMap": text(formats), "fields": "[]", "runtimeFieldMap": text(runtime or {}), "sourceFilters": "[]",
        "typeMeta": "{}",
    }
    return saved("index-pattern", name, attributes, [])


def search(name: str, title: str, description: str, view: str, query: str, columns: list[str],
           sort: list[list[str]]) -> dict:
    meta = "kibanaSavedObjectMeta.searchSourceJSON.index"
    source = {"query": {"query": query, "language": "kuery"}, "filter": [], "indexRefName": meta}
    attributes = {
        "title": title, "description": description, "columns": columns, "sort": sort, "grid": {}, "hideChart": True,
        "isTextBasedQuery": False, "kibanaSavedObjectMeta": {"searchSourceJSON": text(source)},
    }
    return saved("search", name, attributes, [reference(view, meta)])
