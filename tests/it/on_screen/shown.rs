//! What the page shows, beside what the agent says and what it has written.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;
use tokio::runtime::Runtime;

use crate::browser::Page;
use crate::demo::written::{Row, Written};
use crate::documents::field;

/// Those of a binary task.
const METRICS: [&str; 5] = ["coverage", "accuracy", "precision", "recall", "f1"];

/// Read back from text, a number may be off by its last bit.
const LAST_BIT: f64 = 1e-15;

/// The tiles: of which window they are, and their numbers.
#[derive(Debug)]
pub(super) struct Shown(Value);

impl Shown {
    #[track_caller]
    pub(super) fn on(page: &mut Page) -> Self {
        Self(page.evaluate(
            "(() => {
               const tiles = document.querySelector('#tiles');
               const chosen = name => document.querySelector(`select#${name}`).value;
               const numbers = [...tiles.querySelectorAll('[data-metric]')].map(tile => [
                 tile.dataset.metric,
                 { value: tile.dataset.value, low: tile.dataset.low, high: tile.dataset.high },
               ]);
               return {
                 start: Number(tiles.dataset.start), end: Number(tiles.dataset.end), window: tiles.dataset.window,
                 model: chosen('model'), version: chosen('version'), slice: chosen('slice'),
                 metrics: Object.fromEntries(numbers),
               };
             })()",
        ))
    }

    /// That each number is the one in `/api/v1/status`, of the same window.
    pub(super) fn compare_with_status(&self, status: &Value) -> Result<(), String> {
        let is_shown = |series: &&Value| {
            series["slice"] == "_all"
                && ["model", "version", "window"]
                    .iter()
                    .all(|of| series[of] == self.0[of])
        };
        let all = status["pipelines"][0]["series"].as_array();
        let series = all.into_iter().flatten().find(is_shown);
        let current = &series.ok_or_else(|| format!("no series for {self:?}"))?["current"];
        if current["start"].as_f64() != self.0["start"].as_f64() {
            return Err(format!("another window: {current} {self:?}"));
        }
        self.compare(|metric, part| current["metrics"][metric][part].as_f64())
    }

    /// That each number is the one in the document of that window.
    pub(super) fn compare_with_documents(&self, windows: &Windows) -> Result<(), String> {
        let text = |name: &str| self.0[name].as_str().unwrap_or_default().to_owned();
        let start = self.0["start"].as_i64().unwrap_or_default();
        let key = (text("window"), start, text("version"));
        let document = windows
            .0
            .get(&key)
            .ok_or_else(|| format!("no document about {key:?}"))?;
        self.compare(|metric, part| {
            let name = match part {
                "value" => format!("quality.{metric}"),
                end => format!("interval.{metric}.{end}"),
            };
            field(document, &name).as_f64()
        })
    }

    /// That accuracy and coverage are what a count of the predictions comes to.
    pub(super) fn compare_with_predictions(&self, all: &Written) -> Result<(), String> {
        let bound = |end: &str| self.0[end].as_i64().unwrap_or_default();
        let of_window = |row: &&Row| {
            (bound("start")..bound("end")).contains(&row.time.as_millisecond())
                && self.0["version"] == *row.version
        };
        let rows: Vec<&Row> = all.rows.values().filter(of_window).collect();
        let labelled = rows
            .iter()
            .filter_map(|row| Some((row.is_flagged, row.label?.1)));
        let labelled: Vec<(bool, bool)> = labelled.collect();
        let right = labelled
            .iter()
            .filter(|(predicted, actual)| predicted == actual);
        let recount = [
            ("accuracy", right.count() as f64 / labelled.len() as f64),
            ("coverage", labelled.len() as f64 / rows.len() as f64),
        ];
        for (metric, counted) in recount {
            let shown = self.number(metric, "value");
            if shown.is_none_or(|shown| (shown - counted).abs() > LAST_BIT) {
                return Err(format!("{metric}: counted {counted}, shown {self:?}"));
            }
        }
        Ok(())
    }

    fn number(&self, metric: &str, part: &str) -> Option<f64> {
        self.0["metrics"][metric][part].as_str()?.parse().ok()
    }

    fn compare(&self, other: impl Fn(&str, &str) -> Option<f64>) -> Result<(), String> {
        for metric in METRICS {
            for part in ["value", "low", "high"] {
                let shown = self.number(metric, part);
                let other = other(metric, part);
                let same = match (shown, other) {
                    (Some(shown), Some(other)) => (shown - other).abs() < LAST_BIT,
                    _ => false,
                };
                if !same {
                    return Err(format!(
                        "{metric} {part}: {other:?} is not what is shown: {self:?}"
                    ));
                }
            }
        }
        Ok(())
    }
}

/// The quality documents of wholes, as they were written last: length, start in ms and version of a window → document.
pub(super) struct Windows(BTreeMap<(String, i64, String), Value>);

impl Windows {
    #[track_caller]
    pub(super) fn under(folder: &Path) -> Self {
        let mut last = BTreeMap::new();
        for entry in fs::read_dir(folder).expect("the folder of documents") {
            let path = entry.expect("an entry").path();
            if !path.to_string_lossy().contains("-quality-") {
                continue;
            }
            for line in fs::read_to_string(path).expect("text").lines() {
                let document: Value = serde_json::from_str(line).expect("JSON");
                let text = |name: &str| {
                    field(&document, name)
                        .as_str()
                        .unwrap_or_default()
                        .to_owned()
                };
                if text("event.dataset") == "modelbeat.quality" && text("slice.name") == "_all" {
                    let start: jiff::Timestamp = text("window.start").parse().expect("a time");
                    let key = (
                        text("window.length"),
                        start.as_millisecond(),
                        text("model.version"),
                    );
                    last.insert(key, document);
                }
            }
        }
        Self(last)
    }
}

/// What the agent says of itself.
#[track_caller]
pub(super) fn status(address: &str) -> Value {
    let client = reqwest::Client::builder()
        .no_proxy()
        .build()
        .expect("a client");
    let request = client.get(format!("{address}api/v1/status"));
    let text = Runtime::new().expect("a runtime").block_on(async {
        request
            .send()
            .await
            .expect("the agent answers")
            .text()
            .await
            .expect("a whole answer")
    });
    serde_json::from_str(&text).expect("JSON")
}

/// The order that the table of slices and versions says it is in by a metric, and that metric's values, row by row: in that
/// order, rows without one aside.
#[track_caller]
pub(super) fn sorted(page: &mut Page, metric: &str) -> (String, Vec<f64>) {
    let order = page.evaluate(&format!(
        "document.querySelector('#series [data-sort=\"{metric}\"]').closest('th').getAttribute('aria-sort')"
    ));
    let cells = page.evaluate(&format!(
        "[...document.querySelectorAll('#series tbody td[data-metric=\"{metric}\"]')].map(cell => cell.dataset.value ?? null)"
    ));
    let order = order.as_str().expect("an order").to_owned();
    let cells = cells.as_array().expect("cells").iter();
    let values: Vec<f64> = cells
        .filter_map(|cell| cell.as_str()?.parse().ok())
        .collect();
    let in_order = match order.as_str() {
        "ascending" => values.is_sorted(),
        "descending" => values.iter().rev().is_sorted(),
        other => panic!("aria-sort is {other}"),
    };
    assert!(values.len() > 1 && in_order, "{order}: {values:?}");
    (order, values)
}
