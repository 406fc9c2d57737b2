//! The committed files, read as Kibana would: objects, the charts in them, and what Kibana's import lets through though the
//! dashboard would not open.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

/// Per type: the version of its shape, and the attributes that this version has.
const TYPES: [(&str, &str, &[&str]); 3] = [
    (
        "index-pattern",
        "8.0.0",
        &[
            "title",
            "name",
            "timeFieldName",
            "allowHidden",
            "fieldAttrs",
            "fieldFormatMap",
            "fields",
            "runtimeFieldMap",
            "sourceFilters",
            "typeMeta",
        ],
    ),
    (
        "search",
        "8.0.0",
        &[
            "title",
            "description",
            "columns",
            "sort",
            "grid",
            "hideChart",
            "isTextBasedQuery",
            "kibanaSavedObjectMeta",
        ],
    ),
    (
        "dashboard",
        "8.9.0",
        &[
            "title",
            "description",
            "hits",
            "version",
            "timeRestore",
            "timeFrom",
            "timeTo",
            "refreshInterval",
            "kibanaSavedObjectMeta",
            "panelsJSON",
            "optionsJSON",
            "controlGroupInput",
        ],
    ),
];

/// What 8.12 draws without a doubt.
const CHARTS: [&str; 4] = ["lnsXY", "lnsMetric", "lnsDatatable", "lnsHeatmap"];

/// A Lens chart in a dashboard.
pub(super) struct Chart {
    /// `Model quality / Accuracy over time`
    pub(super) name: String,
    /// The id of its data view.
    pub(super) view: String,
    /// Its KQL.
    pub(super) query: String,
    /// Column ids, outermost bucket first.
    pub(super) order: Vec<String>,
    pub(super) columns: Map<String, Value>,
}

impl Chart {
    /// A column's members; null where there is none.
    pub(super) fn column(&self, id: &str) -> &Value {
        self.columns.get(id).unwrap_or(&Value::Null)
    }

    /// Columns with an aggregation or a formula of their own that is shown.
    pub(super) fn shown(&self) -> Vec<&str> {
        let is_part = |id: &str| {
            self.column(id)["label"]
                .as_str()
                .is_some_and(|label| label.starts_with("Part of "))
        };
        let shown = self.order.iter().map(String::as_str);
        shown.filter(|id| !is_part(id)).collect()
    }
}

/// Every line of a committed file.
pub(super) fn lines(name: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("kibana")
        .join(name);
    let text = fs::read_to_string(path).expect("committed");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect()
}

pub(super) fn all() -> Vec<Value> {
    lines("dashboards.ndjson")
}

pub(super) fn of_type<'o>(objects: &'o [Value], kind: &str) -> Vec<&'o Value> {
    objects
        .iter()
        .filter(|object| object["type"] == kind)
        .collect()
}

/// JSON in a text.
#[track_caller]
pub(super) fn inner(text: &Value) -> Value {
    serde_json::from_str(text.as_str().expect("text")).expect("JSON in it")
}

pub(super) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// All charts of all dashboards.
pub(super) fn charts(objects: &[Value]) -> Vec<Chart> {
    let mut charts = Vec::new();
    for dashboard in of_type(objects, "dashboard") {
        for panel in inner(&dashboard["attributes"]["panelsJSON"])
            .as_array()
            .expect("panels")
        {
            if panel["type"] != "lens" {
                continue;
            }
            let lens = &panel["embeddableConfig"]["attributes"];
            let layers = &lens["state"]["datasourceStates"]["formBased"]["layers"];
            let layer = &layers["rows"];
            let order = layer["columnOrder"].as_array().expect("columnOrder");
            charts.push(Chart {
                name: format!(
                    "{} / {}",
                    text(&dashboard["attributes"]["title"]),
                    text(&panel["title"])
                ),
                view: text(&lens["references"][0]["id"]),
                query: text(&lens["state"]["query"]["query"]),
                order: order.iter().map(text).collect(),
                columns: layer["columns"].as_object().expect("columns").clone(),
            });
        }
    }
    charts
}

/// Controls of a dashboard: the data view, the field, and what is chosen at first.
pub(super) fn controls(dashboard: &Value) -> Vec<(String, String, Option<String>)> {
    let panels = inner(&dashboard["attributes"]["controlGroupInput"]["panelsJSON"]);
    let panels = panels.as_object().expect("controls");
    panels
        .iter()
        .map(|(id, panel)| {
            let input = &panel["explicitInput"];
            let chosen = input["selectedOptions"][0].as_str().map(str::to_owned);
            let name = format!("controlGroup_{id}:optionsListDataView");
            (
                referred(dashboard, &name),
                text(&input["fieldName"]),
                chosen,
            )
        })
        .collect()
}

/// The filters that a dashboard's controls add before anybody touches them.
pub(super) fn chosen(objects: &[Value], chart: &Chart) -> Vec<Value> {
    let boards = of_type(objects, "dashboard").into_iter();
    let mut board = boards.filter(|board| {
        chart
            .name
            .starts_with(&format!("{} / ", text(&board["attributes"]["title"])))
    });
    let controls = controls(board.next().expect("its dashboard"));
    let filters = controls
        .into_iter()
        .filter_map(|(_, field, chosen)| Some(json!({ "term": { field: chosen? } })));
    filters.collect()
}

/// What an object's reference of that name points at.
#[track_caller]
fn referred(object: &Value, name: &str) -> String {
    let references = object["references"].as_array().expect("references");
    let found = references
        .iter()
        .find(|reference| reference["name"] == name);
    let found = found.unwrap_or_else(|| panic!("{} has no reference {name}", object["id"]));
    text(&found["id"])
}

/// All that is wrong with the outer shapes: what the import refuses, and what it should have refused.
pub(super) fn complaints(objects: &[Value]) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut ids = BTreeSet::new();
    for object in objects {
        ids.insert((text(&object["type"]), text(&object["id"])));
    }
    if ids.len() < objects.len() {
        complaints.push("two objects have one type and id".to_owned());
    }
    for object in objects {
        let mut say =
            |what: String| complaints.push(format!("{} {}: {what}", object["type"], object["id"]));
        let Some((_, version, attributes)) =
            TYPES.iter().find(|(kind, ..)| object["type"] == *kind)
        else {
            say("an unknown type".to_owned());
            continue;
        };
        if object["typeMigrationVersion"] != *version || object["coreMigrationVersion"] != "8.8.0" {
            say(format!("its versions are not {version} and 8.8.0"));
        }
        for name in object["attributes"].as_object().expect("attributes").keys() {
            if !attributes.contains(&name.as_str()) {
                say(format!("this version has no attribute {name}"));
            }
        }
        for reference in object["references"].as_array().expect("references") {
            if !ids.contains(&(text(&reference["type"]), text(&reference["id"]))) {
                say(format!("refers to {reference}, which is not in the file"));
            }
        }
        if object["type"] == "dashboard" {
            in_dashboard(object, &mut say);
        }
    }
    complaints
}

/// What Kibana would find only when the dashboard is opened.
fn in_dashboard(dashboard: &Value, say: &mut impl FnMut(String)) {
    let mut wanted = BTreeSet::new();
    let mut taken = BTreeSet::new();
    let panels = inner(&dashboard["attributes"]["panelsJSON"]);
    for panel in panels.as_array().expect("panels") {
        let index = text(&panel["panelIndex"]);
        let place = &panel["gridData"];
        if place["i"] != panel["panelIndex"] {
            say(format!("panel {index}: gridData.i is another"));
        }
        let at = |name: &str| place[name].as_u64().expect("a number");
        for x in at("x")..at("x") + at("w") {
            if x >= 48 || !taken.insert((x, at("y"))) {
                say(format!("panel {index} lies outside or over another"));
                break;
            }
        }
        match panel["type"].as_str() {
            Some("lens") => in_lens(panel, &index, &mut wanted, say),
            Some("search") => {
                if panel["panelRefName"] != format!("panel_{index}") {
                    say(format!("panel {index} names no reference"));
                }
                wanted.insert(format!("{index}:panel_{index}"));
            }
            Some("visualization") => {
                if panel["embeddableConfig"]["savedVis"]["type"] != "markdown" {
                    say(format!("panel {index} is no markdown"));
                }
            }
            _ => say(format!("panel {index} is of an unknown type")),
        }
    }
    let controls = inner(&dashboard["attributes"]["controlGroupInput"]["panelsJSON"]);
    for id in controls.as_object().expect("controls").keys() {
        wanted.insert(format!("controlGroup_{id}:optionsListDataView"));
    }
    let references = dashboard["references"].as_array().expect("references");
    let given: BTreeSet<String> = references.iter().map(|each| text(&each["name"])).collect();
    if given != wanted {
        let difference: Vec<_> = given.symmetric_difference(&wanted).collect();
        say(format!(
            "references are too many or missing: {difference:?}"
        ));
    }
}

/// A chart by value: its references twice, its accessors naming columns, its columns all in order.
fn in_lens(
    panel: &Value,
    index: &str,
    wanted: &mut BTreeSet<String>,
    say: &mut impl FnMut(String),
) {
    let lens = &panel["embeddableConfig"]["attributes"];
    let kind = text(&lens["visualizationType"]);
    if !CHARTS.contains(&kind.as_str()) {
        say(format!("panel {index}: {kind} is not known to be drawn"));
    }
    let layers = &lens["state"]["datasourceStates"]["formBased"]["layers"];
    for (layer, content) in layers.as_object().expect("layers") {
        let name = format!("indexpattern-datasource-layer-{layer}");
        let references = lens["references"].as_array().expect("references");
        if !references.iter().any(|each| each["name"] == name) {
            say(format!("panel {index}: the chart itself lacks {name}"));
        }
        wanted.insert(format!("{index}:{name}"));
        let columns = content["columns"].as_object().expect("columns");
        let order = content["columnOrder"].as_array().expect("columnOrder");
        let ordered: BTreeSet<String> = order.iter().map(text).collect();
        if ordered.len() != order.len()
            || !ordered.iter().eq(columns.keys().collect::<BTreeSet<_>>())
        {
            say(format!(
                "panel {index}: columnOrder does not list every column once"
            ));
        }
        let mut named = Vec::new();
        accessors(&lens["state"]["visualization"], &mut named);
        for column in columns.values() {
            named.extend(
                column["references"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(text),
            );
            named.extend(
                column["params"]["orderBy"]["columnId"]
                    .as_str()
                    .map(str::to_owned),
            );
        }
        for name in named {
            if !columns.contains_key(&name) {
                say(format!("panel {index}: {name} names no column"));
            }
        }
    }
}

/// What a drawing calls by column id.
fn accessors(value: &Value, named: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                match value {
                    Value::String(id) if name.ends_with("Accessor") || name == "columnId" => {
                        named.push(id.clone());
                    }
                    Value::Array(ids) if name == "accessors" => named.extend(ids.iter().map(text)),
                    value => accessors(value, named),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| accessors(value, named)),
        _ => {}
    }
}
