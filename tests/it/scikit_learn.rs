//! The main job on real data: files in, and what a search finds in Elasticsearch equals what scikit-learn computes.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::cluster::{Cluster, Prefix};
use crate::documents::field;
use crate::nannyml;

/// Both sides add 64-bit floats, in another order.
const TOLERANCE: f64 = 1e-9;

const AVERAGES: [&str; 4] = ["accuracy", "macro", "micro", "weighted"];

#[test]
fn fifty_thousand_binary_predictions_and_their_labels_give_the_numbers_of_scikit_learn() {
    let prefix = Prefix::new(Cluster::plain(), "binary");
    nannyml::backfill("binary", &prefix);
    let expected = nannyml::expected("binary");
    assert_all_joined(&prefix, &expected);
    let found = Found::under(&prefix);
    for window in windows(&expected, |length, _| length == "1mo") {
        let document = found.window(window);
        assert_counts(window, document, &["tp", "fp", "fn", "tn"]);
        assert_quality(window, document, &["precision", "recall", "f1"]);
        found.assert_classes(window);
        found.assert_confusion(window);
    }
    let expected_months = windows(&expected, |length, _| length == "1mo").count();
    assert_eq!(found.windows.len(), expected_months, "no other windows");
}

#[test]
fn sixty_thousand_predictions_among_three_classes_give_the_numbers_of_scikit_learn() {
    let prefix = &nannyml::multiclass_backfill().prefix;
    let expected = nannyml::expected("multiclass");
    assert_all_joined(prefix, &expected);
    let found = Found::under(prefix);
    for window in windows(&expected, |_, _| true) {
        let document = found.window(window);
        assert_counts(window, document, &[]);
        assert_quality(window, document, &[]);
    }
    for window in windows(&expected, |length, _| length == "1mo") {
        found.assert_classes(window);
        found.assert_confusion(window);
    }
    let whole = |length: &str, slice: &str| length == "1mo" || slice == "_all";
    let found_wholes = found.windows.keys().filter(|key| whole(&key.0, &key.2));
    assert_eq!(
        found_wholes.count(),
        windows(&expected, whole).count(),
        "no other windows"
    );
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

fn windows<'e>(
    expected: &'e Value,
    wanted: impl Fn(&str, &str) -> bool + 'e,
) -> impl Iterator<Item = &'e Value> {
    let all = expected["windows"].as_array().expect("windows");
    all.iter().filter(move |window| {
        let length = window["length"].as_str().expect("a length");
        wanted(length, window["slice"]["name"].as_str().expect("a name"))
    })
}

/// Length, start, slice name, slice value (empty for `_all`).
type WindowKey = (String, jiff::Timestamp, String, String);

/// The quality documents that a search finds.
struct Found {
    windows: BTreeMap<WindowKey, Value>,
    /// … by class.
    classes: BTreeMap<(WindowKey, String), Value>,
    /// (actual, predicted) → count; cells that are not there count zero.
    cells: BTreeMap<WindowKey, BTreeMap<(String, String), u64>>,
}

impl Found {
    fn under(prefix: &Prefix) -> Self {
        let mut found = Self {
            windows: BTreeMap::new(),
            classes: BTreeMap::new(),
            cells: BTreeMap::new(),
        };
        let search = |dataset: &str, each: &mut dyn FnMut(WindowKey, &Value)| {
            let query = json!({ "term": { "event.dataset": dataset } });
            let indices = prefix.indices("quality");
            prefix.cluster().search(&indices, &query, |hit| {
                let document = &hit["_source"];
                each(key_of_document(document), document);
            });
        };
        search("modelbeat.quality", &mut |key, document| {
            let before = found.windows.insert(key.clone(), document.clone());
            assert!(before.is_none(), "two documents of the window {key:?}");
        });
        search("modelbeat.quality.class", &mut |key, document| {
            let key = (key, text(document, "class.name"));
            let before = found.classes.insert(key.clone(), document.clone());
            assert!(before.is_none(), "two documents of the class {key:?}");
        });
        search("modelbeat.confusion", &mut |key, document| {
            let cell = ["confusion.actual", "confusion.predicted"].map(|name| text(document, name));
            let count = field(document, "confusion.count").as_u64();
            let cells = found.cells.entry(key).or_default();
            let before = cells.insert(cell.into(), count.expect("a count"));
            assert!(before.is_none(), "two documents of one cell: {document}");
        });
        found
    }

    #[track_caller]
    fn window(&self, expected: &Value) -> &Value {
        let key = key_of_expected(expected);
        self.windows
            .get(&key)
            .unwrap_or_else(|| panic!("no document of the window {key:?}"))
    }

    #[track_caller]
    fn assert_classes(&self, expected: &Value) {
        let key = key_of_expected(expected);
        let classes = expected["classes"].as_object().expect("by class");
        for (class, numbers) in classes {
            let document = self
                .classes
                .get(&(key.clone(), class.clone()))
                .unwrap_or_else(|| panic!("no document of the class {class} in {key:?}"));
            for count in ["tp", "fp", "fn", "support"] {
                let at = format!("{key:?} {class} {count}");
                assert_number(
                    &at,
                    &numbers[count],
                    field(document, &format!("counts.{count}")),
                );
            }
            for metric in ["precision", "recall", "f1"] {
                let at = format!("{key:?} {class} {metric}");
                assert_number(
                    &at,
                    &numbers[metric],
                    field(document, &format!("quality.{metric}")),
                );
            }
        }
        let found = self.classes.keys().filter(|(window, _)| *window == key);
        assert_eq!(found.count(), classes.len(), "classes of {key:?}");
    }

    #[track_caller]
    fn assert_confusion(&self, expected: &Value) {
        let key = key_of_expected(expected);
        let cells = expected["confusion"].as_array().expect("cells");
        let expected: BTreeMap<(String, String), u64> = cells
            .iter()
            .map(|cell| serde_json::from_value(cell.clone()).expect("actual, predicted, count"))
            .map(|(actual, predicted, count): (String, String, u64)| ((actual, predicted), count))
            .collect();
        assert_eq!(
            self.cells.get(&key),
            Some(&expected),
            "confusion cells of {key:?}"
        );
    }
}

#[track_caller]
fn assert_counts(expected: &Value, document: &Value, more: &[&str]) {
    for name in ["predictions", "labelled", "correct"].iter().chain(more) {
        assert_number(
            &format!("{:?} counts.{name}", key_of_expected(expected)),
            &expected["counts"][name],
            field(document, &format!("counts.{name}")),
        );
    }
    for none in ["duplicates", "corrected_labels"] {
        let seen = &document["counts"][none];
        assert!(seen.is_null() || *seen == 0, "{none}: {document}");
    }
}

/// Accuracy and the averages over classes, and `more` of what scikit-learn computed.
#[track_caller]
fn assert_quality(expected: &Value, document: &Value, more: &[&str]) {
    let key = key_of_expected(expected);
    for name in AVERAGES.iter().chain(more) {
        let (numbers, seen) = (&expected["quality"][name], &document["quality"][name]);
        match numbers.as_object() {
            None => assert_number(&format!("{key:?} quality.{name}"), numbers, seen),
            Some(members) => {
                for (member, number) in members {
                    let at = format!("{key:?} quality.{name}.{member}");
                    assert_number(&at, number, &seen[member]);
                }
            }
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

fn key_of_document(document: &Value) -> WindowKey {
    let value = field(document, "slice.value").as_str().unwrap_or_default();
    let slice = text(document, "slice.name");
    // What `_all` has for a value says nothing.
    let value = if slice == "_all" { "" } else { value };
    (
        text(document, "window.length"),
        text(document, "@timestamp").parse().expect("a time"),
        slice,
        value.to_owned(),
    )
}

fn key_of_expected(window: &Value) -> WindowKey {
    (
        text(window, "length"),
        text(window, "start").parse().expect("a time"),
        text(window, "slice.name"),
        field(window, "slice.value")
            .as_str()
            .unwrap_or_default()
            .to_owned(),
    )
}

#[track_caller]
fn text(document: &Value, name: &str) -> String {
    field(document, name)
        .as_str()
        .unwrap_or_else(|| panic!("no {name} in {document}"))
        .to_owned()
}

#[test]
fn a_number_that_is_a_little_off_is_seen() {
    assert!(is_equal(&json!(0.5), &json!(0.500_000_000_1)));
    assert!(!is_equal(&json!(0.5), &json!(0.500_001)));
    assert!(!is_equal(&json!(0), &Value::Null));
    assert!(is_equal(&Value::Null, &Value::Null));
}
