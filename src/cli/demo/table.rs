//! What the demo says at its end: a table a person can read, and a program can split at blanks.

use std::fmt::{self, Display, Formatter};

use jiff::{SignedDuration, Timestamp};

use crate::cli::demo::findings::{Findings, Metric};
use crate::cli::demo::month;

/// The findings, beside what was planted.
#[derive(Debug)]
pub(super) struct Table<'t> {
    pub(super) findings: &'t Findings,
    pub(super) planted: month::Incident,
    /// When the month began, and how far it was told.
    pub(super) began: Timestamp,
    pub(super) told_ms: i64,
}

impl Display for Table<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let Self { findings, .. } = self;
        let counts = &findings.counts;
        writeln!(out, "What modelbeat found, by model version and country:\n")?;
        writeln!(
            out,
            "  {:7}  {:7}  {:>11}  {:>8}  {:>8}  {:>9}  {:>20}  {:>5}",
            "version",
            "country",
            "predictions",
            "coverage",
            "accuracy",
            "precision",
            "recall (95 %)",
            "F1"
        )?;
        for row in &findings.rows {
            let coverage = row.counts.labelled as f64 / row.counts.predictions as f64;
            writeln!(
                out,
                "  {:7}  {:7}  {:>11}  {:>8}  {:>8}  {:>9}  {:>20}  {:>5}",
                row.version,
                row.country.as_deref().unwrap_or("all"),
                row.counts.predictions,
                share(Some(coverage)),
                share(row.accuracy.value),
                share(row.precision.value),
                with_interval(row.recall),
                share(row.f1.value),
            )?;
        }
        writeln!(
            out,
            "\n  predictions {}, labelled {}, labels after their day's end {}, corrected {}, logged twice {}, labels without a prediction {}",
            counts.predictions,
            counts.labelled,
            counts.late,
            counts.corrected,
            counts.duplicates,
            findings.orphans,
        )?;
        self.incident(out)?;
        self.alerts(out)
    }
}

impl Table<'_> {
    /// Days are those of the windows: when the agent found out is a matter of how fast the month is told.
    fn alerts(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let alerts = &self.findings.alerts;
        if alerts.is_empty() {
            return writeln!(out, "\n  No alert fired.");
        }
        writeln!(
            out,
            "\n  Alerts that fired (the rules are in pipeline.yml):"
        )?;
        for alert in alerts {
            let day = alert.day.map(|day| date(day).to_string());
            write!(out, "  {} {}", day.unwrap_or_default(), alert.message)?;
            match alert.over {
                Some(day) => writeln!(out, "; over with {}", date(day))?,
                None => writeln!(out, "; not over")?,
            }
        }
        Ok(())
    }

    fn incident(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let planted = &self.planted;
        let at = |ms| self.began + SignedDuration::from_millis(ms);
        match &self.findings.incident {
            Some(found) => {
                let last = found.first_day + SignedDuration::from_hours(24) * whole(found.days - 1);
                writeln!(
                    out,
                    "\n  Incident: recall in {} was {} from {} to {} ({} days), and {} on the other days.",
                    found.country,
                    share(Some(found.recall)),
                    date(found.first_day),
                    date(last),
                    found.days,
                    share(Some(found.usual_recall)),
                )?;
                if let Some((during, otherwise)) = found.cpu {
                    writeln!(
                        out,
                        "  This host's CPU was {:.0} % busy meanwhile, and {:.0} % otherwise (measured; the simulated server really computes).",
                        during * 100.0,
                        otherwise * 100.0,
                    )?;
                }
            }
            None => writeln!(out, "\n  No incident was found.")?,
        }
        if self.told_ms <= planted.from_ms {
            return Ok(());
        }
        writeln!(
            out,
            "  Planted was one in {} from {} to {}.",
            planted.country,
            date(at(planted.from_ms)),
            date(at(planted.until_ms - 1)),
        )
    }
}

fn share(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"))
}

fn with_interval(metric: Metric) -> String {
    let value = share(metric.value);
    match (metric.low, metric.high) {
        (Some(low), Some(high)) => format!("{value} ({low:.3}-{high:.3})"),
        _ => value,
    }
}

fn date(at: Timestamp) -> impl Display {
    at.strftime("%Y-%m-%d")
}

fn whole(days: usize) -> i32 {
    i32::try_from(days).unwrap_or(i32::MAX)
}
