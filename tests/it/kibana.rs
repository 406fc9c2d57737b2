//! Kibana without a Kibana: the committed dashboards are what their source says, import everywhere, ask only for fields that
//! are there, and show the numbers that a recount of the log gives, over everything and over one slice, from two agents.

mod demo;
mod fake;
mod fields;
mod formula;
mod kql;
mod log;
mod objects;
mod search;
mod setting_up;
mod shown;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use self::fields::{Use, mapped, used};
use self::formula::{Formula, Part};
use self::objects::{Chart, all, charts, chosen, complaints, text};

#[test]
fn the_committed_files_are_what_their_source_says() {
    let generate = Path::new(env!("CARGO_MANIFEST_DIR")).join("kibana/generate");
    let output = Command::new("python3")
        .arg(generate)
        .arg("--check")
        .output()
        .expect("python3");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn every_object_has_the_shape_of_its_version_and_every_reference_resolves() {
    assert_eq!(complaints(&all()), Vec::<String>::new());
}

#[test]
fn what_import_lets_through_though_nothing_would_open_is_seen() {
    let mut objects = all();
    let board = objects
        .iter_mut()
        .find(|object| object["type"] == "dashboard")
        .expect("one");
    board["references"]
        .as_array_mut()
        .expect("references")
        .remove(0);
    board["attributes"]["extra"] = json!(1);
    let panels = text(&board["attributes"]["panelsJSON"]).replacen(
        "\"metricAccessor\":\"",
        "\"metricAccessor\":\"no",
        1,
    );
    board["attributes"]["panelsJSON"] = json!(panels);
    let found = complaints(&objects);
    for words in [
        "too many or missing",
        "no attribute extra",
        "names no column",
    ] {
        assert!(
            found.iter().any(|each| each.contains(words)),
            "{words}: {found:#?}"
        );
    }
}

#[test]
fn every_field_of_every_panel_control_and_search_is_mapped_with_a_type_that_fits() {
    let objects = all();
    let mut unfit = Vec::new();
    let used = used(&objects);
    assert!(used.len() > 300, "{}", used.len());
    for each in used {
        match mapped(&objects, &each.view, &each.field) {
            Some(kind) if kind == "dynamic" || each.purpose.takes(&kind) => {}
            other => unfit.push(format!("{each}: mapped as {other:?}")),
        }
    }
    assert!(unfit.is_empty(), "{unfit:#?}");
    assert_eq!(mapped(&objects, "modelbeat-quality", "window.nam"), None);
    assert!(
        !Use::Number.takes(&mapped(&objects, "modelbeat-quality", "slice.name").expect("mapped"))
    );
}

#[test]
fn every_formula_parses_and_its_stored_parts_are_the_formula() {
    let mut seen = 0;
    for chart in charts(&all()) {
        for (id, column) in &chart.columns {
            if column["operationType"] == "formula" {
                seen += 1;
                assert_stored(&chart, id, column);
            }
        }
    }
    assert!(seen > 30, "{seen}");
}

#[track_caller]
fn assert_stored(chart: &Chart, id: &str, column: &Value) {
    let written = text(&column["params"]["formula"]);
    let place = format!("{} / {id}: {written}", chart.name);
    let formula = Formula::parse(&written).unwrap_or_else(|why| panic!("{place}: {why}"));
    let parts = formula.parts();
    let names: BTreeMap<&Part, String> = parts
        .iter()
        .enumerate()
        .map(|(index, part)| (*part, format!("{id}X{index}")))
        .collect();
    for (part, name) in &names {
        let stored = chart.column(name);
        let found = Part {
            operation: text(&stored["operationType"]),
            field: text(&stored["sourceField"]),
            kql: text(&stored["filter"]["query"]),
        };
        assert_eq!(**part, found, "{place}");
    }
    let last = format!("{id}X{}", parts.len());
    assert_eq!(column["references"], json!([last]), "{place}");
    let tree = &chart.column(&last)["params"]["tinymathAst"];
    let wanted = formula.tree(&names);
    assert_eq!(
        [&tree["name"], &tree["text"]],
        [&wanted["name"], &json!(written)],
        "{place}"
    );
    assert_eq!(numbers(&tree["args"]), numbers(&wanted["args"]), "{place}");
}

/// With every number as a float: 1 and 1.0 are one number.
fn numbers(value: &Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64()),
        Value::Array(values) => values.iter().map(numbers).collect(),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| (name.clone(), numbers(value)))
            .collect(),
        other => other.clone(),
    }
}

#[test]
fn no_ratio_is_averaged() {
    for chart in charts(&all()) {
        for column in chart.columns.values() {
            let field = text(&column["sourceField"]);
            let is_ratio = ["quality.", "interval.", "rate."]
                .iter()
                .any(|start| field.starts_with(start));
            assert!(
                !is_ratio,
                "{}: {field} is a ratio of one window",
                chart.name
            );
        }
    }
}

/// A prediction is counted in each length of window and in each slice: of both, one must be chosen, or each shown apart.
#[test]
fn no_panel_counts_a_prediction_twice() {
    let objects = all();
    let mut twice = Vec::new();
    for chart in charts(&objects) {
        if chart.view != "modelbeat-quality" {
            continue;
        }
        let chosen = format!("{:?}", chosen(&objects, &chart));
        for (name, of_one) in [
            ("window.length", None),
            ("slice.name", Some("slice.name: \"_all\"")),
        ] {
            let is_apart = chart
                .columns
                .values()
                .any(|column| column["isBucketed"] == true && column["sourceField"] == name);
            let is_one = of_one.is_some_and(|of_one| chart.query.contains(of_one))
                && !chart.query.contains("not slice");
            if !chosen.contains(name) && !is_apart && !is_one {
                twice.push(format!("{} over every {name}", chart.name));
            }
        }
        if !chart.query.contains("not window.every: *") {
            twice.push(format!("{} over windows that overlap", chart.name));
        }
    }
    assert_eq!(twice, Vec::<String>::new());
}
