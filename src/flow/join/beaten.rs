//! Which classes lost among the labels of a prediction, as one small number: an open prediction remembers it in four bytes.
//!
//! Needed by another version of the same prediction that comes after its labels: its windows must list the cells of the
//! losers too, whatever came first, so that a replay in another order rewrites every document that was published before it.

use hashbrown::DefaultHashBuilder;
use indexmap::IndexSet;
use serde::{Deserialize, Serialize};

use crate::flow::quality::Outcome;

/// Sets that are told apart; each is some of the classes. More are a broken feed, and only leave out a zero.
const SETS_MAX: usize = 65_536;

/// Losers remembered of one prediction; more contradictions than this are a broken feed too.
const LOSERS_MAX: usize = 16;

/// Number of a set.
pub type Losers = u32;

/// No label contradicted another.
pub const UNDISPUTED: Losers = 0;

/// The sets of classes that lost. Set 1, 2, …
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Beaten(IndexSet<Box<[u32]>, DefaultHashBuilder>);

impl Beaten {
    /// The set with one loser more. A number that lost is remembered only as a contradiction: numbers have no cells.
    pub fn with(&mut self, losers: Losers, loser: Outcome) -> Losers {
        let mut classes = self.classes(losers).to_vec();
        if let Outcome::Class(class) = loser
            && classes.len() < LOSERS_MAX
            && let Err(place) = classes.binary_search(&class)
        {
            classes.insert(place, class);
        }
        self.number(classes, losers)
    }

    /// The classes of a set, ascending.
    pub fn classes(&self, losers: Losers) -> &[u32] {
        let index = (losers as usize).checked_sub(1);
        index
            .and_then(|index| self.0.get_index(index))
            .map_or(&[], |classes| classes)
    }

    /// `otherwise`, or some set if that is none, where there is no room for a new one.
    fn number(&mut self, classes: Vec<u32>, otherwise: Losers) -> Losers {
        let known = self.0.get_index_of(classes.as_slice());
        let index = match known {
            Some(index) => index,
            None if self.0.len() < SETS_MAX => self.0.insert_full(classes.into()).0,
            None => return otherwise.max(1),
        };
        u32::try_from(index + 1).unwrap_or(u32::MAX)
    }
}
