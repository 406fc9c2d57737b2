//! What counters have shown, kept on disk, so that none goes back when the process ends, however it ends.
//!
//! Prometheus takes a counter that falls for one that began anew, and counts all of it again. A checkpoint alone does not
//! help: a scrape a moment before a kill -9 has shown more than it holds, and to show nothing but what is durable would
//! freeze the counts of requests and retries in an outage, when they are looked at. So what a scrape is about to show is
//! first made durable in `counters`, in the data folder, and the next process goes on from there:
//!
//! - What the engine counts, it counts again as it replays records from the checkpoint, which holds its counts
//!   ([`Totals`](crate::flow::engine::Totals)). Shown is the larger of what was shown and what is counted: it stands still
//!   until the replay has caught up, and no event counts twice.
//! - What the edges do (requests, bytes, answers) they do again. Shown is what was shown and what was done since. What was
//!   done after the last scrape before a crash is forgotten; who stops an agent in order loses nothing.
//!
//! Of documents that were in flight when a process ended nobody knows what became of them; they are made again, and so
//! counted as a kind of their own ([`Ledger::abandoned`]), which keeps the equation of documents true.
//!
//! A disk that does not take the file is said once, and the scrape is answered all the same: then a crash may take counters
//! back. So does the loss of the file; one that is not whole is said and not used. At most [`SERIES_MAX`] series are kept.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::page::{Labels, Page};
use crate::edge::segments::sync_folder;

/// Counted by the engine, which a replay has count again.
const RECOUNTED: [&str; 4] = [
    "modelbeat_events",
    "modelbeat_labels_orphaned",
    "modelbeat_predictions_expired",
    "modelbeat_events_too_old",
];

/// Told from what was shown before, so that nothing is to be added.
pub(super) const ABANDONED: &str = "modelbeat_documents_abandoned";

/// Series of counters: 50 of a pipeline's own, 25 of each input, and one for each of its reasons to ignore a record. Beyond
/// it they begin at zero with the process.
const SERIES_MAX: usize = 5_000;

const NAME: &str = "counters";
const FORMAT: u32 = 1;

/// One series: what it is called, and its labels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Series {
    pub(super) name: String,
    pub(super) labels: BTreeMap<String, String>,
}

impl Series {
    pub(super) fn new(name: &str, labels: &Labels) -> Self {
        let labels = labels.iter();
        Self {
            name: name.to_owned(),
            labels: labels
                .map(|(label, value)| ((*label).to_owned(), value.clone()))
                .collect(),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    format: u32,
    counters: Vec<(Series, u64)>,
}

/// One pipeline's.
#[derive(Debug)]
pub struct Ledger {
    folder: PathBuf,
    /// As the processes before this one have shown it.
    before: BTreeMap<Series, u64>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The most that was shown.
    shown: BTreeMap<Series, u64>,
    /// The file could not be written when last tried.
    fails: bool,
}

impl Ledger {
    /// Goes on from what the file in a pipeline's data folder says, if there is one.
    #[must_use]
    pub fn open(folder: &Path) -> Self {
        let before = match read(&folder.join(NAME)) {
            Ok(before) => before,
            Err(error) => {
                let path = folder.join(NAME);
                warn!(path = %path.display(), %error, "what counters have shown cannot be read, they may go back");
                BTreeMap::new()
            }
        };
        let shown = before.clone();
        Self {
            folder: folder.to_owned(),
            before,
            state: Mutex::new(State {
                shown,
                fails: false,
            }),
        }
    }

    /// Documents that were in flight when a process before this one ended, as far as scrapes had counted them.
    pub(super) fn abandoned(&self, pipeline: &Labels) -> u64 {
        let before = |name: &str, more: Option<(&'static str, &str)>| {
            let mut labels = pipeline.clone();
            labels.extend(more.map(|(label, value)| (label, value.to_owned())));
            let series = Series::new(name, &labels);
            self.before.get(&series).copied().unwrap_or(0)
        };
        let settled = before("modelbeat_documents_stored", None)
            + before("modelbeat_documents_superseded", None)
            + before("modelbeat_dead_letters", Some(("kind", "document")));
        before("modelbeat_documents", None).saturating_sub(settled)
    }

    /// Makes of what this process has counted what is to be shown, and keeps that before anybody sees it.
    pub(super) fn carry(&self, page: &mut Page, pipeline: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = false;
        page.recall(pipeline, &state.shown);
        page.visit_counts(pipeline, |series, value| {
            *value = self.continued(&series, *value);
            let is_new = !state.shown.contains_key(&series);
            if is_new && state.shown.len() >= SERIES_MAX {
                return;
            }
            let shown = state.shown.entry(series).or_default();
            *value = (*value).max(*shown);
            changed |= is_new || *value > *shown;
            *shown = *value;
        });
        if !changed && !state.fails {
            return;
        }
        let kept = self.keep(&state.shown);
        let failed = kept.is_err();
        match kept {
            Err(error) if !state.fails => {
                let folder = self.folder.display();
                warn!(%folder, %error, "cannot keep what counters have shown: a crash may take them back");
            }
            Ok(()) if state.fails => info!("what counters have shown is kept again"),
            Ok(()) | Err(_) => {}
        }
        state.fails = failed;
    }

    fn continued(&self, series: &Series, value: u64) -> u64 {
        let is_whole = series.name == ABANDONED || RECOUNTED.contains(&series.name.as_str());
        match self.before.get(series) {
            Some(before) if !is_whole => before.saturating_add(value),
            _ => value,
        }
    }

    fn keep(&self, shown: &BTreeMap<Series, u64>) -> io::Result<()> {
        let counters = shown.iter().map(|(series, value)| (series.clone(), *value));
        let kept = Kept {
            format: FORMAT,
            counters: counters.collect(),
        };
        let text = serde_json::to_vec(&kept)?;
        let new = self.folder.join(format!("{NAME}.new"));
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&new)?;
        file.write_all(&text)?;
        file.sync_all()?;
        std::fs::rename(&new, self.folder.join(NAME))?;
        sync_folder(&self.folder)
    }
}

fn read(path: &Path) -> io::Result<BTreeMap<Series, u64>> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(error),
    };
    let kept: Kept = serde_json::from_slice(&text)?;
    if kept.format != FORMAT {
        let format = kept.format;
        return Err(io::Error::other(format!(
            "it has the unknown format {format}"
        )));
    }
    Ok(kept.counters.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::super::page::{Durations, Format, with};
    use super::*;

    const EVENTS: &str = "modelbeat_events";
    const REQUESTS: &str = "modelbeat_bulk_requests";

    fn labels() -> Labels {
        vec![("pipeline", "p".to_owned())]
    }

    /// One scrape: what is shown when a process has counted this.
    fn scrape(ledger: &Ledger, events: u64, requests: u64) -> String {
        let mut page = Page::default();
        page.counter(
            EVENTS,
            "Events",
            &with(&labels(), "outcome", "label"),
            events,
        );
        page.counter(REQUESTS, "Requests", &labels(), requests);
        page.counter(REQUESTS, "Requests", &vec![("pipeline", "q".to_owned())], 1);
        ledger.carry(&mut page, "p");
        page.write(Format::Prometheus).unwrap()
    }

    #[track_caller]
    fn check(text: &str, samples: &[&str]) {
        for sample in samples {
            assert!(
                text.lines().any(|line| line == *sample),
                "{sample}:\n{text}"
            );
        }
    }

    #[test]
    fn what_is_replayed_waits_until_it_has_caught_up_and_what_is_done_again_is_added() {
        let folder = tempfile::tempdir().unwrap();
        check(
            &scrape(&Ledger::open(folder.path()), 10, 3),
            &[
                "modelbeat_events_total{pipeline=\"p\",outcome=\"label\"} 10",
                "modelbeat_bulk_requests_total{pipeline=\"p\"} 3",
            ],
        );
        // Killed; the checkpoint held 7 of the events.
        let ledger = Ledger::open(folder.path());
        for (events, shown) in [(7, 10), (10, 10), (12, 12)] {
            let sample =
                format!("modelbeat_events_total{{pipeline=\"p\",outcome=\"label\"}} {shown}");
            let others = "modelbeat_bulk_requests_total{pipeline=\"q\"} 1";
            let requests = "modelbeat_bulk_requests_total{pipeline=\"p\"} 5";
            check(&scrape(&ledger, events, 2), &[&sample, requests, others]);
        }
    }

    #[test]
    fn a_series_that_is_not_there_yet_after_a_restart_is_shown_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let input = |name: &str| with(&labels(), "input", name);
        let ignored = |name: &str| with(&with(&input(name), "outcome", "ignored"), "reason", "r");
        let mut page = Page::default();
        for name in ["file-0", "file-1"] {
            page.counter(EVENTS, "Events", &ignored(name), 4);
        }
        Ledger::open(folder.path()).carry(&mut page, "p");

        // The second input is gone from the pipeline file.
        let label = with(&with(&input("file-0"), "outcome", "label"), "reason", "");
        let mut page = Page::default();
        page.counter(EVENTS, "Events", &label, 1);
        Ledger::open(folder.path()).carry(&mut page, "p");
        let text = page.write(Format::Prometheus).unwrap();
        let sample = "modelbeat_events_total{pipeline=\"p\",input=\"file-0\",outcome=\"ignored\",reason=\"r\"} 4";
        check(&text, &[sample]);
        assert!(!text.contains("file-1"), "{text}");
    }

    #[test]
    fn the_parts_of_a_histogram_go_on_too() {
        let folder = tempfile::tempdir().unwrap();
        for (count, sum) in [("2", "1.5"), ("4", "3.0")] {
            let mut page = Page::default();
            let durations = Durations {
                bounds: vec![1.0],
                counts: vec![1, 1],
                sum_us: 1_500_000,
            };
            page.histogram("seconds", "Time", &labels(), durations);
            Ledger::open(folder.path()).carry(&mut page, "p");
            let text = page.write(Format::Prometheus).unwrap();
            let all = format!("seconds_bucket{{pipeline=\"p\",le=\"+Inf\"}} {count}");
            let count = format!("seconds_count{{pipeline=\"p\"}} {count}");
            let sum = format!("seconds_sum{{pipeline=\"p\"}} {sum}");
            check(&text, &[&all, &count, &sum]);
        }
    }

    #[test]
    fn documents_in_flight_at_a_crash_are_abandoned() {
        let folder = tempfile::tempdir().unwrap();
        let mut page = Page::default();
        let dead = with(&labels(), "kind", "document");
        for (name, labels, count) in [
            ("modelbeat_documents", &labels(), 10),
            ("modelbeat_documents_stored", &labels(), 5),
            ("modelbeat_documents_superseded", &labels(), 1),
            ("modelbeat_dead_letters", &dead, 1),
        ] {
            page.counter(name, "Documents", labels, count);
        }
        let ledger = Ledger::open(folder.path());
        assert_eq!(ledger.abandoned(&labels()), 0);
        ledger.carry(&mut page, "p");
        assert_eq!(Ledger::open(folder.path()).abandoned(&labels()), 3);
    }

    #[test]
    fn a_file_that_is_not_whole_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        scrape(&Ledger::open(folder.path()), 10, 3);
        let path = folder.path().join(NAME);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        let ledger = Ledger::open(folder.path());
        let sample = "modelbeat_bulk_requests_total{pipeline=\"p\"} 3";
        check(&scrape(&ledger, 10, 3), &[sample]);
    }

    #[test]
    fn a_disk_that_takes_nothing_does_not_keep_a_scrape_from_being_answered() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&folder.path().join("gone"));
        let sample = "modelbeat_bulk_requests_total{pipeline=\"p\"} 3";
        check(&scrape(&ledger, 10, 3), &[sample]);
    }
}
