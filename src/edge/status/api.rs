//! `GET /api/v1/status`: all that the page shows, as JSON. For people's scripts, too: its shape only grows.
//!
//! Moments are milliseconds since the epoch, ratios lie in 0..=1, and what has no value is absent. However much a pipeline
//! holds, what is said of it is bounded: 50 alerts, 500 series, 2,400 windows of history, 20 classes, 20 dead letters, 360 host
//! snapshots, and 200 characters of a text that comes from outside. No text of a record is among it: the log of dead
//! letters is for those who may read the data folder.

mod alerts;
mod inputs;
mod series;

use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;

use super::board::{Board, Durable, Stage, Vitals, Wiring};
use super::verdict;
use crate::edge::dead_letters::{self, Newest};
use crate::edge::now::now;
use crate::edge::ship::Progress;
use crate::flow::engine::{Load, View};
use crate::flow::event::Timestamp;
use crate::flow::quality::Task;
use alerts::Alerts;
use inputs::{Input, Sums};
use series::{Series, Snapshot};

/// Dead letters shown of a pipeline.
const LETTERS_MAX: usize = 20;

/// Bytes from which on an answer is worth packing.
const PACKED_FROM: usize = 8 << 10;

/// Characters of a text that comes from records, files or the cluster.
const TEXT_MAX: usize = 200;

/// The answer, and what tells it from the one before.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    /// Stays the same while nothing but the time has changed.
    pub(super) tag: String,
    pub(super) body: Bytes,
}

impl Answer {
    /// The body, packed; `None` where it is too small for that.
    pub(super) fn packed(&self) -> Option<Vec<u8>> {
        if self.body.len() < PACKED_FROM {
            return None;
        }
        let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
        packer.write_all(&self.body).ok()?;
        packer.finish().ok()
    }
}

/// Everything, as of now.
///
/// # Errors
/// The encoder's, which has no reason to.
pub(super) fn answer(board: &Board) -> serde_json::Result<Answer> {
    let pipelines: Vec<_> = board.all().iter().map(|vitals| pipeline(vitals)).collect();
    let pipelines = serde_json::value::to_raw_value(&pipelines)?;
    let tag = blake3::hash(pipelines.get().as_bytes()).to_hex();
    let answer = Status {
        agent: Agent {
            version: env!("CARGO_PKG_VERSION"),
            host: rustix::system::uname()
                .nodename()
                .to_string_lossy()
                .into_owned(),
            started: board.started().0,
            now: now().0,
        },
        pipelines: &pipelines,
    };
    Ok(Answer {
        tag: format!("W/\"{}\"", tag.get(..16).unwrap_or_default()),
        body: serde_json::to_vec(&answer)?.into(),
    })
}

#[derive(Serialize)]
struct Status<'s> {
    agent: Agent,
    pipelines: &'s serde_json::value::RawValue,
}

#[derive(Serialize)]
struct Agent {
    version: &'static str,
    host: String,
    started: i64,
    now: i64,
}

#[derive(Serialize)]
struct Told {
    pipeline: String,
    stage: &'static str,
    verdict: &'static str,
    reasons: Vec<String>,
    notes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reported: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    task: Option<TaskName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_support: Option<u64>,
    inputs: Vec<Input>,
    totals: Sums,
    waiting: Waiting,
    #[serde(skip_serializing_if = "Option::is_none")]
    shipping: Option<Shipping>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alerts: Option<Alerts>,
    series: Vec<Series>,
    series_left_out: usize,
    host: Host,
    #[serde(skip_serializing_if = "Option::is_none")]
    dead_letters: Option<DeadLetters>,
}

#[derive(Serialize)]
struct TaskName {
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    positive: Option<String>,
}

#[derive(Serialize)]
struct Waiting {
    open_predictions: usize,
    open_on_disk: usize,
    open_bytes: usize,
    early_labels: usize,
    windows: usize,
    windows_on_disk: usize,
}

#[derive(Serialize)]
struct Shipping {
    documents: u64,
    stored: u64,
    superseded: u64,
    refused: u64,
    in_flight: u64,
    written: u64,
    retried: u64,
    requests: u64,
    spooled: u64,
    spool_documents: u64,
    spool_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    spool_bytes_max: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    checkpoint_saved: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    checkpoint_bytes: Option<usize>,
}

#[derive(Serialize)]
struct Host {
    history: Vec<Snapshot>,
}

#[derive(Serialize)]
struct DeadLetters {
    files: usize,
    bytes: u64,
    newest: Vec<Letter>,
}

#[derive(Serialize)]
struct Letter {
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<i64>,
    kind: &'static str,
    reason: String,
    origin: String,
}

fn pipeline(vitals: &Vitals) -> Told {
    let (report, durable) = (vitals.report(), vitals.durable());
    let durable = durable.as_deref();
    let stage = vitals.stage();
    let wiring = vitals.wiring();
    let view = report.view.as_deref();
    let (verdict, reasons, notes) = judge(vitals, stage);
    let ended = stage == Stage::Ended;
    Told {
        pipeline: vitals.pipeline.clone(),
        stage: stage.name(),
        verdict,
        reasons,
        notes,
        reported: view.map(|view| view.at.0),
        agent_name: view.map(|view| short(&view.agent_name)),
        task: view.map(|view| task(&view.task)),
        min_support: view.map(|view| view.min_support),
        inputs: wiring.map_or_else(Vec::new, |wiring| inputs::all(wiring, &report, durable)),
        totals: Sums::of(&report.totals, wiring),
        waiting: waiting(&report.load),
        shipping: wiring.map(|wiring| shipping(&wiring.shipping, durable)),
        alerts: report.alerts.as_ref().map(Alerts::of),
        series: view.map_or_else(Vec::new, |view| series::all(view, ended)),
        series_left_out: view.map_or(0, |view| view.left_out),
        host: Host {
            history: view.map_or_else(Vec::new, snapshots),
        },
        dead_letters: wiring.and_then(letters),
    }
}

/// One word, the reasons for it, and what else is good to know.
fn judge(vitals: &Vitals, stage: Stage) -> (&'static str, Vec<String>, Vec<String>) {
    let verdict = verdict::judge(vitals);
    let shorten = |texts: Vec<String>| texts.iter().map(|text| short(text)).collect();
    let (word, reasons) = if !verdict.unhealthy.is_empty() {
        ("unhealthy", verdict.unhealthy)
    } else if stage == Stage::Ended {
        // That it has ended is no reason to worry.
        ("finished", Vec::new())
    } else if verdict.not_ready.is_empty() {
        ("ready", Vec::new())
    } else {
        ("not ready", verdict.not_ready)
    };
    (word, shorten(reasons), shorten(verdict.notes))
}

fn task(task: &Task) -> TaskName {
    let (kind, positive) = match task {
        Task::Binary { positive, .. } => ("binary", Some(short(positive))),
        Task::Multiclass { .. } => ("multiclass", None),
        Task::Regression => ("regression", None),
    };
    TaskName { kind, positive }
}

fn waiting(load: &Load) -> Waiting {
    Waiting {
        open_predictions: load.open_in_memory + load.open_on_disk,
        open_on_disk: load.open_on_disk,
        open_bytes: load.open_bytes,
        early_labels: load.early_labels,
        windows: load.windows_in_memory + load.windows_on_disk,
        windows_on_disk: load.windows_on_disk,
    }
}

fn shipping(progress: &Progress, durable: Option<&Durable>) -> Shipping {
    let totals = progress.totals();
    Shipping {
        documents: totals.documents,
        stored: totals.stored,
        superseded: totals.superseded,
        refused: totals.dead_documents,
        in_flight: totals.in_flight(),
        written: totals.written,
        retried: totals.retries,
        requests: totals.requests,
        spooled: totals.spooled,
        spool_documents: totals.spool_documents,
        spool_bytes: totals.spool_bytes,
        spool_bytes_max: progress.spool().map(|spool| spool.bytes_max),
        trouble: progress.trouble().as_deref().map(short),
        checkpoint_saved: durable.map(|durable| before(durable.at.elapsed()).0),
        checkpoint_bytes: durable.map(|durable| durable.bytes),
    }
}

fn snapshots(view: &View) -> Vec<Snapshot> {
    view.host.iter().map(Snapshot::of).collect()
}

/// Looked up on the disk: the `dead-letters` command empties the log, too.
fn letters(wiring: &Wiring) -> Option<DeadLetters> {
    let (files, bytes) = dead_letters::holds(&wiring.dead_letters).ok()?;
    let newest = dead_letters::newest(&wiring.dead_letters, LETTERS_MAX).unwrap_or_default();
    Some(DeadLetters {
        files,
        bytes,
        newest: newest.iter().map(letter).collect(),
    })
}

fn letter(newest: &Newest) -> Letter {
    let time: Option<jiff::Timestamp> = newest.time.parse().ok();
    Letter {
        time: time.map(jiff::Timestamp::as_millisecond),
        kind: if newest.is_document {
            "document"
        } else {
            "record"
        },
        reason: short(&newest.reason),
        origin: short(&newest.origin),
    }
}

/// The moment so long ago, to the second: while nothing happens it stays the same.
fn before(ago: Duration) -> Timestamp {
    let ago = i64::try_from(ago.as_millis()).unwrap_or(i64::MAX);
    let moment = now().plus(ago.saturating_neg()).0;
    Timestamp((moment + 500).div_euclid(1_000) * 1_000)
}

/// The beginning of a text that may be of any length.
fn short(text: &str) -> String {
    match text.char_indices().nth(TEXT_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
