//! `alerts:`: rules, mute times, maintenance.

mod change;
mod clock;
mod rule;

use jiff::tz::TimeZone;

use crate::config::item::Item;
use crate::config::section::Section;
use crate::config::values::{self, Complaint};
use crate::flow::alert::{self, Mute, RULES_MAX, Rule, Stretch};
use crate::flow::event::Timestamp;
use crate::flow::quality::Task;
use crate::flow::windows::Length;

/// More are a mistake: each is asked for each alert.
const MUTES_MAX: usize = 64;

/// What rules refer to.
pub(super) struct Known<'k> {
    /// `task:`; `None` where it is at fault itself.
    pub(super) task: Option<&'k Task>,
    /// `windows:`
    pub(super) windows: &'k [Length],
    /// Names of slices and crosses; `None` where the mapping is at fault.
    pub(super) slices: Option<Vec<String>>,
    /// `quality.min_support`
    pub(super) min_support: u64,
    /// Documents go to disk while the cluster is away; `None` where the output is at fault.
    pub(super) has_spool: Option<bool>,
    /// Names of those under `notify:`; `None` where they are at fault themselves.
    pub(super) notifiers: Option<Vec<&'k str>>,
}

pub(super) fn read(mut section: Section<'_>, known: &Known<'_>) -> alert::Settings {
    let metrics = known.task.map(alert::metrics);
    let mut rules: Vec<Rule> = Vec::new();
    for item in section
        .require("rules")
        .and_then(|item| item.list(RULES_MAX))
        .unwrap_or_default()
    {
        let Some(rule) = (item.clone().section())
            .and_then(|section| rule::read(section, known, metrics.as_deref()))
        else {
            continue;
        };
        if rules.iter().any(|other| other.name == rule.name) {
            item.fault(
                format!("there are two rules named `{}`", rule.name.escape_debug()),
                "a rule's name is part of its alerts' ids: give each its own",
            );
        }
        rules.push(rule);
    }
    let names: Vec<&str> = rules.iter().map(|rule| rule.name.as_str()).collect();
    let mutes = list(section.get("mute"))
        .filter_map(|item| mute(item.section()?, &names))
        .collect();
    let maintenance = list(section.get("maintenance"))
        .filter_map(|item| stretch(&item))
        .collect();
    section.finish();
    alert::Settings {
        rules,
        mutes,
        maintenance,
    }
}

fn list(item: Option<Item<'_>>) -> impl Iterator<Item = Item<'_>> {
    item.and_then(|item| item.list(MUTES_MAX))
        .unwrap_or_default()
        .into_iter()
}

/// `{days: [sat, sun], from: "22:00", until: "06:00", timezone: Europe/Berlin, rules: [recall-low]}`
fn mute(mut section: Section<'_>, names: &[&str]) -> Option<Mute> {
    const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    let mut days = [false; 7];
    match section.get("days") {
        None => days = [true; 7],
        Some(item) => {
            let words: Vec<(&'static str, usize)> = DAYS.into_iter().zip(0..).collect();
            for item in item.list(DAYS.len())? {
                if let Some(day) = item.one_of(&words).and_then(|day| days.get_mut(day)) {
                    *day = true;
                }
            }
        }
    }
    let mut minute = |key| {
        let item = section.get(key);
        item.map(|item| item.parse("a time of day such as \"22:00\"", time_of_day))
    };
    let (from, until) = (minute("from"), minute("until"));
    let zone = section
        .get("timezone")
        .map(|item| item.parse("a time zone", timezone));
    let rules = section.get("rules").and_then(|item| item.list(RULES_MAX));
    let rules = rules.unwrap_or_default().into_iter().filter_map(|item| {
        let name = item.clone().text()?;
        if !names.contains(&name.as_str()) {
            let help = values::did_you_mean(&name, names);
            item.fault(
                format!("{} is not the name of a rule", item.shown()),
                help.unwrap_or_else(|| "name one of `alerts.rules`".into()),
            );
        }
        Some(name)
    });
    let rules = rules.collect();
    section.finish();
    Some(Mute {
        days,
        from_minute: from.unwrap_or(Some(0))?,
        until_minute: until.unwrap_or(Some(24 * 60))?,
        zone: zone.unwrap_or(Some(TimeZone::UTC))?,
        rules,
    })
}

/// `{from: 2026-12-24T00:00:00Z, until: 2026-12-27T00:00:00Z}`
fn stretch(item: &Item<'_>) -> Option<Stretch> {
    let mut section = item.clone().section()?;
    let mut moment = |key| section.require(key)?.parse("a time", moment);
    let (from, until) = (moment("from"), moment("until"));
    section.finish();
    let stretch = Stretch {
        from: from?,
        until: until?,
    };
    if stretch.until <= stretch.from {
        item.fault(
            "this ends before it begins",
            "write `until` later than `from`",
        );
    }
    Some(stretch)
}

fn time_of_day(text: &str) -> Result<u16, Complaint> {
    let complain = || {
        let help = "write hours and minutes, in quotes: \"00:00\" to \"24:00\"";
        Complaint::new("is not a time of day", help)
    };
    let (hour, minute) = text.split_once(':').ok_or_else(complain)?;
    let number = |text: &str| text.parse::<u16>().ok().filter(|_| text.len() == 2);
    match (number(hour), number(minute)) {
        (Some(hour), Some(minute)) if minute < 60 && hour * 60 + minute <= 24 * 60 => {
            Ok(hour * 60 + minute)
        }
        _ => Err(complain()),
    }
}

fn timezone(name: &str) -> Result<TimeZone, Complaint> {
    TimeZone::get(name).map_err(|_| {
        let help = "write an IANA name, such as Europe/Berlin or UTC";
        Complaint::new("is not a time zone", help)
    })
}

fn moment(text: &str) -> Result<Timestamp, Complaint> {
    let read: Result<jiff::Timestamp, _> = text.parse();
    match read {
        Ok(moment) => Ok(Timestamp(moment.as_millisecond())),
        Err(_) => Err(Complaint::new(
            "is not a time with its zone",
            "write RFC 3339, such as 2026-12-24T00:00:00Z or 2026-12-24T00:00:00+01:00",
        )),
    }
}

#[cfg(test)]
mod tests;
