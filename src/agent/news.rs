//! Alerts, as the agent has to do with them: it says aloud what flow says happened, and hears what people say of it.

use std::path::Path;

use tokio::sync::{mpsc, watch};
use tracing::{error, info, warn};

use crate::edge::acknowledged;
use crate::flow::alert::{Event, Phase, Severity};
use crate::flow::engine::{Engine, Intake};

/// Hands on what people acknowledge, where there are rules.
pub(super) fn listen(
    engine: &Engine,
    folder: &Path,
    intake: &mpsc::Sender<Intake>,
    stopped: &watch::Receiver<bool>,
) {
    if engine.has_rules() {
        let taking = acknowledged::run(folder.to_owned(), intake.clone(), stopped.clone());
        tokio::spawn(taking);
    }
}

/// Logs each change, one that fires as loudly as it is bad. Every kind has a line of code of its own, since the log bounds what one
/// place may say: many that are pending must not silence one that is over.
pub(super) fn log(changes: &[Event]) {
    for event in changes {
        let Event { alert, rule, .. } = event;
        let (severity, muted) = (event.severity.name(), event.muted);
        let (subject, reason) = (event.subject.to_string(), event.reason.as_str());
        match (event.phase, event.severity) {
            (Phase::Firing, Severity::Critical) => {
                error!(
                    alert,
                    rule, severity, subject, reason, muted, "an alert fires"
                );
            }
            (Phase::Firing, _) => {
                warn!(
                    alert,
                    rule, severity, subject, reason, muted, "an alert fires"
                );
            }
            (Phase::Pending, _) => {
                info!(
                    alert,
                    rule, severity, subject, reason, muted, "an alert is pending"
                );
            }
            (Phase::Acknowledged, _) => {
                info!(
                    alert,
                    rule, severity, subject, reason, muted, "an alert is acknowledged"
                );
            }
            (Phase::Resolved, _) => {
                info!(
                    alert,
                    rule, severity, subject, reason, muted, "an alert is over"
                );
            }
        }
    }
}
