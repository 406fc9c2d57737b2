//! `task:`, `windows:`, `join:`, `slices:` and `quality:`: what is counted, over what, for how long.

use std::time::Duration;

use crate::config::item::Item;
use crate::config::section::Section;
use crate::config::values;
use crate::flow::canonical;
use crate::flow::join;
use crate::flow::quality::Task;
use crate::flow::windows::Length;

/// Default of `slices.max_values`.
pub(super) const SLICE_VALUES: usize = 200;

/// Default of `publish_every`: a person looking at a dashboard sees a label's effect within its refresh.
pub(super) const PUBLISH_EVERY_MS: i64 = 10_000;

/// Default of `quality.max_state`: some twenty thousand windows without scores. Beyond, those that rest lie on disk only, and cost a
/// read when a late label comes.
pub(super) const WINDOW_BYTES_MAX: usize = 16 << 20;

/// Default of `quality.min_support`: below it a proportion's interval is wider than most differences worth seeing.
pub(super) const MIN_SUPPORT: u64 = 30;

/// Each length is a whole set of windows for each model and slice.
const WINDOWS_MAX: usize = 8;

/// Each cross has up to `max_values` slices of its own.
const CROSSES_MAX: usize = 16;

/// More parts leave next to nothing in each slice.
const CROSS_PARTS_MAX: usize = 4;

/// A confusion matrix has this many squared cells.
const CLASSES_MAX: usize = 1_000;

/// Ten years: longer is a mistyped unit.
const WAIT_MAX: Duration = Duration::from_hours(3_650 * 24);

#[derive(Clone, Copy, PartialEq)]
enum TaskKind {
    Binary,
    Multiclass,
    Regression,
}

pub(super) fn task(mut section: Section<'_>) -> Option<Task> {
    let kind = section.require("kind").and_then(|item| {
        let kinds = [
            ("binary", TaskKind::Binary),
            ("multiclass", TaskKind::Multiclass),
            ("regression", TaskKind::Regression),
        ];
        item.one_of(&kinds)
    });
    // Which keys belong here depends on the kind.
    let positive = match kind {
        Some(TaskKind::Binary) => section.require("positive"),
        _ => section.get("positive"),
    };
    let negative = section.get("negative");
    let threshold = section.get("threshold");
    let classes = section.get("classes");
    for (item, belongs_to) in [
        (&positive, TaskKind::Binary),
        (&negative, TaskKind::Binary),
        (&threshold, TaskKind::Binary),
        (&classes, TaskKind::Multiclass),
    ] {
        if let (Some(item), Some(kind)) = (item, kind)
            && kind != belongs_to
        {
            let owner = if belongs_to == TaskKind::Binary {
                "binary"
            } else {
                "multiclass"
            };
            item.fault(
                format!("`{}` belongs to `kind: {owner}`", item.key()),
                "leave it out",
            );
        }
    }
    section.finish();
    let positive = positive
        .and_then(Item::text)
        .map(|text| canonical::text(&text).into_owned());
    let negative_item = negative;
    let negative = negative_item
        .clone()
        .and_then(Item::text)
        .map(|text| canonical::text(&text).into_owned());
    if let Some(item) = negative_item.filter(|_| negative == positive) {
        item.fault(
            "`negative` is the same class as `positive`",
            "leave it out, or name the other side",
        );
    }
    let threshold = threshold
        .and_then(|item| item.number(0.0..=1.0))
        .unwrap_or(0.5);
    let classes = classes.as_ref().and_then(task_classes).unwrap_or_default();
    Some(match kind? {
        TaskKind::Binary => Task::Binary {
            negative: negative.unwrap_or_else(|| opposite(positive.as_deref().unwrap_or_default())),
            positive: positive?,
            threshold,
        },
        TaskKind::Multiclass => Task::Multiclass { classes },
        TaskKind::Regression => Task::Regression,
    })
}

/// What the other side is called, unless the file says.
fn opposite(positive: &str) -> String {
    match positive {
        "1" => "0".into(),
        "true" => "false".into(),
        "True" => "False".into(),
        "yes" => "no".into(),
        other => format!("not {other}"),
    }
}

fn task_classes(item: &Item<'_>) -> Option<Vec<String>> {
    let mut classes = Vec::new();
    for item in item.clone().list(CLASSES_MAX)? {
        let Some(text) = item.clone().text() else {
            continue;
        };
        let class = canonical::text(&text).into_owned();
        if classes.contains(&class) {
            item.fault(
                format!("the class {} is here twice", item.shown()),
                "`1`, `1.0` and \"1\" are the same class",
            );
        }
        classes.push(class);
    }
    if let [_] = classes.as_slice() {
        item.fault(
            "one class alone cannot be mistaken for another",
            "list at least two, or leave `classes` out",
        );
    }
    Some(classes)
}

pub(super) fn default_windows() -> Vec<Length> {
    vec![
        Length::Fixed(60_000),
        Length::Fixed(3_600_000),
        Length::Fixed(86_400_000),
    ]
}

pub(super) fn windows(item: Item<'_>) -> Option<Vec<Length>> {
    let mut windows = Vec::new();
    for item in item.list(WINDOWS_MAX)? {
        let length = if item.is_map() {
            item.clone().section().and_then(hopping)
        } else {
            item.clone().parse("a window length", values::window)
        };
        let Some(length) = length else { continue };
        if windows.contains(&length) {
            item.fault(
                format!("a window of {} is here twice", item.shown()),
                "keep one of them",
            );
        }
        windows.push(length);
    }
    Some(windows)
}

/// `{length: 1h, every: 5m}`
fn hopping(mut section: Section<'_>) -> Option<Length> {
    let longest = Duration::from_millis(Length::HOPPING_MAX.unsigned_abs());
    let length_item = section.require("length");
    let every_item = section.require("every");
    let read = |item: &Option<Item<'_>>, longest| {
        let item = item.clone()?;
        item.duration(Duration::from_secs(10)..=longest)
            .map(milliseconds)
    };
    let length = read(&length_item, longest);
    let every = read(&every_item, Duration::from_hours(24));
    section.finish();
    let (length, every, item) = (length?, every?, every_item?);
    if Length::DAY % every != 0 {
        item.fault(
            format!("{} does not divide a day", item.shown()),
            "windows start where a day starts: write a day's even part, such as 1m, 15m or 1h",
        );
    } else if length % every != 0 {
        item.fault(
            format!("{} does not divide `length`", item.shown()),
            "a window is made of whole steps: write an even part of `length`",
        );
    } else if length == every {
        item.fault(
            "windows that start where the last one ends are tumbling windows",
            "write the length alone, such as `1h`; or an `every` shorter than it",
        );
    } else if length / every > i64::from(Length::PANES_MAX) {
        item.fault(
            format!("each event would fall into {} windows", length / every),
            format!(
                "each is a document that is written again for every late label: at most {}",
                Length::PANES_MAX
            ),
        );
    }
    Some(Length::Hopping { length, every })
}

pub(super) fn join(mut section: Section<'_>) -> join::Settings {
    let default = join::Settings::default();
    let mut wait = |key, least, most| {
        section
            .get(key)
            .and_then(|item| item.duration(least..=most))
            .map(milliseconds)
    };
    let settings = join::Settings {
        label_horizon_ms: wait("label_horizon", Duration::from_secs(1), WAIT_MAX)
            .unwrap_or(default.label_horizon_ms),
        early_label_ttl_ms: wait("early_label_ttl", Duration::ZERO, WAIT_MAX)
            .unwrap_or(default.early_label_ttl_ms),
        hold_ms: wait("hold", Duration::ZERO, Duration::from_mins(10)).unwrap_or(default.hold_ms),
        hold_bytes_max: section
            .get("max_hold")
            .and_then(|item| item.size(64 << 10..=4 << 30))
            .and_then(|size| usize::try_from(size).ok())
            .unwrap_or(default.hold_bytes_max),
        mark_expired: section
            .get("mark_expired")
            .and_then(Item::boolean)
            .unwrap_or(default.mark_expired),
        state_bytes_max: section
            .get("max_state")
            .and_then(|item| item.size(8 << 20..=64 << 30))
            .and_then(|size| usize::try_from(size).ok())
            .unwrap_or(default.state_bytes_max),
    };
    section.finish();
    settings
}

/// `slices:`
pub(super) struct Slices {
    pub(super) max_values: usize,
    pub(super) crosses: Vec<Vec<String>>,
}

impl Default for Slices {
    fn default() -> Self {
        Self {
            max_values: SLICE_VALUES,
            crosses: Vec::new(),
        }
    }
}

impl Slices {
    /// What slices are called in documents: `named` by the mapping, and crosses of them.
    pub(super) fn names(&self, named: &[(String, String)]) -> Vec<String> {
        let crosses = self.crosses.iter().map(|parts| parts.join(","));
        let single = named.iter().map(|(name, _)| name.clone());
        single.chain(crosses).collect()
    }
}

/// `named`: the mapping's slices; `None` where the mapping is at fault itself.
pub(super) fn slices(mut section: Section<'_>, named: Option<&[(String, String)]>) -> Slices {
    let default = Slices::default();
    let max_values = section
        .get("max_values")
        .and_then(|item| item.integer(1..=100_000))
        .and_then(|values| usize::try_from(values).ok());
    let crosses = section
        .get("cross")
        .and_then(|item| item.list(CROSSES_MAX))
        .map(|items| {
            let mut crosses: Vec<Vec<String>> = Vec::new();
            for item in items {
                let Some(cross) = cross(&item, named) else {
                    continue;
                };
                let same = |known: &Vec<String>| {
                    known.len() == cross.len() && cross.iter().all(|name| known.contains(name))
                };
                if crosses.iter().any(same) {
                    item.fault("the same cross is here twice", "keep one of them");
                }
                crosses.push(cross);
            }
            crosses
        });
    section.finish();
    Slices {
        max_values: max_values.unwrap_or(default.max_values),
        crosses: crosses.unwrap_or_default(),
    }
}

/// Names of slices that the mapping has.
fn cross(item: &Item<'_>, named: Option<&[(String, String)]>) -> Option<Vec<String>> {
    let mut names: Vec<String> = Vec::new();
    for part in item.clone().list(CROSS_PARTS_MAX)? {
        let name = part.clone().text()?;
        let known: Vec<&str> = named
            .unwrap_or_default()
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        if named.is_some() && !known.contains(&name.as_str()) {
            let help = values::did_you_mean(&name, &known);
            part.fault(
                format!("{} is not among `mapping.prediction.slices`", part.shown()),
                help.unwrap_or_else(|| "add it there, or leave it out here".into()),
            );
        } else if names.contains(&name) {
            part.fault(
                format!("{} is here twice", part.shown()),
                "name each slice once",
            );
        }
        names.push(name);
    }
    if names.len() < 2 {
        item.fault(
            "a cross of one slice is the slice itself",
            "name two to four slices, such as [country, device]",
        );
    }
    Some(names)
}

/// `quality:`: minimum support, and memory of the windows in bytes.
pub(super) fn judging(mut section: Section<'_>) -> (u64, usize) {
    let support = section
        .get("min_support")
        .and_then(|item| item.integer(0..=1_000_000_000));
    let state = section
        .get("max_state")
        .and_then(|item| item.size(8 << 20..=64 << 30))
        .and_then(|size| usize::try_from(size).ok());
    section.finish();
    (
        support.unwrap_or(MIN_SUPPORT),
        state.unwrap_or(WINDOW_BYTES_MAX),
    )
}

pub(super) fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
