//! What became of the documents, and how requests go.

use crate::edge::ship::Progress;
use crate::edge::status::ledger::{ABANDONED, Ledger};
use crate::edge::status::page::{Labels, Page, with};

pub(super) fn add(page: &mut Page, pipeline: &Labels, progress: &Progress, ledger: &Ledger) {
    let totals = progress.totals();
    for (name, help, count) in [
        (
            "modelbeat_documents",
            "Documents made by the engine: stored + superseded + dead letters + abandoned + in flight",
            totals.documents,
        ),
        (
            "modelbeat_documents_stored",
            "Documents that are stored",
            totals.stored,
        ),
        (
            "modelbeat_documents_superseded",
            "Documents of which Elasticsearch holds a newer version",
            totals.superseded,
        ),
        (
            ABANDONED,
            "Documents that were in flight when the agent was killed or its grace was over; they are made and counted again",
            ledger.abandoned(pipeline),
        ),
        (
            "modelbeat_documents_written",
            "Documents appended to output files",
            totals.written,
        ),
        (
            "modelbeat_documents_retried",
            "Documents sent again",
            totals.retries,
        ),
        (
            "modelbeat_bulk_requests",
            "Bulk requests sent, repeated ones included",
            totals.requests,
        ),
        (
            "modelbeat_bulk_sent_bytes",
            "Bytes of bulk requests, before compression",
            totals.bytes,
        ),
        (
            "modelbeat_checkpoints",
            "Checkpoints made durable",
            totals.checkpoints,
        ),
    ] {
        page.counter(name, help, pipeline, count);
    }
    for (kind, count) in [
        ("document", totals.dead_documents),
        ("record", totals.dead_records),
    ] {
        page.counter(
            "modelbeat_dead_letters",
            "Documents that Elasticsearch refused, and records that became no document, in the dead-letter log",
            &with(pipeline, "kind", kind),
            count,
        );
    }
    page.gauge(
        "modelbeat_documents_in_flight",
        "Documents neither stored nor superseded nor in the dead-letter log",
        pipeline,
        totals.in_flight() as f64,
    );
    add_pacing(page, pipeline, progress);
    add_spool(page, pipeline, progress);
    page.gauge(
        "modelbeat_bulk_requests_in_flight",
        "Bulk requests that wait for their answer",
        pipeline,
        progress.answers().waiting() as f64,
    );
    page.histogram(
        "modelbeat_bulk_request_duration_seconds",
        "Time from sending a bulk request to its answer, or to giving up on one",
        pipeline,
        progress.answers().durations(),
    );
    page.gauge(
        "modelbeat_shipping_held_up",
        "1 while documents wait because of some trouble, which /readyz names",
        pipeline,
        f64::from(u8::from(progress.trouble().is_some())),
    );
    if let Some(took) = progress.checkpoint_saved_in() {
        page.gauge(
            "modelbeat_checkpoint_save_seconds",
            "Time that it took to make the last checkpoint durable",
            pipeline,
            took.as_secs_f64(),
        );
    }
}

fn add_pacing(page: &mut Page, pipeline: &Labels, progress: &Progress) {
    let pacing = progress.pacing();
    let needs_a_person = pacing.needs_a_person || progress.disk_trouble().is_some();
    for (name, help, value) in [
        (
            "modelbeat_bulk_requests_allowed",
            "Bulk requests that may be in flight at once, as found out from how the cluster answers",
            pacing.requests as f64,
        ),
        (
            "modelbeat_bulk_request_bytes_allowed",
            "Bytes of a bulk request, as found out from how the cluster answers",
            pacing.bytes as f64,
        ),
        (
            "modelbeat_shipping_needs_a_person",
            "1 while documents wait for something that does not pass by itself: a refused user, a full disk",
            f64::from(u8::from(needs_a_person)),
        ),
    ] {
        page.gauge(name, help, pipeline, value);
    }
}

fn add_spool(page: &mut Page, pipeline: &Labels, progress: &Progress) {
    let totals = progress.totals();
    page.counter(
        "modelbeat_documents_spooled",
        "Documents written to the spool",
        pipeline,
        totals.spooled,
    );
    page.gauge(
        "modelbeat_spool_documents",
        "Documents that wait in the spool; they are in flight, too",
        pipeline,
        totals.spool_documents as f64,
    );
    page.gauge(
        "modelbeat_spool_bytes",
        "Bytes that the spool takes on disk",
        pipeline,
        totals.spool_bytes as f64,
    );
    // Without one there is no bound, and nothing that could refuse.
    let Some(spool) = progress.spool() else {
        return;
    };
    page.gauge(
        "modelbeat_spool_bytes_max",
        "Bytes on disk beyond which the spool takes nothing, and inputs wait",
        pipeline,
        spool.bytes_max as f64,
    );
    page.gauge(
        "modelbeat_spool_refuses",
        "1 while the spool is full, or its disk is in trouble, which /readyz names",
        pipeline,
        f64::from(u8::from(spool.trouble.is_some())),
    );
}
