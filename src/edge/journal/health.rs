//! What others may see of a journal while it works: whether it takes records, and since when the oldest unread one waits.
//!
//! Invariant: a record appended since the start never seems younger than it is, and what is remembered has a bound, whatever
//! the number of records. Driven by the writer.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::AppendError;

/// Shared by the writer and whoever looks.
#[derive(Clone, Debug, Default)]
pub(super) struct Health(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    refused: Option<(AppendError, Instant)>,
    ages: Ages,
}

impl Health {
    /// The last append was refused for this reason; `None`: it was taken.
    pub(super) fn appended(&self, refused: Option<&AppendError>) {
        self.lock().refused = refused.map(|error| (error.clone(), Instant::now()));
    }

    /// Everything below `end` is durable, what is below `released` need not be remembered.
    pub(super) fn durable(&self, end: u64, released: u64) {
        self.lock().ages.add(end, Instant::now(), released);
    }

    pub(super) fn refused(&self) -> Option<(AppendError, Duration)> {
        let state = self.lock();
        let (error, at) = state.refused.as_ref()?;
        Some((error.clone(), at.elapsed()))
    }

    pub(super) fn age(&self, offset: u64) -> Option<Duration> {
        self.lock().ages.of(offset).map(|at| at.elapsed())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What became durable within so long is remembered as one.
const TOGETHER: Duration = Duration::from_millis(250);

/// Moments that are remembered: beyond, each two neighbours become one.
const MOMENTS_MAX: usize = 256;

/// When what became durable: offset behind it, and the earliest moment of it. Both only grow.
#[derive(Debug, Default)]
struct Ages(VecDeque<(u64, Instant)>);

impl Ages {
    fn add(&mut self, end: u64, now: Instant, released: u64) {
        while self.0.pop_front_if(|(end, _)| *end <= released).is_some() {}
        match self.0.back_mut() {
            Some((last, at)) if now.duration_since(*at) < TOGETHER => *last = end,
            _ => self.0.push_back((end, now)),
        }
        if self.0.len() > MOMENTS_MAX {
            let mut pairs = std::mem::take(&mut self.0).into_iter();
            while let Some((end, at)) = pairs.next() {
                let end = pairs.next().map_or(end, |(end, _)| end);
                self.0.push_back((end, at));
            }
        }
    }

    /// A moment at or before which the byte at `offset` became durable; `None` if it has not.
    fn of(&self, offset: u64) -> Option<Instant> {
        let index = self.0.partition_point(|(end, _)| *end <= offset);
        self.0.get(index).map(|(_, at)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records of ten bytes, one a second.
    fn after(records: u64, released: u64) -> (Ages, Instant) {
        let start = Instant::now();
        let mut ages = Ages::default();
        for record in 1..=records {
            let now = start + Duration::from_secs(record);
            ages.add(record * 10, now, released);
        }
        (ages, start)
    }

    #[test]
    fn a_byte_is_as_old_as_its_record_and_what_is_not_there_has_no_age() {
        let (ages, start) = after(3, 0);
        for (offset, seconds) in [(0, 1), (9, 1), (10, 2), (29, 3)] {
            let at = start + Duration::from_secs(seconds);
            assert_eq!(ages.of(offset), Some(at), "{offset}");
        }
        assert_eq!(ages.of(30), None);
    }

    #[test]
    fn a_million_records_take_no_more_room_and_none_seems_younger_than_it_is() {
        let records = 1_000_000;
        let (ages, start) = after(records, 0);
        assert!(ages.0.len() <= MOMENTS_MAX);
        for record in (1..=records).step_by(997) {
            let at = ages.of(record * 10 - 1).unwrap();
            assert!(at <= start + Duration::from_secs(record), "{record}");
        }
        let newest = ages.of(records * 10 - 1).unwrap();
        assert!(newest >= start + Duration::from_secs(records / 2));
    }

    #[test]
    fn what_is_released_is_forgotten() {
        let (ages, start) = after(100, 955);
        assert_eq!(ages.of(0), Some(start + Duration::from_secs(96)));
        assert_eq!(ages.0.len(), 5);
    }

    #[test]
    fn a_refusal_is_told_until_something_is_taken() {
        let health = Health::default();
        assert!(health.refused().is_none());
        health.appended(Some(&AppendError::NoSpace));
        assert!(matches!(
            health.refused(),
            Some((AppendError::NoSpace, since)) if since < Duration::from_hours(1)
        ));
        health.appended(None);
        assert!(health.refused().is_none());
    }
}
