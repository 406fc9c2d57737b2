//! What each input brought and still holds: events by what became of them, lag, the journal, the receiver's answers.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::edge::now::now;
use crate::edge::receive;
use crate::edge::status::board::{Durable, Input, JournalPlace, Report, Wiring};
use crate::edge::status::page::{Labels, Page, with};
use crate::edge::tail::Snapshot;
use crate::flow::engine::InputTotals;
use crate::flow::event::InputId;

pub(super) fn add(
    page: &mut Page,
    pipeline: &Labels,
    wiring: &Wiring,
    report: &Report,
    durable: Option<&Durable>,
) {
    let snapshot = wiring.files.snapshot();
    let files = files_by_input(&snapshot, durable);
    for input in &wiring.inputs {
        let labels = with(pipeline, "input", input.name());
        if let Some(totals) = report.totals.inputs.get(usize::from(input.id().0)) {
            add_events(page, &labels, totals);
        }
        match input {
            Input::Files(id) => {
                let files = files.get(id).copied().unwrap_or_default();
                page.gauge(
                    "modelbeat_input_files",
                    "Files that are followed",
                    &labels,
                    files.count as f64,
                );
                page.counter(
                    "modelbeat_input_read_bytes",
                    "Bytes of files that were read, of compressed files as they are unpacked",
                    &labels,
                    files.read,
                );
                add_lag(page, &labels, files.lag, files.unacknowledged);
                add_lag_seconds(page, &labels, files.waits_for);
            }
            Input::Http {
                journal, counters, ..
            } => {
                add_journal(page, &labels, journal, report, durable);
                if let Some(counters) = counters {
                    add_receiver(page, &labels, counters);
                }
            }
        }
    }
    page.gauge(
        "modelbeat_input_unreadable_paths",
        "Files and folders that cannot be read, which /readyz and the log name",
        pipeline,
        snapshot.unread.len() as f64,
    );
    page.counter(
        "modelbeat_input_lost_bytes",
        "Bytes of files that were truncated away before they were read",
        pipeline,
        snapshot.lost_bytes_total,
    );
    for (name, help, count) in [
        (
            "modelbeat_labels_orphaned",
            "Labels given up on, because their prediction never came",
            report.totals.orphans,
        ),
        (
            "modelbeat_predictions_expired",
            "Predictions whose horizon ended without a label",
            report.totals.expired,
        ),
        (
            "modelbeat_events_too_old",
            "Predictions and labels that came for a final window: shipped, but not counted in it",
            report.totals.too_old,
        ),
    ] {
        page.counter(name, help, pipeline, count);
    }
}

/// The right side of the equation of conservation. Outcomes that have not come yet are there as 0, reasons to ignore are not.
fn add_events(page: &mut Page, labels: &Labels, totals: &InputTotals) {
    let mut add = |outcome: &str, reason: &str, count: u64| {
        let labels = with(&with(labels, "outcome", outcome), "reason", reason);
        page.counter(
            "modelbeat_events",
            "Events that came in, by what became of them; the reason says why one was ignored",
            &labels,
            count,
        );
    };
    add("prediction", "", totals.predictions);
    add("label", "", totals.labels);
    add("duplicate", "", totals.duplicates);
    add("dead_letter", "", totals.dead_letters);
    for (reason, count) in &totals.ignored {
        add("ignored", reason, *count);
    }
}

#[derive(Clone, Copy, Default)]
struct Files {
    count: u64,
    read: u64,
    lag: u64,
    waits_for: Duration,
    unacknowledged: u64,
}

fn files_by_input(snapshot: &Snapshot, durable: Option<&Durable>) -> BTreeMap<InputId, Files> {
    let now = now();
    let mut inputs: BTreeMap<InputId, Files> = BTreeMap::new();
    for input in &snapshot.inputs {
        let files = inputs.entry(input.input).or_default();
        files.count = input.files as u64;
        files.read = input.read_bytes_total;
        files.lag = input.lag_bytes;
        files.waits_for = input.lag(now);
    }
    for source in &snapshot.sources {
        let files = inputs.entry(source.input).or_default();
        let safe = source
            .key
            .as_ref()
            .and_then(|key| durable?.offsets.get(key).copied());
        files.unacknowledged += source.size.saturating_sub(safe.unwrap_or(0));
    }
    inputs
}

fn add_lag(page: &mut Page, labels: &Labels, lag: u64, unacknowledged: u64) {
    page.gauge(
        "modelbeat_input_lag_bytes",
        "Bytes that wait to be read",
        labels,
        lag as f64,
    );
    page.gauge(
        "modelbeat_input_unacknowledged_bytes",
        "Bytes behind the last durable checkpoint: not yet read, or read and not yet known to be stored; a crash would \
         read them again",
        labels,
        unacknowledged as f64,
    );
}

fn add_lag_seconds(page: &mut Page, labels: &Labels, lag: Duration) {
    page.gauge(
        "modelbeat_input_lag_seconds",
        "Time that the oldest of the bytes that wait to be read may have been waiting; 0 if none waits",
        labels,
        lag.as_secs_f64(),
    );
}

fn add_journal(
    page: &mut Page,
    labels: &Labels,
    journal: &JournalPlace,
    report: &Report,
    durable: Option<&Durable>,
) {
    let unread_from = journal.unread_from(report, durable);
    let lag = journal.size.end().saturating_sub(unread_from);
    add_lag(page, labels, lag, journal.unacknowledged(durable));
    let waits_for = journal.size.age(unread_from);
    add_lag_seconds(page, labels, waits_for.unwrap_or_default());
    page.gauge(
        "modelbeat_journal_bytes",
        "Bytes that the journal takes on disk",
        labels,
        journal.size.bytes() as f64,
    );
    page.gauge(
        "modelbeat_journal_bytes_max",
        "Bytes on disk beyond which the journal takes nothing, and posts are answered 429",
        labels,
        journal.bytes_max as f64,
    );
}

fn add_receiver(page: &mut Page, labels: &Labels, counters: &receive::Counters) {
    for (status, count) in counters.answers_total() {
        page.counter(
            "modelbeat_http_requests",
            "Requests answered, by status",
            &with(labels, "status", status.to_string()),
            count,
        );
    }
    for (name, help, count) in [
        (
            "modelbeat_http_accepted_records",
            "Records made durable and answered for with 202",
            counters.events_total(),
        ),
        (
            "modelbeat_http_received_bytes",
            "Bytes of bodies read, as they came over the wire",
            counters.bytes_total(),
        ),
        (
            "modelbeat_http_connections_refused",
            "Connections closed at once because there were too many",
            counters.connections_refused_total(),
        ),
    ] {
        page.counter(name, help, labels, count);
    }
}
