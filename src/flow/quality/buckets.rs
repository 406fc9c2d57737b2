//! Counts by bucket, in the order of the buckets: a map whose entries lie side by side. A tally is mostly such maps, of a few
//! hundred entries that are added to again and again and seldom new; in a tree each of them would be a walk through memory.

use serde::{Deserialize, Serialize};

/// Counts by bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Buckets<K, V>(Vec<(K, V)>);

impl<K, V> Default for Buckets<K, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Copy + Ord, V: Default> Buckets<K, V> {
    /// Changes a bucket's count, which begins at zero.
    pub(crate) fn change(&mut self, bucket: K, change: impl FnOnce(&mut V)) {
        let place = self.place(bucket);
        if let Some(count) = self.at(place) {
            change(count);
        }
    }

    /// Adds all counts of another, by `add`; buckets that then hold nothing stay.
    pub(crate) fn merge(&mut self, other: &Self, add: impl Fn(&mut V, &V)) {
        let mut place = 0;
        for (bucket, more) in &other.0 {
            place = self.place_from(place, *bucket);
            if let Some(count) = self.at(place) {
                add(count, more);
            }
        }
    }

    /// True if there is no bucket.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Buckets and counts, ascending.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (K, &V)> + ExactSizeIterator {
        self.0.iter().map(|(bucket, count)| (*bucket, count))
    }

    /// Counts, by ascending bucket.
    pub(crate) fn counts(&self) -> impl DoubleEndedIterator<Item = &V> {
        self.0.iter().map(|(_, count)| count)
    }

    /// Bytes on the heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.0.capacity() * size_of::<(K, V)>()
    }

    /// Drops buckets whose count is not to be kept.
    pub(crate) fn retain(&mut self, keep: impl Fn(&V) -> bool) {
        self.0.retain(|(_, count)| keep(count));
    }

    /// The count at a place.
    pub(super) fn at(&mut self, place: usize) -> Option<&mut V> {
        self.0.get_mut(place).map(|(_, count)| count)
    }

    /// The place of a bucket, which is made if it is missing.
    pub(super) fn place(&mut self, bucket: K) -> usize {
        let found = self.0.binary_search_by_key(&bucket, |entry| entry.0);
        found.unwrap_or_else(|place| self.insert(place, bucket))
    }

    /// The same, of one that is not before `from`, looked for in ever longer steps: what is merged is in order, so it is near.
    pub(super) fn place_from(&mut self, from: usize, bucket: K) -> usize {
        let rest = self.0.get(from..).unwrap_or_default();
        let is_below = |place: usize| rest.get(place).is_some_and(|entry| entry.0 < bucket);
        let mut step = 1;
        while is_below(step - 1) {
            step *= 2;
        }
        let (low, high) = (step / 2, step.min(rest.len()));
        let near = rest.get(low..high).unwrap_or_default();
        let place = from + low + near.partition_point(|entry| entry.0 < bucket);
        if self.0.get(place).is_some_and(|entry| entry.0 == bucket) {
            place
        } else {
            self.insert(place, bucket)
        }
    }

    /// Grows by a quarter, not to twice as much: thousands of windows hold such maps, and most have all their buckets soon.
    fn insert(&mut self, place: usize, bucket: K) -> usize {
        if self.0.len() == self.0.capacity() {
            self.0.reserve_exact(self.0.len() / 4 + 4);
        }
        self.0.insert(place, (bucket, V::default()));
        place
    }
}

impl<K, V> FromIterator<(K, V)> for Buckets<K, V> {
    /// In ascending order of buckets.
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        Self(entries.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The oracle is the standard library's map.
        #[test]
        fn buckets_are_a_map(changes in prop::collection::vec((0..40_u16, -2..3_i64), 0..60), others in prop::collection::btree_map(0..60_u16, -2..3_i64, 0..40)) {
            let (mut buckets, mut map) = (Buckets::default(), BTreeMap::new());
            for (bucket, times) in changes {
                *map.entry(bucket).or_insert(0) += times;
                buckets.change(bucket, |count| *count += times);
            }
            let read = |buckets: &Buckets<u16, i64>| buckets.iter().map(|(bucket, count)| (bucket, *count)).collect::<BTreeMap<_, _>>();
            prop_assert_eq!(&read(&buckets), &map);
            let other = Buckets(others.clone().into_iter().collect());
            buckets.merge(&other, |count, more| *count += more);
            for (bucket, more) in others {
                *map.entry(bucket).or_insert(0) += more;
            }
            prop_assert_eq!(&read(&buckets), &map);
            buckets.retain(|count| *count != 0);
            map.retain(|_, count| *count != 0);
            prop_assert_eq!(&read(&buckets), &map);
            prop_assert!(buckets.0.is_sorted());
        }
    }
}
