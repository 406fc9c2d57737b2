//! `privacy.min_group`: which slices of the windows being published may be told.
//!
//! Whether a slice may be told depends on the others of its window, so with `min_group` all slices of a window are published
//! whenever one of them changes. A slice of fewer predictions has never been told, since their number only grows. One that is
//! withheld because of another may have been: its documents are written again without figures.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use crate::flow::engine::Engine;
use crate::flow::engine::publish::Press;
use crate::flow::event::Timestamp;
use crate::flow::slices::ALL;
use crate::flow::windows::{Length, WindowKey};

/// How much of a window may be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Telling {
    All,
    /// It had its documents: they stay, without figures.
    OnlyThatItIs,
    Nothing,
}

/// The slices that are withheld, of each window looked at so far.
#[derive(Debug, Default)]
pub(super) struct Small(BTreeMap<(Length, u32, Timestamp), Withheld>);

#[derive(Debug, Default)]
struct Withheld {
    /// Of too few predictions.
    small: BTreeSet<u32>,
    /// Beside one of those.
    beside: BTreeSet<u32>,
}

impl Small {
    pub(super) fn get(&self, key: &WindowKey) -> Telling {
        match self.0.get(&(key.length, key.series, key.start)) {
            Some(withheld) if withheld.small.contains(&key.slice) => Telling::Nothing,
            Some(withheld) if withheld.beside.contains(&key.slice) => Telling::OnlyThatItIs,
            _ => Telling::All,
        }
    }
}

impl Press<'_> {
    /// The keys, and with `privacy.min_group` all slices beside them, in the order of their keys.
    pub(super) fn with_neighbours<'k>(&mut self, keys: &'k [WindowKey]) -> Cow<'k, [WindowKey]> {
        let min_group = self.settings.privacy.min_group;
        if min_group <= 1 {
            return Cow::Borrowed(keys);
        }
        let mut all = BTreeSet::new();
        for key in keys {
            let slices = self.look_at(key);
            all.extend(slices.into_iter().map(|slice| WindowKey { slice, ..*key }));
        }
        Cow::Owned(all.into_iter().collect())
    }

    /// Finds out what is withheld of a window; the slices it has, unless it has been looked at.
    pub(super) fn look_at(&mut self, key: &WindowKey) -> Vec<u32> {
        let min_group = self.settings.privacy.min_group;
        let place = (key.length, key.series, key.start);
        if min_group <= 1 || self.small.0.contains_key(&place) {
            return Vec::new();
        }
        let slices = &self.tables.slices;
        let sizes = self.windows.sizes(key, slices.count());
        let withheld = slices.withheld(&self.tables.cuts, &sizes, min_group);
        let is_small = |slice: &u32| sizes.get(slice).is_none_or(|size| *size < min_group);
        let (small, beside) = withheld.into_iter().partition(is_small);
        self.small.0.insert(place, Withheld { small, beside });
        sizes.into_keys().collect()
    }
}

impl Engine {
    /// True if `privacy.min_group` withholds this slice of a window that lies in memory.
    pub(super) fn withholds(&self, key: &WindowKey) -> bool {
        let min_group = self.settings.privacy.min_group;
        if min_group <= 1 || key.slice == ALL {
            return false;
        }
        let tables = &self.state.tables;
        let sizes = self.state.windows.sizes(key, tables.slices.count());
        let withheld = tables.slices.withheld(&tables.cuts, &sizes, min_group);
        withheld.contains(&key.slice)
    }
}
