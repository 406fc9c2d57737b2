//! What the panels show on a real node: something in every one, and in the main ones what a recount of the log says and what
//! the engine wrote into each window.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};

use super::fields::{Use, mapped, used};
use super::formula::Formula;
use super::kql;
use super::log::{self, Log, Told};
use super::objects::{all, charts, chosen, controls, inner, lines, of_type, text};
use super::search::{View, options};
use crate::cluster::{Cluster, Prefix};
use crate::documents::field;

/// Both sides add whole numbers and divide once or twice.
const TOLERANCE: f64 = 1e-12;

/// The formulas say 1.96 to twelve digits.
const INTERVAL_TOLERANCE: f64 = 1e-9;

#[test]
fn every_panel_shows_something_and_the_main_ones_what_a_recount_says() {
    let prefix = Prefix::new(Cluster::plain(), "kibana");
    let log = Log::draw();
    log::tell(&log, &prefix);
    let objects = all();
    assert_field_types(&objects, &prefix);
    assert_every_panel_shows_something(&objects, &prefix);
    assert_controls_and_searches(&objects, &prefix);
    assert_rules_can_be_asked(&prefix);
    assert_formulas_are_the_engines(&objects, &prefix, "fraud");
    assert_numbers_are_off_by_what_they_are(&objects, &prefix);
    for (slice, value) in [
        ("_all", None),
        ("country", Some("CH")),
        ("country", Some("DE")),
    ] {
        let told = log.recount(|row| value.is_none_or(|value| row.country == value));
        assert_recount(&objects, &prefix, ("fraud", "1h"), (slice, value), &told);
    }
}

/// What Elasticsearch made of the fields that the templates leave to it.
fn assert_field_types(objects: &[Value], prefix: &Prefix) {
    for each in used(objects) {
        let Some(kind) = mapped(objects, &each.view, &each.field) else {
            continue;
        };
        // Numbers of other tasks, and columns that only a listing names.
        if kind != "dynamic" || each.purpose == Use::Any {
            continue;
        }
        let family = each
            .view
            .replace("modelbeat-", &format!("{}-", prefix.name));
        let path = format!("{family}-*/_field_caps?fields={}", each.field);
        let caps = prefix.cluster().ask(&Method::GET, &path, None);
        let kinds = caps["fields"][&each.field].as_object();
        let kinds: Vec<&String> = kinds.into_iter().flat_map(|kinds| kinds.keys()).collect();
        let fits = !kinds.is_empty() && kinds.iter().all(|kind| each.purpose.takes(kind));
        assert!(fits, "{each}: it is {kinds:?}");
    }
}

fn assert_every_panel_shows_something(objects: &[Value], prefix: &Prefix) {
    let charts = charts(objects);
    assert!(charts.len() > 40, "{}", charts.len());
    for chart in &charts {
        let mut filters = chosen(objects, chart);
        // The one panel that is about the values of a chosen slice.
        if chart.name.ends_with("value of the chosen slice") {
            filters.retain(|filter| filter["term"]["slice.name"].is_null());
            filters.push(json!({ "term": { "slice.name": "country" } }));
        }
        let rows = View::new(objects, &chart.view, prefix).rows(chart, &filters);
        assert!(!rows.is_empty(), "{} shows no bucket", chart.name);
        for id in rows[0].keys() {
            let is_there = rows.iter().any(|row| row[id].is_some());
            assert!(
                is_there,
                "{}: {id} is a gap in all of {} buckets",
                chart.name,
                rows.len()
            );
        }
    }
}

fn assert_controls_and_searches(objects: &[Value], prefix: &Prefix) {
    for dashboard in of_type(objects, "dashboard") {
        for (view, field, _) in controls(dashboard) {
            let view = View::new(objects, &view, prefix);
            assert_ne!(
                options(&view, &field),
                0,
                "{}: {field} offers nothing",
                dashboard["id"]
            );
        }
    }
    for search in of_type(objects, "search") {
        let source = inner(&search["attributes"]["kibanaSavedObjectMeta"]["searchSourceJSON"]);
        let query = kql::parse(source["query"]["query"].as_str().expect("KQL")).expect("KQL");
        let sorts = search["attributes"]["sort"].as_array().expect("sort");
        let sort: Vec<Value> = sorts
            .iter()
            .map(|pair| json!({ text(&pair[0]): pair[1] }))
            .collect();
        let view = View::new(objects, &text(&search["references"][0]["id"]), prefix);
        let answer = view.search(json!({ "size": 50, "query": query.dsl, "sort": sort }));
        let hits = answer["hits"]["hits"].as_array().expect("hits");
        assert_ne!(hits.len(), 0, "{} finds nothing", search["id"]);
        if search["id"] == "modelbeat-mistakes" {
            let sizes: Vec<f64> = hits
                .iter()
                .filter_map(|hit| hit["sort"][0].as_f64())
                .collect();
            assert_eq!(sizes.len(), hits.len());
            assert!(sizes.is_sorted_by(|a, b| a >= b), "{sizes:?}");
            // Numbers are off by more than any score can be from 0.5; the surest wrong class follows.
            let surest = hits
                .iter()
                .position(|hit| hit["_source"]["pipeline"] == "fraud");
            let surest = surest.expect("a wrong class");
            assert_eq!(
                surest,
                log::ERRORS.iter().filter(|error| error.abs() > 0.5).count()
            );
            let score = &hits[surest]["_source"]["prediction"]["score"];
            let off = score.as_f64().expect("a score") - 0.5;
            assert!((off.abs() - sizes[surest]).abs() < TOLERANCE, "{score}");
        }
    }
}

/// A rule's query holds for the cluster, and asks for fields that are there.
fn assert_rules_can_be_asked(prefix: &Prefix) {
    for rule in lines("rules.ndjson") {
        let params = &rule["params"];
        let index = text(&params["index"][0]).replace("modelbeat-", &format!("{}-", prefix.name));
        let mut body = json!({ "size": 0 });
        let mut fields = vec![text(&params["timeField"])];
        if params["searchType"] == "esQuery" {
            body["query"] = inner(&params["esQuery"])["query"].clone();
            asked(&body["query"], &mut fields);
        }
        fields.extend(
            ["aggField", "termField"]
                .iter()
                .filter_map(|name| Some(params[name].as_str()?.to_owned())),
        );
        prefix
            .cluster()
            .ask(&Method::POST, &format!("{index}/_search"), Some(&body));
        for field in fields.iter().filter(|&field| field != "window.every") {
            let caps = prefix.cluster().ask(
                &Method::GET,
                &format!("{index}/_field_caps?fields={field}"),
                None,
            );
            assert!(
                caps["fields"][field].is_object(),
                "{}: there is no {field}",
                rule["name"]
            );
        }
    }
}

/// The fields of `term` and `range`.
fn asked(query: &Value, fields: &mut Vec<String>) {
    match query {
        Value::Object(members) => {
            for (name, inner) in members {
                match inner.as_object() {
                    Some(clause) if name == "term" || name == "range" => {
                        fields.extend(clause.keys().cloned());
                    }
                    _ => asked(inner, fields),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| asked(value, fields)),
        _ => {}
    }
}

/// The figures of Model quality, with one slice chosen.
pub(super) fn assert_recount(
    objects: &[Value],
    prefix: &Prefix,
    (pipeline, window): (&str, &str),
    (slice, value): (&str, Option<&str>),
    told: &Told,
) {
    let mut filters = vec![
        json!({ "term": { "pipeline": pipeline } }),
        json!({ "term": { "window.length": window } }),
        json!({ "term": { "slice.name": slice } }),
    ];
    filters.extend(value.map(|value| json!({ "term": { "slice.value": value } })));
    let mut figures = BTreeMap::new();
    for chart in charts(objects) {
        let is_figure = chart
            .columns
            .values()
            .all(|column| column["isBucketed"] == false);
        if is_figure && chart.name.starts_with("[modelbeat] Model quality / ") {
            let rows = View::new(objects, &chart.view, prefix).rows(&chart, &filters);
            figures.extend(
                rows.into_iter()
                    .flatten()
                    .filter_map(|(id, value)| Some((id, value?))),
            );
        }
    }
    let expected = told.figures();
    assert_eq!(
        figures.keys().collect::<Vec<_>>(),
        expected.keys().collect::<Vec<_>>()
    );
    for (name, expected) in &expected {
        let shown = figures[name];
        assert!(
            (shown - expected).abs() < TOLERANCE,
            "{name} of {slice} {value:?}: {shown}, recounted {expected}"
        );
    }
}

/// Over one window, a formula is what the engine wrote into the window's document; the interval ends too.
pub(super) fn assert_formulas_are_the_engines(objects: &[Value], prefix: &Prefix, pipeline: &str) {
    let charts = charts(objects);
    let formula = |metric: &str, column: &str| {
        let name = format!("[modelbeat] Model quality / {metric} over time");
        let chart = charts
            .iter()
            .find(|chart| chart.name == name)
            .expect("a panel");
        Formula::parse(&text(&chart.column(column)["params"]["formula"])).expect("a formula")
    };
    let mut compared = 0;
    for metric in ["Accuracy", "Coverage", "Precision", "Recall", "F1"] {
        let name = metric.to_lowercase();
        let pairs = [
            (formula(metric, &name), format!("quality.{name}")),
            (formula(metric, "low"), format!("interval.{name}.low")),
            (formula(metric, "high"), format!("interval.{name}.high")),
        ];
        let windows = json!({ "bool": { "filter": [
            { "term": { "event.dataset": "modelbeat.quality" } }, { "term": { "pipeline": pipeline } },
        ] } });
        prefix
            .cluster()
            .search(&prefix.indices("quality"), &windows, |hit| {
                let window = &hit["_source"];
                for (formula, path) in &pairs {
                    let shown = formula.value(&|part| field(window, &part.field).as_f64());
                    let written = field(window, path).as_f64();
                    let is_same = match (shown, written) {
                        (Some(shown), Some(written)) => {
                            (shown - written).abs() < INTERVAL_TOLERANCE
                        }
                        (shown, written) => shown == written,
                    };
                    assert!(
                        is_same,
                        "{path}: {shown:?} by the panel, {written:?} in {window}"
                    );
                    compared += usize::from(shown.is_some());
                }
            });
    }
    assert!(compared > 1_000, "{compared}");
}

fn assert_numbers_are_off_by_what_they_are(objects: &[Value], prefix: &Prefix) {
    let charts = charts(objects);
    let chart = charts
        .iter()
        .find(|chart| chart.name.contains("How far off"));
    let chart = chart.expect("a panel");
    let rows = View::new(objects, &chart.view, prefix).rows(chart, &[]);
    let [row] = rows.as_slice() else {
        panic!("all are of one hour: {rows:?}")
    };
    let count = log::ERRORS.len() as f64;
    for (column, sum) in [
        ("bias", log::ERRORS.iter().sum::<f64>()),
        ("mae", log::ERRORS.iter().map(|error| error.abs()).sum()),
    ] {
        let shown = row[column].expect("a number");
        assert!((shown - sum / count).abs() < TOLERANCE, "{column}: {shown}");
    }
}
