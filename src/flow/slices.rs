//! Slices: the parts of the traffic that are counted on their own (country = DE), as small integers.
//!
//! Slice 0 is the whole (`_all`). A slice name has at most `values_max` values; later ones count under `__other__`.
//! A cross (country × device) is a slice like any other: its name is `country,device` and its value `DE,mobile`, made of the values as its
//! parts count them, so that a country's crosses add up to the country. A comma or backslash inside a value is written
//! with a backslash before it.
//! Numbers never change once given; they are part of the checkpoint, by name, so that the file's order may change.

mod groups;

use std::borrow::Cow;

use hashbrown::{DefaultHashBuilder, HashMap};
use indexmap::IndexSet;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::flow::names::Names;

/// The slice that holds everything.
pub const ALL: u32 = 0;

/// The value that stands for all values beyond the limit.
pub const OTHER: &str = "__other__";

/// Combinations remembered between events; beyond it the memory is emptied, which costs a few look-ups.
const RECENT_MAX: usize = 8_192;

/// Name and value of every slice seen, and every combination an event had.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Slices {
    names: Names,
    /// Values of each name.
    values: Vec<Names>,
    /// (name, value) of slice 1, 2, …
    pairs: IndexSet<(u32, u32), DefaultHashBuilder>,
    /// The slices that an event belongs to, apart from the whole.
    sets: IndexSet<Box<[u32]>, DefaultHashBuilder>,
    /// The single slices of an event → its combination, crosses included. Forgotten over a restart, before which there
    /// may have been other crosses.
    #[serde(skip)]
    recent: HashMap<SmallVec<[u32; 8]>, u32, DefaultHashBuilder>,
}

/// How a pipeline cuts its traffic.
#[derive(Clone, Debug, Default)]
pub struct Cuts {
    /// Numbers of the slice names, in the order of an event's values.
    names: Vec<u32>,
    crosses: Vec<Cross>,
    /// Values a name, or a cross, may have.
    values_max: usize,
}

#[derive(Clone, Debug)]
struct Cross {
    name: u32,
    /// Numbers of the names it is made of.
    parts: Vec<u32>,
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

    /// A pipeline's cuts: `names` in the order of an event's values, `crosses` of some of them.
    pub fn cuts(&mut self, names: &[String], crosses: &[Vec<String>], values_max: usize) -> Cuts {
        Cuts {
            names: names.iter().map(|name| self.name(name)).collect(),
            crosses: crosses
                .iter()
                .map(|parts| Cross {
                    parts: parts.iter().map(|name| self.name(name)).collect(),
                    name: self.name(&parts.join(",")),
                })
                .collect(),
            values_max,
        }
    }

    /// The number of the combination of slices that an event with these values belongs to.
    pub fn set(&mut self, cuts: &Cuts, values: &[Option<Cow<'_, str>>]) -> u32 {
        let mut singles: SmallVec<[u32; 8]> = SmallVec::new();
        for (name, value) in cuts.names.iter().zip(values) {
            if let Some(slice) = value
                .as_ref()
                .and_then(|value| self.slice(*name, value, cuts.values_max))
            {
                singles.push(slice);
            }
        }
        if let Some(set) = self.recent.get(&singles) {
            return *set;
        }
        let mut members = singles.clone();
        for cross in &cuts.crosses {
            members.extend(self.cross(cross, &singles, cuts.values_max));
        }
        let set = match self.sets.get_index_of(&members[..]) {
            Some(index) => number(index),
            None => number(self.sets.insert_full(members[..].into()).0),
        };
        if self.recent.len() >= RECENT_MAX {
            self.recent.clear();
        }
        self.recent.insert(singles, set);
        set
    }

    /// The slices of a combination, apart from the whole.
    pub fn members(&self, set: u32) -> &[u32] {
        self.sets.get_index(set as usize).map_or(&[], |set| set)
    }

    /// How many slices there are, the whole included.
    pub fn count(&self) -> u32 {
        number(self.pairs.len()) + 1
    }

    /// Name and value of a slice; `_all` and nothing for the whole.
    pub fn text(&self, slice: u32) -> (&str, Option<&str>) {
        let Some((name, value)) = self.pair(slice) else {
            return ("_all", None);
        };
        (
            self.names.text(name),
            self.values
                .get(name as usize)
                .map(|values| values.text(value)),
        )
    }

    /// Numbers of a slice's name and value; `None` for the whole.
    fn pair(&self, slice: u32) -> Option<(u32, u32)> {
        self.pairs
            .get_index((slice as usize).checked_sub(1)?)
            .copied()
    }

    fn slice(&mut self, name: u32, value: &str, values_max: usize) -> Option<u32> {
        let known = self.values.get_mut(name as usize)?;
        let value = match known.find(value) {
            Some(number) => number,
            None if known.len() < values_max => known.intern(value),
            None => known.intern(OTHER),
        };
        Some(number(self.pairs.insert_full((name, value)).0) + 1)
    }

    /// The slice of a cross; `None` where the event lacks one of its parts.
    fn cross(&mut self, cross: &Cross, singles: &[u32], values_max: usize) -> Option<u32> {
        let mut text = String::new();
        for (place, part) in cross.parts.iter().enumerate() {
            let slice = singles
                .iter()
                .find(|slice| self.pair(**slice).is_some_and(|(name, _)| name == *part))?;
            if place > 0 {
                text.push(',');
            }
            write_escaped(self.text(*slice).1.unwrap_or_default(), &mut text);
        }
        self.slice(cross.name, &text, values_max)
    }
}

/// A value as a cross has it: a backslash before its commas and backslashes.
fn write_escaped(value: &str, text: &mut String) {
    for letter in value.chars() {
        if matches!(letter, ',' | '\\') {
            text.push('\\');
        }
        text.push(letter);
    }
}

/// Memory ends long before the numbers do.
fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values<const N: usize>(values: [&'static str; N]) -> Vec<Option<Cow<'static, str>>> {
        values
            .into_iter()
            .map(|value| (!value.is_empty()).then_some(Cow::Borrowed(value)))
            .collect()
    }

    fn texts(slices: &Slices, set: u32) -> Vec<(&str, &str)> {
        slices
            .members(set)
            .iter()
            .map(|slice| slices.text(*slice))
            .map(|(name, value)| (name, value.unwrap()))
            .collect()
    }

    #[test]
    fn values_beyond_the_limit_are_other() {
        let mut slices = Slices::default();
        let cuts = slices.cuts(&["country".into()], &[], 2);
        for (value, counted) in [
            ("DE", "DE"),
            ("FR", "FR"),
            ("IT", OTHER),
            ("ES", OTHER),
            ("DE", "DE"),
        ] {
            let set = slices.set(&cuts, &values([value]));
            assert_eq!(texts(&slices, set), [("country", counted)]);
        }
    }

    #[test]
    fn an_event_without_values_belongs_to_the_whole_only() {
        let mut slices = Slices::default();
        let cuts = slices.cuts(
            &["country".into(), "device".into()],
            &[vec!["country".into(), "device".into()]],
            9,
        );
        let set = slices.set(&cuts, &[None, None]);
        assert!(slices.members(set).is_empty());
        assert_eq!(slices.text(ALL), ("_all", None));
    }

    #[test]
    fn a_cross_is_counted_beside_its_parts() {
        let mut slices = Slices::default();
        let names = ["country".into(), "device".into()];
        let cuts = slices.cuts(&names, &[vec!["device".into(), "country".into()]], 2);
        let mut counted = |of: [&'static str; 2]| {
            let set = slices.set(&cuts, &values(of));
            texts(&slices, set)
                .into_iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            counted(["DE", r"tv,\4k"]),
            [
                "country=DE",
                r"device=tv,\4k",
                r"device,country=tv\,\\4k,DE"
            ]
        );
        assert_eq!(counted(["DE", ""]), ["country=DE"], "no device, no cross");
        assert_eq!(
            counted(["FR", "pc"]),
            ["country=FR", "device=pc", "device,country=pc,FR"]
        );
        assert_eq!(
            counted(["IT", "pc"]),
            ["country=__other__", "device=pc", "device,country=__other__"],
            "a third cross"
        );
    }

    #[test]
    fn crosses_may_change_over_a_restart() {
        let mut slices = Slices::default();
        let names = ["country".into(), "device".into()];
        let cuts = slices.cuts(&names, &[], 9);
        let before = slices.set(&cuts, &values(["DE", "pc"]));
        let mut slices: Slices =
            postcard::from_bytes(&postcard::to_stdvec(&slices).unwrap()).unwrap();
        let cuts = slices.cuts(&names, &[names.to_vec()], 9);
        let after = slices.set(&cuts, &values(["DE", "pc"]));
        assert_eq!(
            (slices.members(before).len(), slices.members(after).len()),
            (2, 3)
        );
    }
}
