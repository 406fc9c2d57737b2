//! Slices: the parts of the traffic that are counted on their own (country = DE), as small integers.
//!
//! Slice 0 is the whole (`_all`). A slice name has at most `values_max` values; later ones count under `__other__`.
//! Numbers never change once given; they are part of the checkpoint, by name, so that the file's order may change.

use std::borrow::Cow;

use hashbrown::DefaultHashBuilder;
use indexmap::IndexSet;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::flow::names::Names;

/// The slice that holds everything.
pub const ALL: u32 = 0;

/// The value that stands for all values beyond the limit.
pub const OTHER: &str = "__other__";

/// Name and value of every slice seen, and every combination an event had.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Slices {
    names: Names,
    /// Values of each name.
    values: Vec<Names>,
    /// (name, value) of slice 1, 2, …
    slices: IndexSet<(u32, u32), DefaultHashBuilder>,
    /// The slices that an event belongs to, apart from the whole.
    sets: IndexSet<Box<[u32]>, DefaultHashBuilder>,
}

impl Slices {
    /// The number of a slice name.
    pub fn name(&mut self, name: &str) -> u32 {
        let number = self.names.intern(name);
        while self.values.len() < self.names.len() {
            self.values.push(Names::default());
        }
        number
    }

    /// The number of the combination of slices that an event with these values belongs to.
    pub fn set(&mut self, names: &[u32], values: &[Option<Cow<'_, str>>], values_max: usize) -> u32 {
        let mut set: SmallVec<[u32; 8]> = SmallVec::new();
        for (name, value) in names.iter().zip(values) {
            if let (Some(value), Some(known)) = (value, self.values.get_mut(*name as usize)) {
                let number = match known.find(value) {
                    Some(number) => number,
                    None if known.len() < values_max => known.intern(value),
                    None => known.intern(OTHER),
                };
                let (slice, _) = self.slices.insert_full((*name, number));
                set.push(slice as u32 + 1);
            }
        }
        match self.sets.get_index_of(&set[..]) {
            Some(index) => index as u32,
            None => self.sets.insert_full(set[..].into()).0 as u32,
        }
    }

    /// The slices of a combination, apart from the whole.
    pub fn members(&self, set: u32) -> &[u32] {
        self.sets.get_index(set as usize).map_or(&[], |set| set)
    }

    /// Name and value of a slice; `_all` and nothing for the whole.
    pub fn text(&self, slice: u32) -> (&str, Option<&str>) {
        let Some((name, value)) = (slice as usize).checked_sub(1).and_then(|index| self.slices.get_index(index)) else {
            return ("_all", None);
        };
        (self.names.text(*name), self.values.get(*name as usize).map(|values| values.text(*value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_beyond_the_limit_are_other() {
        let mut slices = Slices::default();
        let country = [slices.name("country")];
        let mut member = |value: &'static str| {
            let set = slices.set(&country, &[Some(Cow::Borrowed(value))], 2);
            let slice = *slices.members(set).first().unwrap();
            (slices.text(slice).0.to_owned(), slices.text(slice).1.unwrap().to_owned())
        };
        let named = |value: &str| ("country".to_owned(), value.to_owned());
        assert_eq!(["DE", "FR", "IT", "ES", "DE"].map(&mut member), ["DE", "FR", OTHER, OTHER, "DE"].map(named));
    }

    #[test]
    fn an_event_without_values_belongs_to_the_whole_only() {
        let mut slices = Slices::default();
        let names = [slices.name("country"), slices.name("device")];
        let set = slices.set(&names, &[None, None], 9);
        assert!(slices.members(set).is_empty());
        assert_eq!(slices.text(ALL), ("_all", None));
    }
}
