//! What is stored under a prefix, in one canonical text a document, so that two runs can be compared byte for byte.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::cluster::Prefix;

/// What may differ between two runs that came to the same result: when each document was written.
/// A window's revision is its external version, which takes the clock's milliseconds.
const TIMES_OF_WRITING: [[&str; 2]; 2] = [["event", "ingested"], ["window", "revision"]];

/// `index/_id` without the prefix → the document with keys sorted and without [`TIMES_OF_WRITING`].
#[derive(PartialEq, Eq)]
pub(crate) struct Documents(BTreeMap<String, String>);

impl Documents {
    /// All documents under a prefix, but for what happened to the agent: no two runs are alike in that.
    pub(crate) fn of(prefix: &Prefix) -> Self {
        let mut all = BTreeMap::new();
        let everything = format!("{}-*", prefix.name);
        let query = json!({ "match_all": {} });
        prefix.cluster().search(&everything, &query, |hit| {
            if hit["_source"]["event"]["dataset"] == "modelbeat.operation" {
                return;
            }
            let (key, text) = canonical(hit, &prefix.name);
            let before = all.insert(key.clone(), text);
            assert!(before.is_none(), "{key} was found twice");
        });
        Self(all)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// That both hold the same documents with the same contents; shows the first few that differ.
    #[track_caller]
    pub(crate) fn assert_same(&self, other: &Self) {
        const SHOWN: usize = 3;
        let keys = self.0.keys().chain(other.0.keys());
        let differing: std::collections::BTreeSet<&String> = keys
            .filter(|&key| self.0.get(key) != other.0.get(key))
            .collect();
        if differing.is_empty() {
            return;
        }
        let mut report = format!(
            "{} and {} documents, {} of them not in both alike:\n",
            self.len(),
            other.len(),
            differing.len()
        );
        for key in differing.into_iter().take(SHOWN) {
            let [left, right] =
                [self, other].map(|side| side.0.get(key).map_or("(none)", String::as_str));
            report += &format!("{key}\n  left:  {left}\n  right: {right}\n");
        }
        panic!("{report}");
    }
}

/// A value inside a document, by its dotted name; null where it is not there.
pub(crate) fn field<'d>(document: &'d Value, name: &str) -> &'d Value {
    name.split('.').fold(document, |inner, part| &inner[part])
}

/// Does to a stored document what the script of a label's update does; false: it does nothing.
pub(crate) fn relabel(stored: &mut Value, update: &Value) -> bool {
    let params = &update["script"]["params"];
    let (was, is) = (&stored["label"], &params["label"]);
    let is_older = match (was["time"].as_str(), is["time"].as_str()) {
        (Some(was), Some(is)) if was != is => is < was,
        _ => is["revision"].as_i64().unwrap_or(0) < was["revision"].as_i64().unwrap_or(-1),
    };
    let changes = was != is && !is_older;
    if changes {
        for (name, part) in params.as_object().expect("a part of a document") {
            stored[name] = part.clone();
        }
    }
    changes
}

fn canonical(hit: &Value, prefix: &str) -> (String, String) {
    let text = |name: &str| hit[name].as_str().expect("every hit has one").to_owned();
    let index = text("_index");
    let index = index.strip_prefix(prefix).expect("searched by prefix");
    let mut source = hit["_source"].clone();
    for [object, member] in TIMES_OF_WRITING {
        if let Some(object) = source.get_mut(object).and_then(Value::as_object_mut) {
            object.remove(member);
        }
    }
    source.sort_all_objects();
    (
        format!("{}/{}", index.trim_start_matches('-'), text("_id")),
        source.to_string(),
    )
}

#[test]
fn canonical_text_knows_no_order_prefix_or_time_of_writing() {
    let hit = |prefix: &str, source: &str| {
        let source: Value = serde_json::from_str(source).expect("JSON");
        canonical(
            &json!({ "_index": format!("{prefix}-quality-2026.01"), "_id": "a", "_source": source }),
            prefix,
        )
    };
    let one = hit(
        "t-one",
        r#"{"window":{"revision":1,"length":"1d"},"event":{"ingested":"x","dataset":"y"}}"#,
    );
    let two = hit(
        "t-two",
        r#"{"event":{"dataset":"y","ingested":"z"},"window":{"length":"1d","revision":2}}"#,
    );
    assert_eq!(one, two);
    assert_eq!(one.0, "quality-2026.01/a");
    assert_eq!(
        one.1,
        r#"{"event":{"dataset":"y"},"window":{"length":"1d"}}"#
    );
}

#[test]
fn every_document_under_a_prefix_is_found_and_a_difference_is_seen() {
    let [one, two] = ["one", "two"].map(|name| Prefix::new(crate::cluster::Cluster::plain(), name));
    let put = |prefix: &Prefix, id: &str, value: u32| {
        let path = format!("{}-predictions-2026.01.0{id}/_doc/{id}", prefix.name);
        let body = json!({ "value": value, "event": { "ingested": prefix.name } });
        let cluster = prefix.cluster();
        cluster.ask(&reqwest::Method::PUT, &path, Some(&body));
    };
    for id in ["1", "2", "3"] {
        put(&one, id, 7);
        put(&two, id, 7);
    }
    let [left, right] = [&one, &two].map(Documents::of);
    assert_eq!(left.len(), 3);
    left.assert_same(&right);
    put(&two, "3", 8);
    assert!(left != Documents::of(&two));
}
