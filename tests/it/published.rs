//! The quality documents that a search finds under a prefix, by what they are about. Two documents about the same thing
//! are a fault wherever they turn up.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Value, json};

use crate::cluster::Prefix;
use crate::documents::field;

/// Which window a document is of.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WindowKey {
    /// As the pipeline file writes it: `1d`, `1mo`.
    pub(crate) length: String,
    pub(crate) start: jiff::Timestamp,
    /// Empty where the model has none.
    pub(crate) version: String,
    /// `_all`, or a slice's name.
    pub(crate) slice: String,
    /// Empty for `_all`.
    pub(crate) value: String,
}

/// All of them.
#[derive(Clone)]
pub(crate) struct Published {
    pub(crate) windows: BTreeMap<WindowKey, Value>,
    /// Window → `_index/_id` of its document.
    places: BTreeMap<WindowKey, String>,
    /// Window → the version that Elasticsearch stores its document under.
    pub(crate) versions: BTreeMap<WindowKey, u64>,
    /// Window → class → its document.
    pub(crate) classes: BTreeMap<WindowKey, BTreeMap<String, Value>>,
    /// Window → (actual, predicted) → its document.
    pub(crate) cells: BTreeMap<WindowKey, BTreeMap<(String, String), Value>>,
}

impl Published {
    pub(crate) fn under(prefix: &Prefix) -> Self {
        let mut found = Self {
            windows: BTreeMap::new(),
            places: BTreeMap::new(),
            versions: BTreeMap::new(),
            classes: BTreeMap::new(),
            cells: BTreeMap::new(),
        };
        let query = json!({ "match_all": {} });
        let indices = prefix.indices("quality");
        prefix.cluster().search(&indices, &query, |hit| {
            let before = found.insert(hit);
            assert!(before.is_none(), "found twice: {hit}");
        });
        found
    }

    /// The counts of the one window there is.
    #[track_caller]
    pub(crate) fn counts_of_the_one_window(&self) -> Value {
        let seen: Vec<&Value> = self
            .windows
            .values()
            .map(|window| &window["counts"])
            .collect();
        assert_eq!(seen.len(), 1, "one window: {seen:?}");
        seen[0].clone()
    }

    /// Returns the document that was there about the same thing.
    fn insert(&mut self, hit: &Value) -> Option<Value> {
        let document = &hit["_source"];
        let key = WindowKey::of(document);
        let document_again = document.clone();
        match text(document, "event.dataset").as_str() {
            "modelbeat.quality" => {
                let version = hit["_version"].as_u64().expect("a version");
                self.versions.insert(key.clone(), version);
                let place = format!("{}/{}", text(hit, "_index"), text(hit, "_id"));
                self.places.insert(key.clone(), place);
                self.windows.insert(key, document_again)
            }
            "modelbeat.quality.class" => {
                let class = text(document, "class.name");
                let classes = self.classes.entry(key).or_default();
                classes.insert(class, document_again)
            }
            "modelbeat.confusion" => {
                let name = |part: &str| text(document, &format!("confusion.{part}"));
                let cells = self.cells.entry(key).or_default();
                cells.insert((name("actual"), name("predicted")), document_again)
            }
            // Threshold sweeps are not these stories' subject.
            _ => None,
        }
    }

    /// Where a window's document is, and what it is about, for a message.
    pub(crate) fn place(&self, key: &WindowKey) -> String {
        let place = self.places.get(key).map_or("(nowhere)", String::as_str);
        format!("{place} {key:?}")
    }

    /// (actual, predicted) → count of one window.
    #[track_caller]
    pub(crate) fn cell_counts(&self, key: &WindowKey) -> BTreeMap<(String, String), u64> {
        let cells = self.cells.get(key).into_iter().flatten();
        cells
            .map(|(cell, document)| {
                let count = field(document, "confusion.count").as_u64();
                (cell.clone(), count.expect("a count"))
            })
            .collect()
    }
}

impl WindowKey {
    #[track_caller]
    pub(crate) fn of(document: &Value) -> Self {
        let or_empty = |name: &str| {
            field(document, name)
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        let slice = text(document, "slice.name");
        // What `_all` has for a value says nothing.
        let value = if slice == "_all" {
            String::new()
        } else {
            or_empty("slice.value")
        };
        Self {
            length: text(document, "window.length"),
            start: text(document, "@timestamp").parse().expect("a time"),
            version: or_empty("model.version"),
            slice,
            value,
        }
    }
}

impl fmt::Debug for WindowKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            length,
            start,
            version,
            slice,
            value,
        } = self;
        write!(
            out,
            "[{length} from {start}, version `{version}`, {slice} {value}]"
        )
    }
}

/// A text that must be there, by its dotted name.
#[track_caller]
pub(crate) fn text(document: &Value, name: &str) -> String {
    field(document, name)
        .as_str()
        .unwrap_or_else(|| panic!("no {name} in {document}"))
        .to_owned()
}
