//! Everything that an agent has been told, and whether what is stored says just that: each prediction's document, each label
//! that nobody's prediction took, each quality, class and confusion document. Expected numbers come from [`recount`], which
//! shares nothing with modelbeat. Stories of a card model with three classes and one slice tell it here.

mod recount;

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use serde_json::{Value, json};

use self::recount::{Numbers, Window};
use crate::cluster::Prefix;
use crate::documents::field;
use crate::published::{Published, WindowKey, text};

/// Both sides add 64-bit floats, in another order.
const TOLERANCE: f64 = 1e-9;

/// Relative, of percentiles: what a sketch promises.
const SKETCH_TOLERANCE: f64 = 0.01 + 1e-9;

/// The classes by name: so scikit-learn orders columns, and so a map of score columns is read.
pub(crate) const CLASSES: [&str; 3] = ["highstreet_card", "prepaid_card", "upmarket_card"];

#[derive(Clone)]
pub(crate) struct Prediction {
    pub(crate) id: String,
    pub(crate) time: Timestamp,
    pub(crate) version: &'static str,
    pub(crate) predicted: String,
    /// Of each of [`CLASSES`].
    pub(crate) scores: [f64; 3],
    /// Its slice, `app_channel`.
    pub(crate) channel: String,
}

/// What makes two predictions the same: id and version.
pub(crate) type PredictionKey = (String, &'static str);

#[derive(Clone)]
pub(crate) struct Label {
    pub(crate) id: String,
    pub(crate) time: Timestamp,
    pub(crate) actual: String,
}

/// All of it, in order of arrival where that matters: of equally late labels that differ, and of equal predictions.
#[derive(Clone, Default)]
pub(crate) struct Told {
    /// Lengths of the windows to expect: `1m`, `1h`, `1d`, `1mo`.
    pub(crate) lengths: &'static [&'static str],
    pub(crate) predictions: Vec<Prediction>,
    pub(crate) labels: Vec<Label>,
    /// How many times more a prediction may have arrived, unknown to the teller: a request whose answer never came, a file
    /// that was copied.
    pub(crate) perhaps_again: HashMap<PredictionKey, usize>,
}

impl Prediction {
    pub(crate) fn key(&self) -> PredictionKey {
        (self.id.clone(), self.version)
    }
}

impl Told {
    pub(crate) fn new(lengths: &'static [&'static str]) -> Self {
        Self {
            lengths,
            ..Self::default()
        }
    }

    /// That all quality documents say what a recount says; or the first difference.
    pub(crate) fn compare(&self, found: &Published) -> Result<(), String> {
        first(self.differences_of_quality(found))
    }

    /// What a recount says otherwise: one text a window.
    pub(crate) fn differences_of_quality(&self, found: &Published) -> Vec<String> {
        let rows = recount::join(self);
        let windows = recount::windows(&rows, self.lengths);
        let mut differences = Vec::new();
        for key in found.windows.keys() {
            if !windows.contains_key(key) {
                differences.push(format!("{}: nothing was told of it", found.place(key)));
            }
        }
        for (key, window) in &windows {
            if !found.windows.contains_key(key) {
                differences.push(format!("{key:?} is not there"));
            } else if let Err(difference) = compare_window(found, key, window) {
                differences.push(format!("{}: {difference}", found.place(key)));
            }
        }
        differences
    }

    /// Predictions that are not stored just once with the label that holds: one text each.
    pub(crate) fn differences_of_predictions(&self, prefix: &Prefix) -> Vec<String> {
        let mut differences = Vec::new();
        let mut stored = BTreeMap::new();
        let everything = json!({ "match_all": {} });
        let indices = prefix.indices("predictions");
        prefix.cluster().search(&indices, &everything, |hit| {
            let document = &hit["_source"];
            let about = (
                text(document, "prediction.id"),
                text(document, "model.version"),
            );
            if let Some(before) = stored.insert(about, hit.clone()) {
                differences.push(format!("stored twice: {before} and {hit}"));
            }
        });
        for row in recount::join(self) {
            let key = row.prediction.key();
            let Some(hit) = stored.remove(&(key.0, key.1.to_owned())) else {
                differences.push(format!("not stored: {:?}", row.prediction.key()));
                continue;
            };
            let expected = outcome(row.prediction, row.label);
            let document = &hit["_source"];
            let seen = json!({
                "time": instant(&document["@timestamp"]), "value": field(document, "prediction.value"),
                "state": field(document, "label.state"), "label": field(document, "label.value"),
                "label_time": instant(field(document, "label.time")), "delay_ms": field(document, "label.delay_ms"),
                "correct": field(document, "outcome.correct"),
            });
            if seen != expected {
                differences.push(format!("expected {expected}, found {seen} in {hit}"));
            }
        }
        differences.extend(
            stored
                .into_values()
                .map(|hit| format!("nobody told of it: {hit}")),
        );
        differences
    }

    /// Labels that no prediction ever took and are not stored as orphans, and orphans that are none: one text each.
    pub(crate) fn differences_of_orphans(&self, prefix: &Prefix) -> Vec<String> {
        let mut expected = self.orphans();
        let mut differences = Vec::new();
        let orphans = json!({ "term": { "label.state": "orphan" } });
        let indices = prefix.indices("labels");
        prefix.cluster().search(&indices, &orphans, |hit| {
            let document = &hit["_source"];
            let label = expected.remove(text(document, "prediction.id").as_str());
            let is_as_told = label.is_some_and(|label| {
                document["label"]["value"] == label.actual
                    && instant(&document["label"]["time"]) == json!(label.time.as_millisecond())
            });
            if !is_as_told {
                differences.push(format!("not what was told: {hit}"));
            }
        });
        differences.extend(expected.keys().map(|id| format!("no orphan of {id}")));
        differences
    }

    /// How many predictions there are, each once, and how many of them have a label.
    pub(crate) fn counts(&self) -> [u64; 2] {
        let rows = recount::join(self);
        let labelled = rows.iter().filter(|row| row.label.is_some());
        [rows.len() as u64, labelled.count() as u64]
    }

    /// Id → the label that holds, where no prediction has that id.
    pub(crate) fn orphans(&self) -> BTreeMap<&str, &Label> {
        let rows = recount::join(self);
        let predicted: std::collections::HashSet<&str> =
            rows.iter().map(|row| row.prediction.id.as_str()).collect();
        let mut orphans: BTreeMap<&str, &Label> = BTreeMap::new();
        for label in &self.labels {
            if predicted.contains(label.id.as_str()) {
                continue;
            }
            let held = orphans.entry(&label.id).or_insert(label);
            if held.time <= label.time {
                *held = label;
            }
        }
        orphans
    }
}

/// The first of these differences, if there is one.
pub(crate) fn first(differences: Vec<String>) -> Result<(), String> {
    let count = differences.len();
    match differences.into_iter().next() {
        None => Ok(()),
        Some(first) => Err(format!("{count} differ, the first: {first}")),
    }
}

/// What the prediction's document must say.
fn outcome(prediction: &Prediction, label: Option<&Label>) -> Value {
    let time = prediction.time.as_millisecond();
    json!({
        "time": time, "value": prediction.predicted,
        "state": if label.is_some() { "joined" } else { "pending" },
        "label": label.map(|label| &label.actual),
        "label_time": label.map(|label| label.time.as_millisecond()),
        "delay_ms": label.map(|label| label.time.as_millisecond() - time),
        "correct": label.map(|label| label.actual == prediction.predicted),
    })
}

/// A time in a document as milliseconds, however it is written; null where there is none.
fn instant(time: &Value) -> Value {
    let time = time.as_str().and_then(|text| text.parse().ok());
    json!(time.map(Timestamp::as_millisecond))
}

fn compare_window(found: &Published, key: &WindowKey, window: &Window<'_>) -> Result<(), String> {
    let document = &found.windows[key];
    compare_numbers(document, &window.numbers(), |expected, seen| {
        (expected - seen).abs() <= TOLERANCE
    })?;
    compare_numbers(document, &window.delays(), |exact, seen| {
        (seen / exact - 1.0).abs() <= SKETCH_TOLERANCE
    })?;
    let (expected, seen) = (window.duplicates(), &document["counts"]["duplicates"]);
    if !seen.as_u64().is_some_and(|seen| expected.contains(&seen)) {
        return Err(format!(
            "counts.duplicates is {seen}, recounted {expected:?}"
        ));
    }

    let (no_classes, no_cells) = (BTreeMap::new(), BTreeMap::new());
    let classes = found.classes.get(key).unwrap_or(&no_classes);
    if let Some(missing) = window
        .classes()
        .into_iter()
        .find(|class| !classes.contains_key(*class))
    {
        return Err(format!("no document of the class {missing}"));
    }
    // Classes that are no longer there must say zero: the recount of a class that is nowhere is just that.
    for (class, document) in classes {
        let is_equal = |expected: f64, seen: f64| (expected - seen).abs() <= TOLERANCE;
        compare_numbers(document, &window.class(class).numbers(), is_equal)
            .map_err(|difference| format!("class {class}: {difference}"))?;
    }
    let mut recounted = window.cells();
    let cells = found.cell_counts(key);
    for cell in cells.keys() {
        recounted.entry(cell.clone()).or_default();
    }
    if cells != recounted {
        return Err(format!("cells {cells:?}, recounted {recounted:?}"));
    }
    // What belongs together was published together.
    let revision = field(document, "window.revision");
    let companions = classes
        .values()
        .chain(found.cells.get(key).unwrap_or(&no_cells).values());
    match companions
        .into_iter()
        .find(|companion| field(companion, "window.revision") != revision)
    {
        Some(stale) => Err(format!("of another revision than {revision}: {stale}")),
        None => Ok(()),
    }
}

/// An undefined number must be absent.
fn compare_numbers(
    document: &Value,
    expected: &Numbers,
    is_equal: impl Fn(f64, f64) -> bool,
) -> Result<(), String> {
    for (name, expected) in expected {
        let seen = field(document, name);
        let agree = match (expected, seen.as_f64()) {
            (Some(expected), Some(seen)) => is_equal(*expected, seen),
            (None, None) => seen.is_null(),
            _ => false,
        };
        if !agree {
            return Err(format!("{name} is {seen}, recounted {expected:?}"));
        }
    }
    Ok(())
}
