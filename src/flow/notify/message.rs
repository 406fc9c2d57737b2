//! A notice in words for people, and as JSON for programs.

use serde_json::{Map, Value};

use crate::flow::alert::{Change, Notice};
use crate::flow::event::Timestamp;
use crate::flow::json as tokens;

/// What a receiver knows a telling by, however often it is sent: the notice and who is told.
#[must_use]
pub fn item_id(notice: &Notice, notifier: &str) -> String {
    format!("{}.{notifier}", notice.id)
}

/// One line: `FIRING critical: recall-low, fraud 2.1, country=DE: recall below 0.9`.
#[must_use]
pub fn title(notice: &Notice) -> String {
    let change = notice.change.name().to_uppercase();
    let mut title = format!("{change} {}: {}", notice.severity.name(), notice.rule);
    let subject = subject(notice);
    if !subject.is_empty() {
        title.push_str(", ");
        title.push_str(&subject);
    }
    if !notice.threshold.is_empty() {
        title.push_str(": ");
        title.push_str(&notice.threshold);
    }
    one_line(&title)
}

/// A few lines for people, the reason first.
#[must_use]
pub fn text(notice: &Notice) -> String {
    let head = [
        title(notice),
        String::new(),
        format!("{}.", one_line(&notice.reason)),
        String::new(),
    ];
    let facts = facts(notice)
        .into_iter()
        .map(|(name, value)| format!("{name}: {value}"));
    let lines: Vec<String> = head.into_iter().chain(facts).collect();
    format!("{}\n", lines.join("\n"))
}

/// Everything a notice says, as JSON; times are RFC 3339, UTC.
#[must_use]
pub fn json(notice: &Notice) -> Value {
    let mut object = Map::new();
    let mut put = |name: &str, value: Value| {
        object.insert(name.to_owned(), value);
    };
    put("id", notice.id.as_str().into());
    put("alert_id", notice.alert_id.as_str().into());
    put("pipeline", notice.pipeline.as_str().into());
    put("rule", notice.rule.as_str().into());
    put("change", notice.change.name().into());
    put("severity", notice.severity.name().into());
    put("model", notice.model.as_str().into());
    put("version", notice.version.as_str().into());
    put(
        "slice",
        notice.slice.as_ref().map_or(
            Value::Null,
            |(name, value)| serde_json::json!({ "name": name, "value": value }),
        ),
    );
    put("window_start", time(notice.window_start));
    put("window_end", time(notice.window_end));
    put("value", notice.value.map_or(Value::Null, Value::from));
    put("threshold", notice.threshold.as_str().into());
    put("reason", notice.reason.as_str().into());
    put("at", time(Some(notice.at)));
    put("starts_at", time(Some(notice.starts_at)));
    put("title", title(notice).into());
    Value::Object(object)
}

/// Name and value of what a person wants to know.
pub(super) fn facts(notice: &Notice) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("rule", notice.rule.clone()),
        ("severity", notice.severity.name().to_owned()),
        ("pipeline", notice.pipeline.clone()),
    ];
    let mut add = |name, value: String| {
        if !value.is_empty() {
            facts.push((name, value));
        }
    };
    add("model", notice.model.clone());
    add("version", notice.version.clone());
    if let Some((name, value)) = &notice.slice {
        add("slice", format!("{name}={value}"));
    }
    if let Some(value) = notice.value {
        add("value", number(value));
    }
    add("threshold", notice.threshold.clone());
    if let (Some(start), Some(end)) = (notice.window_start, notice.window_end) {
        add("window", format!("{} to {}", moment(start), moment(end)));
    }
    add("firing since", moment(notice.starts_at));
    if notice.change != Change::Firing {
        add(notice.change.name(), moment(notice.at));
    }
    facts
        .into_iter()
        .map(|(name, value)| (name, one_line(&value)))
        .collect()
}

/// RFC 3339 with milliseconds, UTC.
pub(super) fn moment(time: Timestamp) -> String {
    let mut out = Vec::new();
    tokens::write_time(time, &mut out);
    String::from_utf8_lossy(&out).trim_matches('"').to_owned()
}

/// `0.87`: six digits behind the point tell people enough.
fn number(value: f64) -> String {
    let text = format!("{value:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Model, version and slice, as far as there are.
fn subject(notice: &Notice) -> String {
    let slice = notice
        .slice
        .as_ref()
        .map(|(name, value)| format!("{name}={value}"));
    let model = [notice.model.as_str(), notice.version.as_str()];
    let model: Vec<&str> = model.into_iter().filter(|part| !part.is_empty()).collect();
    let parts = [Some(model.join(" ")), slice];
    let parts: Vec<String> = parts
        .into_iter()
        .flatten()
        .filter(|part| !part.is_empty())
        .collect();
    parts.join(", ")
}

fn time(time: Option<Timestamp>) -> Value {
    time.map_or(Value::Null, |time| moment(time).into())
}

/// Slices and classes come from records: nothing of them ends a line, or starts a mail header.
pub(super) fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::flow::alert::Severity;

    pub(in crate::flow::notify) fn notice() -> Notice {
        Notice {
            id: "abc.1".into(),
            alert_id: "abc".into(),
            pipeline: "fraud".into(),
            rule: "recall-low".into(),
            change: Change::Firing,
            severity: Severity::Critical,
            model: "fraud".into(),
            version: "2.1".into(),
            slice: Some(("country".into(), "DE".into())),
            window_start: Some(Timestamp(1_795_510_800_000)),
            window_end: Some(Timestamp(1_795_514_400_000)),
            value: Some(0.8125),
            threshold: "recall below 0.9".into(),
            reason: "recall was 0.8125, below 0.9, in 3 windows".into(),
            at: Timestamp(1_795_514_405_250),
            starts_at: Timestamp(1_795_514_405_250),
            notify: vec!["ops".into()],
        }
    }

    #[test]
    fn a_title_is_one_line_of_what_a_person_must_know() {
        assert_eq!(
            title(&notice()),
            "FIRING critical: recall-low, fraud 2.1, country=DE: recall below 0.9"
        );
        let bare = Notice {
            model: String::new(),
            version: String::new(),
            slice: None,
            threshold: "no events for 10m\r\nBcc: x@y".into(),
            ..notice()
        };
        assert_eq!(
            title(&bare),
            "FIRING critical: recall-low: no events for 10m  Bcc: x@y"
        );
    }

    #[test]
    fn a_text_leaves_out_what_is_not_there() {
        let text = text(&Notice {
            version: String::new(),
            value: None,
            change: Change::Resolved,
            ..notice()
        });
        assert!(text.contains("\nrecall was 0.8125, below 0.9, in 3 windows.\n"));
        assert!(text.contains("\nwindow: 2026-11-24T09:00:00.000Z to 2026-11-24T10:00:00.000Z\n"));
        assert!(text.contains("\nresolved: 2026-11-24T10:00:05.250Z\n"));
        assert!(!text.contains("version") && !text.contains("value"));
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(number(0.8125), "0.8125");
        assert_eq!(number(12.0), "12");
        assert_eq!(number(1.0 / 3.0), "0.333333");
    }
}
