//! What the notifiers have told, and what waits for them.

use crate::edge::notify::outbox::{Outbox, Tellings};
use crate::edge::status::page::{Labels, Page, with};

pub(super) fn add(page: &mut Page, pipeline: &Labels, outbox: &Outbox) {
    for (notifier, waiting, tellings) in outbox.tellings() {
        let labels = with(pipeline, "notifier", notifier);
        page.gauge(
            "modelbeat_notices_waiting",
            "Notices of alerts that a notifier has not been told yet",
            &labels,
            waiting as f64,
        );
        let Tellings {
            told,
            failed,
            given_up,
        } = tellings;
        for (name, help, count) in [
            (
                "modelbeat_notices_told",
                "Notices of alerts that a notifier took",
                told,
            ),
            (
                "modelbeat_notices_failed",
                "Tries to tell a notice that failed; it is tried again",
                failed,
            ),
            (
                "modelbeat_notices_given_up",
                "Notices that were refused or waited for too long: they are dead letters",
                given_up,
            ),
        ] {
            page.counter(name, help, &labels, count);
        }
    }
}
