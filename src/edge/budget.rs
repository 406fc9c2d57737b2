//! A budget of bytes for what waits in a queue: who puts something in takes a share first, and waits until there is one.
//!
//! Invariant: the shares held are never more than the budget; one thing larger than all of it waits until it is alone. Shares
//! are given in the order in which they were asked for. Documents that come out of a queue leave their buffers for those that go
//! in next ([`Budget::spare`]): fresh memory costs page faults, and what one thread fills and another frees lies scattered. Driven by
//! the agent, for its channels.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::flow::document::Documents;
use crate::flow::pool::Pool;

/// Bytes a permit stands for: a semaphore counts in `u32` where it gives many at once.
const UNIT: usize = 4096;

/// Buffers kept for reuse: as many as wait between the engine and shipping, and one in the hands of each.
const SPARES_MAX: usize = 6;

/// Larger buffers, made for a long record, are seldom wanted: together those that are kept are a few mebibytes at most.
const SPARE_BYTES_MAX: usize = 1 << 20;

/// The budget. Clones share it.
#[derive(Clone, Debug)]
pub struct Budget {
    free: Arc<Semaphore>,
    units: u32,
    spares: Pool,
}

/// A share of a budget, given back when it is dropped. The default is a share of nothing.
#[derive(Debug, Default)]
pub struct Share {
    _permit: Option<OwnedSemaphorePermit>,
    spares: Pool,
}

impl Budget {
    /// So many bytes, rounded up to pages.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let units = u32::try_from(bytes.div_ceil(UNIT).max(1)).unwrap_or(u32::MAX);
        let free = Arc::new(Semaphore::new(units as usize));
        Self {
            free,
            units,
            spares: Pool::new(SPARES_MAX, SPARE_BYTES_MAX),
        }
    }

    /// Empty documents, with the room of some that were there before.
    #[must_use]
    pub fn spare(&self) -> Documents {
        Documents {
            bytes: self.spares.take_any().unwrap_or_default(),
            ..Documents::default()
        }
    }

    /// Bytes held now, in whole pages.
    #[must_use]
    pub fn taken(&self) -> usize {
        let free = self.free.available_permits();
        (self.units as usize).saturating_sub(free) * UNIT
    }

    /// Bytes that may be held.
    #[must_use]
    pub fn bytes_max(&self) -> usize {
        self.units as usize * UNIT
    }

    /// Waits until so many bytes are free. Cancel safe.
    pub async fn take(&self, bytes: usize) -> Share {
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX);
        let taking = Arc::clone(&self.free).acquire_many_owned(units.min(self.units));
        Share {
            // Never an error: nobody closes the semaphore.
            _permit: taking.await.ok(),
            spares: self.spares.clone(),
        }
    }
}

impl Share {
    /// Documents that had this share are done with: what comes next may have their room.
    pub fn give_back(&self, documents: &mut Documents) {
        self.spares.put(std::mem::take(&mut documents.bytes));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn shares_add_up_to_the_budget_and_come_back() {
        let budget = Budget::new(10 * UNIT);
        let first = budget.take(6 * UNIT).await;
        let _second = budget.take(3 * UNIT + 1).await;
        assert!(timeout(SOON, budget.take(1)).await.is_err());
        assert_eq!((budget.taken(), budget.bytes_max()), (10 * UNIT, 10 * UNIT));
        drop(first);
        assert_eq!(budget.taken(), 4 * UNIT);
        assert!(timeout(SOON, budget.take(6 * UNIT)).await.is_ok());
    }

    #[tokio::test]
    async fn documents_that_are_done_with_leave_their_room() {
        let budget = Budget::new(10 * UNIT);
        let share = budget.take(UNIT).await;
        let mut small = Documents::default();
        small.bytes.extend_from_slice(b"{}");
        share.give_back(&mut small);
        assert_eq!(budget.spare().bytes.capacity(), 0);
        let mut large = Documents {
            bytes: vec![b' '; 100 << 10],
            ..Documents::default()
        };
        share.give_back(&mut large);
        let spare = budget.spare();
        assert!(spare.is_empty() && spare.bytes.is_empty());
        assert!(spare.bytes.capacity() >= 100 << 10);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_larger_than_all_of_it_waits_until_it_is_alone() {
        let budget = Budget::new(10 * UNIT);
        let small = budget.take(1).await;
        assert!(timeout(SOON, budget.take(1 << 40)).await.is_err());
        drop(small);
        let large = budget.take(1 << 40).await;
        assert!(timeout(SOON, budget.take(1)).await.is_err());
        drop(large);
        assert!(timeout(SOON, budget.take(1)).await.is_ok());
    }
}
