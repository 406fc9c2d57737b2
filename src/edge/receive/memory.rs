//! One budget for the bytes of all bodies under way, so that many requests at once cannot take more memory than that.
//!
//! A share grows with what really arrived, never with what a header promised, and is refused rather than waited for:
//! requests that each hold a part and wait for more would wait for each other.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes a permit stands for: a semaphore counts in `u32` where it takes many at once.
const UNIT: usize = 4096;

/// The budget.
#[derive(Clone, Debug)]
pub(super) struct Memory(Arc<Semaphore>);

/// Nothing is left of the budget.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Exhausted;

impl Memory {
    pub(super) fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes / UNIT)))
    }

    /// An empty share; gives back what it holds when dropped.
    pub(super) fn share(&self) -> Share {
        Share {
            memory: self.clone(),
            held: None,
            bytes: 0,
            paid: 0,
        }
    }
}

/// What one request holds.
#[derive(Debug)]
pub(super) struct Share {
    memory: Memory,
    held: Option<OwnedSemaphorePermit>,
    bytes: usize,
    paid: usize,
}

impl Share {
    /// Takes `bytes` more.
    pub(super) fn grow(&mut self, bytes: usize) -> Result<(), Exhausted> {
        self.bytes += bytes;
        let units = self.bytes.saturating_sub(self.paid).div_ceil(UNIT);
        if units == 0 {
            return Ok(());
        }
        let count = u32::try_from(units).map_err(|_| Exhausted)?;
        let semaphore = Arc::clone(&self.memory.0);
        let permit = semaphore
            .try_acquire_many_owned(count)
            .map_err(|_| Exhausted)?;
        self.paid += units * UNIT;
        match &mut self.held {
            Some(held) => held.merge(permit),
            None => self.held = Some(permit),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_refused_beyond_the_budget_and_given_back_when_dropped() {
        let memory = Memory::new(10 * UNIT);
        let mut first = memory.share();
        assert_eq!(first.grow(1), Ok(()));
        assert_eq!(
            first.grow(UNIT - 1),
            Ok(()),
            "the rest of a unit is paid for"
        );
        let mut second = memory.share();
        assert_eq!(second.grow(9 * UNIT), Ok(()));
        assert_eq!(first.grow(1), Err(Exhausted));
        drop(second);
        assert_eq!(memory.share().grow(9 * UNIT), Ok(()));
    }
}
