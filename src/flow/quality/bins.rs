//! Counts by bucket in as little memory as they need: narrow while all of them are small, as in most windows, and wide from
//! the first that is not. Which of the two shows nowhere, neither in what is counted nor in what is stored.
//!
//! Windows are mostly such counts: what one of them takes decides how many windows memory holds.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::buckets::Buckets;

/// What is counted: signed, since it may be taken back.
pub(crate) trait Count: Copy + Default + PartialEq {
    /// As it is held while it is small.
    type Narrow: Copy + Default + PartialEq;

    /// The sum.
    fn plus(self, more: Self) -> Self;

    /// `None`: it is too large for that.
    fn narrow(self) -> Option<Self::Narrow>;

    /// The same count.
    fn widen(narrow: Self::Narrow) -> Self;
}

/// Counts by bucket, in the order of the buckets.
#[derive(Clone, Debug)]
pub(crate) struct Bins<K, V: Count> {
    /// Empty where there are wide ones.
    narrow: Buckets<K, V::Narrow>,
    wide: Option<Box<Buckets<K, V>>>,
}

impl<K: Copy + Ord, V: Count> Bins<K, V> {
    /// Adds to a bucket, which begins at zero; one that holds nothing then stays.
    pub(crate) fn add(&mut self, bucket: K, more: V) {
        self.put(bucket, more);
    }

    /// The same; a bucket that holds nothing then goes.
    pub(crate) fn add_or_drop(&mut self, bucket: K, more: V) {
        if self.put(bucket, more) {
            self.retain(|count| count != V::default());
        }
    }

    /// Adds all of another; buckets that hold nothing then stay.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.put_all(other);
    }

    /// The same; buckets that hold nothing then go.
    pub(crate) fn merge_or_drop(&mut self, other: &Self) {
        if self.put_all(other) {
            self.retain(|count| count != V::default());
        }
    }

    /// Buckets and counts, ascending.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (K, V)> {
        let narrow = self.narrow.iter();
        let narrow = narrow.map(|(bucket, count)| (bucket, V::widen(*count)));
        let wide = self.wide.iter().flat_map(|buckets| buckets.iter());
        narrow.chain(wide.map(|(bucket, count)| (bucket, *count)))
    }

    /// Counts, by ascending bucket.
    pub(crate) fn counts(&self) -> impl DoubleEndedIterator<Item = V> {
        self.iter().map(|(_, count)| count)
    }

    /// Bytes on the heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        let wide = self.wide.as_ref();
        let wide = wide.map(|buckets| size_of_val(&**buckets) + buckets.heap_bytes());
        self.narrow.heap_bytes() + wide.unwrap_or(0)
    }

    /// Drops buckets whose count is not to be kept.
    pub(crate) fn retain(&mut self, keep: impl Fn(V) -> bool) {
        match &mut self.wide {
            Some(wide) => wide.retain(|count| keep(*count)),
            None => self.narrow.retain(|count| keep(V::widen(*count))),
        }
    }

    /// True if the bucket holds nothing then.
    fn put(&mut self, bucket: K, more: V) -> bool {
        if self.wide.is_none() {
            let place = self.narrow.place(bucket);
            if let Some(is_empty) = self.narrow.at(place).and_then(|count| put(count, more)) {
                return is_empty;
            }
        }
        let wide = self.widen();
        let place = wide.place(bucket);
        wide.at(place).is_some_and(|count| put_wide(count, more))
    }

    /// True if some bucket holds nothing then. None of the other may, if that matters.
    fn put_all(&mut self, other: &Self) -> bool {
        if self.wide.is_none() && self.narrow.is_empty() {
            self.clone_from(other);
            return false;
        }
        let narrow = other.narrow.iter();
        let narrow = narrow.map(|(bucket, count)| (bucket, V::widen(*count)));
        let mut is_empty = self.put_each(narrow);
        if let Some(wide) = &other.wide {
            is_empty |= self.put_each(wide.iter().map(|(bucket, count)| (bucket, *count)));
        }
        is_empty
    }

    /// What is put is in order.
    fn put_each(&mut self, more: impl Iterator<Item = (K, V)>) -> bool {
        let (mut any_is_empty, mut place) = (false, 0);
        let mut more = more.peekable();
        if self.wide.is_none() {
            while let Some((bucket, count)) = more.peek() {
                place = self.narrow.place_from(place, *bucket);
                let Some(is_empty) = self.narrow.at(place).and_then(|held| put(held, *count))
                else {
                    break;
                };
                any_is_empty |= is_empty;
                more.next();
            }
        }
        if more.peek().is_some() {
            let wide = self.widen();
            for (bucket, count) in more {
                place = wide.place_from(place, bucket);
                any_is_empty |= wide.at(place).is_some_and(|held| put_wide(held, count));
            }
        }
        any_is_empty
    }

    fn widen(&mut self) -> &mut Buckets<K, V> {
        let narrow = &mut self.narrow;
        self.wide.get_or_insert_with(|| {
            let narrow = std::mem::take(narrow);
            let wide = narrow.iter();
            Box::new(
                wide.map(|(bucket, count)| (bucket, V::widen(*count)))
                    .collect(),
            )
        })
    }
}

/// True if it is nothing then; `None`: the sum is too large for a narrow count, which stays as it is.
fn put<V: Count>(count: &mut V::Narrow, more: V) -> Option<bool> {
    let sum = V::widen(*count).plus(more);
    *count = sum.narrow()?;
    Some(sum == V::default())
}

fn put_wide<V: Count>(count: &mut V, more: V) -> bool {
    *count = count.plus(more);
    *count == V::default()
}

impl<K, V: Count> Default for Bins<K, V> {
    fn default() -> Self {
        Self {
            narrow: Buckets::default(),
            wide: None,
        }
    }
}

impl<K: Copy + Ord, V: Count> PartialEq for Bins<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<K: Copy + Ord, V: Count + Eq> Eq for Bins<K, V> {}

/// As a list of buckets and counts.
impl<K: Copy + Ord + Serialize, V: Count + Serialize> Serialize for Bins<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Some(wide) = &self.wide {
            return wide.serialize(serializer);
        }
        let narrow = self.narrow.iter();
        serializer.collect_seq(narrow.map(|(bucket, count)| (bucket, V::widen(*count))))
    }
}

impl<'de, K: Copy + Ord + Deserialize<'de>, V: Count + Deserialize<'de>> Deserialize<'de>
    for Bins<K, V>
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wide = Buckets::<K, V>::deserialize(deserializer)?;
        let narrow = wide.iter();
        let narrow = narrow.map(|(bucket, count)| Some((bucket, count.narrow()?)));
        Ok(match narrow.collect() {
            Some(narrow) => Self { narrow, wide: None },
            None => Self {
                narrow: Buckets::default(),
                wide: Some(Box::new(wide)),
            },
        })
    }
}

impl Count for i64 {
    type Narrow = i16;

    fn plus(self, more: Self) -> Self {
        self + more
    }

    fn narrow(self) -> Option<i16> {
        self.try_into().ok()
    }

    fn widen(narrow: i16) -> Self {
        narrow.into()
    }
}

impl Count for (i64, i64) {
    type Narrow = (i16, i16);

    fn plus(self, more: Self) -> Self {
        (self.0 + more.0, self.1 + more.1)
    }

    fn narrow(self) -> Option<(i16, i16)> {
        Some((self.0.narrow()?, self.1.narrow()?))
    }

    fn widen(narrow: (i16, i16)) -> Self {
        (narrow.0.into(), narrow.1.into())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Small ones, and such as are at the edge of what is narrow.
    fn count() -> impl Strategy<Value = i64> {
        prop_oneof![
            -2..3_i64,
            32_765..32_770_i64,
            -32_770..-32_765_i64,
            Just(1 << 40)
        ]
    }

    fn read(counts: &Bins<u16, i64>) -> BTreeMap<u16, i64> {
        counts.iter().collect()
    }

    fn of(entries: &BTreeMap<u16, i64>) -> Bins<u16, i64> {
        let mut counts = Bins::default();
        for (bucket, count) in entries {
            counts.add(*bucket, *count);
        }
        counts
    }

    proptest! {
        /// The oracle is the standard library's map, whose counts are all wide.
        #[test]
        fn counts_are_a_map(changes in prop::collection::vec((0..40_u16, count()), 0..60), drops: bool, others in prop::collection::btree_map(0..60_u16, count(), 0..40)) {
            let (mut counts, mut map) = (Bins::default(), BTreeMap::new());
            for (bucket, more) in changes {
                let sum = map.entry(bucket).or_insert(0);
                *sum += more;
                if drops {
                    counts.add_or_drop(bucket, more);
                    map.retain(|_, count| *count != 0);
                } else {
                    counts.add(bucket, more);
                }
            }
            prop_assert_eq!(&read(&counts), &map);
            let mut other = of(&others);
            if drops {
                other.retain(|count| count != 0);
                counts.merge_or_drop(&other);
            } else {
                counts.merge(&other);
            }
            for (bucket, more) in read(&other) {
                *map.entry(bucket).or_insert(0) += more;
            }
            if drops {
                map.retain(|_, count| *count != 0);
            }
            prop_assert_eq!(&read(&counts), &map);
            prop_assert_eq!(counts.counts().rev().collect::<Vec<_>>(), map.values().rev().copied().collect::<Vec<_>>());
        }

        /// Counts that were wide once and are small again are the same as such as never were, in memory and stored; and they are
        /// stored as a list.
        #[test]
        fn how_they_are_held_shows_nowhere(entries in prop::collection::btree_map(0..40_u16, count(), 0..20), large in 0..40_u16) {
            let counts = of(&entries);
            let mut wide = counts.clone();
            wide.add(large, 1 << 50);
            wide.add(large, -(1 << 50));
            if !entries.contains_key(&large) {
                wide.retain(|count| count != 0);
            }
            let mut counts = counts;
            if !entries.contains_key(&large) {
                counts.retain(|count| count != 0);
            }
            prop_assert_eq!(&wide, &counts);
            let list: Vec<(u16, i64)> = read(&counts).into_iter().collect();
            let stored = postcard::to_stdvec(&list).unwrap();
            prop_assert_eq!(&postcard::to_stdvec(&counts).unwrap(), &stored);
            prop_assert_eq!(&postcard::to_stdvec(&wide).unwrap(), &stored);
            prop_assert_eq!(postcard::from_bytes::<Bins<u16, i64>>(&stored).unwrap(), counts);
        }

        #[test]
        fn pairs_are_held_like_single_counts(entries in prop::collection::btree_map(0..40_u16, (count(), count()), 0..20)) {
            let mut counts = Bins::default();
            for (bucket, count) in &entries {
                counts.add(*bucket, *count);
            }
            prop_assert_eq!(counts.iter().collect::<BTreeMap<_, _>>(), entries);
        }
    }

    #[test]
    fn small_counts_take_a_quarter_of_the_memory() {
        let mut counts = Bins::default();
        for bucket in 0..1_000_u16 {
            counts.add(bucket, 1_i64);
        }
        let narrow = counts.heap_bytes();
        counts.add(0, 1 << 20);
        assert!(narrow < 1_300 * 4, "{narrow}");
        assert!(counts.heap_bytes() >= 16_000, "{}", counts.heap_bytes());
    }
}
