//! One rule: what is watched, and exactly one of the checks there are.

use std::time::Duration;

use crate::config::alerts::{Known, change, clock};
use crate::config::item::Item;
use crate::config::quality::milliseconds;
use crate::config::section::Section;
use crate::config::values::{self, Complaint};
use crate::flow::alert::{
    Basis, Check, Detection, Distribution, Measure, Of, Rule, Severity, Side, Threshold, Watch,
    WindowRule,
};
use crate::flow::detect::{Adwin, Chart, Detector, PageHinkley, adwin, chart, page_hinkley};
use crate::flow::windows::Length;

/// Default of `wait`: what came in by the end of a window is counted and published by then.
const WAIT_MS: i64 = 60_000;

/// Default of `limit`: one window in two thousand is as far from the reference by chance, on one side.
pub(super) const LIMIT: f64 = 3.3;

/// Default of `change.windows`: two days of hours.
pub(super) const REFERENCE: u32 = 48;

/// Default of `distribution.above`: what is customarily called a shift.
const ABOVE_PSI: f64 = 0.2;

/// … of the Jensen-Shannon distance: near each other its square is PSI / (8 ln 2), so √(0.2 / 5.545).
const ABOVE_DISTANCE: f64 = 0.19;

/// As many names, and as many slices, are more than anybody reads.
const NAMES_MAX: usize = 32;

pub(super) fn read(
    mut section: Section<'_>,
    known: &Known<'_>,
    metrics: Option<&[String]>,
) -> Option<Rule> {
    let name = section.require("name").and_then(rule_name);
    let severity = section.get("severity").map(|item| {
        item.one_of(&[
            ("info", Severity::Info),
            ("warning", Severity::Warning),
            ("critical", Severity::Critical),
        ])
    });
    let notify = section.get("notify").map(|item| notifiers(&item, known));
    let notify = notify.unwrap_or_default();
    let silence_item = section.get("silence");
    let agent_item = section.get("agent");
    let of = section.get("of");
    let watch = if let Some(item) = silence_item {
        if let Some(item) = agent_item {
            item.fault(
                "`agent` says nothing of silence",
                "make it a rule of its own",
            );
        }
        clock::silence(&mut section, item, of)
    } else {
        if let Some(item) = of {
            item.fault("`of` belongs to `silence`", "leave it out");
        }
        match agent_item {
            Some(item) => clock::health(&mut section, &item, known),
            None => windows(&mut section, known, metrics).map(|on| Watch::Windows(Box::new(on))),
        }
    };
    section.finish();
    Some(Rule {
        name: name?,
        severity: severity.unwrap_or(Some(Severity::default()))?,
        notify,
        watch: watch?,
    })
}

fn windows(
    section: &mut Section<'_>,
    known: &Known<'_>,
    metrics: Option<&[String]>,
) -> Option<WindowRule> {
    let metric = metric_of(section, metrics);
    let window = match section.get("window") {
        Some(item) => window(item, known.windows),
        None => the_only_window(section, known.windows),
    };
    let model = section.get("model").and_then(Item::text);
    let version = section.get("version").and_then(Item::text);
    let slices = section
        .get("slices")
        .and_then(|item| item.list(NAMES_MAX))
        .unwrap_or_default()
        .into_iter()
        .filter_map(|item| slice(&item, known.slices.as_deref()))
        .collect();
    let min_support = section
        .get("min_support")
        .and_then(|item| item.integer(0..=1_000_000_000));
    let row = section
        .get("for")
        .and_then(|item| item.integer(1..=1_000))
        .and_then(|windows| u32::try_from(windows).ok());
    let wait = section
        .get("wait")
        .and_then(|item| item.duration(Duration::ZERO..=Duration::from_hours(24 * 31)));
    let open_item = section.get("open");
    let open = open_item.clone().and_then(Item::boolean).unwrap_or(false);
    let support = min_support.unwrap_or(known.min_support);
    let check = check(section, metric.as_deref(), support, known);
    if let (Some(item), true, Some(check)) = (&open_item, open, &check)
        && !matches!(check, Check::Threshold(_))
    {
        item.fault(
            "only a threshold can be held against a window that has not ended",
            "leave `open` out",
        );
    }
    let metric = match &check {
        Some(Check::Distribution(distribution)) => Some(format!(
            "{}.{}",
            distribution.of.name(),
            distribution.measure.name()
        )),
        _ => metric,
    };
    Some(WindowRule {
        metric: metric?,
        window: window?,
        model,
        version,
        slices,
        min_support: support,
        windows_in_a_row: row.unwrap_or(1),
        wait_ms: wait.map_or(WAIT_MS, milliseconds),
        open,
        check: check?,
    })
}

/// A distribution has a name of its own, all else is about a metric.
fn metric_of(section: &mut Section<'_>, metrics: Option<&[String]>) -> Option<String> {
    if section.get("distribution").is_none() {
        return section
            .require("metric")
            .and_then(|item| metric(&item, metrics));
    }
    if let Some(item) = section.get("metric") {
        item.fault(
            "`metric` says nothing of a distribution",
            "leave it out: `of` says whose distribution it is",
        );
    }
    Some(String::new())
}

/// Exactly one of `below`, `above`, `change`, `anomaly`, `drift`, `distribution` and `comparison`.
fn check(
    section: &mut Section<'_>,
    metric: Option<&str>,
    min_support: u64,
    known: &Known<'_>,
) -> Option<Check> {
    let checks = [
        section.get("below"),
        section.get("above"),
        section.get("change"),
        section.get("anomaly"),
        section.get("drift"),
        section.get("distribution"),
        section.get("comparison"),
    ];
    let (clear, basis) = (section.get("clear"), section.get("on"));
    let given = checks.iter().flatten().count();
    if given != 1 {
        let what = if given == 0 {
            "a rule must say what is bad"
        } else {
            "a rule has one check"
        };
        let help = "write one of `below: 0.9`, `above: 0.1`, `change: {drop: 0.05}`, `anomaly: {direction: down}`, `drift: {method: adwin}`, `distribution: {of: scores}`, `comparison: {drop: 0}`, `silence: 15m`, `agent: input_lag_seconds`";
        section.fault(what, help);
        return None;
    }
    let [
        below,
        above,
        change,
        anomaly,
        drift,
        distribution,
        comparison,
    ] = checks;
    let is_threshold = below.is_some() || above.is_some();
    for item in [&clear, &basis].into_iter().flatten() {
        if !is_threshold {
            item.fault(
                format!("`{}` belongs to `below` and `above`", item.key()),
                "leave it out",
            );
        }
    }
    if let Some(item) = change {
        return change::shift(item.section()?, metric).map(Check::Change);
    }
    if let Some(item) = anomaly {
        return self::anomaly(item.section()?, min_support).map(Check::Detection);
    }
    if let Some(item) = drift {
        return self::drift(item.section()?).map(Check::Detection);
    }
    if let Some(item) = distribution {
        return self::distribution(item.section()?).map(Check::Distribution);
    }
    if let Some(item) = comparison {
        return change::comparison(item, metric, known).map(Check::Comparison);
    }
    let (side, item) = match (below, above) {
        (Some(item), _) => (Side::Below, item),
        (None, item) => (Side::Above, item?),
    };
    let at = item.number(f64::MIN..=f64::MAX);
    let back = clear.map(|item| (item.clone(), item.number(f64::MIN..=f64::MAX)));
    let basis = basis.map(|item| item.one_of(&[("bound", Basis::Bound), ("value", Basis::Value)]));
    let at = at?;
    let clear = match back {
        None => at,
        Some((item, back)) => {
            let back = back?;
            let is_worse = match side {
                Side::Below => back < at,
                Side::Above => back > at,
            };
            if is_worse {
                item.fault(
                    format!("{} is on the bad side of the threshold", item.shown()),
                    "an alert is over when the value is back at `clear`: leave it out, or write a better value",
                );
            }
            back
        }
    };
    Some(Check::Threshold(Threshold {
        side,
        at,
        clear,
        basis: basis.unwrap_or(Some(Basis::Bound))?,
    }))
}

/// `{direction: down, limit: 3.5, weight: 0.3, reference: 30}`
fn anomaly(mut section: Section<'_>, min_support: u64) -> Option<Detection> {
    let default = chart::Settings::default();
    let side = direction(section.get("direction"));
    let limit = section.get("limit").map(|item| item.number(0.5..=100.0));
    let weight = section.get("weight").map(|item| item.number(0.01..=1.0));
    let reference = section
        .get("reference")
        .map(|item| item.integer(2..=1_000))
        .map(|windows| windows.and_then(|windows| u32::try_from(windows).ok()));
    section.finish();
    let baseline_windows = reference.unwrap_or(Some(default.baseline_windows))?;
    let settings = chart::Settings {
        lambda: weight.unwrap_or(Some(default.lambda))?,
        limit: limit.unwrap_or(Some(default.limit))?,
        baseline_windows,
        baseline_counts: default.baseline_counts,
        pool_below: min_support,
    };
    Some(Detection {
        detector: Detector::Chart(Chart::new(settings)),
        side,
    })
}

/// `{method: adwin, direction: down, delta: 0.002}`, by river's names.
fn drift(mut section: Section<'_>) -> Option<Detection> {
    let method = section
        .require("method")
        .and_then(|item| item.one_of(&[("adwin", true), ("page_hinkley", false)]));
    let side = direction(section.get("direction"));
    let delta_item = section.get("delta");
    let threshold = section.get("threshold");
    if let (Some(item), Some(true)) = (&threshold, method) {
        item.fault(
            "`threshold` belongs to `method: page_hinkley`",
            "leave it out",
        );
    }
    let threshold = threshold.map(|item| item.number(f64::MIN_POSITIVE..=1e9));
    section.finish();
    let detector = if method? {
        let default = adwin::Settings::default();
        let delta = delta_item.map(|item| item.number(1e-12..=0.5));
        Detector::Adwin(Adwin::new(adwin::Settings {
            delta: delta.unwrap_or(Some(default.delta))?,
            ..default
        }))
    } else {
        let default = page_hinkley::Settings::default();
        let delta = delta_item.map(|item| item.number(0.0..=1e9));
        Detector::PageHinkley(PageHinkley::new(page_hinkley::Settings {
            delta: delta.unwrap_or(Some(default.delta))?,
            threshold: threshold.unwrap_or(Some(default.threshold))?,
            mode: match side {
                None => page_hinkley::Mode::Both,
                Some(Side::Below) => page_hinkley::Mode::Down,
                Some(Side::Above) => page_hinkley::Mode::Up,
            },
            ..default
        }))
    };
    Some(Detection { detector, side })
}

/// `{of: scores, measure: psi, above: 0.2, limit: 3.3, windows: 48}`
fn distribution(mut section: Section<'_>) -> Option<Distribution> {
    let of = section
        .require("of")
        .and_then(|item| item.one_of(&[("scores", Of::Scores), ("classes", Of::Classes)]));
    let measure = section.get("measure").map(|item| {
        item.one_of(&[
            ("psi", Measure::Psi),
            ("js_distance", Measure::JensenShannon),
        ])
    });
    let above = section.get("above").map(|item| item.number(0.0..=100.0));
    let limit = section.get("limit").map(|item| item.number(0.0..=10.0));
    let windows = section
        .get("windows")
        .map(|item| item.integer(1..=1_000))
        .map(|windows| windows.and_then(|windows| u32::try_from(windows).ok()));
    section.finish();
    let measure = measure.unwrap_or(Some(Measure::Psi))?;
    let default = match measure {
        Measure::Psi => ABOVE_PSI,
        Measure::JensenShannon => ABOVE_DISTANCE,
    };
    Some(Distribution {
        of: of?,
        measure,
        above: above.unwrap_or(Some(default))?,
        limit: limit.unwrap_or(Some(LIMIT))?,
        windows: windows.unwrap_or(Some(REFERENCE))?,
    })
}

/// Which way is bad; both, unless the file says. (What is neither is reported.)
fn direction(item: Option<Item<'_>>) -> Option<Side> {
    let sides = [
        ("down", Some(Side::Below)),
        ("up", Some(Side::Above)),
        ("both", None),
    ];
    item.and_then(|item| item.one_of(&sides)).flatten()
}

/// Part of ids, of log lines, and of messages to people.
fn rule_name(item: Item<'_>) -> Option<String> {
    item.parse("a name", |text| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if !text.is_empty() && text.len() <= 64 && text.chars().all(plain) {
            return Ok(text.to_owned());
        }
        let help = "write at most 64 letters, digits, `-`, `_` and `.`";
        Err(Complaint::new("is no name for a rule", help))
    })
}

fn metric(item: &Item<'_>, known: Option<&[String]>) -> Option<String> {
    let name = item.clone().text()?;
    if let Some(known) = known.filter(|known| !known.contains(&name)) {
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        let help = values::did_you_mean(&name, &known);
        item.fault(
            format!("{} is no metric of this task's windows", item.shown()),
            help.unwrap_or_else(|| {
                "write its name in the quality document, such as quality.coverage, counts.predictions or latency.p95".into()
            }),
        );
        return None;
    }
    Some(name)
}

/// One of `windows:`, as written there; a hopping one as `1h/5m`.
fn window(item: Item<'_>, known: &[Length]) -> Option<Length> {
    item.parse("a window", |text| {
        let found = known.iter().find(|length| length.to_string() == text);
        match found {
            Some(Length::Cumulative) => Err(Complaint::new(
                "never ends",
                "name a window that does: what is bad must be able to become good again",
            )),
            Some(length) => Ok(*length),
            None => Err(Complaint::new("is not among `windows`", list(known))),
        }
    })
}

fn the_only_window(section: &Section<'_>, known: &[Length]) -> Option<Length> {
    let mut lengths = known.iter().filter(|length| **length != Length::Cumulative);
    let only = lengths.next().filter(|_| lengths.next().is_none());
    if only.is_none() {
        section.fault("`window` is missing in `alerts.rules`", list(known));
    }
    only.copied()
}

fn list(known: &[Length]) -> String {
    let ending = known.iter().filter(|length| **length != Length::Cumulative);
    let names: Vec<String> = ending.map(Length::to_string).collect();
    format!("write one of {}", names.join(", "))
}

fn slice(item: &Item<'_>, known: Option<&[String]>) -> Option<String> {
    let name = item.clone().text()?;
    if let Some(known) = known.filter(|known| !known.contains(&name)) {
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        let help = values::did_you_mean(&name, &known);
        item.fault(
            format!("{} is not a slice of this pipeline", item.shown()),
            help.unwrap_or_else(|| {
                "name one of `mapping.prediction.slices`, or a cross as `country,device`".into()
            }),
        );
    }
    Some(name)
}

/// Names of those who are told.
fn notifiers(item: &Item<'_>, known: &Known<'_>) -> Vec<String> {
    let items = item.clone().list(NAMES_MAX).unwrap_or_default();
    let mut names = Vec::new();
    for item in items {
        let Some(name) = item.clone().text() else {
            continue;
        };
        if let Some(known) = &known.notifiers
            && !known.contains(&name.as_str())
        {
            item.fault(
                format!("{} is not the name of a notifier", item.shown()),
                values::did_you_mean(&name, known)
                    .unwrap_or_else(|| "name one of those under `notify:`".to_owned()),
            );
        }
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}
