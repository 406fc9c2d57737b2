//! What became of the documents, and how requests go.

use crate::edge::ship::Progress;
use crate::edge::status::page::{Labels, Page, with};

pub(super) fn add(page: &mut Page, pipeline: &Labels, progress: &Progress) {
    let totals = progress.totals();
    for (name, help, count) in [
        (
            "modelbeat_documents",
            "Documents made by the engine: stored + superseded + dead letters + in flight",
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
        "1 while documents wait because of some trouble, which /healthz names",
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
