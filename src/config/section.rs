//! Reading a tree without stopping at the first mistake.
//!
//! A [`Section`] is a map being read: each key is asked for by name, in one line, and what was never asked for is an
//! unknown key. An [`Item`] is a value being read: its readers report what is wrong with it and return `None`.
//! To add a key: ask for it in its section's function, and describe it in `pipeline.schema.json` (a test compares).

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::config::faults::{Fault, Place, Secret, Severity};
use crate::config::tree::{Entry, Node, Scalar, Value};
use crate::config::values::{self, Complaint};

/// Longer values are cut in messages.
const SHOWN_CHARS_MAX: usize = 80;

/// What reading has brought to light so far.
#[derive(Debug, Default)]
pub(super) struct Report {
    faults: RefCell<Vec<Fault>>,
    secrets: RefCell<Vec<Secret>>,
    asked: RefCell<BTreeSet<String>>,
}

impl Report {
    pub(super) fn add(&self, fault: Fault) {
        self.faults.borrow_mut().push(fault);
    }

    pub(super) fn error(&self, place: Place, message: impl Into<String>, help: impl Into<String>) {
        self.add(Fault::new(
            Severity::Error,
            Some(place),
            message.into(),
            Some(help.into()),
        ));
    }

    pub(super) fn warn(&self, place: Place, message: impl Into<String>, help: impl Into<String>) {
        self.add(Fault::new(
            Severity::Warning,
            Some(place),
            message.into(),
            Some(help.into()),
        ));
    }

    pub(super) fn hide(&self, secret: Secret) {
        self.secrets.borrow_mut().push(secret);
    }

    /// Faults, secrets, and the keys that were asked for.
    pub(super) fn into_parts(self) -> (Vec<Fault>, Vec<Secret>, BTreeSet<String>) {
        (
            self.faults.into_inner(),
            self.secrets.into_inner(),
            self.asked.into_inner(),
        )
    }
}

/// A map being read.
#[derive(Debug)]
pub(super) struct Section<'a> {
    report: &'a Report,
    path: String,
    place: Place,
    entries: &'a [Entry],
    asked: Vec<&'static str>,
    refused: Vec<&'static str>,
}

impl<'a> Section<'a> {
    pub(super) fn root(report: &'a Report, node: &'a Node) -> Option<Self> {
        let place = Place {
            line: 1,
            column: 1,
            length: 0,
        };
        Item {
            report,
            path: String::new(),
            place,
            node,
        }
        .section()
    }

    /// An optional value; `None` also where it is empty, as `${NAME:-}` may leave it.
    pub(super) fn get(&mut self, key: &'static str) -> Option<Item<'a>> {
        self.asked.push(key);
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        let null = matches!(&entry.value.value, Value::Scalar(Scalar { null: true, .. }));
        (!null).then(|| self.item(entry))
    }

    /// True if a key is there, but with something that is no single value: its fault is reported by whoever reads it.
    pub(super) fn is_faulty(&self, key: &str) -> bool {
        let entry = self.entries.iter().find(|entry| entry.key == key);
        entry.is_some_and(|entry| !matches!(&entry.value.value, Value::Scalar(_)))
    }

    /// A value that must be there.
    pub(super) fn require(&mut self, key: &'static str) -> Option<Item<'a>> {
        let item = self.get(key);
        if item.is_none() {
            match self.entries.iter().find(|entry| entry.key == key) {
                Some(entry) => self.report.error(
                    entry.place,
                    format!("`{key}` is empty"),
                    "it must have a value",
                ),
                None => self.fault(
                    &format!("`{key}` is missing{}", self.named(" in ")),
                    format!("add `{key}:`"),
                ),
            }
        }
        item
    }

    /// A key that people may expect here, but that must not be: says why in words of its own.
    pub(super) fn refuse(&mut self, key: &'static str, message: &str, help: &str) {
        self.refused.push(key);
        if let Some(entry) = self.entries.iter().find(|entry| entry.key == key) {
            self.report.error(entry.place, message, help);
        }
    }

    /// Something is wrong with the section as a whole.
    pub(super) fn fault(&self, message: &str, help: impl Into<String>) {
        self.report.error(self.place, message, help);
    }

    /// Something about the section as a whole is probably not meant.
    pub(super) fn warn(&self, message: &str, help: impl Into<String>) {
        self.report.warn(self.place, message, help);
    }

    /// Gives the section another name, where one map has several shapes.
    pub(super) fn called(mut self, path: &str) -> Self {
        path.clone_into(&mut self.path);
        self
    }

    /// Reports every key that nobody asked for.
    pub(super) fn finish(self) {
        for entry in self.entries {
            let key = entry.key.as_str();
            if self.asked.contains(&key) || self.refused.contains(&key) {
                continue;
            }
            let message = format!("unknown key `{key}`{}", self.named(" in "));
            let help = values::did_you_mean(key, &self.asked)
                .unwrap_or_else(|| format!("known here: {}", self.asked.join(", ")));
            self.report.error(entry.place, message, help);
        }
        let mut asked = self.report.asked.borrow_mut();
        asked.extend(self.asked.iter().map(|key| join(&self.path, key)));
    }

    fn item(&self, entry: &'a Entry) -> Item<'a> {
        Item::new(self.report, join(&self.path, &entry.key), entry)
    }

    fn named(&self, before: &str) -> String {
        if self.path.is_empty() {
            String::new()
        } else {
            format!("{before}`{}`", self.path)
        }
    }
}

/// A value being read.
#[derive(Clone, Debug)]
pub(super) struct Item<'a> {
    report: &'a Report,
    /// `mapping.prediction.id`, or `inputs` for each of the inputs.
    path: String,
    place: Place,
    node: &'a Node,
}

impl<'a> Item<'a> {
    fn new(report: &'a Report, path: String, entry: &'a Entry) -> Self {
        // A scalar is best shown itself, a map or list by its key.
        let place = match &entry.value.value {
            Value::Scalar(scalar) if !scalar.null => entry.value.place,
            _ => entry.place,
        };
        Self {
            report,
            path,
            place,
            node: &entry.value,
        }
    }

    /// Where it is.
    pub(super) fn place(&self) -> Place {
        self.place
    }

    /// This value will not do.
    pub(super) fn fault(&self, message: impl Into<String>, help: impl Into<String>) {
        self.report.error(self.place, message, help);
    }

    /// This value will do, but is probably not meant.
    pub(super) fn warn(&self, message: impl Into<String>, help: impl Into<String>) {
        self.report.warn(self.place, message, help);
    }

    /// The value for a message: itself where the file says it, a description where a variable does.
    pub(super) fn shown(&self) -> String {
        match &self.node.value {
            Value::Scalar(scalar) if scalar.foreign => format!(
                "the value of `{}`, not shown because a variable sets it,",
                self.key()
            ),
            // A URL may hold a password.
            Value::Scalar(scalar) if scalar.text.contains('@') => {
                format!("the value of `{}`", self.key())
            }
            Value::Scalar(scalar) => {
                let cut: String = scalar.text.chars().take(SHOWN_CHARS_MAX).collect();
                let more = if cut.len() < scalar.text.len() {
                    "…"
                } else {
                    ""
                };
                format!("`{}{more}`", cut.escape_debug())
            }
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a map".to_owned(),
            Value::Broken => String::new(),
        }
    }

    /// The last word of the path.
    pub(super) fn key(&self) -> &str {
        self.path.rsplit('.').next().unwrap_or_default()
    }

    /// Any text but none.
    pub(super) fn text(self) -> Option<String> {
        self.scalar("text").map(ToOwned::to_owned)
    }

    /// `true` or `false`.
    pub(super) fn boolean(self) -> Option<bool> {
        self.one_of(&[("true", true), ("false", false)])
    }

    /// A number within bounds.
    pub(super) fn number(self, range: RangeInclusive<f64>) -> Option<f64> {
        self.parse("a number", |text| values::number(text, range.clone()))
    }

    /// A whole number within bounds.
    pub(super) fn integer(self, range: RangeInclusive<u64>) -> Option<u64> {
        self.parse("a whole number", |text| {
            values::integer(text, range.clone())
        })
    }

    /// `5s`, `10m`, `30d`, within bounds.
    pub(super) fn duration(self, range: RangeInclusive<Duration>) -> Option<Duration> {
        self.parse("a duration", |text| values::duration(text, range.clone()))
    }

    /// `512KiB`, `16MiB`, within bounds, in bytes.
    pub(super) fn size(self, range: RangeInclusive<u64>) -> Option<u64> {
        self.parse("a size", |text| values::size(text, range.clone()))
    }

    /// A word out of a few.
    pub(super) fn one_of<T: Clone>(self, words: &[(&'static str, T)]) -> Option<T> {
        let kinds: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        self.parse(&format!("one of {}", kinds.join(", ")), |text| {
            let found = words.iter().find(|(word, _)| *word == text);
            found
                .map(|(_, value)| value.clone())
                .ok_or_else(|| Complaint {
                    what: format!("is not one of {}", kinds.join(", ")),
                    help: values::did_you_mean(text, &kinds)
                        .unwrap_or_else(|| format!("write one of {}", kinds.join(", "))),
                })
        })
    }

    /// Text that means something.
    pub(super) fn parse<T>(
        self,
        expected: &str,
        read: impl FnOnce(&str) -> Result<T, Complaint>,
    ) -> Option<T> {
        match read(self.scalar(expected)?) {
            Ok(value) => Some(value),
            Err(complaint) => {
                self.fault(
                    format!("{} {}", self.shown(), complaint.what),
                    complaint.help,
                );
                None
            }
        }
    }

    /// Text that no one may see: without the line feed that a mounted secret often ends with.
    pub(super) fn secret(self) -> Option<String> {
        let text = self.scalar("text")?.trim_end_matches(['\r', '\n']);
        if text.is_empty() || text.contains(|c: char| c.is_control()) {
            self.fault(
                format!("`{}` holds a control character, or nothing", self.key()),
                "it must be one line of text",
            );
            return None;
        }
        Some(text.to_owned())
    }

    /// A word, if that is what it is.
    pub(super) fn word(&self) -> Option<&'a str> {
        match &self.node.value {
            Value::Scalar(scalar) => Some(&scalar.text),
            _ => None,
        }
    }

    /// True if it is a map, where something else might be meant, too.
    pub(super) fn is_map(&self) -> bool {
        matches!(&self.node.value, Value::Map(_))
    }

    /// A map with known keys.
    pub(super) fn section(self) -> Option<Section<'a>> {
        let entries = self.map()?;
        let Self {
            report,
            path,
            place,
            ..
        } = self;
        Some(Section {
            report,
            path,
            place,
            entries,
            asked: Vec::new(),
            refused: Vec::new(),
        })
    }

    /// A map whose keys are the user's own, in the file's order.
    pub(super) fn entries(self) -> Option<Vec<(&'a str, Place, Item<'a>)>> {
        let named = |entry: &'a Entry| {
            (
                entry.key.as_str(),
                entry.place,
                Item::new(self.report, join(&self.path, &entry.key), entry),
            )
        };
        Some(self.map()?.iter().map(named).collect())
    }

    /// A list of at least one and at most `most` items.
    pub(super) fn list(self, most: usize) -> Option<Vec<Item<'a>>> {
        let Value::List(nodes) = &self.node.value else {
            self.wrong("a list", &format!("write `{}: [one, another]`", self.key()));
            return None;
        };
        if nodes.is_empty() || nodes.len() > most {
            self.fault(
                format!("`{}` has {} items", self.key(), nodes.len()),
                format!("list 1 to {most}"),
            );
            return None;
        }
        let item = |node: &'a Node| Item {
            report: self.report,
            path: self.path.clone(),
            place: node.place,
            node,
        };
        Some(nodes.iter().map(item).collect())
    }

    fn map(&self) -> Option<&'a [Entry]> {
        match &self.node.value {
            Value::Map(entries) => Some(entries),
            _ => {
                self.wrong("a map", "write `key: value` lines, indented");
                None
            }
        }
    }

    fn scalar(&self, expected: &str) -> Option<&'a str> {
        match &self.node.value {
            Value::Scalar(scalar) if scalar.null => {
                self.fault(
                    format!("an empty `{}`", self.key()),
                    format!("write {expected}"),
                );
                None
            }
            Value::Scalar(scalar) => Some(&scalar.text),
            _ => {
                self.wrong(
                    expected,
                    &format!("write {expected} behind `{}:`", self.key()),
                );
                None
            }
        }
    }

    fn wrong(&self, expected: &str, help: &str) {
        let found = match &self.node.value {
            Value::Broken => return,
            Value::Scalar(scalar) if scalar.null => "nothing",
            Value::Scalar(_) => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        };
        let what = if self.path.is_empty() {
            "the file".to_owned()
        } else {
            format!("`{}`", self.key())
        };
        self.fault(format!("{what} must be {expected}, but is {found}"), help);
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}
