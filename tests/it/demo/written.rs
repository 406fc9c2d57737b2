//! What the simulated server wrote and posted, and what is in the documents: each read without anything of modelbeat, and
//! brought into one form.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use jiff::Timestamp;
use serde_json::Value;

use crate::documents::{field, relabel};

/// Predictions by id, and ids that only labels name.
pub(crate) struct Written {
    pub(crate) rows: BTreeMap<String, Row>,
    pub(crate) orphans: BTreeSet<String>,
}

/// A prediction and the label that holds.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) time: Timestamp,
    pub(crate) version: String,
    pub(crate) country: String,
    pub(crate) is_flagged: bool,
    pub(crate) latency_ms: f64,
    pub(crate) label: Option<(Timestamp, bool)>,
    /// Labels contradicted one another. Only the log says it.
    pub(crate) is_corrected: bool,
    /// How often it was logged. Only the log says it.
    pub(crate) times: usize,
}

/// Without what only the log says.
impl PartialEq for Row {
    fn eq(&self, other: &Self) -> bool {
        let parts = |row: &Self| {
            (
                row.time,
                row.version.clone(),
                row.country.clone(),
                row.is_flagged,
                row.latency_ms.to_bits(),
                row.label,
            )
        };
        parts(self) == parts(other)
    }
}

impl Written {
    /// From the logs and what was posted.
    pub(crate) fn by_the_server(folder: &Path) -> Self {
        let mut rows: BTreeMap<String, Row> = BTreeMap::new();
        let logs = fs::read_dir(folder.join("logs")).expect("logs");
        let mut logs: Vec<_> = logs.map(|entry| entry.expect("an entry").path()).collect();
        logs.sort();
        for record in logs.iter().flat_map(|log| lines(log)) {
            let row = Row {
                time: time(&record["ts"]),
                version: text(&record["model_version"]),
                country: text(&record["segment"]["country"]),
                is_flagged: record["predicted"] == "fraud",
                latency_ms: record["latency_ms"].as_f64().expect("a number"),
                label: None,
                is_corrected: false,
                times: 0,
            };
            rows.entry(text(&record["prediction_id"]))
                .or_insert(row)
                .times += 1;
        }
        let mut orphans = BTreeSet::new();
        for record in lines(&folder.join("labels.ndjson")) {
            let id = text(&record["prediction_id"]);
            let label = (time(&record["ts"]), record["label"] == "fraud");
            let Some(row) = rows.get_mut(&id) else {
                orphans.insert(id);
                continue;
            };
            row.is_corrected |= row.label.is_some_and(|before| before.1 != label.1);
            // They were posted in the order of their times.
            assert!(row.label.is_none_or(|before| before.0 <= label.0));
            row.label = Some(label);
        }
        Self { rows, orphans }
    }

    /// From bulk NDJSON, done as Elasticsearch does it: `create` once, `update` merges, `index` replaces.
    pub(crate) fn in_documents(folder: &Path) -> Self {
        let mut written = Self {
            rows: BTreeMap::new(),
            orphans: BTreeSet::new(),
        };
        for document in documents(folder).into_values() {
            let id = || text(field(&document, "prediction.id"));
            match field(&document, "event.dataset").as_str() {
                Some("modelbeat.prediction") => {
                    let label = &document["label"];
                    let label = (label["state"] == "joined")
                        .then(|| (time(&label["time"]), label["value"] == "fraud"));
                    let row = Row {
                        time: time(&document["@timestamp"]),
                        version: text(field(&document, "model.version")),
                        country: text(field(&document, "slice.country")),
                        is_flagged: field(&document, "prediction.value") == "fraud",
                        latency_ms: field(&document, "prediction.latency_ms")
                            .as_f64()
                            .expect("a number"),
                        label,
                        is_corrected: false,
                        times: 1,
                    };
                    let before = written.rows.insert(id(), row);
                    assert!(before.is_none(), "twice: {document}");
                }
                Some("modelbeat.label") if document["label"]["state"] == "orphan" => {
                    written.orphans.insert(id());
                }
                _ => {}
            }
        }
        written
    }
}

/// `index/_id` → the document that stands in the end.
pub(crate) fn documents(folder: &Path) -> BTreeMap<String, Value> {
    let mut all: BTreeMap<String, Value> = BTreeMap::new();
    for file in fs::read_dir(folder).expect("documents") {
        let lines = lines(&file.expect("an entry").path());
        for [action, body] in lines.as_chunks().0 {
            let (kind, about) = action
                .as_object()
                .expect("an action")
                .iter()
                .next()
                .expect("one");
            let key = format!("{}/{}", text(&about["_index"]), text(&about["_id"]));
            match (kind.as_str(), all.get_mut(&key)) {
                ("create", Some(_)) => {}
                ("create" | "index", _) => {
                    all.insert(key, body.clone());
                }
                ("update", Some(document)) => {
                    relabel(document, body);
                }
                ("update", None) => {
                    all.insert(key, body["upsert"].clone());
                }
                other => panic!("{other:?}"),
            }
        }
    }
    all
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).expect("a file of lines");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

fn time(value: &Value) -> Timestamp {
    value.as_str().expect("a time").parse().expect("a time")
}

fn text(value: &Value) -> String {
    value.as_str().expect("text").to_owned()
}
