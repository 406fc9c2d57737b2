//! Alerts as Prometheus Alertmanager's API v2 takes them (`POST /api/v2/alerts`,
//! <https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml>).
//!
//! An alert is known by its labels, so posting it again is no second alert. It must be posted again while it fires: what is
//! not, Alertmanager takes for resolved at `endsAt`. As Prometheus does, that is four times the interval ahead.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::message::{moment, one_line, title};
use crate::flow::alert::{Change, Notice};
use crate::flow::event::Timestamp;

/// One alert as posted.
pub type Posted = Value;

/// `endsAt` is so many intervals ahead: three posts may be lost before Alertmanager says resolved.
const INTERVALS_AHEAD: i64 = 4;

/// The alert of a notice, as of `now`, posted every `every_ms` while it fires; `extra` are labels of the user's own.
#[must_use]
pub fn post(
    notice: &Notice,
    extra: &BTreeMap<String, String>,
    now: Timestamp,
    every_ms: i64,
) -> Posted {
    let mut labels = Map::new();
    let mut label = |name: &str, value: &str| {
        if !value.is_empty() {
            labels.insert(name.to_owned(), one_line(value).into());
        }
    };
    for (name, value) in extra {
        label(name, value);
    }
    label("alertname", &notice.rule);
    label("severity", notice.severity.name());
    label("pipeline", &notice.pipeline);
    label("model", &notice.model);
    label("version", &notice.version);
    if let Some((name, value)) = &notice.slice {
        label("slice", &format!("{name}={value}"));
    }
    // Two agents' alerts of one rule are two: one of them resolved says nothing of the other.
    label("alert_id", &notice.alert_id);
    let ends_at = match notice.change {
        Change::Resolved => notice.at,
        Change::Firing | Change::Acknowledged => now.plus(every_ms * INTERVALS_AHEAD),
    };
    let mut annotations = Map::new();
    annotations.insert("summary".to_owned(), title(notice).into());
    annotations.insert("description".to_owned(), one_line(&notice.reason).into());
    if let Some(value) = notice.value {
        annotations.insert("value".to_owned(), value.to_string().into());
    }
    json!({
        "labels": labels,
        "annotations": annotations,
        "startsAt": moment(notice.starts_at),
        "endsAt": moment(ends_at),
    })
}

#[cfg(test)]
mod tests {
    use super::super::message::tests::notice;
    use super::*;

    #[test]
    fn labels_stay_the_same_over_the_life_of_an_alert() {
        let extra = BTreeMap::from([("team".to_owned(), "risk".to_owned())]);
        let fires = post(&notice(), &extra, Timestamp(1_795_514_410_000), 60_000);
        let resolved = Notice {
            id: "abc.2".into(),
            change: Change::Resolved,
            at: Timestamp(1_795_518_000_000),
            value: Some(0.95),
            reason: "late labels".into(),
            ..notice()
        };
        let resolves = post(&resolved, &extra, Timestamp(1_795_518_000_001), 60_000);
        assert_eq!(fires["labels"], resolves["labels"]);
        assert_eq!(fires["labels"]["team"], "risk");
        assert_eq!(fires["labels"]["slice"], "country=DE");
        assert_eq!(fires["startsAt"], resolves["startsAt"]);
        assert_eq!(fires["endsAt"], "2026-11-24T10:04:10.000Z");
        assert_eq!(resolves["endsAt"], "2026-11-24T11:00:00.000Z");
    }
}
