//! The main job on real data: files in, and what a search finds in Elasticsearch equals what scikit-learn computes.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::cluster::{Cluster, Prefix};
use crate::nannyml;
use crate::published::{Published, WindowKey, text};

/// Both sides add 64-bit floats, in another order.
const TOLERANCE: f64 = 1e-9;

/// Of a class; its other numbers are ratios.
const CLASS_COUNTS: [&str; 4] = ["tp", "fp", "fn", "support"];

#[test]
fn fifty_thousand_binary_predictions_and_their_labels_give_the_numbers_of_scikit_learn() {
    let prefix = Prefix::new(Cluster::plain(), "binary");
    nannyml::backfill("binary", &prefix);
    let expected = nannyml::expected("binary");
    let found = assert_windows(&prefix, &expected);
    assert_classes_and_cells(&found, &expected);
}

#[test]
fn sixty_thousand_predictions_among_three_classes_give_the_numbers_of_scikit_learn() {
    let expected = nannyml::expected("multiclass");
    let found = assert_windows(&nannyml::multiclass_backfill().prefix, &expected);
    assert_classes_and_cells(&found, &expected);
}

#[test]
fn sixty_thousand_predicted_prices_give_the_numbers_of_scikit_learn() {
    let prefix = Prefix::new(Cluster::plain(), "regression");
    nannyml::backfill("regression", &prefix);
    let found = assert_windows(&prefix, &nannyml::expected("regression"));
    assert!(
        found.classes.is_empty() && found.cells.is_empty(),
        "a number has no class"
    );
}

/// Every prediction is joined, and what a search finds of windows is what scikit-learn computed: all of these, no others.
#[track_caller]
fn assert_windows(prefix: &Prefix, expected: &Value) -> Published {
    assert_all_joined(prefix, expected);
    let found = Published::under(prefix);
    for window in windows(expected) {
        let key = key_of_expected(window);
        let document = found.windows.get(&key);
        let document = document.unwrap_or_else(|| panic!("no document of the window {key:?}"));
        for part in ["counts", "quality"] {
            assert_members(&format!("{key:?} {part}"), &window[part], &document[part]);
        }
        for none in ["duplicates", "corrected_labels"] {
            assert_eq!(document["counts"][none], 0, "{none}: {document}");
        }
    }
    assert_eq!(
        found.windows.len(),
        windows(expected).len(),
        "no other windows"
    );
    found
}

#[track_caller]
fn assert_classes_and_cells(found: &Published, expected: &Value) {
    for window in windows(expected) {
        let key = key_of_expected(window);
        let classes = window["classes"].as_object().expect("by class");
        let documents = &found.classes[&key];
        for (class, numbers) in classes {
            let document = documents.get(class);
            let document = document.unwrap_or_else(|| panic!("no document of {class} in {key:?}"));
            for (name, number) in numbers.as_object().expect("numbers") {
                let part = if CLASS_COUNTS.contains(&name.as_str()) {
                    "counts"
                } else {
                    "quality"
                };
                assert_number(
                    &format!("{key:?} {class} {name}"),
                    number,
                    &document[part][name],
                );
            }
        }
        assert_eq!(documents.len(), classes.len(), "classes of {key:?}");
        let cells: Vec<(String, String, u64)> =
            serde_json::from_value(window["confusion"].clone()).expect("cells");
        let cells: BTreeMap<_, _> = cells
            .into_iter()
            .map(|(actual, predicted, count)| ((actual, predicted), count))
            .collect();
        assert_eq!(found.cell_counts(&key), cells, "confusion cells of {key:?}");
    }
}

/// Every prediction is there, once, and has its label.
#[track_caller]
fn assert_all_joined(prefix: &Prefix, expected: &Value) {
    let count = |query: &Value| {
        prefix
            .cluster()
            .count(&prefix.indices("predictions"), query)
    };
    let all = count(&json!({ "match_all": {} }));
    let joined = count(&json!({ "term": { "label.state": "joined" } }));
    assert_eq!(Some(all), expected["predictions"].as_u64(), "predictions");
    assert_eq!(joined, all, "predictions that have their label");
}

fn windows(expected: &Value) -> &[Value] {
    expected["windows"].as_array().expect("windows")
}

/// That every number that scikit-learn computed is in the document, averages a level deeper.
#[track_caller]
fn assert_members(at: &str, expected: &Value, seen: &Value) {
    for (name, number) in expected.as_object().expect("numbers by name") {
        let at = format!("{at}.{name}");
        if number.is_object() {
            assert_members(&at, number, &seen[name]);
        } else {
            assert_number(&at, number, &seen[name]);
        }
    }
}

#[track_caller]
fn assert_number(at: &str, expected: &Value, seen: &Value) {
    assert!(
        is_equal(expected, seen),
        "{at}: scikit-learn says {expected}, modelbeat {seen}"
    );
}

/// Equal up to [`TOLERANCE`]; null is undefined, and must be absent.
fn is_equal(expected: &Value, seen: &Value) -> bool {
    match (expected.as_f64(), seen.as_f64()) {
        (Some(expected), Some(seen)) => (expected - seen).abs() <= TOLERANCE,
        _ => expected.is_null() && seen.is_null(),
    }
}

#[track_caller]
fn key_of_expected(window: &Value) -> WindowKey {
    WindowKey {
        length: text(window, "length"),
        start: text(window, "start").parse().expect("a time"),
        version: String::new(),
        slice: text(window, "slice.name"),
        value: window["slice"]["value"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
    }
}

#[test]
fn a_number_that_is_a_little_off_is_seen() {
    assert!(is_equal(&json!(0.5), &json!(0.500_000_000_1)));
    assert!(!is_equal(&json!(0.5), &json!(0.500_001)));
    assert!(!is_equal(&json!(0), &Value::Null));
    assert!(is_equal(&Value::Null, &Value::Null));
}
