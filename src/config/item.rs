//! Reading a value: each reader says what is wrong with it, and returns `None`, so that reading goes on.
//!
//! Invariant: a message quotes a value only where the file itself says it; a variable's value is never shown.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::config::faults::{Place, Secret};
use crate::config::section::{Report, Section, join};
use crate::config::tree::{Entry, Node, Value};
use crate::config::values::{self, Complaint};

/// Longer values are cut in messages.
const SHOWN_CHARS_MAX: usize = 80;

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
    pub(super) fn new(report: &'a Report, path: String, entry: &'a Entry) -> Self {
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

    /// The whole file, at which there is nothing to underline.
    pub(super) fn root(report: &'a Report, node: &'a Node) -> Self {
        let place = Place {
            line: 1,
            column: 1,
            length: 0,
        };
        Self {
            report,
            path: String::new(),
            place,
            node,
        }
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

    /// True if a variable sets it.
    pub(super) fn is_foreign(&self) -> bool {
        matches!(&self.node.value, Value::Scalar(scalar) if scalar.foreign)
    }

    /// From here on, no excerpt shows it.
    pub(super) fn hide(&self) {
        let Place {
            line,
            column,
            length,
        } = self.place;
        self.report.hide(Secret {
            start: (line, column),
            end: (line, column + length),
        });
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
        Some(Section::new(report, path, place, entries))
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
        let Value::Map(entries) = &self.node.value else {
            self.wrong("a map", "write `key: value` lines, indented");
            return None;
        };
        Some(entries)
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
