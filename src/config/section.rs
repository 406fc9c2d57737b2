//! Reading a map without stopping at the first mistake: each key is asked for by name, in one line, and what was never
//! asked for is an unknown key.
//!
//! To add a key: ask for it in its section's function, and describe it in `pipeline.schema.json` (a test compares).

use std::cell::RefCell;
use std::collections::BTreeSet;

use crate::config::faults::{Fault, Place, Secret, Severity};
use crate::config::item::Item;
use crate::config::tree::{Entry, Node, Scalar, Value};
use crate::config::values;

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
            &message.into(),
            Some(help.into()),
        ));
    }

    pub(super) fn warn(&self, place: Place, message: impl Into<String>, help: impl Into<String>) {
        self.add(Fault::new(
            Severity::Warning,
            Some(place),
            &message.into(),
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
    pub(super) fn new(
        report: &'a Report,
        path: String,
        place: Place,
        entries: &'a [Entry],
    ) -> Self {
        Self {
            report,
            path,
            place,
            entries,
            asked: Vec::new(),
            refused: Vec::new(),
        }
    }

    /// The file itself.
    pub(super) fn root(report: &'a Report, node: &'a Node) -> Option<Self> {
        Item::root(report, node).section()
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

pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}
