//! The demo on a real node: what every panel of every dashboard asks of Elasticsearch comes back as what the engine wrote,
//! bucket by bucket, and the main figures are those of a recount of the simulated server's files.
//!
//! The engine's documents are those of the file output of the same run, aggregated here one by one.

use std::collections::BTreeMap;

use jiff::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};

use super::fake::{Kibana, State};
use super::kql;
use super::log::Told;
use super::objects::{Chart, all, charts, chosen};
use super::search::{Row, View, buckets, key, metrics};
use super::shown::{assert_formulas_are_the_engines, assert_recount};
use crate::agent::{Home, Modelbeat};
use crate::cluster::{Cluster, Prefix};
use crate::demo::written::{Written, documents};
use crate::documents::field;

/// Relative: sums of floats in another order.
const TOLERANCE: f64 = 1e-9;

/// What the demo has nothing of: a model that predicts numbers.
const EMPTY: [&str; 1] = ["[modelbeat] Predictions / How far off, where numbers are predicted"];

const WINDOW: &str = "6h";

#[test]
fn every_panel_shows_of_the_demo_what_the_engine_wrote() {
    let prefix = Prefix::new(Cluster::plain(), "demo");
    let kibana = Kibana::start(State::default());
    let home = Home::new();
    let arguments = ["demo", "--exit", "--seconds", "20", "--seed", "7"];
    Modelbeat::new(&home, &arguments)
        .argument("--elasticsearch")
        .argument(&prefix.cluster().url)
        .argument("--kibana")
        .argument(&kibana.url)
        .argument("--index-prefix")
        .argument(&prefix.name)
        .finish()
        .expect_code(0)
        .expect_words(&[
            &format!("installed  dashboard [{}] Model quality", prefix.name),
            &format!("as {}-*", prefix.name),
        ]);
    let refresh = format!("{}-*/_refresh", prefix.name);
    prefix.cluster().ask(&Method::POST, &refresh, None);

    let folder = home.path("modelbeat-demo");
    let written = documents(&folder.join("documents"));
    let stored = prefix
        .cluster()
        .count(&format!("{}-*", prefix.name), &json!({ "match_all": {} }));
    assert_eq!(stored, written.len() as u64);

    let objects = all();
    let mut empty = Vec::new();
    for chart in charts(&objects) {
        if !is_shown_as_written(&objects, &chart, &prefix, &written) {
            empty.push(chart.name.clone());
        }
    }
    assert_eq!(empty, EMPTY);

    assert_formulas_are_the_engines(&objects, &prefix, "demo");
    let told = Written::by_the_server(&folder);
    let slices = ["DE", "FR", "CH", "AT"].map(|country| ("country", Some(country)));
    for (slice, value) in slices.into_iter().chain([("_all", None)]) {
        let recount = recount(&told, value);
        assert_recount(
            &objects,
            &prefix,
            ("demo", WINDOW),
            (slice, value),
            &recount,
        );
    }
}

/// False: both say that there is nothing.
#[track_caller]
fn is_shown_as_written(
    objects: &[Value],
    chart: &Chart,
    prefix: &Prefix,
    written: &BTreeMap<String, Value>,
) -> bool {
    let name = &chart.name;
    let mut filters = chosen(objects, chart);
    for filter in &mut filters {
        if let Some(length) = filter["term"].get_mut("window.length") {
            *length = json!(WINDOW);
        }
    }
    if name.ends_with("value of the chosen slice") {
        filters.retain(|filter| filter["term"]["slice.name"].is_null());
        filters.push(json!({ "term": { "slice.name": "country" } }));
    }
    let shown = View::new(objects, &chart.view, prefix).parts(chart, &filters);

    let family = chart
        .view
        .replace("modelbeat-", &format!("{}-", prefix.name));
    let query = kql::parse(&chart.query).expect("KQL").dsl;
    let mut groups: BTreeMap<Vec<String>, Vec<&Value>> = BTreeMap::new();
    for (place, document) in written {
        let is_of = place.starts_with(&format!("{family}-"))
            && filters
                .iter()
                .chain([&query])
                .all(|filter| matches(filter, document));
        if let (true, Some(keys)) = (is_of, keys(chart, document)) {
            groups.entry(keys).or_default().push(document);
        }
    }
    if buckets(chart).is_empty() {
        groups.entry(Vec::new()).or_default();
    }
    let shown_keys: Vec<_> = shown.keys().collect();
    assert_eq!(shown_keys, groups.keys().collect::<Vec<_>>(), "{name}");
    for (keys, group) in &groups {
        for id in metrics(chart) {
            assert_part(chart, id, &shown[keys], keys, group);
        }
    }
    groups.values().any(|group| !group.is_empty())
}

#[track_caller]
fn assert_part(chart: &Chart, id: &str, shown: &Row, keys: &[String], group: &[&Value]) {
    let column = chart.column(id);
    let filter = column["filter"]["query"].as_str().unwrap_or_default();
    let filter = kql::parse(filter).expect("KQL").dsl;
    let documents = group.iter().filter(|document| matches(&filter, document));
    let name = column["sourceField"].as_str().expect("a field");
    let numbers = documents
        .clone()
        .filter_map(|document| field(document, name).as_f64());
    let numbers: Vec<f64> = numbers.collect();
    let sum = numbers.iter().sum::<f64>();
    let expected = match column["operationType"].as_str().expect("an operation") {
        "count" => Some(documents.count() as f64),
        "sum" => Some(sum),
        "average" if !numbers.is_empty() => Some(sum / numbers.len() as f64),
        "max" => numbers.iter().copied().reduce(f64::max),
        // A sketch's: between the least and the largest.
        "percentile" => match (shown[id], numbers.is_empty()) {
            (Some(shown), false) => {
                let (least, most) = numbers
                    .iter()
                    .fold((f64::MAX, f64::MIN), |(least, most), number| {
                        (number.min(least), number.max(most))
                    });
                Some(shown.clamp(least, most))
            }
            // Computed by the view's script, not written.
            (shown, _) if ["mistake", "ingest_delay_ms"].contains(&name) => shown,
            _ => None,
        },
        _ => None,
    };
    let is_same = match (shown[id], expected) {
        (Some(shown), Some(expected)) => (shown - expected).abs() <= TOLERANCE * expected.abs(),
        (shown, expected) => shown == expected,
    };
    assert!(
        is_same,
        "{} {keys:?}: {id} is {:?}, of the documents {expected:?}",
        chart.name, shown[id]
    );
}

/// The buckets that a document falls in; `None`: it lacks a field.
fn keys(chart: &Chart, document: &Value) -> Option<Vec<String>> {
    let key_of = |id: &&str| {
        let column = chart.column(id);
        let value = field(document, column["sourceField"].as_str()?);
        match column["operationType"].as_str()? {
            "date_histogram" => {
                let time: Timestamp = value.as_str()?.parse().ok()?;
                let hour = time.as_millisecond().div_euclid(3_600_000) * 3_600_000;
                Some(key(&json!(hour)))
            }
            "range" => Some(key(&json!((value.as_f64()? / 0.1).floor() * 0.1))),
            _ if value.is_null() => None,
            _ => Some(key(value)),
        }
    };
    buckets(chart).iter().map(key_of).collect()
}

/// The little of Elasticsearch's query language that KQL and controls become.
fn matches(query: &Value, document: &Value) -> bool {
    let (kind, clause) = query
        .as_object()
        .expect("a query")
        .iter()
        .next()
        .expect("one");
    let named = || {
        clause
            .as_object()
            .expect("a clause")
            .iter()
            .next()
            .expect("one")
    };
    let all = |name: &str| {
        clause[name]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default()
    };
    match kind.as_str() {
        "match_all" => true,
        "bool" => {
            let should = all("should");
            all("filter").iter().all(|query| matches(query, document))
                && !all("must_not").iter().any(|query| matches(query, document))
                && (should.is_empty() || should.iter().any(|query| matches(query, document)))
        }
        "exists" => !field(document, clause["field"].as_str().expect("a field")).is_null(),
        "term" | "match" | "match_phrase" => {
            let (name, wanted) = named();
            let value = field(document, name);
            !value.is_null() && key(value) == key(wanted)
        }
        "range" => {
            let (name, bounds) = named();
            let Some(number) = field(document, name).as_f64() else {
                return false;
            };
            bounds
                .as_object()
                .expect("bounds")
                .iter()
                .all(|(sign, bound)| {
                    let bound = bound.as_f64().expect("a number");
                    match sign.as_str() {
                        "gt" => number > bound,
                        "gte" => number >= bound,
                        "lt" => number < bound,
                        "lte" => number <= bound,
                        other => panic!("{other}"),
                    }
                })
        }
        other => panic!("{other}"),
    }
}

fn recount(told: &Written, country: Option<&str>) -> Told {
    let (mut predictions, mut cells) = (0.0, [[0.0; 2]; 2]);
    let rows = told.rows.values();
    for row in rows.filter(|row| country.is_none_or(|country| row.country == country)) {
        predictions += 1.0;
        if let Some((_, is_fraud)) = row.label {
            cells[usize::from(row.is_flagged)][usize::from(is_fraud)] += 1.0;
        }
    }
    Told::of(predictions, cells)
}
