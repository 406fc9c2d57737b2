//! Interned names: models, versions, classes and slice values as small integers, so that the hot path
//! compares and stores four bytes where a record has text.
//!
//! Numbers are handed out in order of first sight and never change or go away; they are part of the checkpoint.

use hashbrown::DefaultHashBuilder;
use indexmap::IndexSet;
use serde::{Deserialize, Serialize};

/// A table of distinct texts, numbered from 0.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Names(IndexSet<Box<str>, DefaultHashBuilder>);

impl Names {
    /// The number of `name`, given now if it has none yet.
    pub fn intern(&mut self, name: &str) -> u32 {
        let index = match self.0.get_index_of(name) {
            Some(index) => index,
            None => self.0.insert_full(name.into()).0,
        };
        number(index)
    }

    /// The number of `name`, if it has one.
    pub fn find(&self, name: &str) -> Option<u32> {
        self.0.get_index_of(name).map(number)
    }

    /// The text behind a number; empty for a number this table never gave.
    pub fn text(&self, number: u32) -> &str {
        self.0.get_index(number as usize).map_or("", |name| name)
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True before the first name.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn number(index: usize) -> u32 {
    debug_assert!(
        u32::try_from(index).is_ok(),
        "callers bound their tables far below 2³²"
    );
    u32::try_from(index).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_number() {
        let mut names = Names::default();
        let numbers: Vec<u32> = ["fraud", "legit", "fraud"]
            .map(|name| names.intern(name))
            .to_vec();
        assert_eq!(numbers, [0, 1, 0]);
        assert_eq!(
            (
                names.text(1),
                names.text(9),
                names.find("legit"),
                names.find("x")
            ),
            ("legit", "", Some(1), None)
        );
    }
}
