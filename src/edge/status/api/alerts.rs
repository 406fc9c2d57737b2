//! The alerts that are not over, as the engine last said.

use serde::Serialize;

use super::short;
use crate::flow::alert::{Active, At, Phase};
use crate::flow::engine::AlertsView;

#[derive(Serialize)]
pub(super) struct Alerts {
    active: Vec<Alert>,
    left_out: usize,
}

#[derive(Serialize)]
struct Alert {
    id: String,
    rule: String,
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    metric: Option<String>,
    severity: &'static str,
    state: &'static str,
    acknowledged: bool,
    muted: bool,
    #[serde(flatten)]
    subject: Option<Subject>,
    #[serde(flatten)]
    window: Option<Window>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    low: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    high: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    support: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<f64>,
    threshold: String,
    reason: String,
    began: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    fired: Option<i64>,
}

/// As a series says whom it is about.
#[derive(Serialize)]
struct Subject {
    model: String,
    version: String,
    slice: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    slice_value: Option<String>,
}

#[derive(Serialize)]
struct Window {
    #[serde(rename = "window")]
    length: String,
    start: i64,
    end: i64,
}

impl Alerts {
    pub(super) fn of(view: &AlertsView) -> Self {
        Self {
            active: view.shown.iter().map(alert).collect(),
            left_out: view.left_out(),
        }
    }
}

fn alert(Active { phase, event }: &Active) -> Alert {
    let finite = |number: Option<f64>| number.filter(|number| number.is_finite());
    let (low, high) = event.interval.unzip();
    Alert {
        id: event.alert.clone(),
        rule: event.rule.clone(),
        kind: event.kind.clone(),
        metric: (!event.metric.is_empty()).then(|| event.metric.clone()),
        severity: event.severity.name(),
        state: phase.name(),
        acknowledged: *phase == Phase::Acknowledged,
        muted: event.muted,
        subject: (!event.subject.model.is_empty()).then(|| Subject {
            model: short(&event.subject.model),
            version: short(&event.subject.version),
            slice: (event.subject.slice.as_ref())
                .map_or_else(|| "_all".to_owned(), |(name, _)| short(name)),
            slice_value: (event.subject.slice.as_ref()).map(|(_, value)| short(value)),
        }),
        window: event
            .window
            .as_ref()
            .map(|At { start, end, length }| Window {
                length: length.clone(),
                start: start.0,
                end: end.0,
            }),
        value: finite(event.value),
        low: finite(low),
        high: finite(high),
        support: event.support,
        limit: finite(event.limit),
        threshold: short(&event.threshold),
        reason: short(&event.reason),
        began: event.began.0,
        fired: event.fired.map(|fired| fired.0),
    }
}
