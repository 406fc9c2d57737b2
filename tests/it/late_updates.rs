//! A label's update may wait in the cluster while a later one is done, and must then change nothing. Each kind of label part
//! is written over each other, on a real node; it must do what the tests' own clusters take it to do.

use modelbeat::flow::document::{LabelPart, write_label_update};
use modelbeat::flow::event::{Timestamp, Value as Actual};
use reqwest::Method;
use serde_json::{Value, json};

use crate::cluster::{Cluster, Prefix};
use crate::documents::relabel;

const NOON: i64 = 1_772_366_400_000;

#[test]
fn an_update_that_comes_late_changes_nothing() {
    let prefix = Prefix::new(Cluster::plain(), "late-updates");
    let parts = parts();
    let mut changes = 0;
    for (old, old_part) in parts.iter().enumerate() {
        for (new, new_part) in parts.iter().enumerate() {
            let before = with(old_part);
            let path = format!("{}-predictions-2026.03.01/_doc/{old}-{new}", prefix.name);
            prefix.cluster().ask(&Method::PUT, &path, Some(&before));
            let update = update(new_part);
            let at = path.replace("_doc", "_update");
            let answer = prefix.cluster().ask(&Method::POST, &at, Some(&update));
            let mut expected = before;
            let changed = relabel(&mut expected, &update);
            changes += u32::from(changed);
            let result = if changed { "updated" } else { "noop" };
            assert_eq!(
                answer["result"], result,
                "{old_part:?} and then {new_part:?}"
            );
            let stored = prefix.cluster().ask(&Method::GET, &path, None);
            assert_eq!(
                stored["_source"], expected,
                "{old_part:?} and then {new_part:?}"
            );
        }
    }
    // By hand: what stands further down in `parts` wins; and, as neither has a revision, or both have the same and one no time,
    // pending over expired and the last but one over the last.
    assert_eq!(changes, 7 * 6 / 2 + 2);
}

/// From the first that is written to the last.
fn parts() -> Vec<LabelPart<'static>> {
    let joined = |minutes: Option<i64>, revision, class: &'static str| LabelPart::Joined {
        actual: Actual::Class(class.into()),
        time: minutes.map(|minutes| Timestamp(NOON + minutes * 60_000)),
        delay_ms: minutes.map(|minutes| minutes * 60_000),
        revision,
        correct: (class != "c").then_some(class == "a"),
        error: None,
    };
    vec![
        LabelPart::Pending,
        LabelPart::Expired,
        joined(Some(1), 1, "a"),
        joined(Some(1), 2, "b"),
        joined(Some(2), 2, "b"),
        joined(None, 3, "c"),
        joined(Some(3), 3, "a"),
    ]
}

fn with(part: &LabelPart<'_>) -> Value {
    let mut text = b"{\"prediction\":{\"id\":\"7\"},".to_vec();
    part.write(&mut text);
    text.push(b'}');
    serde_json::from_slice(&text).expect("JSON")
}

fn update(part: &LabelPart<'_>) -> Value {
    let mut text = Vec::new();
    write_label_update(part, None, &mut text);
    let update: Value = serde_json::from_slice(&text).expect("JSON");
    assert_eq!(update["script"]["params"]["label"], with(part)["label"]);
    update
}

#[test]
fn an_update_of_what_is_not_stored_stores_what_it_brings_along() {
    let prefix = Prefix::new(Cluster::plain(), "late-upserts");
    let mut text = Vec::new();
    write_label_update(&LabelPart::Expired, Some(b"{\"a\":1"), &mut text);
    let path = format!("{}-predictions-2026.03.01/_update/7", prefix.name);
    let body: Value = serde_json::from_slice(&text).expect("JSON");
    prefix.cluster().ask(&Method::POST, &path, Some(&body));
    let stored = prefix
        .cluster()
        .ask(&Method::GET, &path.replace("_update", "_doc"), None);
    assert_eq!(
        stored["_source"],
        json!({ "a": 1, "label": { "state": "expired" } })
    );
}
