//! The pipelines' health as metrics. Of each pipeline: what came in and what became of it, what waits and where, how
//! shipping goes, how far a crash would fall back.
//!
//! Once nothing is under way, Σ `modelbeat_events_total` over an input's outcomes is what it brought (to be compared with what
//! was sent: no sample says it), and `modelbeat_documents_total` = stored + superseded + dead letters +
//! abandoned + `modelbeat_documents_in_flight`. A pipeline's counters go on over restarts ([`Ledger`](super::ledger::Ledger));
//! those of the process itself (`process_…`, connections refused at this port) start at zero with it.

mod host;
mod inputs;
mod notify;
mod shipping;

use super::board::{Durable, Queues, Report, Vitals, Wiring};
use super::page::{Labels, Page, with};
use super::quality;
use crate::edge::dead_letters;
use crate::flow::alert::{Phase, Severity};
use crate::flow::engine::{AlertsView, Load};

/// Adds one pipeline.
pub(super) fn add(page: &mut Page, vitals: &Vitals) {
    let pipeline = vec![("pipeline", vitals.pipeline.clone())];
    let (report, durable) = (vitals.report(), vitals.durable());
    let durable = durable.as_deref();
    if let Some(wiring) = vitals.wiring() {
        inputs::add(page, &pipeline, wiring, &report, durable);
        shipping::add(page, &pipeline, &wiring.shipping, &wiring.ledger);
        add_queues(page, &pipeline, wiring);
        add_dead_letters(page, &pipeline, wiring);
        host::add(page, &pipeline, wiring);
        notify::add(page, &pipeline, &wiring.outbox);
    }
    add_load(page, &pipeline, &report.load);
    add_checkpoint(page, &pipeline, &report, durable);
    if let Some(alerts) = &report.alerts {
        add_alerts(page, &pipeline, alerts);
    }
    if let Some(view) = &report.view {
        quality::add(page, &pipeline, view);
    }
    if let Some(wiring) = vitals.wiring() {
        wiring.ledger.carry(page, &vitals.pipeline);
    }
}

/// What fills the channels before and behind the engine, and how much fits.
fn add_queues(page: &mut Page, pipeline: &Labels, wiring: &Wiring) {
    let Queues { intake, cargo } = &wiring.queues;
    for (name, filled, budget) in [
        ("intake", intake.filled(), &intake.budget),
        ("cargo", cargo.filled(), &cargo.budget),
    ] {
        let labels = with(pipeline, "queue", name);
        page.gauge(
            "modelbeat_queue_bytes",
            "Bytes in the queue, or about to go in; of cargo until its documents are in a request, or written",
            &labels,
            budget.taken() as f64,
        );
        page.gauge(
            "modelbeat_queue_bytes_max",
            "Bytes that fit; when it is full, what fills it waits",
            &labels,
            budget.bytes_max() as f64,
        );
        let Some((length, max)) = filled else {
            continue;
        };
        page.gauge(
            "modelbeat_queue_length",
            "Batches between sources and engine (intake), or steps of documents between engine and shipping (cargo)",
            &labels,
            length as f64,
        );
        page.gauge(
            "modelbeat_queue_length_max",
            "What fits in the queue; when it is full, what fills it waits",
            &labels,
            max as f64,
        );
    }
}

/// Looked up on the disk: the `dead-letters` command empties the log, too.
fn add_dead_letters(page: &mut Page, pipeline: &Labels, wiring: &Wiring) {
    let Ok((files, bytes)) = dead_letters::holds(&wiring.dead_letters) else {
        return;
    };
    page.gauge(
        "modelbeat_dead_letter_log_files",
        "Files of the dead-letter log",
        pipeline,
        files as f64,
    );
    page.gauge(
        "modelbeat_dead_letter_log_bytes",
        "Bytes of the dead-letter log, which `modelbeat dead-letters` lists, sends again and drops",
        pipeline,
        bytes as f64,
    );
}

fn add_load(page: &mut Page, pipeline: &Labels, load: &Load) {
    for (name, help, place, count) in [
        (
            "modelbeat_open_predictions",
            "Predictions that may still get a label, or another one",
            "memory",
            load.open_in_memory,
        ),
        (
            "modelbeat_open_predictions",
            "Predictions that may still get a label, or another one",
            "disk",
            load.open_on_disk,
        ),
        (
            "modelbeat_windows",
            "Windows that may still change, by slice; of hopping windows their parts",
            "memory",
            load.windows_in_memory,
        ),
        (
            "modelbeat_windows",
            "Windows that may still change, by slice; of hopping windows their parts",
            "disk",
            load.windows_on_disk,
        ),
    ] {
        page.gauge(name, help, &with(pipeline, "store", place), count as f64);
    }
    page.gauge(
        "modelbeat_open_predictions_memory_bytes",
        "Memory that open predictions take",
        pipeline,
        load.open_bytes as f64,
    );
    page.gauge(
        "modelbeat_early_labels",
        "Labels that wait for their prediction",
        pipeline,
        load.early_labels as f64,
    );
}

/// Nine samples a pipeline: which alerts they are, the page and the documents say.
fn add_alerts(page: &mut Page, pipeline: &Labels, alerts: &AlertsView) {
    for phase in [Phase::Pending, Phase::Firing, Phase::Acknowledged] {
        for severity in [Severity::Info, Severity::Warning, Severity::Critical] {
            let labels = with(pipeline, "phase", phase.name());
            let labels = with(&labels, "severity", severity.name());
            let count = alerts.counts.get(&(phase, severity)).copied();
            page.gauge(
                "modelbeat_alerts",
                "Alerts that are not over: pending (bad, but not yet for long enough), firing, or acknowledged (somebody has seen it)",
                &labels,
                count.unwrap_or_default() as f64,
            );
        }
    }
}

fn add_checkpoint(page: &mut Page, pipeline: &Labels, report: &Report, durable: Option<&Durable>) {
    let Some(durable) = durable else {
        return;
    };
    page.gauge(
        "modelbeat_checkpoint_age_seconds",
        "Time since the last checkpoint became durable, or was resumed from; grows while nothing changes, too",
        pipeline,
        durable.at.elapsed().as_secs_f64(),
    );
    page.gauge(
        "modelbeat_checkpoint_size_bytes",
        "Size of the last durable checkpoint",
        pipeline,
        durable.bytes as f64,
    );
    page.gauge(
        "modelbeat_checkpoint_make_seconds",
        "Time that the engine's thread took to make the last checkpoint",
        pipeline,
        report.checkpoint_made_in.as_secs_f64(),
    );
}
