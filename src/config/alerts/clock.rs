//! Rules by the agent's clock: on silence, and on the agent's own health.

use std::time::Duration;

use crate::config::alerts::Known;
use crate::config::item::Item;
use crate::config::quality::milliseconds;
use crate::config::section::Section;
use crate::flow::alert::{Figure, HealthRule, Missing, SilenceRule, Watch};

/// Default of `over`: dead letters come in bursts.
const OVER: Duration = Duration::from_mins(15);

/// As much is remembered of what was counted.
const OVER_MAX: Duration = Duration::from_hours(6);

/// Keys of a rule on windows that a rule by the clock has no use for.
const OF_WINDOWS: &[&str] = &[
    "metric", "window", "slices", "model", "version", "wait", "open", "on",
];

/// `{silence: 15m, of: labels}`
pub(super) fn silence(
    section: &mut Section<'_>,
    item: Item<'_>,
    of: Option<Item<'_>>,
) -> Option<Watch> {
    let after = item.duration(Duration::from_secs(1)..=Duration::from_hours(24 * 365));
    let of = of.map(|item| {
        item.one_of(&[
            ("events", Missing::Events),
            ("predictions", Missing::Predictions),
            ("labels", Missing::Labels),
        ])
    });
    for key in OF_WINDOWS.iter().chain(&["for", "min_support"]) {
        refuse(section, key, "silence");
    }
    Some(Watch::Silence(SilenceRule {
        after_ms: milliseconds(after?),
        of: of.unwrap_or(Some(Missing::Events))?,
    }))
}

/// `{agent: dead_letter_rate, above: 0.01, clear: 0.005, for: 5m, over: 15m, min_support: 100}`
pub(super) fn health(
    section: &mut Section<'_>,
    item: &Item<'_>,
    known: &Known<'_>,
) -> Option<Watch> {
    let figures = Figure::ALL.map(|figure| (figure.name(), figure));
    let figure = item.clone().one_of(&figures);
    let above_item = section.require("above");
    let above = above_item.and_then(|item| item.number(0.0..=1e15));
    let clear_item = section.get("clear");
    let clear = clear_item.clone().map(|item| item.number(0.0..=1e15));
    let lasts = section
        .get("for")
        .map(|item| item.duration(Duration::ZERO..=Duration::from_hours(24 * 7)));
    let over_item = section.get("over");
    let over = over_item
        .clone()
        .map(|item| item.duration(Duration::from_secs(10)..=OVER_MAX));
    let support_item = section.get("min_support");
    let min_support = support_item
        .clone()
        .map(|item| item.integer(0..=1_000_000_000));
    for key in OF_WINDOWS {
        refuse(section, key, "agent");
    }
    let figure = figure?;
    if let Some(item) = over_item.filter(|_| !figure.is_counted()) {
        item.fault(
            "`over` belongs to `dead_letters` and `dead_letter_rate`",
            "leave it out: this figure is of the moment",
        );
    }
    if let Some(item) = support_item.filter(|_| figure != Figure::DeadLetterRate) {
        item.fault(
            "`min_support` belongs to `dead_letter_rate`",
            "leave it out",
        );
    }
    if known.has_spool == Some(false) {
        warn_without_spool(item, figure);
    }
    let above = above?;
    let clear = clear.unwrap_or(Some(above))?;
    if let Some(item) = clear_item.filter(|_| clear > above) {
        item.fault(
            format!("{} is on the bad side of the threshold", item.shown()),
            "an alert is over when the figure is back at `clear`: leave it out, or write a lower one",
        );
    }
    Some(Watch::Health(HealthRule {
        figure,
        above,
        clear,
        for_ms: milliseconds(lasts.unwrap_or(Some(Duration::ZERO))?),
        over_ms: milliseconds(over.unwrap_or(Some(OVER))?),
        min_support: min_support.unwrap_or(Some(known.min_support))?,
    }))
}

/// An alert is told once a checkpoint holds it, and what holds documents up holds checkpoints up.
fn warn_without_spool(item: &Item<'_>, figure: Figure) {
    const HELP: &str = "give `output.elasticsearch.spool` or --spool";
    match figure {
        Figure::HeldUpSeconds => item.warn(
            "without a spool this is told only when documents get through again: until then no checkpoint can hold the alert",
            format!("{HELP}, or let Prometheus watch `modelbeat_shipping_held_up`"),
        ),
        Figure::SpoolFilled => item.warn("there is no spool that could fill", HELP),
        Figure::InputLagSeconds
        | Figure::InputLagBytes
        | Figure::JournalFilled
        | Figure::DeadLetters
        | Figure::DeadLetterRate => {}
    }
}

fn refuse(section: &mut Section<'_>, key: &'static str, whose: &str) {
    if let Some(item) = section.get(key) {
        item.fault(
            format!(
                "`{key}` says nothing of {}",
                if whose == "agent" { "the agent" } else { whose }
            ),
            format!("leave it out, or leave out `{whose}`"),
        );
    }
}
