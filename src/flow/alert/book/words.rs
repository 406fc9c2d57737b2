//! The sentences of alerts: what was measured, what it was held against, and why it matters.

use crate::flow::alert::event::{Event, Subject};
use crate::flow::alert::judge::Judged;
use crate::flow::alert::life::Phase;
use crate::flow::alert::pulse::HealthRule;
use crate::flow::alert::reading::Reading;
use crate::flow::alert::rule::{Against, Basis, By, Check, Rule, SilenceRule, WindowRule};
use crate::flow::detect::Detector;
use crate::flow::event::Timestamp;

/// An event with all that was measured; what became of it and when is left to the caller.
pub(super) fn measured(
    rule: &Rule,
    on: &WindowRule,
    subject: &Subject,
    reading: Reading,
    judged: Judged,
) -> Event {
    Event {
        metric: on.metric.clone(),
        subject: subject.clone(),
        value: judged.value.or(reading.value),
        interval: reading.interval,
        support: Some(reading.support),
        limit: judged.limit,
        threshold: threshold(on, judged),
        ..bare(rule)
    }
}

/// An event of a rule, with nothing measured.
fn bare(rule: &Rule) -> Event {
    Event {
        alert: String::new(),
        number: 0,
        phase: Phase::Pending,
        rule: rule.name.clone(),
        kind: rule.kind().to_owned(),
        metric: String::new(),
        severity: rule.severity,
        subject: Subject::default(),
        window: None,
        value: None,
        interval: None,
        support: None,
        limit: None,
        threshold: String::new(),
        reason: String::new(),
        at: Timestamp::default(),
        began: Timestamp::default(),
        fired: None,
        muted: false,
        notify: rule.notify.clone(),
    }
}

/// Silence since a moment.
pub(super) fn silence(
    rule: &Rule,
    silence: SilenceRule,
    since: Timestamp,
    now: Timestamp,
) -> Event {
    let seconds = |milliseconds: i64| milliseconds as f64 / 1_000.0;
    let (lasted, after) = (seconds(now.since(since)), seconds(silence.after_ms));
    let what = silence.of.name();
    Event {
        value: Some(lasted),
        limit: Some(after),
        threshold: format!("no {what} for {} s", figure(after)),
        reason: format!("no {what} have come in for {} s", figure(lasted.round())),
        ..bare(rule)
    }
}

/// How the agent fares, and for how long it has been so.
pub(super) fn health(
    rule: &Rule,
    health: &HealthRule,
    (value, support): (f64, Option<u64>),
    to: Phase,
    lasted_ms: i64,
) -> Event {
    let seconds = |milliseconds: i64| figure((milliseconds as f64 / 1_000.0).round());
    let name = health.figure.name();
    let within = if health.figure.is_counted() {
        format!(" in {} s", seconds(health.over_ms))
    } else {
        String::new()
    };
    let threshold = format!("{name}{within} above {}", figure(health.above));
    let rows = support.map_or_else(String::new, |rows| format!(" of {rows} records"));
    let reason = match to {
        Phase::Resolved => format!("it is back: {}{rows}", figure(value)),
        _ if lasted_ms > 0 => {
            let lasted = seconds(lasted_ms);
            format!("{threshold} for {lasted} s: {}{rows}", figure(value))
        }
        _ => format!("{threshold}: {}{rows}", figure(value)),
    };
    Event {
        metric: format!("agent.{name}"),
        value: Some(value),
        support,
        limit: Some(health.above),
        threshold,
        reason,
        ..bare(rule)
    }
}

/// What the number is held against: `quality.recall below 0.85`
fn threshold(on: &WindowRule, judged: Judged) -> String {
    let metric = &on.metric;
    let limit = judged.limit.map_or_else(|| "?".to_owned(), figure);
    match &on.check {
        Check::Threshold(threshold) => format!("{metric} {} {limit}", threshold.side.name()),
        Check::Change(change) => {
            let by = match change.by {
                By::Absolute(by) if by > 0.0 => format!("more than {} ", figure(by)),
                By::Share(share) if share > 0.0 => {
                    format!("more than {} % ", figure(share * 100.0))
                }
                By::Absolute(_) | By::Share(_) => String::new(),
            };
            let whose = match &change.against {
                Against::Previous => "the window before".to_owned(),
                Against::LastWeek => "the same window of last week".to_owned(),
                Against::Trailing(windows) => format!("the last {windows} good windows"),
                Against::Version(version) => format!("version {version}"),
                Against::Baseline(_) => "the baseline".to_owned(),
            };
            format!("{metric} {by}{} {limit} of {whose}", change.side.name())
        }
        Check::Distribution(distribution) => format!(
            "{metric} above {limit} against the last {} good windows",
            distribution.windows
        ),
        Check::Comparison(comparison) => {
            let by = if comparison.by > 0.0 {
                format!(" by more than {}", figure(comparison.by))
            } else {
                String::new()
            };
            let whose = match &comparison.baseline {
                Some(version) => format!("version {version}"),
                None => "the first version".to_owned(),
            };
            let side = comparison.side.name();
            format!("{metric}{by} {side} that of {whose}")
        }
        Check::Detection(detection) => match (&detection.detector, judged.limit) {
            (Detector::Chart(_), Some(at)) => {
                let side = match detection.side {
                    Some(side) => side.name(),
                    None if judged.level.is_some_and(|level| level < at) => "below",
                    None => "above",
                };
                format!("{metric} on average {side} the control limit {limit}")
            }
            (Detector::Chart(_), None) => format!("{metric} on average outside its control limits"),
            (Detector::Adwin(_), _) => format!("{metric} at another level, by ADWIN"),
            (Detector::PageHinkley(_), _) => format!("{metric} at another level, by Page-Hinkley"),
        },
    }
}

/// Why it is bad: `quality.recall below 0.85 in 2 windows: 0.7925 of 212 rows, 0.733 to 0.8415 at 95 %`
pub(super) fn bad(event: &Event, on: &WindowRule, judged: Judged, row: u32) -> String {
    let windows = if row > 1 {
        format!(" in {row} windows")
    } else {
        String::new()
    };
    let more = match &on.check {
        Check::Threshold(threshold) if threshold.basis == Basis::Value => String::new(),
        _ => within(event),
    };
    let level = match judged.level {
        Some(level) => format!("{}, with ", figure(level)),
        None => String::new(),
    };
    let chance = match judged.p_value {
        Some(p) if p < 0.0001 => ", p below 0.0001".to_owned(),
        Some(p) => format!(", p {}", figure(p)),
        None => String::new(),
    };
    format!(
        "{}{windows}: {level}{}{more}{chance}",
        event.threshold,
        value(event)
    )
}

/// Why it is over.
pub(super) fn over(event: &Event, is_repaired: bool) -> String {
    let now = format!("{}{}", value(event), within(event));
    if is_repaired {
        format!("labels that came late have repaired the window: {now}")
    } else {
        format!("it is back: {now}")
    }
}

fn value(event: &Event) -> String {
    let value = event.value.map_or_else(|| "no value".to_owned(), figure);
    match event.support {
        Some(rows) => format!("{value} of {rows} rows"),
        None => value,
    }
}

fn within(event: &Event) -> String {
    event.interval.map_or_else(String::new, |(low, high)| {
        format!(", {} to {} at 95 %", figure(low), figure(high))
    })
}

/// A number for people: four digits behind the point at most, none that say nothing.
fn figure(number: f64) -> String {
    let text = format!("{number:.4}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" {
        "0".to_owned()
    } else {
        text.to_owned()
    }
}
