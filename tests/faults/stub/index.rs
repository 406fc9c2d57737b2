//! What the stub stores, and how: `create`, `index` and `update` as Elasticsearch does them, external versions included.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::documents::relabel;

/// Documents by `_index/_id`.
#[derive(Default)]
pub(super) struct Index {
    pub(super) documents: BTreeMap<String, Stored>,
}

/// A document.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stored {
    /// As Elasticsearch counts it, or as the client said.
    pub(crate) version: i64,
    pub(crate) source: Value,
    /// Writes that changed it.
    pub(crate) writes: u64,
}

/// One document of a `_bulk` body.
pub(super) struct Operation {
    pub(super) action: String,
    /// `_index/_id`.
    pub(super) place: String,
    version: Option<i64>,
    pub(super) source: String,
}

/// A body's documents, each an action line and a source line.
pub(super) fn operations(body: &[u8]) -> Vec<Operation> {
    let text = std::str::from_utf8(body).expect("a body of text");
    let mut lines = text.lines();
    let mut operations = Vec::new();
    while let Some(line) = lines.next() {
        let action: BTreeMap<String, Value> = serde_json::from_str(line).expect("an action line");
        let (action, target) = action.into_iter().next().expect("an action");
        let name = |field: &str| target[field].as_str().expect("a name").to_owned();
        operations.push(Operation {
            place: format!("{}/{}", name("_index"), name("_id")),
            version: target["version"].as_i64(),
            source: lines.next().expect("a source line").to_owned(),
            action,
        });
    }
    operations
}

impl Index {
    /// Does what is asked; the item of the reply.
    pub(super) fn apply(&mut self, operation: &Operation) -> Value {
        let source: Value = serde_json::from_str(&operation.source).expect("a source of JSON");
        let found = self.documents.get_mut(&operation.place);
        match (operation.action.as_str(), found) {
            ("create", Some(_)) => conflict(),
            ("index", Some(stored)) => {
                let version = operation.version.unwrap_or(stored.version + 1);
                if version <= stored.version {
                    return conflict();
                }
                stored.version = version;
                stored.source = source;
                stored.writes += 1;
                json!({ "status": 200 })
            }
            ("update", Some(stored)) => {
                if relabel(&mut stored.source, &source) {
                    stored.version += 1;
                    stored.writes += 1;
                }
                json!({ "status": 200 })
            }
            ("create" | "index", None) => self.insert(operation, source),
            ("update", None) if source["upsert"].is_object() => {
                self.insert(operation, source["upsert"].clone())
            }
            ("update", None) => {
                json!({ "status": 404, "error": { "type": "document_missing_exception", "reason": operation.place } })
            }
            (other, _) => panic!("the stub knows no action `{other}`"),
        }
    }

    fn insert(&mut self, operation: &Operation, source: Value) -> Value {
        let stored = Stored {
            version: operation.version.unwrap_or(1),
            source,
            writes: 1,
        };
        self.documents.insert(operation.place.clone(), stored);
        json!({ "status": 201 })
    }
}

fn conflict() -> Value {
    json!({ "status": 409, "error": { "type": "version_conflict_engine_exception", "reason": "it is there already" } })
}
