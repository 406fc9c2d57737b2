//! `mapping:`: which path of a record is what, and whether it fits the task.

use std::collections::BTreeMap;

use crate::config::item::Item;
use crate::config::section::Section;
use crate::config::values::Complaint;
use crate::flow::canonical;
use crate::flow::mapping::{LabelPaths, PredictionPaths, ScoreSource, Settings, Source};
use crate::flow::quality::Task;

/// Each slice name multiplies the windows.
const SLICES_MAX: usize = 32;

/// What the mapping knows how to read, even where it reads it wrongly.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kinds {
    pub(super) prediction: bool,
    pub(super) label: bool,
}

impl Kinds {
    /// For a file whose mapping is missing: that is fault enough.
    pub(super) const BOTH: Self = Self {
        prediction: true,
        label: true,
    };
}

pub(super) fn read(mut section: Section<'_>, task: Option<&Task>) -> (Option<Settings>, Kinds) {
    let prediction = section.get("prediction");
    let label = section.get("label");
    let timezone = section
        .get("timezone")
        .and_then(|item| item.parse("a time zone", timezone));
    let kinds = Kinds {
        prediction: prediction.is_some(),
        label: label.is_some(),
    };
    if !kinds.prediction && !kinds.label {
        section.fault(
            "`mapping` says neither what a prediction nor what a label is",
            "add `prediction:` and `label:`",
        );
    } else if !kinds.prediction {
        section.warn(
            "labels without predictions are never joined",
            "add `mapping.prediction`",
        );
    }
    section.finish();

    let prediction = prediction.map(|item| {
        item.section()
            .and_then(|section| prediction_paths(section, task))
    });
    let label = label.map(|item| item.section().and_then(label_paths));
    // An outer `Some` means the key is there, an inner `None` that its faults are reported.
    let whole = !matches!(prediction, Some(None)) && !matches!(label, Some(None));
    let settings = Settings {
        prediction: prediction.flatten(),
        label: label.flatten(),
        timezone,
    };
    (whole.then_some(settings), kinds)
}

fn prediction_paths(mut section: Section<'_>, task: Option<&Task>) -> Option<PredictionPaths> {
    let when = section.get("when").and_then(when);
    let id = section.require("id").and_then(path);
    let time = section.require("time").and_then(path);
    let time_format = section.get("time_format").and_then(time_format);
    let model = section.require("model").and_then(source);
    let version = section.get("version").and_then(source);
    let predicted_item = section.get("predicted");
    let score_item = section.get("score");
    let latency_ms = section.get("latency_ms").and_then(path);
    let slices = section.get("slices").as_ref().and_then(slices);
    match (&predicted_item, &score_item, task) {
        (None, None, _) => section.fault(
            "neither `predicted` nor `score` is mapped: nothing can be judged",
            "add one of them",
        ),
        (None, _, Some(Task::Regression)) => {
            section.fault("a regression needs `predicted`", "map the predicted number");
        }
        (_, Some(score), Some(Task::Regression)) => {
            score.fault(
                "a regression has no `score`",
                "map the predicted number as `predicted`, and leave `score` out",
            );
        }
        _ => {}
    }
    section.finish();
    let predicted = predicted_item.and_then(path);
    let score = score_item.and_then(|item| score(item, task));
    Some(PredictionPaths {
        when: when.unwrap_or_default(),
        id: id?,
        time: time?,
        time_format,
        model: model?,
        version,
        predicted,
        score,
        latency_ms,
        slices: slices.unwrap_or_default(),
    })
}

fn label_paths(mut section: Section<'_>) -> Option<LabelPaths> {
    let when = section.get("when").and_then(when);
    let id = section.require("id").and_then(path);
    let time = section.get("time").and_then(path);
    let format_item = section.get("time_format");
    if let (Some(item), None) = (&format_item, &time) {
        item.warn(
            "`time_format` without `time` says nothing",
            "add `time`, or leave `time_format` out",
        );
    }
    let model = section.get("model").and_then(source);
    let actual = section.require("actual").and_then(path);
    section.finish();
    let time_format = format_item.and_then(time_format);
    Some(LabelPaths {
        when: when.unwrap_or_default(),
        id: id?,
        time,
        time_format,
        model,
        actual: actual?,
    })
}

/// A dotted path into the record.
pub(super) fn path(item: Item<'_>) -> Option<String> {
    item.parse("a path into the record", |text| {
        let help = "write the names with dots between, such as segment.country";
        if text.starts_with('$') || text.starts_with('/') {
            return Err(Complaint::new(
                "is JSONPath or a JSON pointer, not a dotted path",
                help,
            ));
        }
        if text.starts_with('.') || text.ends_with('.') {
            return Err(Complaint::new("has a dot too many", help));
        }
        Ok(text.to_owned())
    })
}

/// A path, or `{const: text}`.
fn source(item: Item<'_>) -> Option<Source> {
    if !item.is_map() {
        return path(item).map(Source::Path);
    }
    let mut section = item.section()?;
    let text = section.require("const").and_then(Item::text);
    section.finish();
    text.map(Source::Const)
}

/// Path → text it must equal.
fn when(item: Item<'_>) -> Option<BTreeMap<String, String>> {
    let pairs = item.entries()?.into_iter();
    let pairs = pairs.filter_map(|(path, _, item)| {
        Some((path.to_owned(), canonical::text(&item.text()?).into_owned()))
    });
    Some(pairs.collect())
}

/// A path, or class → path, whose classes must be the task's.
fn score(item: Item<'_>, task: Option<&Task>) -> Option<ScoreSource> {
    if !item.is_map() {
        return path(item).map(ScoreSource::Path);
    }
    let mut classes = BTreeMap::new();
    for (name, _, entry) in item.clone().entries()? {
        let class = canonical::text(name).into_owned();
        match task {
            Some(Task::Multiclass { classes })
                if !classes.is_empty() && !classes.contains(&class) =>
            {
                entry.fault(
                    format!("`{class}` is not among `task.classes`"),
                    "name the same classes in both places",
                );
            }
            _ => {}
        }
        if classes.contains_key(&class) {
            entry.fault(
                format!("the class `{class}` is here twice"),
                "`1`, `1.0` and \"1\" are the same class",
            );
        }
        if let Some(path) = path(entry) {
            classes.insert(class, path);
        }
    }
    match task {
        Some(Task::Binary { positive, .. }) if !classes.contains_key(positive) => {
            item.fault(
                "there is no score for the positive class",
                "add it, or give the one path that holds its score",
            );
        }
        _ if classes.is_empty() => {
            item.fault("no class has a score here", "write `class: path` lines");
        }
        _ => {}
    }
    Some(ScoreSource::PerClass(classes))
}

/// Slice name → path, in the file's order.
fn slices(item: &Item<'_>) -> Option<Vec<(String, String)>> {
    let entries = item.clone().entries()?;
    if entries.len() > SLICES_MAX {
        item.fault(
            format!("{} slices", entries.len()),
            format!("each multiplies the windows: at most {SLICES_MAX}"),
        );
    }
    let mut slices = Vec::new();
    for (name, _, entry) in entries {
        let plain = name
            .chars()
            .all(|c| c.is_alphanumeric() || c == '_' || c == '-');
        if !plain || name.starts_with('_') || name.len() > 64 {
            let help =
                "a name becomes the field slice.<name>: letters, digits, `-` and `_`, no `_` first";
            entry.fault(
                format!("`{}` is no name for a slice", name.escape_debug()),
                help,
            );
        }
        if let Some(path) = path(entry) {
            slices.push((name.to_owned(), path));
        }
    }
    Some(slices)
}

fn timezone(name: &str) -> Result<String, Complaint> {
    match jiff::tz::TimeZone::get(name) {
        Ok(_) => Ok(name.to_owned()),
        Err(_) => Err(Complaint::new(
            "is not a time zone",
            "write an IANA name, such as Europe/Berlin or UTC",
        )),
    }
}

/// A pattern is good if it reads back, as a time, what it wrote.
fn time_format(item: Item<'_>) -> Option<String> {
    item.parse("a time format", |pattern| {
        let help = "write a strptime pattern with date and time, such as `%d/%b/%Y:%H:%M:%S %z`";
        // Past noon, so that hours without am or pm do not read back.
        let sample = jiff::civil::DateTime::constant(2026, 11, 24, 13, 45, 30, 0);
        let sample = sample.to_zoned_datetime(jiff::tz::TimeZone::UTC);
        let sample =
            sample.map_err(|why| Complaint::new(format!("cannot be tried: {why}"), help))?;
        let written = jiff::fmt::strtime::format(pattern, &sample);
        let read = written.and_then(|written| jiff::fmt::strtime::parse(pattern, written));
        // The reason would quote the pattern, which may come from a variable.
        let read = read.map_err(|_| Complaint::new("is not a time format", help))?;
        match (read.to_timestamp(), read.to_datetime()) {
            (Err(_), Err(_)) => Err(Complaint::new("does not say both date and time", help)),
            _ => Ok(pattern.to_owned()),
        }
    })
}
