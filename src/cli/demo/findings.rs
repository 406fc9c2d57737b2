//! What modelbeat found: read from the documents that it wrote, and from nothing else. Of a document that was written more
//! than once the last one holds, as in Elasticsearch.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::Value;

use crate::flow::quality::intervals::wilson;

/// An incident is where even the upper end of a day's recall is below this share of the country's usual day.
const FALLEN: f64 = 0.8;

/// What the documents say.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// By version, the whole before its countries.
    pub(super) rows: Vec<Row>,
    /// Sums of the days' windows.
    pub(super) counts: Counts,
    /// Labels whose prediction never came.
    pub(super) orphans: usize,
    pub(super) incident: Option<Incident>,
    /// Alerts that fired, in the order of their windows.
    pub(super) alerts: Vec<Alert>,
    /// Files of documents, and their size.
    pub(super) files: usize,
    pub(super) bytes: u64,
}

/// What a version did in all the month, in one country or in all: the engine's own numbers.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) version: String,
    /// `None`: all countries.
    pub(super) country: Option<String>,
    pub(super) counts: Counts,
    pub(super) accuracy: Metric,
    pub(super) precision: Metric,
    pub(super) recall: Metric,
    pub(super) f1: Metric,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) predictions: u64,
    pub(super) labelled: u64,
    pub(super) late: u64,
    pub(super) corrected: u64,
    pub(super) duplicates: u64,
}

/// A value with its interval; `None` where the document has none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Metric {
    pub(super) value: Option<f64>,
    pub(super) low: Option<f64>,
    pub(super) high: Option<f64>,
}

/// Days in a row on which a country's recall was far below what is usual there.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Incident {
    pub(super) country: String,
    pub(super) first_day: Timestamp,
    pub(super) days: usize,
    /// Recall of these days, and of the others.
    pub(super) recall: f64,
    pub(super) usual_recall: f64,
    /// How busy the host was in these days and in the others: averages of its snapshots.
    pub(super) cpu: Option<(f64, f64)>,
}

/// An alert that fired, and is over or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Alert {
    /// The day that made it fire.
    pub(super) day: Option<Timestamp>,
    /// `recall-low-somewhere is firing for fraud 1, country FR: …`
    pub(super) message: String,
    /// The day that ended it.
    pub(super) over: Option<Timestamp>,
}

/// Frauds of a country on a day: caught and missed.
type Caught = BTreeMap<Timestamp, (u64, u64)>;

impl Findings {
    /// Reads the files under `folder`.
    pub(super) fn read(folder: &Path) -> io::Result<Self> {
        let files = files(folder)?;
        let mut windows = BTreeMap::new();
        let mut orphans = BTreeMap::new();
        let mut alerts: BTreeMap<String, Alert> = BTreeMap::new();
        let mut busy: BTreeMap<Timestamp, f64> = BTreeMap::new();
        let mut found = Self::default();
        for (path, bytes) in files {
            found.files += 1;
            found.bytes += bytes;
            let name = path.to_string_lossy().into_owned();
            if name.contains("-quality-") {
                let is_wanted = |line: &str| {
                    line.contains(r#""dataset":"modelbeat.quality""#)
                        && [r#""length":"1d""#, r#""length":"cumulative""#]
                            .iter()
                            .any(|length| line.contains(length))
                };
                each(&path, is_wanted, |id, document| {
                    windows.insert(id, document);
                })?;
            } else if name.contains("-labels-") {
                each(
                    &path,
                    |_| true,
                    |id, document| {
                        orphans.insert(id, document["label"]["state"] == "orphan");
                    },
                )?;
            } else if name.contains("-alerts-") {
                each(&path, |_| true, |_, document| note(&document, &mut alerts))?;
            } else if name.contains("-host-") {
                each(
                    &path,
                    |_| true,
                    |_, document| {
                        let pct = document["system"]["cpu"]["total"]["norm"]["pct"].as_f64();
                        if let (Some(at), Some(pct)) = (time(&document), pct) {
                            busy.insert(at, pct);
                        }
                    },
                )?;
            }
        }
        found.alerts = alerts.into_values().collect();
        found
            .alerts
            .sort_by(|one, other| (one.day, &one.message).cmp(&(other.day, &other.message)));
        found.orphans = orphans.values().filter(|is_orphan| **is_orphan).count();
        let mut countries: BTreeMap<String, Caught> = BTreeMap::new();
        for window in windows.values() {
            let country =
                (window["slice"]["name"] == "country").then(|| text(&window["slice"]["value"]));
            if window["window"]["length"] == "cumulative" {
                found.rows.push(Row::of(window, country));
            } else if let Some(country) = country {
                let Some(day) = time(window) else { continue };
                let counts = &window["counts"];
                let sum = countries
                    .entry(country)
                    .or_default()
                    .entry(day)
                    .or_default();
                sum.0 += whole(&counts["tp"]);
                sum.1 += whole(&counts["fn"]);
            } else {
                found.counts.add(&Counts::of(window));
            }
        }
        let key = |row: &Row| (row.version.clone(), row.country.clone());
        found.rows.sort_by_key(key);
        found.incident = incident(&countries, &busy);
        Ok(found)
    }
}

/// Takes down a change of an alert, if it is one that matters here.
fn note(change: &Value, alerts: &mut BTreeMap<String, Alert>) {
    let day = change["window"]["start"].as_str();
    let day = day.and_then(|day| day.parse().ok());
    let id = text(&change["alert"]["id"]);
    match change["alert"]["state"].as_str() {
        Some("firing") => {
            let message = text(&change["message"]);
            let over = None;
            alerts.insert(id, Alert { day, message, over });
        }
        Some("resolved") => {
            if let Some(alert) = alerts.get_mut(&id) {
                alert.over = day;
            }
        }
        _ => {}
    }
}

/// The deepest of all runs of fallen days: the one that missed most frauds beyond the usual.
fn incident(
    countries: &BTreeMap<String, Caught>,
    busy: &BTreeMap<Timestamp, f64>,
) -> Option<Incident> {
    let mut worst: Option<(f64, Incident)> = None;
    for (country, days) in countries {
        let usual = median(days)?;
        let is_fallen = |(caught, missed): &(u64, u64)| {
            let interval = wilson(*caught, caught + missed);
            interval.is_some_and(|interval| interval.high < usual * FALLEN)
        };
        let days: Vec<(&Timestamp, &(u64, u64))> = days.iter().collect();
        for run in days.chunk_by(|before, after| is_fallen(before.1) == is_fallen(after.1)) {
            let (Some(first), Some(last)) = (run.first(), run.last()) else {
                continue;
            };
            if !is_fallen(first.1) {
                continue;
            }
            let is_in = |at: &Timestamp| (first.0..=last.0).contains(&at);
            let (caught, missed) = sum(run);
            let others: Vec<_> = days.iter().filter(|(at, _)| !is_in(at)).copied().collect();
            let (caught_usually, missed_usually) = sum(&others);
            let missing = usual * (caught + missed) as f64 - caught as f64;
            if worst.as_ref().is_some_and(|(most, _)| *most >= missing) {
                continue;
            }
            let until = *last.0 + jiff::SignedDuration::from_hours(24);
            let incident = Incident {
                country: country.clone(),
                first_day: *first.0,
                days: run.len(),
                recall: caught as f64 / (caught + missed) as f64,
                usual_recall: caught_usually as f64 / (caught_usually + missed_usually) as f64,
                cpu: average(busy, |at| *first.0 <= at && at < until),
            };
            worst = Some((missing, incident));
        }
    }
    worst.map(|(_, incident)| incident)
}

fn sum(days: &[(&Timestamp, &(u64, u64))]) -> (u64, u64) {
    days.iter().fold((0, 0), |(caught, missed), (_, day)| {
        (caught + day.0, missed + day.1)
    })
}

/// The median of the days' recalls.
fn median(days: &Caught) -> Option<f64> {
    let recalls = days.values().filter(|(caught, missed)| caught + missed > 0);
    let mut recalls: Vec<f64> = recalls
        .map(|(caught, missed)| *caught as f64 / (caught + missed) as f64)
        .collect();
    recalls.sort_by(f64::total_cmp);
    recalls.get(recalls.len() / 2).copied()
}

/// The averages over the snapshots within and without.
fn average(
    busy: &BTreeMap<Timestamp, f64>,
    is_within: impl Fn(Timestamp) -> bool,
) -> Option<(f64, f64)> {
    let average = |wanted: bool| {
        let readings = busy.iter().filter(|(at, _)| is_within(**at) == wanted);
        let readings: Vec<f64> = readings.map(|(_, pct)| *pct).collect();
        (!readings.is_empty()).then(|| readings.iter().sum::<f64>() / readings.len() as f64)
    };
    average(true).zip(average(false))
}

impl Row {
    fn of(window: &Value, country: Option<String>) -> Self {
        let metric = |name: &str| Metric {
            value: window["quality"][name].as_f64(),
            low: window["interval"][name]["low"].as_f64(),
            high: window["interval"][name]["high"].as_f64(),
        };
        Self {
            version: text(&window["model"]["version"]),
            country,
            counts: Counts::of(window),
            accuracy: metric("accuracy"),
            precision: metric("precision"),
            recall: metric("recall"),
            f1: metric("f1"),
        }
    }
}

impl Counts {
    fn of(window: &Value) -> Self {
        let count = |name: &str| whole(&window["counts"][name]);
        Self {
            predictions: count("predictions"),
            labelled: count("labelled"),
            late: count("late_labels"),
            corrected: count("corrected_labels"),
            duplicates: count("duplicates"),
        }
    }

    fn add(&mut self, other: &Self) {
        self.predictions += other.predictions;
        self.labelled += other.labelled;
        self.late += other.late;
        self.corrected += other.corrected;
        self.duplicates += other.duplicates;
    }
}

/// The files of documents, and their sizes.
fn files(folder: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        files.push((entry.path(), entry.metadata()?.len()));
    }
    files.sort();
    Ok(files)
}

/// Hands over the documents of a file that are wanted by their line, with their ids, in the order in which they were written.
fn each(
    path: &Path,
    is_wanted: impl Fn(&str) -> bool,
    mut take: impl FnMut(String, Value),
) -> io::Result<()> {
    let mut lines = BufReader::new(File::open(path)?).lines();
    while let (Some(action), Some(document)) = (lines.next(), lines.next()) {
        let (action, document) = (action?, document?);
        if is_wanted(&document) {
            let action: Value = serde_json::from_str(&action)?;
            let id = action.as_object().and_then(|action| action.values().next());
            let id = id.map(|action| text(&action["_id"])).unwrap_or_default();
            take(id, serde_json::from_str(&document)?);
        }
    }
    Ok(())
}

fn time(document: &Value) -> Option<Timestamp> {
    document["@timestamp"].as_str()?.parse().ok()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn whole(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}
