//! Checks against something else: a change from a reference, a difference between two versions.

use std::fs::File;
use std::io::Read;

use crate::config::alerts::Known;
use crate::config::alerts::rule::{LIMIT, REFERENCE};
use crate::config::item::Item;
use crate::config::section::Section;
use crate::config::values::Complaint;
use crate::flow::alert::{self, Against, By, Comparison, Shift, Side};

/// A document is a few KiB.
const BASELINE_BYTES_MAX: u64 = 1 << 20;

/// `{drop: 0.05, against: trailing, windows: 48, limit: 3.3}`
pub(super) fn shift(mut section: Section<'_>, metric: Option<&str>) -> Option<Shift> {
    let (drop, rise) = (section.get("drop"), section.get("rise"));
    let (side, by) = match (drop, rise) {
        (Some(item), None) => (Side::Below, item.parse("a number or a percentage", by)),
        (None, Some(item)) => (Side::Above, item.parse("a number or a percentage", by)),
        _ => {
            let help = "write `drop: 0.05`, `drop: 10%` or `rise: 0`: how much is too much";
            section.fault("a change is either a drop or a rise", help);
            (Side::Below, None)
        }
    };
    let baseline = section.get("baseline");
    let version = section.get("version");
    let against = section.get("against");
    let windows = section
        .get("windows")
        .and_then(|item| item.integer(1..=1_000))
        .and_then(|windows| u32::try_from(windows).ok())
        .unwrap_or(REFERENCE);
    let limit = section.get("limit").map(|item| item.number(0.0..=100.0));
    if [&baseline, &version, &against]
        .into_iter()
        .flatten()
        .count()
        > 1
    {
        section.fault(
            "a change has one reference",
            "write one of `against`, `version` and `baseline`",
        );
    }
    section.finish();
    let against = if let Some(item) = baseline {
        Against::Baseline(item.parse("a number or a file", |text| baseline_of(text, metric))?)
    } else if let Some(item) = version {
        Against::Version(item.text()?)
    } else if let Some(item) = against {
        item.one_of(&[
            ("trailing", Against::Trailing(windows)),
            ("previous", Against::Previous),
            ("last_week", Against::LastWeek),
        ])?
    } else {
        Against::Trailing(windows)
    };
    Some(Shift {
        side,
        by: by?,
        limit: limit.unwrap_or(Some(LIMIT))?,
        against,
    })
}

/// A number, or a JSON file that says it: a quality document as it is stored, or `{"quality.recall": 0.91}`.
fn baseline_of(text: &str, metric: Option<&str>) -> Result<f64, Complaint> {
    if let Some(number) = text.parse().ok().filter(|number: &f64| number.is_finite()) {
        return Ok(number);
    }
    let help = "write a number, or the path of a JSON file such as {\"quality.recall\": 0.91}";
    let complain = |what: String| Complaint::new(what, help);
    let mut bytes = Vec::new();
    let read =
        File::open(text).and_then(|file| file.take(BASELINE_BYTES_MAX).read_to_end(&mut bytes));
    read.map_err(|why| {
        complain(format!(
            "is neither a number nor a file that can be read: {why}"
        ))
    })?;
    let document: serde_json::Value =
        serde_json::from_slice(&bytes).map_err(|why| complain(format!("is not JSON: {why}")))?;
    let metric = metric.unwrap_or_default();
    let nested = format!("/{}", metric.replace('.', "/"));
    let found = document.get(metric).or_else(|| document.pointer(&nested));
    found
        .and_then(serde_json::Value::as_f64)
        .ok_or_else(|| complain(format!("has no number `{metric}`")))
}

/// `{drop: 0.01, baseline: v1, p_value: 0.01}`
pub(super) fn comparison(
    item: Item<'_>,
    metric: Option<&str>,
    known: &Known<'_>,
) -> Option<Comparison> {
    let names = known.task.map(alert::compared).unwrap_or_default();
    let is_compared = |metric: &str| names.iter().any(|name| name == metric);
    if metric.is_some_and(|metric| !names.is_empty() && !is_compared(metric)) {
        item.fault(
            "versions are not compared by this metric",
            format!("write `metric:` as one of {}", names.join(", ")),
        );
    }
    let mut section = item.section()?;
    let (drop, rise) = (section.get("drop"), section.get("rise"));
    let number = |item: Item<'_>| item.number(0.0..=1e15);
    let (side, by) = match (drop, rise) {
        (Some(item), None) => (Side::Below, number(item)),
        (None, Some(item)) => (Side::Above, number(item)),
        _ => {
            let help = "write `drop: 0` where low values are bad, `rise: 0` where high ones are";
            section.fault("a version is worse by either a drop or a rise", help);
            (Side::Below, None)
        }
    };
    let baseline = section.get("baseline").map(Item::text);
    let p_item = section.get("p_value");
    let p_value = p_item.clone().map(|item| item.number(1e-12..=0.5));
    section.finish();
    if let Some(item) = p_item.filter(|_| metric == Some("quality.f1")) {
        let help = "leave it out: the interval of the difference decides";
        item.fault("there is no test of F1", help);
    }
    Some(Comparison {
        side,
        by: by?,
        baseline: baseline.map_or(Some(None), |version| version.map(Some))?,
        p_value: p_value.map_or(Some(None), |p| p.map(Some))?,
    })
}

/// `0.05`, or `10%` of the reference.
fn by(text: &str) -> Result<By, Complaint> {
    let help = "write a number such as 0.05, or a share of the reference such as 10%";
    let (number, is_share) = match text.strip_suffix('%') {
        Some(number) => (number.trim_end(), true),
        None => (text, false),
    };
    let number: Option<f64> = number.parse().ok();
    match number.filter(|number| number.is_finite() && *number >= 0.0) {
        Some(number) if is_share => Ok(By::Share(number / 100.0)),
        Some(number) => Ok(By::Absolute(number)),
        None => Err(Complaint::new("is not how much", help)),
    }
}
