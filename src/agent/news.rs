//! Changes of alerts as log lines: flow says what happened, the agent says it aloud.

use tracing::{error, info, warn};

use crate::flow::alert::{Event, Phase, Severity};

/// Logs each change, one that fires as loudly as it is bad.
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
