//! Values of labels that lost against another label of the same prediction, as small integers: few predictions have any,
//! and those have the same few.
//!
//! Why they are remembered: the cells of all labels that a prediction ever had are listed in its window, those that lost with
//! zero. So which documents there are depends on the labels and not on the order they came in, and a replay in another
//! order rewrites every document that was published before it.

use indexmap::IndexSet;
use serde::{Deserialize, Serialize};

use crate::flow::quality::{Class, Outcome};

/// Values kept of one prediction; more contradictions than this are a broken feed, and only leave out a zero.
const VALUES_MAX: usize = 16;

/// Combinations kept: beyond, a mapping takes an id for a class, and a zero is left out.
const SETS_MAX: usize = 65_536;

/// No label has lost.
pub(super) const NONE: u32 = 0;

/// Labels have lost, and it is not kept which: of a regression, or beyond [`SETS_MAX`].
const SOME: u32 = 1;

/// Each combination of values, by its number; the first two stand for themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Beaten(IndexSet<Box<[Class]>, hashbrown::DefaultHashBuilder>);

impl Beaten {
    /// The number of a combination and one value more.
    pub(super) fn with(&mut self, set: u32, value: Outcome) -> u32 {
        let Outcome::Class(class) = value else {
            return set.max(SOME);
        };
        let known = self.of(set);
        if known.contains(&class) || known.len() >= VALUES_MAX {
            return set;
        }
        let mut values = known.to_vec();
        values.push(class);
        values.sort_unstable();
        let number = |index: usize| {
            u32::try_from(index)
                .unwrap_or(u32::MAX)
                .saturating_add(SOME + 1)
        };
        match self.0.get_index_of(&values[..]) {
            Some(index) => number(index),
            None if self.0.len() >= SETS_MAX => set.max(SOME),
            None => number(self.0.insert_full(values.into()).0),
        }
    }

    /// The values of a combination.
    pub(super) fn of(&self, set: u32) -> &[Class] {
        let index = (set as usize).checked_sub(SOME as usize + 1);
        let values = index.and_then(|index| self.0.get_index(index));
        values.map_or(&[], |values| values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_combination_is_the_same_whatever_came_first() {
        let mut beaten = Beaten::default();
        let [one, other] = [[7, 3, 7], [3, 7, 3]].map(|classes| {
            let add = |set, class| beaten.with(set, Outcome::Class(class));
            classes.into_iter().fold(NONE, add)
        });
        assert_eq!((one, beaten.of(one)), (other, &[3, 7][..]));
        assert_eq!((beaten.of(NONE), beaten.of(SOME)), (&[][..], &[][..]));
        assert_eq!(beaten.with(NONE, Outcome::Number(1.0)), SOME);
        assert_ne!(beaten.with(SOME, Outcome::Class(3)), NONE);
    }
}
